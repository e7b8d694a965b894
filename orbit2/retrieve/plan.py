"""What a source must be asked for: needs become requests, once each, less what is there. Never talks to a provider."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.files import short_hash
from orbit2.retrieve.progress import human
from orbit2.sources.source import Box, Need, Request, Source

TIMELESS = "0002"  # files that begin before hold what has no time
Days = npt.NDArray[np.int64]  # days since 1970-01-01, sorted, once each


def needs(raw: Sequence[Mapping[str, Any]], where: object) -> list[Need]:
    """The `needs` of a retrieve slice. Raises OrbitError for one that is not of the documented form."""
    result = []
    for item in raw:
        try:
            variables = tuple(str(name) for name in item["variables"])
            first, last = (_day(item[key]) for key in ("first", "last"))
            box = item.get("box")
            region: Box | None = None if box is None else _box(box)
        except (KeyError, TypeError, ValueError) as error:
            raise OrbitError(f"not a need ({type(error).__name__}: {error})", where=where,
                             allowed='{"variables": [...], "first": "YYYY-MM-DD", "last": "YYYY-MM-DD", "box": [s, n, w, e] or null}',
                             hint="write the configuration anew: a dry run of the workflow does") from None  # fmt: skip
        if last < first:
            raise OrbitError("a need ends before it begins", where=where, got=f"{first} to {last}", hint="the first date comes first")
        result.append(Need(variables, first, last, region))
    return result


def _day(value: Any) -> np.datetime64:
    """A day; what has no time (static fields) is of the first day there is."""
    return np.datetime64("1970-01-01" if value is None else str(value), "D")


def _box(values: Any) -> Box:
    south, north, west, east = (float(v) for v in values)
    return south, north, west, east


def merged(items: Sequence[Need]) -> list[Need]:
    """The same needs without overlap: what is needed on a day of a box is one need with all its variables.

    A box is asked for by itself, unless the globe is fetched for its variables and days anyway, or the days that lack there cost less
    than the whole of the box: all that is read together comes from files of one box.
    """
    wanted: dict[Box | None, dict[str, Days]] = {}
    for need in items:
        span = np.arange(need.first.astype(np.int64), need.last.astype(np.int64) + 1)
        days = wanted.setdefault(need.box, {})
        for name in need.variables:
            days[name] = np.union1d(days[name], span) if name in days else span
    if None in wanted:
        for box in sorted((box for box in wanted if box is not None), key=lambda box: (-_share(box), box)):
            lacking = {name: np.setdiff1d(days, wanted[None].get(name, days[:0])) for name, days in wanted[box].items()}
            if sum(map(_whole_months, lacking.values())) <= _share(box) * sum(map(_whole_months, wanted[box].values())):
                for name, more in lacking.items():
                    wanted[None][name] = np.union1d(wanted[None].get(name, more), more)
                del wanted[box]
    found = [need for box, days in wanted.items() for need in _by_day(box, days)]
    return sorted(found, key=lambda need: (need.box or (), need.first, need.last))


def _share(box: Box) -> float:
    """Of the globe's grid points."""
    south, north, west, east = box
    return (north - south) * min(east - west, 360.0) / (180.0 * 360.0)


def _whole_months(days: Days) -> int:
    """Days of the months that `days` lie in: files are months."""
    return 30 * len(np.unique(days.astype("datetime64[D]").astype("datetime64[M]")))


def _by_day(box: Box | None, days: dict[str, Days]) -> Iterator[Need]:
    """Runs of consecutive days on which the same variables are needed."""
    names, every = sorted(days), np.unique(np.concatenate(list(days.values()))) if days else np.empty(0, dtype=np.int64)
    if not len(every):
        return
    there = np.array([np.isin(every, days[name]) for name in names])
    cuts = np.flatnonzero((np.diff(every) > 1) | (there[:, 1:] != there[:, :-1]).any(axis=0)) + 1
    epoch = np.datetime64("1970-01-01", "D")
    for run in np.split(np.arange(len(every)), cuts):
        chosen = tuple(name for name, on in zip(names, there[:, run[0]], strict=True) if on)
        yield Need(chosen, epoch + int(every[run[0]]), epoch + int(every[run[-1]]), box)


def requests(source: Source, items: Sequence[Need]) -> list[Request]:
    """Every file that `items` want of `source`, once, in time order.

    Raises OrbitError for a variable or time that the source does not have.
    """
    found: dict[str, Request] = {}
    for need in merged(items):
        for request in source.plan(need):
            if request.file.startswith("/") or ".." in request.file.split("/") or request.file.endswith(".part"):
                raise ValueError(f"{source.name}: not a file below its folder: {request.file}")
            other = found.setdefault(request.file, request)
            if other is not request and (dict(other.body) != dict(request.body) or set(other.variables) != set(request.variables)):
                raise ValueError(f"{source.name}: two different requests for {request.file}")
    return sorted(_without_parts_of_others(list(found.values())), key=lambda r: (r.first, r.last, r.file))


def _without_parts_of_others(items: Sequence[Request]) -> list[Request]:
    """Without requests for some variables of another that covers the same time and box (a month that two needs share)."""
    spans: dict[tuple[Any, ...], list[frozenset[str]]] = {}
    for r in items:
        spans.setdefault((r.client, r.first, r.last, r.box), []).append(frozenset(r.variables))
    shared = {key: sets for key, sets in spans.items() if len(sets) > 1}
    return [r for r in items if not any(set(r.variables) < other for other in shared.get((r.client, r.first, r.last, r.box), ()))]


def touching(items: Sequence[Request], wanted: Sequence[Request]) -> list[Request]:
    """Those of `items` that have a part of `wanted`: of the same box, or of the globe where none is."""

    def same(a: Request, b: Request) -> bool:
        return bool(a.first <= b.last and b.first <= a.last) and not set(a.variables).isdisjoint(b.variables)

    found: dict[str, Request] = {}
    boxes = {r.box for r in items}
    for request in wanted:
        chosen = (r for r in items if (r.box == request.box if request.box in boxes else r.box is None) and same(r, request))
        found |= {r.file: r for r in chosen}
    return list(found.values())


def digest(items: Sequence[Request]) -> str:
    """Names a plan: equal for equal requests."""
    return short_hash([[r.file, r.client, dict(r.body), list(r.variables), str(r.first), str(r.last)] for r in items], 16)


def summary(source: str, items: Sequence[Request], there: Mapping[str, int], known_gaps: Collection[str]) -> str:
    """What a dry run prints. `there`: bytes of the planned files that are complete already."""
    missing = [r for r in items if r.file not in there]
    lines = [f"{source}: {_count(items)}"]
    if items:
        first, last = min(r.first for r in items), max(r.last for r in items)
        timed = str(first) > TIMELESS  # not a source of static fields only
        lines[0] += f", {str(first)[:10]} to {str(last)[:10]}" if timed else ""
        lines[0] += f", by {', '.join(sorted({r.client for r in items}))}"
    if there:
        lines.append(f"  complete: {len(there):,} of them, {human(sum(there.values()))}")
    if missing:
        lines.append(f"  to fetch: {_count(missing)}")
    else:
        lines.append("  to fetch: nothing")
    asked_again = sum(r.file in known_gaps for r in missing)
    if asked_again:
        lines.append(f"  of these, {asked_again:,} were missing at the provider before and are asked for again")
    notes: dict[str, list[Request]] = {}
    for request in missing:
        if request.note:
            notes.setdefault(request.note, []).append(request)
    lines += ["  note" + (f" on {_count(found)}" if len(found) < len(missing) else "") + f": {note}" for note, found in notes.items()]
    return "\n".join(lines)


def total(items: Sequence[Request]) -> str:
    """The last line of a dry run of several sources."""
    return f"in all: {_count(items)}"


def _count(items: Sequence[Request]) -> str:
    return f"{len(items):,} file{'' if len(items) == 1 else 's'}, about {human(sum(r.bytes for r in items))} (estimate)"
