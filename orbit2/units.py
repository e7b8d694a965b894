"""Units of files turned into those of `variables.py`, read as UDUNITS reads them (CF). Never guesses: none, or others, is an error."""

from __future__ import annotations

import re
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import cf_units
import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.variables import variable

STANDARD_GRAVITY = 9.80665  # m s-2: geopotential -> height
DAY = 24.0  # hours
# What people and providers write that UDUNITS does not know, or takes for something else (C: coulomb, mb: millibarn).
_SPELLINGS = {
    "c": "degC", "deg c": "degC", "degree c": "degC", "degrees c": "degC", "deg celsius": "degC", "degrees celsius": "degC",
    "f": "degF", "deg f": "degF", "degrees f": "degF", "degk": "K", "deg k": "K", "degrees k": "K",
    "mb": "millibar", "mbs": "millibar", "gpm": "m", "mwe": "m",
    "(0 - 1)": "1", "(0-1)": "1", "0 - 1": "1", "0-1": "1", "~": "1", "-": "1", "dimensionless": "1", "unitless": "1", "fraction": "1",
    "proportion": "1", "none": "1", "numeric": "1",
}
_EXAMPLES = {
    "K": "K, degC, degF", "Pa": "Pa, hPa, mbar", "m s-1": "m s-1, km/h, knots", "m": "m, km", "1": "1, %", "kg kg-1": "kg kg-1, g kg-1",
    "mm day-1": "mm day-1, mm h-1, kg m-2 s-1, m s-1", "mm": "mm, m, kg m-2",
}
_MONTH = re.compile(r"\bmon(th)?s?\b")
_FAR = 2.0**20  # so that an offset costs the factor no digits
_LOCK = Lock()  # UDUNITS' parser is one for the whole process


class Scale(NamedTuple):
    """value * factor + offset is in the wanted units."""

    factor: float
    offset: float

    @property
    def nothing(self) -> bool:
        return self == (1.0, 0.0)


def convert(values: npt.NDArray[np.float32], scale: Scale) -> npt.NDArray[np.float32]:
    """`values` [...] in the wanted units, float32; the same array where nothing changes."""
    return values if scale.nothing else (values * scale.factor + scale.offset).astype(np.float32, copy=False)


def conversion(found: object, name: str, where: object, *, hours: float | None = None) -> Scale:
    """From the units attribute `found` of a file to the units of the variable `name`.

    `hours`: the period of an amount (mm, J m-2) that is wanted as a rate, or of a rate of rain that is wanted as an amount; without it such
    a pair is refused. 1 kg m-2 of precipitation is 1 mm of water; a geopotential (m2 s-2) is a height through standard gravity.
    Raises OrbitError naming `where`, what was found and what is allowed.
    """
    wanted = variable(name).units
    allowed = f"what can be converted to {wanted} ({_EXAMPLES.get(wanted, wanted)})"
    if found is None or not str(found).strip():
        raise OrbitError(f"field has no units (for {name})", where=where, allowed=allowed,
                         hint="set the attribute `units` in the file: the value decides by a factor")
    text, rain = str(found).strip(), variable(name).precipitation
    scale = linear(text, wanted, water=variable(name).water)
    if scale is None and name == "orography" and (geopotential := linear(text, "m2 s-2")) is not None:
        return Scale(geopotential.factor / STANDARD_GRAVITY, geopotential.offset)
    if scale is None and rain:
        is_amount = "day" not in wanted
        over = linear(text, "mm day-1" if is_amount else "mm", water=True)
        if over is not None and hours is None:
            raise OrbitError(f"{name} is a{'n amount' if is_amount else ' rate'}, the file's is a{' rate' if is_amount else 'n amount'}",
                             where=where, got=text, allowed=allowed, hint="say over how many hours it is taken")
        if over is not None and hours is not None:
            return Scale(over.factor * (hours / DAY if is_amount else DAY / hours), 0.0)
    if scale is None and hours is not None and (over := amount(text, name)) is not None:
        return Scale(over.factor / (3600 * hours), 0.0)
    if scale is None:
        raise OrbitError(f"field has wrong units for {name}", where=where, got=text, allowed=allowed,
                         hint="correct the units attribute, or give a file in these units")  # fmt: skip
    return scale


def amount(found: str, name: str) -> Scale | None:
    """From what a flux accumulates to (J m-2 of radiation, kg m-2 of water) to the units of the flux `name` times a second; None where
    it is no flux, or `found` is nothing that it accumulates to. Precipitation, which may be either, has its own rules in `conversion`."""
    about = variable(name)
    fluxes = ("W m-2", "kg m-2 s-1", *(("mm day-1",) if about.water else ()))
    if about.precipitation or all(linear(about.units, flux) is None for flux in fluxes):
        return None
    return linear(found, f"({about.units}) s", water=about.water)


@lru_cache(maxsize=512)
def linear(found: str, wanted: str, water: bool = False) -> Scale | None:
    """From one unit to another as UDUNITS converts; None where they are not of one kind. `water`: 1 kg m-2 counts as 1 mm.

    Months have no one length: what is counted by them is not converted.
    """
    plain = " ".join(found.replace("_", " ").lower().split())
    with _LOCK, cf_units.suppress_errors():
        target = cf_units.Unit(wanted)
        unit = _parsed(_SPELLINGS.get(plain, found))
        if unit is None or _MONTH.search(plain):
            return None
        if water and not unit.is_convertible(target):
            unit = unit * cf_units.Unit("0.001 m3 kg-1")
        if not unit.is_convertible(target) or ("rad" in unit.definition) != ("rad" in target.definition):
            return None  # UDUNITS takes an angle for a number, and "Degrees Celsius" for an angle times a temperature
        zero, low, high = (float(unit.convert(value, target)) for value in (0.0, -_FAR, _FAR))
    return Scale(float(f"{(high - low) / (2 * _FAR):.14g}"), float(f"{zero:.14g}"))


def _parsed(text: str) -> cf_units.Unit | None:
    """None for what UDUNITS cannot read, or reads as no unit at all or as a date."""
    try:
        unit = cf_units.Unit(text)
    except ValueError:
        return None
    return None if unit.is_unknown() or unit.is_no_unit() or unit.is_time_reference() else unit
