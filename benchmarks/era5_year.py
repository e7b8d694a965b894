"""Hourly ERA5 at 0.25 degrees to daily pairs (1.0 and 0.25 degrees): hours for a year on this machine, and bytes read per byte needed.

python benchmarks/era5_year.py [--quick]; exits 1 when more than 1.1 bytes are read per byte needed

One month of files as the Climate Data Store sends them (one NetCDF per step type in a zip, float32, deflate 1, the library's own chunks) is
made from the packaged ERA5 week, interpolated in space and time with noise of the size of the analysis' last digits, so that it
compresses like the real thing. Then the real stage runs on it, part by part. Both ways of reading are measured in the same run: ours, and
hour by hour as xarray does without care for chunks. A year is extrapolated from the month and from the number of raw variables.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from scipy.ndimage import map_coordinates

from orbit2 import regrid
from orbit2.config.dataset import DatasetConfig
from orbit2.files import short_hash, write_json
from orbit2.provenance import code_version
from orbit2.sources import manifest
from orbit2.sources.sample import STATIC, WEEK

RESULTS = Path(__file__).parent / "results" / "era5_year.json"
RAW = {"t2m": ("instant", "K", 0.02), "tp": ("accum", "m", 2e-6)}  # stream, units, noise
MADE = {"origin": "made by a benchmark", "licence": "none", "doi": None, "attribution": ""}
CLAIM = 1.1
TABLE_1 = 17  # raw ERA5 variables of the paper's 19 dynamic inputs


def hourly(name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """The packaged week as (frames [24, 181, 360], frame hours, noise)."""
    with xr.open_dataset(WEEK, engine="netcdf4") as week:
        frames = week[name].values.astype(np.float32)
        at = (week["time"].values - week["time"].values[0]) / np.timedelta64(1, "h")
    return frames, at, RAW[name][2]


def make_file(path: Path, name: str, first: str, hours: int, step: float) -> None:
    """One stream's NetCDF of one month."""
    frames, at, noise = hourly(name)
    lat, lon = np.arange(90, -90 - step / 2, -step), np.arange(0, 360, step)
    rows, columns = np.meshgrid(90 - lat, lon, indexing="ij")
    fine = [map_coordinates(frame, [rows, columns], order=1, mode="grid-wrap").astype(np.float32) for frame in frames]
    random = np.random.default_rng(0)
    grain = random.normal(0, noise, (len(lat), len(lon))).astype(np.float32)
    with netCDF4.Dataset(path, "w") as file:
        for dimension, values in (("valid_time", np.arange(hours)), ("latitude", lat), ("longitude", lon)):
            file.createDimension(dimension, len(values))
            variable = file.createVariable(dimension, "i8" if dimension == "valid_time" else "f8", (dimension,))
            variable[:] = values
            variable.units = {"valid_time": f"hours since {first}", "latitude": "degrees_north", "longitude": "degrees_east"}[dimension]
        file["valid_time"].calendar = "proleptic_gregorian"
        variable = file.createVariable(name, "f4", ("valid_time", "latitude", "longitude"), zlib=True, complevel=1, shuffle=True,
                                       fill_value=np.nan)
        variable.units, variable.GRIB_stepType = RAW[name][1], RAW[name][0]
        slab = variable.chunking()[0]
        period = at[-1]
        for begin in range(0, hours, slab):  # whole chunks at a time
            count = min(slab, hours - begin)
            block = np.empty((count, len(lat), len(lon)), dtype=np.float32)
            for k in range(count):
                moment = (begin + k) % period
                upper = int(np.clip(np.searchsorted(at, moment), 1, len(at) - 1))
                share = np.float32((moment - at[upper - 1]) / (at[upper] - at[upper - 1]))
                block[k] = fine[upper - 1] * (1 - share) + fine[upper] * share + np.roll(grain, 37 * k, axis=1)
                if name == "tp":
                    np.maximum(block[k], 0, out=block[k])
            variable[begin : begin + count] = block


def needed_bytes(paths: list[Path]) -> int:
    """Stored bytes of the fields themselves."""
    import h5py

    total = 0
    for path in paths:
        with h5py.File(path) as file:
            total += sum(file[name].id.get_storage_size() for name in RAW if name in file)
    return total


def read_bytes() -> int:
    return int(next(line.split()[1] for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar")))


def build(folder: Path, days: int) -> dict[str, float]:
    """The regrid stage over the month, in this process; seconds, bytes read and peak memory."""
    day = "2020-01-{:02d}".format
    split = {"train": {"start": day(1), "end": day(days - 4)}, "validation": {"start": day(days - 2), "end": day(days - 2)},
             "test": {"start": day(days), "end": day(days)}}
    dataset = DatasetConfig.model_validate({
        "source": "era5", "inputs": ["2m_temperature", "2m_temperature_max", "2m_temperature_min", "total_precipitation_24hr"],
        "outputs": ["2m_temperature_max", "2m_temperature_min", "total_precipitation_24hr"], "frequency": "daily",
        "coarse_grid": "global_1.0", "fine_grid": "global_0.25", "split": split, "samples_per_part": "month", "samples_per_shard": 8})
    section = dataset.model_dump(mode="json")
    write_json(folder / "config.json", {"name": "year", "hash": short_hash(section), "dataset": section, "sources": {}})
    store = folder / "pairs.zarr"
    regrid.initialise(config=folder / "config.json", resources=folder / "resources", store=store)
    before, began = read_bytes(), time.perf_counter()
    parts = []
    for part in regrid.plan_parts(dataset):
        parts.append(folder / "parts" / f"{part.id}.json")
        regrid.build_part(config=folder / "config.json", resources=folder / "resources", store=store, part=part.id, out=parts[-1])
    seconds, read = time.perf_counter() - began, read_bytes() - before
    regrid.finalise(config=folder / "config.json", store=store, parts=parts, out=folder / "finalised.json")
    samples = sum(part.count for part in regrid.plan_parts(dataset))
    return {"seconds": seconds, "read": read, "samples": samples, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def hour_by_hour(paths: list[Path], hours: int) -> dict[str, float]:
    """The plain way: every hour read on its own; measured on the first hours of one file and scaled."""
    before, began = read_bytes(), time.perf_counter()
    for path in paths:
        with xr.open_dataset(path, engine="netcdf4", cache=False) as opened:
            name = next(n for n in RAW if n in opened)
            for k in range(hours):
                _ = opened[name].isel(valid_time=k).values
    return {"seconds": time.perf_counter() - began, "read": read_bytes() - before}


def run(folder: Path, step: float, days: int) -> dict[str, object]:
    hours, source = 24 * (days + 1), folder / "resources" / "era5" / manifest.VERSION
    source.mkdir(parents=True)
    paths = []
    for name, (stream, _, _) in RAW.items():
        paths.append(folder / f"data_stream-oper_stepType-{stream}.nc")
        make_file(paths[-1], name, "2020-01-01 00:00:00", hours, step)
    with zipfile.ZipFile(source / "month.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            archive.write(path, path.name)
    manifest.write(source, "era5", [manifest.entry(source / "month.zip", **MADE)])
    static = folder / "resources" / "static" / manifest.VERSION
    static.mkdir(parents=True)
    shutil.copy(STATIC, static / "static_0.25deg.nc")
    manifest.write(static, "static", [manifest.entry(static / "static_0.25deg.nc", **MADE)])
    built = subprocess.run([sys.executable, __file__, "--build", str(folder), str(days)], check=True, capture_output=True, text=True)
    ours = json.loads(built.stdout.splitlines()[-1])  # a process of its own, so that its memory is its own
    needed = needed_bytes(paths) * 24 * ours["samples"] / hours  # of the hours that the samples are made of
    sample_hours = 24
    plain = hour_by_hour(paths, sample_hours)
    with netCDF4.Dataset(paths[0]) as file:
        chunks = file[next(iter(RAW))].chunking()
    return {"days": ours["samples"], "chunks": chunks, "needed_gb": needed / 1e9, "ours": ours,
            "read_per_needed": ours["read"] / needed, "plain_read_per_needed": plain["read"] / (needed_bytes(paths) * sample_hours / hours),
            "plain_seconds_per_hour_of_data": plain["seconds"] / sample_hours,
            "ours_seconds_per_hour_of_data": ours["seconds"] / (24 * ours["samples"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 degrees and ten days: a smoke test")
    parser.add_argument("--folder", type=Path, default=None, help="where to put the month (8 GB)")
    parser.add_argument("--build", nargs=2, metavar=("FOLDER", "DAYS"), help="only the stage on a month that was made")
    options = parser.parse_args()
    if options.build:
        print(json.dumps(build(Path(options.build[0]), int(options.build[1]))))
        return
    step, days = (2.0, 10) if options.quick else (0.25, 30)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        found = run(Path(name), step, days)
    per_day = found["ours"]["seconds"] / found["ours"]["samples"]  # type: ignore[index]
    year, full = per_day * 366 / 3600, per_day * 366 / 3600 * TABLE_1 / len(RAW)
    print(f"{'':44}{'orbit2':>12}{'hour by hour':>14}")
    print(f"{'bytes read per byte needed':44}{found['read_per_needed']:12.2f}{found['plain_read_per_needed']:14.2f}")
    times = found["ours_seconds_per_hour_of_data"], found["plain_seconds_per_hour_of_data"]
    print(f"{'seconds per hour of data (2 variables)':44}{times[0]:12.3f}{times[1]:14.3f}   (the latter: reading only)")
    print(f"{'peak memory (GB)':44}{found['ours']['peak_gb']:12.2f}")  # type: ignore[index]
    print(f"a year on {os.cpu_count()} cores, extrapolated: {year:.2f} hours (2 raw variables), {full:.1f} hours (Table I's {TABLE_1})")
    if not options.quick:
        write_json(RESULTS, {"cores": os.cpu_count(), "code_version": code_version(), **found, "year_hours_2_variables": year,
                             "year_hours_table_1": full})
        sys.exit(found["read_per_needed"] > CLAIM)  # type: ignore[operator]


if __name__ == "__main__":
    main()
