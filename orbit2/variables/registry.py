"""Which variables this process knows: the built-in rows, and those that a configuration, a store, a model or a prediction declares.

A name means one thing in a process. Whoever opens an artefact makes its rows known, so a worker knows what the files it reads hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from types import MappingProxyType
from typing import Any

from orbit2.errors import OrbitError, did_you_mean
from orbit2.variables.row import Variable, from_json
from orbit2.variables.table import table

BUILT_IN: Mapping[str, Variable] = MappingProxyType(table())
VARIABLES: dict[str, Variable] = dict(BUILT_IN)  # the one that is looked up; changed by `declare` alone
ATTRIBUTE = "declared_variables"  # of stores, models and predictions: the rows that are no built-in ones, by name
_declared: dict[str, object] = {}  # name -> who said it
_taken: dict[str, object] = {}  # built-in name -> what was opened with its built-in meaning
_lock = RLock()


def variable(name: str) -> Variable:
    """Look a variable up by canonical name. Raises OrbitError naming the nearest known name."""
    try:
        return VARIABLES[name]
    except KeyError:
        close = did_you_mean(name, VARIABLES) or f"known: {', '.join(sorted(VARIABLES))}"
        raise OrbitError("unknown variable", where="variables", got=name, hint=f"{close}; `variables:` declares others") from None


def declare(rows: Iterable[Variable], where: object) -> None:
    """Make rows known to this process. Raises OrbitError for a name that already means something else here (`where`: who says so)."""
    with _lock:
        for row in rows:
            known = VARIABLES.get(row.name)
            if known == row:
                continue
            if known is not None and (row.name in _declared or row.name in _taken) and known.meaning != row.meaning:
                first = _declared.get(row.name) or _taken[row.name]
                raise _conflict(row.name, row, known, where, first)
            if row.name not in _declared:  # labels are those of who came first
                VARIABLES[row.name] = row
                _declared[row.name] = where


def adopt(stored: Mapping[str, Any] | str | None, names: Iterable[str], where: object) -> None:
    """What an artefact `where` that holds `names` says of them: declares its rows (ATTRIBUTE); all others have their built-in meaning.

    Raises OrbitError where this process knows a name otherwise, or the rows cannot be read.
    """
    rows = read((json.loads(stored) if isinstance(stored, str) else stored) or {}, where)
    with _lock:
        declare(rows.values(), where)
        for name in names:
            if name in rows:
                continue
            own, known = BUILT_IN.get(name), VARIABLES.get(name)
            if own is not None and known is not None and own.meaning != known.meaning:
                raise _conflict(name, own, known, where, _declared.get(name, "an earlier declaration"))
            if own is not None:
                _taken.setdefault(name, where)


def read(stored: Mapping[str, Any], where: object) -> dict[str, Variable]:
    """The rows in an artefact's attribute, by name. Raises OrbitError when they cannot be read."""
    try:
        return {name: from_json(row) for name, row in stored.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise OrbitError(f"declared variables cannot be read ({type(error).__name__}: {error})", where=where,
                         hint="build the file again") from None  # fmt: skip


def declarations(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The rows of those of `names` that are no built-in ones, as JSON, partners of vectors too: what an artefact carries."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        row = VARIABLES.get(name)
        for one in (row, VARIABLES.get(row.partner) if row is not None else None):
            if one is not None and one != BUILT_IN.get(one.name):
                found[one.name] = one.as_json()
    return dict(sorted(found.items()))


def carried(names: Iterable[str]) -> dict[str, Any]:
    """`declarations` under their attribute; nothing where all are built in, so that such artefacts stay what they were."""
    found = declarations(names)
    return {ATTRIBUTE: found} if found else {}


def carried_text(names: Iterable[str]) -> dict[str, str]:
    """`carried` where attributes are numbers and text (NetCDF, Parquet)."""
    return {key: json.dumps(rows) for key, rows in carried(names).items()}


@contextmanager
def forgetting(afresh: bool = False) -> Iterator[None]:
    """What is declared inside is forgotten afterwards: for who looks at several runs in one process, one after the other.

    `afresh`: inside only the built-in rows are known, whatever was declared or opened before.
    """
    everything: tuple[dict[str, Any], ...] = (VARIABLES, _declared, _taken)
    with _lock:
        before = [dict(live) for live in everything]
        if afresh:
            for live, kept in zip(everything, (BUILT_IN, {}, {}), strict=True):
                live.clear()
                live.update(kept)
    try:
        yield
    finally:
        with _lock:
            for live, kept in zip(everything, before, strict=True):
                live.clear()
                live.update(kept)


def _conflict(name: str, new: Variable, known: Variable, where: object, first: object) -> OrbitError:
    differs = [key for key, value in new.meaning.items() if known.meaning[key] != value]
    told = "; ".join(f"{key} {_short(new.meaning[key])}, not {_short(known.meaning[key])}" for key in differs)
    return OrbitError(f"variable '{name}' means something else here than in {first}", where=where, got=told,
                      hint="a name means one thing at a time: give one of the two another name")  # fmt: skip


def _short(value: object) -> str:
    return "none" if value in ("", [], None) else str(value)
