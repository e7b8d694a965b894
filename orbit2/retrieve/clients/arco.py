"""Copies hours out of the ARCO-ERA5 Zarr store into NetCDF files like the provider's. Never fills: an hour the store lacks is an error.

Request body: {"store": fsspec URL, "area": [north, west, south, east] or null, "first", "last"}; what to copy are the request's variables.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import netCDF4
import numpy as np
import numpy.typing as npt
import tenacity
import xarray as xr

from orbit2.config.sources import SourcesConfig
from orbit2.door.ecmwf import LEXICON
from orbit2.errors import OrbitError
from orbit2.longitudes import follow
from orbit2.retrieve.clients.client import Client, Report, Transient
from orbit2.retrieve.clients.http import shown
from orbit2.sources.source import Request

HOURS_AT_ONCE = 6  # of a surface variable; pressure levels hour by hour: one chunk is 154 MB
READS = 4  # tries per block before the transfer starts the file anew
_SLOW_DOWN = (408, 425, 429, 500, 502, 503, 504)
_HOUR = np.timedelta64(3600, "s")
_log = logging.getLogger(__name__)
_T = TypeVar("_T")
FloatArray = npt.NDArray[np.float32]


def connect(settings: SourcesConfig) -> Client:
    return ArcoClient(settings.transfer.timeout_seconds, settings.transfer.backoff_seconds)


class ArcoClient:
    """Anonymous. Keeps each store's metadata for as long as it covers what is asked for."""

    def __init__(self, timeout: float = 60.0, backoff: float = 2.0) -> None:
        self._timeout, self._backoff = timeout, backoff
        self._stores: dict[str, xr.Dataset] = {}
        self._mutex = threading.Lock()

    def host(self, request: Request) -> str:
        return urlsplit(str(request.body["store"])).netloc or "file"

    def fetch(self, request: Request, target: Path, report: Report) -> dict[str, Any]:
        """See `Client.fetch`. Facts: the store, when it was last updated, and whether the hours are final or preliminary."""
        url = str(request.body["store"])
        with _failures(url):
            store = self._store(url, request)
            version = _version(store, request, url)
            rows, columns, lat, lon = _area(store, request.body.get("area"))
            hours = np.arange(request.first, request.last + _HOUR, _HOUR)
            steps = np.searchsorted(store["time"].values.astype("datetime64[s]"), hours)
            with netCDF4.Dataset(target, "w") as file:
                written = _skeleton(file, store, request, hours, lat, lon, version)
                done = 0
                for arco, (short, levels) in written.items():
                    block = 1 if levels else HOURS_AT_ONCE
                    for begin in range(0, len(hours), block):
                        values = self._read(store[arco], steps[begin : begin + block], levels, url, hours[begin : begin + block])
                        file[short][begin : begin + block] = values[..., rows, :][..., columns]
                        done += len(values)
                        report(request.bytes * done // (len(hours) * len(written)), request.bytes)
        return {"url": url, "store_updated": str(store.attrs.get("last_updated", "")), "expver": version}

    def _store(self, url: str, request: Request) -> xr.Dataset:
        """The store's metadata; read again where what is known ends before the request."""
        with self._mutex:
            known = self._stores.get(url)
            if known is None or _stop(known, era5t=True) < request.last:
                known = self._stores[url] = self._persistently(lambda: xr.open_zarr(url, chunks=None, storage_options=self._options(url)))
            return known

    def _options(self, url: str) -> dict[str, Any] | None:
        match urlsplit(url).scheme:
            case "gs":
                return {"token": "anon"}
            case "http" | "https":
                import aiohttp

                limits = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=self._timeout)
                return {"client_kwargs": {"timeout": limits}}
        return None

    def _read(self, array: xr.DataArray, steps: npt.NDArray[np.int64], levels: list[int], url: str, hours: Any) -> FloatArray:
        """Global fields [hours, (levels), H, W]. Raises OrbitError for an hour that the store does not hold."""
        chosen = array.isel(time=slice(int(steps[0]), int(steps[-1]) + 1))

        def once() -> FloatArray:
            fresh = chosen.copy(deep=False)  # a failed read must not be remembered
            return np.asarray(fresh.values, dtype=np.float32)

        values = self._persistently(once)
        if levels:
            held = [int(v) for v in array["level"].values]
            values = values[:, [held.index(level) for level in levels]]
        flat = values.reshape(len(values), -1)
        absent = ~np.isfinite(flat).any(axis=1) | (flat == flat[:, :1]).all(axis=1)  # a chunk that is not there reads as one value
        if absent.any():
            raise OrbitError("the ARCO store lacks hours that it says it holds", where=f"{url}: {array.name}",
                             got=", ".join(str(h)[:13] for h in hours[absent]), hint="use sources.era5.backend: cds for this period")
        return values

    def _persistently(self, call: Callable[[], _T]) -> _T:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passing), stop=tenacity.stop_after_attempt(READS), reraise=True,
            wait=tenacity.wait_exponential_jitter(initial=self._backoff / 4, max=8 * self._backoff, jitter=self._backoff / 4))
        return retrying(call)


def _version(store: xr.Dataset, request: Request, url: str) -> str:
    """expver of the request's hours: "0001" final, "0005" preliminary. Raises OrbitError where the store does not reach them."""
    first = np.datetime64(str(store.attrs.get("valid_time_start", "1940-01-01"))[:10], "s")
    if request.first < first or request.last > _stop(store, era5t=True):
        raise OrbitError("the ARCO store does not hold this period", where=url, got=f"{request.first} to {request.last}",
                         allowed=f"{first} to {_stop(store, era5t=True)}", hint="change the periods, or use sources.era5.backend: cds")
    return "0001" if request.last <= _stop(store, era5t=False) else "0005"


def _stop(store: xr.Dataset, *, era5t: bool) -> np.datetime64:
    """Last hour with data: the time axis itself runs on to 2050 without any."""
    stop = store.attrs.get("valid_time_stop")
    if era5t:
        stop = store.attrs.get("valid_time_stop_era5t", stop)
    if stop is None:
        raise OrbitError("the store does not say how far it reaches", where="ARCO", got="no attribute valid_time_stop",
                         hint="try again later, or set sources.era5.backend: cds")  # fmt: skip
    return np.datetime64(str(stop)[:10], "s") + 23 * _HOUR


def _area(store: xr.Dataset, area: list[float] | None) -> tuple[Any, Any, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows and columns of the store inside the area, latitude north to south, longitude eastward from its western edge."""
    lat, lon = (store[axis].values.astype(np.float64) for axis in ("latitude", "longitude"))
    if area is None:
        return slice(None), slice(None), lat, lon
    north, west, south, east = area
    rows = np.flatnonzero((lat <= north + 1e-6) & (lat >= south - 1e-6))
    past = follow(np.round(lon - west, 6), 0.0)
    columns = np.argsort(past, kind="stable")
    columns = columns[past[columns] <= east - west + 1e-6]
    return rows, columns, lat[rows], west + past[columns]


def _skeleton(
    file: netCDF4.Dataset, store: xr.Dataset, request: Request, hours: npt.NDArray[np.datetime64], lat: npt.NDArray[np.float64],
    lon: npt.NDArray[np.float64], version: str,
) -> dict[str, tuple[str, list[int]]]:
    """Dimensions, coordinates and empty variables as the Climate Data Store writes them; ARCO name -> (NetCDF name, levels)."""
    wanted: dict[str, tuple[str, list[int]]] = {}
    for name in sorted(request.variables):
        field = LEXICON[name]
        if field.arco is None or field.arco not in store:
            raise OrbitError("the ARCO store does not hold this variable", where=request.file, got=name,
                             hint="use sources.era5.backend: cds")
        wanted.setdefault(field.arco, (field.names[0], []))[1].extend([] if field.level is None else [field.level])
    levels = sorted({level for _, found in wanted.values() for level in found})
    _coordinate(file, "valid_time", (hours - np.datetime64("1970-01-01", "s")).astype(np.int64), "i8", {
        "units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"})
    if levels:
        _coordinate(file, "pressure_level", np.array(levels), "f8", {"units": "hPa", "standard_name": "air_pressure"})
    _coordinate(file, "latitude", lat, "f8", {"units": "degrees_north", "standard_name": "latitude"})
    _coordinate(file, "longitude", lon, "f8", {"units": "degrees_east", "standard_name": "longitude"})
    expver = file.createVariable("expver", str, ("valid_time",))
    expver[:] = np.full(len(hours), version, dtype=object)
    dims = ("valid_time", *(("pressure_level",) if levels else ()), "latitude", "longitude")
    for arco, (short, _) in wanted.items():
        variable = file.createVariable(short, "f4", dims, compression="zlib", complevel=1, shuffle=True, fill_value=np.float32(np.nan),
                                       chunksizes=(1, *((len(levels),) if levels else ()), len(lat), len(lon)))
        variable.setncatts({"units": str(store[arco].attrs.get("units", "")), "long_name": str(store[arco].attrs.get("long_name", arco))})
    file.setncatts({"Conventions": "CF-1.7", "source": "ARCO-ERA5", "history": "hours copied by orbit2, values unchanged"})
    return {arco: (short, levels if found else []) for arco, (short, found) in wanted.items()}


def _coordinate(file: netCDF4.Dataset, name: str, values: npt.NDArray[Any], kind: str, attributes: dict[str, str]) -> None:
    file.createDimension(name, len(values))
    variable = file.createVariable(name, kind, (name,))
    variable[:] = values
    variable.setncatts(attributes)


def _passing(error: BaseException) -> bool:
    """Whether another try may help."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError | OrbitError):
        return False
    status = getattr(error, "status", getattr(error, "code", None))  # aiohttp's, gcsfs's
    if isinstance(status, int) and status:
        return status in _SLOW_DOWN
    return isinstance(error, OSError | asyncio.TimeoutError) or type(error).__module__.partition(".")[0] in ("aiohttp", "fsspec", "gcsfs")


@contextmanager
def _failures(url: str) -> Iterator[None]:
    where = urlsplit(url)._replace(query="", fragment="").geturl()
    try:
        yield
    except (OrbitError, Transient):
        raise
    except FileNotFoundError:
        raise OrbitError("no Zarr store there", where=where, hint="check sources.era5.arco") from None
    except Exception as error:
        if _passing(error):
            raise Transient(f"reading {where} failed ({type(error).__name__})") from None
        if isinstance(error, OSError | ValueError | RuntimeError | KeyError) or hasattr(error, "status"):
            raise OrbitError("the ARCO store cannot be read", where=where, got=shown(str(error)) or type(error).__name__,
                             hint="try again later, or set sources.era5.backend: cds") from None  # fmt: skip
        raise
