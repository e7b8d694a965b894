"""What is known of one variable, and what follows from that. Never touches files or arrays on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Kind = Literal["surface", "pressure", "static"]
Transform = Literal["zscore", "log1p", "identity", "logit"]
LABELS = ("short", "long_name")  # what may differ between two rows that mean the same
WATER_UNITS = ("mm", "mm day-1")  # of precipitation: thresholds, indices and unit conversions are in these
# CF standard names of what falls: all of it, or some kind of it. The thickness of fresh snow is no amount of water.
_FALLS = re.compile(r"(?!thickness_of_snowfall)\w*(precipitation|rainfall|snowfall|graupel_fall|hail_fall)\w*_(flux|rate|amount)")
_WATER = re.compile(r"lwe_\w+|\w*(snow_amount|snowmelt|surface_snow_melt|runoff|evaporation|evapotranspiration)\w*")


@dataclass(frozen=True)
class Variable:
    """A physical field. `valid` is the range (in `units`) outside which a value is an error, not weather."""

    name: str
    short: str
    standard_name: str  # empty where CF has none
    units: str
    kind: Kind
    transform: Transform
    long_name: str
    valid: tuple[float, float]
    cell_methods: str = "time: point"
    parity: int = 1  # -1 for a northward component and for the latitude: they change sign under a north-south reflection
    partner: str = ""  # the other component of a vector
    component: Literal["", "east", "north"] = ""
    level: float = 0.0  # hPa; 0: none
    aliases: tuple[str, ...] = ()  # names in files

    @property
    def meaning(self) -> dict[str, Any]:
        """All that decides values, as JSON: equal where two rows mean the same."""
        return {key: value for key, value in self.as_json().items() if key not in LABELS}

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "valid": [float(end) for end in self.valid], "aliases": list(self.aliases)}

    @property
    def precipitation(self) -> bool:
        """Whether it is water that falls, as a rate in mm/day or an amount in mm: by its standard name and units, not its transform."""
        return self.kind != "static" and self.units in WATER_UNITS and falls(self.standard_name)

    @property
    def water(self) -> bool:
        """Whether 1 kg m-2 of it is 1 mm: precipitation, and what CF counts as liquid water equivalent."""
        return self.precipitation or _WATER.fullmatch(self.standard_name) is not None

    @property
    def floor(self) -> float | None:
        """Below what interpolation and corrections must not take it: 0 of what is stored as never less; None where nothing forbids it."""
        return 0.0 if self.kind != "static" and float(self.valid[0]) == 0 else None

    @property
    def described(self) -> dict[str, str]:
        """CF attributes that say what it is."""
        own = {"units": self.units, "standard_name": self.standard_name, "long_name": self.long_name}
        return {key: value for key, value in own.items() if value}


def falls(standard_name: str) -> bool:
    """Whether a CF standard name is that of falling water."""
    return _FALLS.fullmatch(standard_name) is not None


def from_json(content: Mapping[str, Any]) -> Variable:
    """The row that `as_json` wrote. Raises TypeError or KeyError for what is none; keys of later versions are left out."""
    known = {field.name for field in fields(Variable)}
    own = {key: value for key, value in content.items() if key in known}
    low, high = own["valid"]
    return Variable(**{**own, "valid": (float(low), float(high)), "aliases": tuple(own.get("aliases", ()))})
