"""What is kept of members instead of them: quantiles and probabilities of every cell, exact, while they stream. Never draws a member.

Every member counts alike; dry ones are the value 0. Quantiles lie between members as numpy's `linear` ones do (type 7 of Hyndman and
Fan 1996, Am. Stat. 50:361): many dry members make low quantiles 0. A probability is the share of members for which the expression is
true as it is written: one that is equal to the threshold counts for `>=` and `<=` alone.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.door.naming import accepted
from orbit2.errors import OrbitError, one_of
from orbit2.units import conversion
from orbit2.variables import variable

FloatArray = npt.NDArray[np.float32]
SIGNS: dict[str, tuple[str, Callable[..., Any]]] = {
    ">=": ("at_or_above", operator.ge), "<=": ("at_or_below", operator.le), ">": ("above", operator.gt), "<": ("below", operator.lt),
}  # fmt: skip
EXPRESSION = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
EXAMPLE = "e.g. 'precipitation>20' or '2m_temperature>=30 degC'"
BAND = 64  # rows of cells that are sorted at once


@dataclass(frozen=True)
class Event:
    """An expression: `variable sign threshold`, the threshold also as it was written."""

    variable: str
    sign: str
    threshold: float
    text: str
    units: str

    @property
    def name(self) -> str:
        """Of the field of its probability, as IMPROVER calls them: probability_of_precipitation_rate_above_20."""
        words = f"{self.text.replace('.', 'p')} {self.units}".replace("+", "").replace("-", "minus ", 1 if self.text.startswith("-") else 0)
        slug = re.sub(r"\W+", "_", f"{SIGNS[self.sign][0]} {words.strip()}").strip("_")
        return f"probability_of_{self.variable}_{slug}"

    def of(self, fields: FloatArray) -> FloatArray:
        """The share of `fields` [M, ...]; missing where any is."""
        count = np.zeros(fields.shape[1:], dtype=np.int32)
        missing = np.zeros(fields.shape[1:], dtype=bool)
        for field in fields:
            count += SIGNS[self.sign][1](field, np.float32(self.threshold))
            missing |= np.isnan(field)
        share: FloatArray = np.where(missing, np.float32(np.nan), (count / len(fields)).astype(np.float32))
        return share

    def attributes(self, members: int, methods: str = "") -> dict[str, Any]:
        """CF attributes of the field of its probability; `methods`: cell methods of the variable."""
        facts = variable(self.variable)
        said = f"{self.sign} {self.text} {self.units or facts.units}"
        long = dict(facts.described).get("long_name", self.variable)
        return {
            "units": "1", "long_name": f"Probability of {long} {said}", "cell_methods": f"{methods} realization: mean".strip(),
            "comment": f"share of {members} members", "expression": f"{self.variable} {said}", "threshold": self.threshold,
            "threshold_units": facts.units, "relative_to_threshold": SIGNS[self.sign][0], "original_variable": self.variable,
        }  # fmt: skip


@dataclass(frozen=True)
class Derived:
    """Fields kept of `members` of the outputs `names`: quantiles of all of them, and probabilities of `events`."""

    names: tuple[str, ...]
    members: int
    quantiles: tuple[float, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def fields(self) -> tuple[tuple[str, str, int], ...]:
        """(name of the field, the output it is of, quantiles of it or 0) in the order of `of`."""
        found = [(name, name, len(self.quantiles)) for name in self.names] if self.quantiles else []
        return (*found, *((event.name, event.variable, 0) for event in self.events))

    def event(self, field: str) -> Event:
        """The one whose field is called so."""
        return next(event for event in self.events if event.name == field)

    @property
    def channels(self) -> int:
        return sum(max(count, 1) for _, _, count in self.fields)

    @property
    def identity(self) -> tuple[Any, ...]:
        return self.members, self.quantiles, tuple((e.variable, e.sign, e.threshold, e.text, e.units) for e in self.events)

    @property
    def said(self) -> str:
        """In words, for `history`."""
        parts = [f"quantiles {', '.join(f'{q:g}' for q in self.quantiles)}"] if self.quantiles else []
        return "; ".join([*parts, *(f"probability of {e.variable} {e.sign} {e.text} {e.units}".strip() for e in self.events)])

    def of(self, fields: npt.NDArray[np.float32]) -> FloatArray:
        """`fields` [M, ..., C, h, w] -> [..., `channels`, h, w]; missing where any member is."""
        made = [quantiles_of(fields[..., c, :, :], self.quantiles) for c in range(len(self.names))] if self.quantiles else []
        found = [np.moveaxis(one, 0, -3) for one in made]
        found += [event.of(fields[..., self.names.index(event.variable), :, :])[..., None, :, :] for event in self.events]
        return np.concatenate(found, axis=-3)


def quantiles_of(fields: FloatArray, quantiles: Sequence[float]) -> FloatArray:
    """[M, ..., h, w] -> [Q, ..., h, w] as `numpy.quantile` of the members; a band of rows at a time is sorted."""
    made = np.empty((len(quantiles), *fields.shape[1:]), dtype=np.float32)
    for first in range(0, fields.shape[-2], BAND):
        band = (..., slice(first, first + BAND), slice(None))
        made[band] = np.quantile(fields[band], quantiles, axis=0)
    return made


def quantiles_from(text: str) -> tuple[float, ...]:
    """`0.1,0.5,0.9` as numbers. Raises OrbitError for anything but numbers from 0 to 1."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    return checked_quantiles(found, text)


def checked_quantiles(quantiles: Sequence[float], got: object = None) -> tuple[float, ...]:
    """Ascending, each once. Raises OrbitError for what is not between 0 and 1."""
    found = tuple(sorted({float(q) for q in quantiles}))
    if not found or not all(0 <= q <= 1 for q in found):
        raise OrbitError("not quantiles", where="--quantiles", got=got if got is not None else quantiles,
                         allowed="numbers from 0 to 1, e.g. 0.1,0.5,0.9", hint="give numbers with commas between")  # fmt: skip
    return found


def event_from(text: str, outputs: Sequence[str]) -> Event:
    """An expression `VARIABLE>NUMBER [UNITS]` (>, >=, <, <=) on one of the `outputs` of a model, under any name that the door knows;
    without units the variable's own. Raises OrbitError for another form, an unknown variable or units of another kind."""
    match = EXPRESSION.fullmatch(text)
    if match is None:
        raise OrbitError("not an expression", where="--probability", got=text, allowed=f"VARIABLE>NUMBER [UNITS], {EXAMPLE}",
                         hint="put it in quotes: the shell takes > for itself")  # fmt: skip
    name, sign, number, units = match.groups()
    found = [name] if name in outputs else [output for output in outputs if name in accepted(output)]
    if len(found) != 1:
        raise OrbitError("no variable that the model predicts", where="--probability", got=name, allowed=", ".join(outputs),
                         hint=one_of(name, outputs))  # fmt: skip
    wanted = variable(found[0]).units
    try:
        scale = conversion(units or wanted, found[0], "--probability")
    except OrbitError:
        raise OrbitError(f"units that do not fit {found[0]}", where="--probability", got=units,
                         allowed=f"what can be converted to {wanted}", hint="without units the number is in those") from None  # fmt: skip
    return Event(found[0], sign, float(f"{float(number) * scale.factor + scale.offset:.9g}"), number, units)


def derived_from(outputs: Sequence[str], members: int, quantiles: Sequence[float], events: Sequence[str]) -> Derived | None:
    """What is kept instead of the members; None: the members. Raises OrbitError for fewer than 2 of them, and as `event_from` does."""
    if not quantiles and not events:
        return None
    if members < 2:
        raise OrbitError("quantiles and probabilities are of members", where="--members", got=members, allowed="2 or more",
                         hint="e.g. --members 16")  # fmt: skip
    parsed = tuple({event.name: event for event in (event_from(text, outputs) for text in events)}.values())
    return Derived(tuple(outputs), members, checked_quantiles(quantiles) if quantiles else (), parsed)
