"""The `variables` section: names that orbit2 does not know of itself, or knows otherwise. Says what a field is; never reads one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from orbit2.config.base import Machine, Name, Strict
from orbit2.errors import OrbitError
from orbit2.variables import BUILT_IN, WATER_UNITS, Variable, declare, falls

if TYPE_CHECKING:
    from orbit2.config.schema import RunConfig

KINDS = {"instant": "point", "mean": "mean", "sum": "sum", "max": "maximum", "min": "minimum"}
_PERIOD = re.compile(r"(\d+) ?(h|hours?|d|days?|months?)")
# Coordinates and arrays of stores, predictions and tables go by these.
RESERVED = ("time", "lat", "lon", "x", "y", "rlat", "rlon", "member", "lat_bnds", "lon_bnds", "time_bnds", "crs", "month", "spatial_ref")
Transform = Literal["identity", "zscore", "log1p", "logit"]


class VectorConfig(Strict):
    """A component of a vector."""

    partner: Name = Field(description="The other component (canonical name).")
    component: Literal["east", "north"] = Field(description="Which of the two this is; what lies along a file's grid is turned to these.")


class VariableConfig(Strict):
    """What a variable is. Of a name that orbit2 knows only what differs has to be said."""

    standard_name: str | None = Field(None, pattern=r"^[A-Za-z0-9_]*$", description="CF standard name; empty where CF has none.")
    long_name: Machine[str | None] = Field(None, description="What figures and tables call it; default the name in words.")
    short_name: Machine[str | None] = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="Short name, also looked for in files.")
    units: str | None = Field(None, description="Units of stores, scores and predictions, as UDUNITS reads them; files are converted.")
    range: tuple[float, float] | None = Field(
        None, description="Least and greatest possible value (in `units`): one beyond is an error, and values are packed between them."
    )
    transform: Transform | None = Field(
        None, description="Before z-scores: `zscore` nothing; `log1p` ln(1 + x), for what is never negative and skewed; `logit` of the "
        "share of the range, for fractions; `identity`: no z-score either. Default: `log1p` for precipitation, else `zscore`."
    )
    kind: Literal["instant", "mean", "sum", "max", "min", "static"] | None = Field(
        None, description="What a value is over its `period`; `static`: the same at all times. Default `instant`."
    )
    period: str | None = Field(
        None, description="Time that a mean, sum, maximum or minimum is taken over, ending at the stamp: `1h`, `24h`, `1 month`; none: the "
        "time between samples."
    )
    vector: VectorConfig | None = Field(None, description="Of which vector it is a component.")
    parity: Literal[1, -1] | None = Field(
        None, description="-1: changes sign under a north-south reflection; default: that of a northward component."
    )
    level: float | None = Field(None, gt=0, description="Pressure level (hPa); none: at the surface, or of the column.")
    aliases: tuple[str, ...] = Field((), description="Other names that files use.")

    @field_validator("period")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        found = None if text is None else _PERIOD.fullmatch(text)
        if text is not None and (found is None or int(found[1]) == 0):
            raise ValueError(f"not a period such as 1h, 24h or '1 month': {text!r}")
        return text

    @model_validator(mode="after")
    def _fits(self) -> VariableConfig:
        if self.period is not None and self.kind not in ("mean", "sum", "max", "min"):
            raise ValueError("`period` is that of a mean, sum, max or min: say which with `kind`")
        if self.range is not None and not (all(map(math.isfinite, self.range)) and self.range[0] < self.range[1]):
            raise ValueError(f"range must be least, greatest, both finite, not {self.range[0]:g}, {self.range[1]:g}")
        return self

    def row(self, name: str) -> Variable:
        """The row it stands for, over the built-in one where there is one. Raises ValueError for what is missing or cannot go together."""
        known = BUILT_IN.get(name)
        needed = {"units": self.units, "range": self.range, "standard_name": self.standard_name}
        if known is None and (missing := [key for key, value in needed.items() if value is None]):
            raise ValueError(f"{name} is new here: give {', '.join(missing)}")
        standard = self.standard_name if self.standard_name is not None else known.standard_name if known else ""
        units = self.units or (known.units if known else "1")
        static = self.kind == "static" if self.kind else known is not None and known.kind == "static"
        default = known.transform if known else "log1p" if falls(standard) and not static else "zscore"
        own = (known.partner, known.component) if known else ("", "")
        partner, component = (self.vector.partner, self.vector.component) if self.vector else own
        level = self.level or (known.level if known else 0.0)
        row = Variable(
            name=name,
            short=self.short_name or (known.short if known else name),
            standard_name=standard,
            units=units,
            kind="static" if static else "pressure" if self.level or (known and known.kind == "pressure") else "surface",
            transform=self.transform or default,
            long_name=self.long_name or (known.long_name if known else name.replace("_", " ").capitalize()),
            valid=self.range or (known.valid if known else (0.0, 1.0)),
            cell_methods=self._methods() or (known.cell_methods if known else "time: point"),
            parity=self.parity or (-1 if component == "north" else known.parity if known else 1),
            partner=partner, component=component, level=level, aliases=self.aliases or (known.aliases if known else ()),
        )  # fmt: skip
        _check(row)
        return row

    def _methods(self) -> str | None:
        if self.kind in (None, "static"):
            return None
        method = f"time: {KINDS[str(self.kind)]}"
        if self.period is None:
            return method
        found = _PERIOD.fullmatch(self.period)
        assert found is not None
        number, unit = int(found[1]), found[2].rstrip("s")
        if unit in ("d", "day"):
            number, unit = 24 * number, "hour"
        unit = "hour" if unit == "h" else unit
        return f"{method} (interval: {number} {unit}{'' if number == 1 else 's'})"


def _check(row: Variable) -> None:
    """Raises ValueError for a row whose parts do not go together."""
    low, _ = row.valid
    if row.name in RESERVED or row.name.endswith("_log1p"):
        raise ValueError(f"'{row.name}' cannot be a variable's name: stores and tables use it for something else")
    if row.transform == "log1p" and low < 0:
        raise ValueError(f"{row.name}: ln(1 + x) is of what is never negative, its range begins at {low:g}")
    if row.kind != "static" and falls(row.standard_name) and (row.units not in WATER_UNITS or low != 0):
        raise ValueError(f"{row.name}: precipitation is in {' or '.join(WATER_UNITS)}, from 0 (files in other units are converted), not "
                         f"in {row.units} from {low:g}")  # fmt: skip
    if row.partner == row.name:
        raise ValueError(f"{row.name}: a vector has two components, name the other one as its partner")
    if row != BUILT_IN.get(row.name):
        from orbit2.units import linear  # reads the tables of UDUNITS, which nobody needs who declares nothing

        try:
            known = linear(row.units, row.units) is not None
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"{row.name}: units that UDUNITS cannot read: {row.units!r}")


def known_to_all(section: Mapping[str, Any], where: object) -> dict[str, VariableConfig]:
    """Make the rows of a `variables` section known to this process, before anything that names them is read.

    Raises OrbitError for a name that means something else here; ValueError (pydantic's too) for rows that are not valid.
    """
    found = {name: row if isinstance(row, VariableConfig) else VariableConfig.model_validate(row) for name, row in section.items()}
    rows = {name: config.row(name) for name, config in found.items()}
    _partners(rows)
    declare(rows.values(), where)
    return found


def _partners(rows: Mapping[str, Variable]) -> None:
    for row in rows.values():
        other = rows.get(row.partner) or BUILT_IN.get(row.partner)
        if row.partner and (other is None or other.partner != row.name or other.units != row.units or other.component == row.component):
            raise ValueError(f"{row.name}: '{row.partner}' must be declared as its partner, the other component, in {row.units}")


def of_slice(content: Mapping[str, Any], where: object) -> None:
    """What a stage's slice declares (`declared`), made known. Raises OrbitError when it cannot be."""
    try:
        known_to_all(content.get("variables") or {}, where)
    except ValueError as error:
        raise OrbitError(f"variables: {error}", where=where, hint="mend the entry under `variables`") from None


def named_in(config: RunConfig, names: Iterable[str]) -> dict[str, VariableConfig]:
    """The declarations that a stage which meets `names` needs, partners of vectors too."""
    wanted = set(names)
    wanted |= {config.variables[name].row(name).partner for name in wanted if name in config.variables}
    return {name: row for name, row in sorted(config.variables.items()) if name in wanted}


def meanings(config: RunConfig, names: Iterable[str]) -> dict[str, Any]:
    """What of the declarations decides the values of `names`: of those that do not mean what orbit2 knows anyway. Enters hashes."""
    rows = {name: declared.row(name) for name, declared in named_in(config, names).items()}
    return {name: row.meaning for name, row in rows.items() if name not in BUILT_IN or BUILT_IN[name].meaning != row.meaning}
