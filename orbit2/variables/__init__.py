"""One vocabulary: canonical name, CF standard name, units, range, kind and transform of every variable, built in or declared."""

from __future__ import annotations

from orbit2.times import months
from orbit2.variables.registry import (
    ATTRIBUTE,
    BUILT_IN,
    VARIABLES,
    adopt,
    carried,
    carried_text,
    declarations,
    declare,
    forgetting,
    variable,
)  # fmt: skip
from orbit2.variables.row import WATER_UNITS, Kind, Transform, Variable, falls, from_json

__all__ = [
    "ATTRIBUTE", "BUILT_IN", "VARIABLES", "WATER_UNITS", "Kind", "Transform", "Variable", "adopt", "carried", "carried_text",
    "cell_methods", "declarations", "declare", "falls", "floor", "forgetting", "from_json", "is_precipitation", "log_scored",
    "never_negative", "transform_of", "variable",
]  # fmt: skip
_HOUR = " (interval: 1 hour)"
_DAY = "time: mean (interval: 24 hours)"
_MONTH = "time: mean (interval: 1 month)"
_OVER = ("time: mean", "time: sum", "time: maximum", "time: minimum")


def cell_methods(name: str, step_hours: float) -> str:
    """CF cell methods of a variable in samples `step_hours` apart: what is of an hour is of the hours between samples, a day's sample of a
    moment is the mean of the day, a month's the mean of the month."""
    own = variable(name).cell_methods
    if months(step_hours):
        if own.startswith(("time: point", "time: mean")):
            return _MONTH
        return f"{own} (interval: 1 month)" if own in _OVER else f"{own} {_MONTH}"
    if own in _OVER:  # over the time between samples, however long
        return f"{own} (interval: {step_hours:g} hour{'' if step_hours == 1 else 's'})"
    if step_hours > 1 and own.endswith(_HOUR):
        return f"{own.removesuffix(_HOUR)} (interval: {step_hours:g} hours)"
    if step_hours < 24 or "interval: 24 hours" in own:
        return own
    return _DAY if own == "time: point" else f"{own} {_DAY}"


def never_negative(name: str) -> bool:
    """Whether a value is an amount, with a zero that means none (kelvin, Pa, mm, kg/kg), up to what rounding or packing take below it."""
    low, high = variable(name).valid
    return low >= -0.1 * high


def is_precipitation(name: str) -> bool:
    """Whether a variable is water that falls, in mm or mm/day (see `Variable.precipitation`): has dry and wet days, drizzle and storms."""
    return variable(name).precipitation


def log_scored(name: str) -> bool:
    """Whether a variable is scored in ln(1 + x) beside its own units: precipitation, whose scores are published in both."""
    return variable(name).precipitation


def transform_of(name: str) -> Transform:
    """What a network sees of a variable: `log1p` ln(1 + x), `logit` of its share of the range, before z-scores; `zscore`; `identity`."""
    return variable(name).transform


def floor(name: str) -> float | None:
    """Below what interpolation and corrections must not take a variable; None where nothing forbids it."""
    return variable(name).floor
