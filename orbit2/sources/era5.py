"""ERA5: what it offers, which requests satisfy a need (Climate Data Store or ARCO), how its files become one dataset. Never downloads.

Output of the reader: canonical names and units, (time, lat, lon), latitude ascending, longitude increasing from [0, 360); a region
across the prime meridian runs on past 360, so that its cells stay neighbours.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from orbit2.config.sources import Era5Config
from orbit2.door.ecmwf import LEXICON, PRESSURE, SINGLE, by_levels, field
from orbit2.errors import OrbitError
from orbit2.files import short_hash
from orbit2.sources import slabs
from orbit2.sources.era5_files import pieces
from orbit2.sources.era5_join import HOUR, Joined, is_hourly, join, preliminary, refuse_gaps, refuse_long_periods, same_grid
from orbit2.sources.source import Box, Facts, Need, Request, Window
from orbit2.variables import variable

__all__ = ["LEXICON", "Era5", "open_era5"]

SPACING = 0.25
# Fields (variable x level x hour) of one request. The store refuses more: 120,000 items for hourly ERA5 ("Request too large.
# Requesting ... items, limit is 120000"), 60,000 in its web form and for pressure levels ("Cost ... over 60000 limit").
FIELD_LIMIT = {SINGLE: 120_000, PRESSURE: 60_000}
# Bytes per value of a download, measured on files of the store: deflated float32 (instantaneous fields 0.70 of 4 bytes,
# precipitation 0.22), GRIB 16 bits. ARCO reads Blosc-compressed float32 chunks, about as small.
NETCDF_BYTES, RAIN_BYTES, GRIB_BYTES, ARCO_BYTES = 2.8, 0.9, 2.0, 2.6
ARCO_LEVELS = 37  # of one chunk of the ARCO store
LATENCY = np.timedelta64(6, "D")  # a day is published five days later, in parts
YOUNG = np.timedelta64(31, "D")  # a month that ended less than this before the last published day is asked for by days
EARLIEST = np.datetime64("1940-01-01", "D")
_TEMPERATURES = ("2m_temperature", "2m_temperature_max_1hr", "2m_temperature_min_1hr")
_SST = "sea_surface_temperature"
_GLOBE = (721, 1440)
Steps = Literal["any", "hourly", "as held"]


class Era5:
    """ERA5 hourly data on its 0.25 degree grid, from the Climate Data Store (`cds`) or the ARCO-ERA5 store (`arco`)."""

    name = "era5"
    facts = Facts(
        title="ERA5 hourly data from 1940 to present",
        licence="CC BY 4.0",
        doi="10.24381/cds.adbb2d47",
        attribution="Contains modified Copernicus Climate Change Service information. Hersbach, H. et al. (2020): The ERA5 global "
                    "reanalysis, doi:10.1002/qj.3803. Neither the European Commission nor ECMWF is responsible for any use of it.",
        day="hourly stamps in UTC; accumulations and extremes cover the hour that ends at the stamp",
        extra={"pressure levels": "doi:10.24381/cds.bd0915c6"},
    )

    def __init__(self, config: Era5Config) -> None:
        self.config = config

    def offers(self) -> tuple[str, ...]:
        """The ARCO store does not hold the model's own extremes of an hour."""
        return tuple(n for n, f in LEXICON.items() if self.config.backend == "cds" or f.arco)

    def plan(self, need: Need) -> list[Request]:
        """One request per calendar month and kind (cds), or per day and kind (arco); kinds: surface, and each set of pressure levels.

        Whole months or days always, so that periods that overlap share files. Months that are not published whole yet, or only
        lately, are asked for day by day, up to `published()`; nothing after it. Raises OrbitError for a variable that the back end does
        not hold, and for days before 1940.
        """
        if need.first < EARLIEST:
            raise OrbitError("ERA5 does not go back that far", where="era5", got=str(need.first), allowed=f"from {EARLIEST}",
                             hint="a trailing day begins on the day before the first hour")  # fmt: skip
        names = self._files_names(need.variables)
        area = None if need.box is None else outward(need.box)
        make = self._cds if self.config.backend == "cds" else self._arco
        found = [request for levels, members in by_levels(names).items() for request in make(need, levels, tuple(members), area)]
        return sorted(found, key=lambda r: (r.first, r.last, r.file))

    def published(self) -> np.datetime64:
        """The last day of which every hour is published by now, by the calendar: ERA5 comes five days late."""
        return today() - LATENCY

    def check(self, path: Path, request: Request) -> None:
        """Raises OrbitError unless the file can be read, has every hour of every variable, and covers the area. Reads no field."""
        data = open_era5([path], request.variables, first=request.first, last=request.last, steps="hourly")
        if request.box is None:
            return
        south, north, west, east = request.box
        lat, lon = data["lat"].values, data["lon"].values
        if lat[0] > south + 1e-3 or lat[-1] < north - 1e-3 or (lon[-1] - lon[0]) < (east - west) - 1e-3:
            raise OrbitError("file does not cover the area that was asked for", where=path,
                             got=f"lat {lat[0]:g}..{lat[-1]:g}, lon {lon[0]:g}..{lon[-1]:g}", allowed=f"{request.box}",
                             hint="remove the file and retrieve it again")  # fmt: skip

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        """See `Source.open`. Every hour between `first` and `last` must be there (ERA5 has no gaps), unless the files are not hourly.

        With `sst_over_sea`, 2 m temperature (and its extremes) is sea surface temperature wherever that exists, under ice too.
        """
        return self.open_each(files, dict.fromkeys(names, (first, last)))

    def open_each(self, files: Sequence[Path], wanted: Mapping[str, Window]) -> xr.Dataset:
        """The same, each variable between stamps of its own."""
        names, spans = tuple(wanted), self.made_of(wanted)
        first, last = min(begin for begin, _ in spans.values()), max(end for _, end in spans.values())
        opened = open_era5(files, tuple(spans), first=first, last=last, steps="as held", windows=spans)
        data = opened[list(names)]
        if self.config.sst_over_sea:
            for name in (n for n in _TEMPERATURES if n in names):
                data[name] = opened[_SST].where(opened[_SST].notnull(), opened[name]).assign_attrs(opened[name].attrs)
            data.attrs["sst_over_sea"] = "2 m temperature is sea surface temperature over sea"
        return data

    def made_of(self, wanted: Mapping[str, Window]) -> dict[str, Window]:
        """What files must hold for `wanted`, and between which stamps: sea surface temperature where a temperature is."""
        over = [window for name, window in wanted.items() if name in _TEMPERATURES]
        sea = (min((b for b, _ in over), default=None), max((e for _, e in over), default=None))
        return {name: wanted.get(name, sea) for name in self._files_names(tuple(wanted))}

    def _files_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """What files must hold for `names`."""
        for name in names:
            if field(name).arco is None and self.config.backend == "arco":
                raise OrbitError("the ARCO store does not hold this variable", where="sources.era5", got=name,
                                 hint="set sources.era5.backend: cds, or sources.era5.extremes: hourly")  # fmt: skip
        extra = (_SST,) if self.config.sst_over_sea and set(names) & set(_TEMPERATURES) else ()
        return tuple(dict.fromkeys((*names, *extra)))

    def _cds(self, need: Need, levels: tuple[int, ...], names: tuple[str, ...], area: Box | None) -> Iterator[Request]:
        dataset = PRESSURE if levels else SINGLE
        asked = sorted({LEXICON[name].request for name in names})
        layers = len(asked) * max(1, len(levels))
        grib = self.config.format == "grib"
        mixed = not grib and len({LEXICON[name].step for name in names}) > 1  # then one request arrives as a zip
        suffix = ".grib" if grib else ".zip" if mixed else ".nc"
        for year, month in _months(need):
            days = calendar.monthrange(year, month)[1]
            begin = np.datetime64(f"{year}-{month:02d}-01", "D")
            whole = begin + (days - 1) <= self.published() - YOUNG
            wanted = np.arange(1, days + 1)
            if not whole:  # day by day, so that the next retrieve goes on where this one ended, and fetches none of it again
                low, high = ((day - begin).astype(np.int64) + 1 for day in (need.first, min(need.last, self.published())))
                wanted = wanted[(wanted >= low) & (wanted <= high)]
            pieces_ = -(-layers * days * 24 // FIELD_LIMIT[dataset]) if whole else len(wanted)
            for part in np.array_split(wanted, pieces_) if pieces_ else ():
                body: dict[str, Any] = {
                    "product_type": ["reanalysis"], "variable": asked, "year": [f"{year}"], "month": [f"{month:02d}"],
                    "day": [f"{day:02d}" for day in part], "time": [f"{hour:02d}:00" for hour in range(24)],
                    "data_format": self.config.format, "download_format": "unarchived"}
                if levels:
                    body["pressure_level"] = [f"{level}" for level in levels]
                if area is not None:
                    body["area"] = _north_west_south_east(area)
                key = short_hash([asked, list(levels), self.config.format])
                which = "" if whole and pieces_ == 1 else f"_d{part[0]:02d}-{part[-1]:02d}"
                kind = "pressure" if levels else "single"
                first = np.datetime64(f"{year}-{month:02d}-{part[0]:02d}T00", "s")
                rain = sum(LEXICON[name].step == "accum" for name in names)
                size = _cells(area) * len(part) * 24 * (
                    layers * GRIB_BYTES if grib else rain * RAIN_BYTES + (layers - rain) * NETCDF_BYTES)
                yield Request(
                    file=f"{kind}/{year}/era5_{kind}_{year}-{month:02d}{which}{_tag(area)}_{key}{suffix}", client="cds",
                    body={"dataset": dataset, "request": body}, variables=tuple(sorted(names)), first=first,
                    last=first + np.timedelta64(len(part) * 24 - 1, "h"), bytes=round(size), box=area)

    def _arco(self, need: Need, levels: tuple[int, ...], names: tuple[str, ...], area: Box | None) -> Iterator[Request]:
        kind = "pressure" if levels else "single"
        key = short_hash(sorted(names))
        chunk = round(_GLOBE[0] * _GLOBE[1] * ARCO_BYTES) * (ARCO_LEVELS if levels else 1)
        params = len({LEXICON[name].arco for name in names})
        note = (f"bytes are what is READ from the ARCO store: each chunk has all {ARCO_LEVELS} pressure levels, {len(levels)} of them are "
                "kept; the Climate Data Store sends only those asked for" if levels else
                "bytes are what is READ from the ARCO store: its chunks are the whole globe, also for a region")
        for day in np.arange(need.first, min(need.last, self.published()) + 1):
            first = day.astype("datetime64[s]")
            yield Request(
                file=f"arco_{kind}/{str(day)[:4]}/era5_{kind}_{day}{_tag(area)}_{key}.nc", client="arco",
                body={"store": self.config.arco, "area": None if area is None else _north_west_south_east(area),
                      "first": f"{first}", "last": f"{first + 23 * HOUR}"},
                variables=tuple(sorted(names)), first=first, last=first + 23 * HOUR, bytes=24 * params * chunk, box=area, note=note)


def today() -> np.datetime64:
    """In UTC, datetime64[D]."""
    return np.datetime64(datetime.now(UTC).date(), "D")


def outward(box: Box) -> Box:
    """The box of whole 0.25 degree steps around `box`: grid points on its border belong to it."""
    south, north, west, east = box
    low, high = (np.floor(np.array([south, west]) / SPACING) * SPACING, np.ceil(np.array([north, east]) / SPACING) * SPACING)
    if high[1] - low[1] >= 360:
        low[1], high[1] = 0.0, 360.0 - SPACING
    return max(float(low[0]), -90.0), min(float(high[0]), 90.0), float(low[1]), float(high[1])


def _north_west_south_east(area: Box) -> list[float]:
    """As the Climate Data Store wants it, longitudes in [-180, 360] as given."""
    south, north, west, east = area
    if east > 360:  # it accepts -180 ... 360
        west, east = west - 360, east - 360
    return [north, west, south, east]


def _tag(area: Box | None) -> str:
    """Part of a file's name, so that areas do not collide."""
    if area is None:
        return ""
    south, north, west, east = (f"{value:g}".replace("-", "m") for value in area)
    return f"_{south}to{north}N_{west}to{east}E"


def _cells(area: Box | None) -> int:
    if area is None:
        return _GLOBE[0] * _GLOBE[1]
    south, north, west, east = area
    return (round((north - south) / SPACING) + 1) * (round((east - west) / SPACING) + 1)


def _months(need: Need) -> Iterator[tuple[int, int]]:
    for month in np.arange(need.first.astype("datetime64[M]"), need.last.astype("datetime64[M]") + 1):
        yield int(str(month)[:4]), int(str(month)[5:7])


def open_era5(
    paths: Sequence[Path], names: Sequence[str], *, member: int | None = None, first: np.datetime64 | None = None,
    last: np.datetime64 | None = None, steps: Steps = "any", cache_bytes: int | None = None,
    windows: Mapping[str, Window] | None = None,
) -> xr.Dataset:
    """The variables `names` of all `paths` (NetCDF, GRIB, or zip archives of them) as one lazy Dataset (float32).

    Only stamps between `first` and `last` (inclusive). `steps`: "hourly" wants each hour of them for each variable; "as held" too,
    unless the files' stamps lie further apart (the packaged week); with "any", times are the union over variables and a variable
    without data at a time is NaN there. `windows`: narrower spans, outside of which a variable is
    not looked for. `member` picks one of several ensemble members. A stamp in two files comes from the final
    one, else from the first; their values must agree (the first and last common hour are compared). `attrs["expver"]` names
    months that are all preliminary (ERA5T). Reads coordinates only; then each chunk of a file once, when read in time order
    (`cache_bytes` for decoded chunks, default a quarter of the free memory).

    Raises OrbitError naming file and field: unknown name, not in the files, wrong or missing units, missing hours, grids that
    differ, several members, contradictions, a file that cannot be read.
    """
    for name in names:
        field(name)
    paths, cache = [Path(p) for p in paths], slabs.Cache(cache_bytes)
    found, offered = pieces(paths, names, cache, first, last, member)
    merged: dict[str, Joined] = {}
    for name, held in found.items():
        if not held:
            raise OrbitError("field not in the files", where=", ".join(p.name for p in paths[:4]), got=name,
                             allowed=f"one of {LEXICON[name].names}" + (f" at {LEXICON[name].level} hPa" if LEXICON[name].level else ""),
                             hint=f"the files hold: {', '.join(sorted(offered)) or 'nothing readable'}")
        refuse_long_periods(name, held)
        if steps == "hourly" or (steps == "as held" and is_hourly(held)):
            begin, end = windows[name] if windows else (first, last)
            refuse_gaps(name, held, begin, end, paths)
        merged[name] = join(name, [piece for piece in held if len(piece.stamps)] or held[:1])
    reference = next(iter(merged.values()))
    for name, one in merged.items():
        same_grid((reference.lat, reference.lon), (one.lat, one.lon), f"{found[name][0].where}: {name}")
    dataset = _dataset(merged, reference)
    dataset.attrs["decoding_bytes"] = cache.largest, cache.work
    return dataset


def _dataset(merged: dict[str, Joined], reference: Joined) -> xr.Dataset:
    arrays = []
    for name, one in merged.items():
        data = one.data if one.data is not None else np.empty((0, len(one.lat), len(one.lon)), dtype=np.float32)
        arrays.append(xr.DataArray(data, dims=("time", "lat", "lon"), name=name, coords={
            "time": one.stamps.astype("datetime64[ns]"), "lat": reference.lat, "lon": reference.lon}))
    dataset = xr.merge(arrays, join="outer", compat="override")
    for name in merged:
        about = variable(name)
        dataset[name].attrs = {"units": about.units, "standard_name": about.standard_name, "long_name": about.long_name,
                               "cell_methods": about.cell_methods}
    months = sorted({month for one in merged.values() for month in preliminary(one)})
    if months:
        dataset.attrs["expver"] = f"preliminary (ERA5T, expver 0005): {', '.join(months)}"
    return dataset


def held_in(path: Path, names: Sequence[str]) -> tuple[tuple[str, ...], np.datetime64, np.datetime64, Box | None] | None:
    """(variables, first and last stamp, box or None for the globe) of which one file holds every hour; None where it has no such field.

    Fields that end earlier or begin later than others (accumulations) bound the time. Raises OrbitError for a grid that is not ERA5's.
    """
    found, _ = pieces([path], names, slabs.Cache(), None, None)
    held = {name: join(name, [p for p in each if len(p.stamps)]) for name, each in found.items() if any(len(p.stamps) for p in each)}
    if not held:
        return None
    first, last = max(one.stamps[0] for one in held.values()), min(one.stamps[-1] for one in held.values())
    one = next(iter(held.values()))
    steps = [np.diff(axis) for axis in (one.lat, one.lon)]
    if any(len(step) and not np.allclose(step, SPACING, atol=1e-3) for step in steps):
        raise OrbitError("not on ERA5's own grid", where=path, got=f"{steps[0][:1]} degrees", allowed=f"{SPACING} degrees",
                         hint="name files of another grid under `files` of a dataset instead")  # fmt: skip
    whole = len(one.lat) >= _GLOBE[0] and len(one.lon) >= _GLOBE[1]
    box = None if whole else (float(one.lat[0]), float(one.lat[-1]), float(one.lon[0]), float(one.lon[-1]))
    return tuple(sorted(held)), first, last, box
