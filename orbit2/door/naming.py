"""Which variable of a user's file is which: canonical, ECMWF, CMIP, CORDEX, E-OBS and CHIRPS names, standard names. Never takes a
field of another height or level."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

from orbit2.door.ecmwf import LEXICON
from orbit2.errors import OrbitError, one_of
from orbit2.units import linear
from orbit2.variables import VARIABLES, variable

# Names in use for the same field besides the canonical and the ECMWF ones: CMIP and CORDEX, E-OBS, CHIRPS, WRF, NCEP.
ALIASES: dict[str, tuple[str, ...]] = {
    "2m_temperature": ("t2m", "2t", "tas", "T2", "tg", "air_temperature"),
    "2m_temperature_max": ("tasmax", "tmax", "tx", "Tmax"),  # not ECMWF's mx2t and mn2t: they are of an hour, not of a day
    "2m_temperature_min": ("tasmin", "tmin", "tn", "Tmin"),
    "10m_u_component_of_wind": ("u10", "10u", "uas", "U10"),
    "10m_v_component_of_wind": ("v10", "10v", "vas", "V10"),
    "mean_sea_level_pressure": ("msl", "psl", "slp", "prmsl"),
    "precipitation_rate": ("pr", "precipitation", "prcp", "ppt", "rr", "precip"),
    "total_precipitation_24hr": ("tp24", "pr24"),
    "orography": ("orog", "HGT", "HGT_M", "topo", "topography", "elevation", "elev", "altitude", "z"),
    "land_sea_mask": ("lsm", "sftlf", "LANDMASK", "landmask", "land_mask", "land_fraction"),
}
CMIP = {"temperature": "ta", "u_component_of_wind": "ua", "v_component_of_wind": "va", "specific_humidity": "hus"}  # at any level
HEIGHTS = {"2m_temperature": 2.0, "2m_temperature_max": 2.0, "2m_temperature_min": 2.0,
           "10m_u_component_of_wind": 10.0, "10m_v_component_of_wind": 10.0}  # fmt: skip
_VERTICAL_STANDARD = ("air_pressure", "height", "altitude", "depth", "model_level_number", "atmosphere_hybrid_sigma_pressure_coordinate")
_VERTICAL_NAMES = re.compile(
    r"(p?lev(el)?s?|pressure(_level)?|isobaricInhPa|height|heightAboveGround|hybrid|depth)\d*$", re.IGNORECASE
)
_LEVEL_IN_WORDS = re.compile(r"\b\d{2,4} ?(hPa|mbar|mb|millibars?)\b", re.IGNORECASE)


def accepted(name: str) -> tuple[str, ...]:
    """Names under which a file may hold the variable, best first."""
    known = LEXICON.get(name)
    own = () if known is None else (*known.names, *known.grib, *filter(None, [CMIP.get(name.rpartition("_")[0])]))
    return tuple(dict.fromkeys((name, variable(name).short, *variable(name).aliases, *ALIASES.get(name, ()), *own)))


def candidates(dataset: xr.Dataset, name: str) -> list[str]:
    """Names of fields that may be the variable: by name, else by a standard name that no other variable has."""
    named = [n for n in accepted(name) if n in dataset.data_vars]
    return named or _by_standard_name(dataset, name)


def _by_standard_name(dataset: xr.Dataset, name: str) -> list[str]:
    facts = variable(name)
    unique = facts.standard_name and sum(v.standard_name == facts.standard_name for v in VARIABLES.values()) == 1
    return [str(v) for v in dataset.data_vars if unique and dataset[v].attrs.get("standard_name") == facts.standard_name]


def renaming(dataset: xr.Dataset, rename: Mapping[str, str], where: object) -> dict[str, str]:
    """{canonical name: name in the file} of a user's `rename` {name in the file: canonical name}. Raises OrbitError for unknown names."""
    chosen: dict[str, str] = {}
    for theirs, ours in rename.items():
        if theirs not in dataset.data_vars:
            held = ", ".join(map(str, dataset.data_vars))
            hint = one_of(theirs, map(str, dataset.data_vars))
            raise OrbitError(f"--rename names a variable that is not there ('{theirs}')", where=where, got=theirs, allowed=held, hint=hint)
        if variable(ours).kind == "static" or ours in chosen:
            raise OrbitError(f"--rename cannot give '{ours}'", where=where, got=f"{theirs}={ours}",
                             hint="each dynamic variable once; statics come with --static")  # fmt: skip
        chosen[ours] = theirs
    return chosen


def find(dataset: xr.Dataset, name: str, chosen: Mapping[str, str], where: object) -> xr.DataArray:
    """The field of `dataset` that is the variable `name`, at its level. Raises OrbitError naming what the file has instead."""
    likely = [chosen[name]] if name in chosen else [n for n in accepted(name) if n in dataset.data_vars and n not in chosen.values()]
    found: list[xr.DataArray] = []
    for candidate in likely:
        field = None if name not in chosen and _of_no_level(dataset[candidate], name) else _at_level(dataset[candidate], name, where)
        if field is not None:
            return field
        found.append(dataset[candidate])
    facts = variable(name)
    if not likely and len(matches := _by_standard_name(dataset, name)) == 1:
        field = _at_level(dataset[matches[0]], name, where)
        if field is not None:
            return field
        found.append(dataset[matches[0]])
    held = ", ".join(map(str, dataset.data_vars)) or "no variables"
    if found:
        held += f" ({_levels_of(found[0])})"
    raise OrbitError(
        f"needed variable '{name}' ({facts.long_name}, {facts.units}) is not in the input",
        where=where,
        got=held,
        allowed=" or ".join(accepted(name)),
        hint=f"say which it is with --rename NAME={name} (in Python rename={{'NAME': '{name}'}}), or use a model without it",
    )


def rivals(dataset: xr.Dataset, name: str, taken: str, chosen: Mapping[str, str]) -> list[str]:
    """Other variables of the file that could be `name` as well as the one that was `taken`; none where the user has chosen."""
    if name in chosen:
        return []
    return [n for n in accepted(name) if n in dataset.data_vars and n != taken and n not in chosen.values()]


def _of_no_level(field: xr.DataArray, name: str) -> bool:
    """Whether `t`, `u`, ... could be of any level, and the file does not say of which."""
    known = LEXICON.get(name)
    return known is not None and known.level is not None and str(known.level) not in str(field.name) and not _vertical(field)


def _at_level(field: xr.DataArray, name: str, where: object) -> xr.DataArray | None:
    """`field` at the level of `name`; None where it has others. Raises OrbitError for a surface variable at a height of the atmosphere."""
    known = LEXICON.get(name)
    level = (variable(name).level or None) if known is None else known.level
    for coordinate in _vertical(field).values():
        values = np.atleast_1d(np.asarray(coordinate.values, dtype=np.float64))
        scale = linear(str(coordinate.attrs.get("units", "hPa")), "hPa")
        if level is not None and scale is not None:
            hits = np.flatnonzero(np.isclose(values * scale.factor + scale.offset, level))
            if not len(hits):
                return None
            if coordinate.ndim:
                field = field.isel({coordinate.dims[0]: int(hits[0])})
            continue
        metres = linear(str(coordinate.attrs.get("units", "m")), "m")
        height = HEIGHTS.get(name, 0.0)
        if level is None and len(values) == 1 and metres is not None:
            above = values[0] * metres.factor
            if abs(above - height) <= 0.5 or (name not in HEIGHTS and 0 <= above <= 10):  # 2 m (some say 1.5 m), 10 m; xarray gives the
                continue  # height of one field to all fields of a file
        raise OrbitError(f"'{field.name}' is not {name}: it lies at a vertical level", where=where, got=_levels_of(field),
                         allowed=f"{height:g} m" if name in HEIGHTS else f"{level} hPa" if level else "a surface field",
                         hint="give the field of the right height, or drop the coordinate if it belongs to another field")  # fmt: skip
    words = " ".join(str(field.attrs.get(key, "")) for key in ("long_name", "description"))
    if level is None and (said := _LEVEL_IN_WORDS.search(words)) and name != "mean_sea_level_pressure":
        raise OrbitError(f"'{field.name}' is not {name}: its long_name speaks of a pressure level", where=where, got=said.group(),
                         hint="give the field of the right height")  # fmt: skip
    return field


def _vertical(field: xr.DataArray) -> dict[str, xr.DataArray]:
    """Coordinates of `field` that say at which height it lies: its own, where the file lists them."""
    listed = field.encoding.get("coordinates")
    return {
        str(key): coordinate
        for key, coordinate in field.coords.items()
        if coordinate.ndim <= 1
        and (key in field.dims or not isinstance(listed, str) or str(key) in listed.split())
        and coordinate.dtype.kind in "iuf"
        and (coordinate.attrs.get("standard_name") in _VERTICAL_STANDARD or coordinate.attrs.get("axis") == "Z"
             or _VERTICAL_NAMES.match(str(key)))
    }  # fmt: skip


def _levels_of(field: xr.DataArray) -> str:
    found = [f"{key} {', '.join(f'{v:g}' for v in np.atleast_1d(c.values)[:6])} {c.attrs.get('units', '')}".strip()
             for key, c in _vertical(field).items()]  # fmt: skip
    return f"{field.name} at {'; '.join(found)}" if found else str(field.name)
