"""A small Zarr v3 store laid out like ARCO-ERA5 (one hour, all levels, whole globe to a chunk), over local HTTP or as a folder."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import xarray as xr

from tests.data.era5_cds import NAMES, Field
from tests.data.servers.base import Answer, Seen, Server

LEVELS = (100, 200, 300, 500, 700, 850, 1000)  # the real store has 37
SURFACE = ("2m_temperature", "total_precipitation", "sea_surface_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind",
           "mean_sea_level_pressure")
PRESSURE = ("temperature", "specific_humidity")


def store(folder: Path, field: Field, first: str, hours: int, *, spacing: float = 30.0, final: str = "2020-01-01",
          valid: str = "2020-01-02", names: Sequence[str] = SURFACE + PRESSURE, missing: Collection[tuple[str, int]] = ()) -> Path:
    """Write the store. `final`, `valid`: last final and last preliminary day; `missing`: (variable, hour) whose chunks are deleted.

    Its time axis runs on beyond `valid`, where all is NaN, as the real one does.
    """
    times = np.datetime64(first, "s") + np.arange(hours) * np.timedelta64(1, "h")
    lat, lon = 90 - spacing * np.arange(round(180 / spacing) + 1), spacing * np.arange(round(360 / spacing))
    beyond = times > np.datetime64(f"{valid}T23", "s")
    data = {}
    for name in names:
        pressure = name in PRESSURE
        planes = [np.array(np.broadcast_to(field(f"{name}_{level}" if pressure else name, times, lat, lon), (hours, len(lat), len(lon))))
                  for level in (LEVELS if pressure else (None,))]
        for plane in planes:
            plane[beyond] = np.nan
        dims = ("time", "level", "latitude", "longitude") if pressure else ("time", "latitude", "longitude")
        data[name] = (dims, (np.stack(planes, axis=1) if pressure else planes[0]).astype(np.float32),
                      {"units": NAMES[name][2], "long_name": NAMES[name][4], "short_name": NAMES[name][0]})
    coords = {"time": times.astype("datetime64[ns]"), "level": np.array(LEVELS), "latitude": lat, "longitude": lon}
    dataset = xr.Dataset(data, coords=coords, attrs={
        "valid_time_start": str(times[0])[:10], "valid_time_stop": final, "valid_time_stop_era5t": valid,
        "last_updated": "2020-02-01 00:00:00+00:00"})
    encoding = {name: {"chunks": (1, *dataset[name].shape[1:])} for name in names}
    encoding["time"] = {"units": "hours since 1900-01-01", "dtype": "int64", "calendar": "proleptic_gregorian"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata are no part of Zarr v3 yet; over HTTP there is nothing else
        dataset.to_zarr(folder, mode="w", zarr_format=3, consolidated=True, encoding=encoding)
    for name, hour in missing:
        (folder / name / "c" / str(hour) / "/".join(["0"] * (dataset[name].ndim - 1))).unlink()
    return folder


class ArcoServer(Server):
    """Serves such a store at `store_url`."""

    def __init__(self, field: Field, first: str, hours: int, **layout: object) -> None:
        super().__init__()
        self._make = (field, first, hours, layout)

    @property
    def store_url(self) -> str:
        return f"{self.url}/ar/store.zarr-v3"

    def __enter__(self) -> ArcoServer:
        self._folder = tempfile.TemporaryDirectory()
        field, first, hours, layout = self._make
        store(Path(self._folder.name) / "ar" / "store.zarr-v3", field, first, hours, **layout)  # type: ignore[arg-type]
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()

    def respond(self, request: Seen) -> Answer:
        path = Path(self._folder.name, *request.path.strip("/").split("/"))
        return Answer(path.read_bytes()) if path.is_file() else Answer(b"not found", 404, "text/plain")
