"""How ERA5 names its variables in files, in requests to the Climate Data Store and in the ARCO store. Never reads anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from orbit2.errors import OrbitError, did_you_mean

SINGLE, PRESSURE = "reanalysis-era5-single-levels", "reanalysis-era5-pressure-levels"
LEVELS = (200, 500, 850)
Step = Literal["instant", "accum", "max", "min"]
_MM_PER_DAY = 24_000.0  # metres of the hour ending at the stamp -> mm day-1


@dataclass(frozen=True)
class Field:
    """One variable: NetCDF names, GRIB shortName, unit -> (factor, offset), hPa level, step type, and its name in requests.

    The ARCO store uses the names of the requests; `arco` is None where it does not hold the variable.
    """

    names: tuple[str, ...]
    grib: tuple[str, ...]
    units: dict[str, tuple[float, float]]
    request: str
    level: int | None = None
    step: Step = "instant"
    arco: str | None = None

    @property
    def dataset(self) -> str:
        return SINGLE if self.level is None else PRESSURE


def _same(*units: str) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(units, (1.0, 0.0))


_KELVIN = {**_same("K", "kelvin"), "degC": (1.0, 273.15), "Celsius": (1.0, 273.15)}
_SPEED = _same("m s**-1", "m s-1", "m/s")
_SHARE = _same("(0 - 1)", "1", "dimensionless", "~")


def _surface(
    names: str, units: dict[str, tuple[float, float]], request: str, *, step: Step = "instant", arco: bool = True, grib: str | None = None
) -> Field:
    """`names`: NetCDF names, separated by blanks; the first is the short name in GRIB too unless `grib` says otherwise."""
    known = tuple(names.split())
    return Field(known, tuple((grib or known[0]).split()), units, request, step=step, arco=request if arco else None)


def _lexicon() -> dict[str, Field]:
    fields = {
        "2m_temperature": _surface("t2m 2t VAR_2T", _KELVIN, "2m_temperature", grib="2t"),
        "2m_temperature_max_1hr": _surface(
            "mx2t", _KELVIN, "maximum_2m_temperature_since_previous_post_processing", step="max", arco=False),
        "2m_temperature_min_1hr": _surface(
            "mn2t", _KELVIN, "minimum_2m_temperature_since_previous_post_processing", step="min", arco=False),
        "sea_surface_temperature": _surface("sst", _KELVIN, "sea_surface_temperature"),
        "10m_u_component_of_wind": _surface("u10 10u VAR_10U", _SPEED, "10m_u_component_of_wind", grib="10u"),
        "10m_v_component_of_wind": _surface("v10 10v VAR_10V", _SPEED, "10m_v_component_of_wind", grib="10v"),
        "mean_sea_level_pressure": _surface("msl", {**_same("Pa"), "hPa": (100.0, 0.0)}, "mean_sea_level_pressure"),
        "precipitation_rate": _surface(
            "tp mtpr avg_tprate",
            {"m": (_MM_PER_DAY, 0.0), "mm": (24.0, 0.0), "kg m**-2 s**-1": (86400.0, 0.0), "kg m-2 s-1": (86400.0, 0.0)},
            "total_precipitation", step="accum", grib="tp mtpr avg_tprate"),
        "volumetric_soil_water_layer_1": _surface("swvl1", _same("m**3 m**-3", "m3 m-3", "1"), "volumetric_soil_water_layer_1"),
    }
    for level in LEVELS:
        for name, short, units in (
            ("temperature", "t", _KELVIN), ("u_component_of_wind", "u", _SPEED), ("v_component_of_wind", "v", _SPEED),
            ("specific_humidity", "q", _same("kg kg**-1", "kg kg-1", "1")),
        ):
            fields[f"{name}_{level}"] = Field((short,), (short,), units, name, level, arco=name)
    return fields


LEXICON: dict[str, Field] = _lexicon()

# Invariant fields, asked for once: name in the request -> NetCDF names, units as the files give them, factor to canonical units.
INVARIANT: dict[str, Field] = {
    "land_sea_mask": _surface("lsm", _SHARE, "land_sea_mask"),
    "orography": _surface("z", {"m**2 s**-2": (1 / 9.80665, 0.0), "m2 s-2": (1 / 9.80665, 0.0)}, "geopotential"),
    "high_vegetation_cover": _surface("cvh", _SHARE, "high_vegetation_cover"),
    "low_vegetation_cover": _surface("cvl", _SHARE, "low_vegetation_cover"),
    "lake_cover": _surface("cl", _SHARE, "lake_cover"),
    "subgrid_orography_deviation": _surface("sdor", _same("m", "~", "1"), "standard_deviation_of_orography"),
}


def field(name: str) -> Field:
    """Look a variable up. Raises OrbitError naming the nearest one."""
    if name not in LEXICON:
        raise OrbitError("ERA5 does not offer this variable", got=name, allowed=", ".join(LEXICON), hint=did_you_mean(name, LEXICON))
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
