"""How ERA5 names its variables in files, in requests to the Climate Data Store and in the ARCO store. Never reads anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from orbit2.errors import OrbitError, one_of
from orbit2.units import Scale, conversion

SINGLE, PRESSURE = "reanalysis-era5-single-levels", "reanalysis-era5-pressure-levels"
LEVELS = (200, 500, 850)
Step = Literal["instant", "accum", "max", "min"]


@dataclass(frozen=True)
class Field:
    """One variable: NetCDF names, GRIB shortName, hPa level, step type, and its name in requests. `unsaid`: units attributes of real
    files that say nothing, where the values are in canonical units. Accumulated fields are amounts of the hour ending at the stamp.

    The ARCO store uses the names of the requests; `arco` is None where it does not hold the variable.
    """

    names: tuple[str, ...]
    grib: tuple[str, ...]
    request: str
    level: int | None = None
    step: Step = "instant"
    arco: str | None = None
    unsaid: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Names that a file may give it."""
        return (*self.names, *self.grib)

    @property
    def dataset(self) -> str:
        return SINGLE if self.level is None else PRESSURE

    def scale(self, units: object, name: str, where: str) -> Scale:
        """What brings values with the attribute `units` into those of the variable `name`. Raises OrbitError for others."""
        return Scale(1.0, 0.0) if units in self.unsaid else conversion(units, name, where, hours=1 if self.step == "accum" else None)


def _surface(
    names: str, request: str, *, step: Step = "instant", arco: bool = True, grib: str | None = None, unsaid: tuple[str, ...] = ()
) -> Field:
    """`names`: NetCDF names, separated by blanks; the first is the short name in GRIB too unless `grib` says otherwise."""
    known = tuple(names.split())
    return Field(known, tuple((grib or known[0]).split()), request, step=step, arco=request if arco else None, unsaid=unsaid)


def _lexicon() -> dict[str, Field]:
    fields = {
        "2m_temperature": _surface("t2m 2t VAR_2T", "2m_temperature", grib="2t"),
        "2m_temperature_max_1hr": _surface(
            "mx2t", "maximum_2m_temperature_since_previous_post_processing", step="max", arco=False),
        "2m_temperature_min_1hr": _surface(
            "mn2t", "minimum_2m_temperature_since_previous_post_processing", step="min", arco=False),
        "sea_surface_temperature": _surface("sst", "sea_surface_temperature"),
        "10m_u_component_of_wind": _surface("u10 10u VAR_10U", "10m_u_component_of_wind", grib="10u"),
        "10m_v_component_of_wind": _surface("v10 10v VAR_10V", "10m_v_component_of_wind", grib="10v"),
        "mean_sea_level_pressure": _surface("msl", "mean_sea_level_pressure"),
        "precipitation_rate": _surface(
            "tp mtpr avg_tprate", "total_precipitation", step="accum", grib="tp mtpr avg_tprate"),
        "volumetric_soil_water_layer_1": _surface("swvl1", "volumetric_soil_water_layer_1"),
    }
    for level in LEVELS:
        for name, short in (
            ("temperature", "t"), ("u_component_of_wind", "u"), ("v_component_of_wind", "v"), ("specific_humidity", "q"),
        ):
            fields[f"{name}_{level}"] = Field((short,), (short,), name, level, arco=name)
    return fields


LEXICON: dict[str, Field] = _lexicon()

# Invariant fields, asked for once.
INVARIANT: dict[str, Field] = {
    "land_sea_mask": _surface("lsm", "land_sea_mask"),
    "orography": _surface("z", "geopotential"),
    "high_vegetation_cover": _surface("cvh", "high_vegetation_cover"),
    "low_vegetation_cover": _surface("cvl", "low_vegetation_cover"),
    "lake_cover": _surface("cl", "lake_cover"),
    "subgrid_orography_deviation": _surface("sdor", "standard_deviation_of_orography", unsaid=("~", "1")),
}


def field(name: str) -> Field:
    """Look a variable up. Raises OrbitError naming the nearest one."""
    if name not in LEXICON:
        raise OrbitError("ERA5 does not offer this variable", where="era5", got=name, allowed=", ".join(LEXICON),
                         hint=one_of(name, LEXICON))  # fmt: skip
    return LEXICON[name]


def by_levels(names: Iterable[str]) -> dict[tuple[int, ...], list[str]]:
    """Names grouped so that each group is a full product of parameters and levels; surface variables under ()."""
    wanted: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        wanted.setdefault(field(name).request, []).append(name)
    groups: dict[tuple[int, ...], list[str]] = {}
    for members in wanted.values():
        levels = tuple(sorted(level for level in (LEXICON[name].level for name in members) if level is not None))
        groups.setdefault(levels, []).extend(members)
    return groups
