"""What somebody has whom the README is of use to: files under the names of its examples. Run with the clone's own Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import xarray as xr

import orbit2


def hourly(step: float, edge: float, days: int = 20) -> xr.Dataset:
    """Temperature at 2 m, every hour on a box of the Alps: a wave that travels. Stamps of hours need no word about days."""
    lat, lon = np.arange(42 + step / 2, 48, step), np.arange(5 + step / 2, 17, step)
    if edge:
        lat, lon = lat[(lat > 42 + edge) & (lat < 48 - edge)], lon[(lon > 5 + edge) & (lon < 17 - edge)]
    hour = np.arange(24 * days)[:, None, None]
    values = 283 - 0.6 * (lat[None, :, None] - 45) + 4 * np.sin(hour / 24 * 2 * np.pi + lon[None, None, :] / 3)
    return xr.Dataset({"t2m": (("time", "lat", "lon"), values.astype("float32"), {"units": "K"})},
                      {"time": np.datetime64("2001-01-01", "ns") + hour[:, 0, 0] * np.timedelta64(1, "h"),
                       "lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})})  # fmt: skip


def models(folder: Path = Path("results/models")) -> None:
    """The demo's models under the names that the README uses."""
    for name, place in (("reslim", "model"), ("members", "members")):
        made = next(iter(sorted(folder.glob(f"{name}-*/model"))), None)
        if made is not None and not Path(place).exists():
            shutil.copytree(made, place)


def main() -> None:
    models()
    week = orbit2.sample().drop_encoding()
    box = week.isel(time=slice(0, 2)).sel(latitude=slice(60, 21))
    box.coarsen(latitude=4, longitude=4).mean().to_netcdf("coarse.nc")
    box.to_netcdf("truth.nc")
    (box + 0.1).assign({name: (box[name] + 0.1).assign_attrs(box[name].attrs) for name in box.data_vars}).to_netcdf("mine.nc")
    for name, step, edge in (("era5", 1.0, 0.0), ("wrf", 0.25, 1.0)):
        Path(name).mkdir(exist_ok=True)
        hourly(step, edge).to_netcdf(Path(name) / "2001.nc")


if __name__ == "__main__":
    main()
