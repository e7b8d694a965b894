"""Conservative regridding of 0.25 degree fields to 1 degree: orbit2 beside `cdo remap` with weights at hand, one thread each.

    .venv/bin/python benchmarks/regrid_speed.py [--quick]

Reading and writing are excluded on both sides: orbit2 is timed on arrays, and of `cdo remap` the time of `cdo copy` is
subtracted, both writing float32 to /dev/null. Start-up and reading of weights are excluded too: each command runs on a short
and on a long file, and the difference is divided by the extra fields. Beside it: the plain difference remap - copy with
NetCDF written (copy writes 16 times more than remap, which favours CDO), and both sides from file to file.
Wall-clock time and CPU time are both given: on a busy machine the second is the steadier. Exits 1 when neither holds the claim.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from orbit2.files import write_json
from orbit2.grid import Grid, from_centres, named, projected
from orbit2.provenance import code_version
from orbit2.remap import Regridder

RESULT = Path(__file__).parent / "results" / "regrid_speed.json"
CLAIM = 3.0  # times faster per field than cdo remap
DAYMET_CRS = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +datum=WGS84 +units=m"
SOURCES = {"721 rows, both poles": from_centres(np.linspace(-90, 90, 721), np.arange(0, 360, 0.25)), "720 rows": named("global_0.25")}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few fields, few repeats: does it run, not how fast")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    fields, short, repeats = (8, 2, 1) if options.quick else (60, 12, 7)
    # Memory-backed where there is such a place: the disk is nobody's claim.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 << 30 else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        os.environ["ORBIT2_CACHE"] = str(folder / "cache")
        result: dict[str, Any] = {"code_version": code_version(), "fields": fields, "repeats": repeats, "claim": CLAIM, "threads": 1}
        if shutil.which("cdo"):
            result["to 1 degree"] = {label: against_cdo(grid, fields, short, repeats, folder) for label, grid in SOURCES.items()}
        else:
            print("CDO is not installed: only orbit2's own side is measured", file=sys.stderr)
        result["orbit2 ms a field"] = own_times(8 if options.quick else 24, repeats)
        result["Daymet 1 km"] = daymet(options.quick)
    report(result)
    if not options.quick:
        write_json(options.out, result)
    holds = all(max(case["ratio"], case["ratio, CPU"]) >= CLAIM for case in result.get("to 1 degree", {}).values())
    return 0 if options.quick or ("to 1 degree" in result and holds) else 1


def against_cdo(source: Grid, fields: int, short: int, repeats: int, folder: Path) -> dict[str, float]:
    """Milliseconds a field of both sides, on the same generated fields; the two sides take turns."""
    values = 280 + 20 * np.random.default_rng(0).standard_normal((fields, *source.shape), dtype=np.float32)
    target = named("global_1.0")
    (folder / "grid").write_text("gridtype=lonlat\nxsize=360\nysize=180\nxfirst=0.5\nxinc=1\nyfirst=-89.5\nyinc=1\n")
    for label, count in (("short", short), ("long", fields)):
        dataset(values[:count], source).to_netcdf(folder / f"{label}.nc", engine="netcdf4", format="NETCDF3_64BIT")
    cdo(f"gencon,{folder / 'grid'}", folder / "short.nc", folder / "weights.nc")
    regridder = Regridder(source, target)
    wall: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}  # what a busy machine disturbs least

    def measure(name: str, work: Callable[[], object]) -> None:
        start, busy = time.perf_counter(), cpu_seconds()
        work()
        wall.setdefault(name, []).append(time.perf_counter() - start)
        processor.setdefault(name, []).append(cpu_seconds() - busy)

    remap = f"remap,{folder / 'grid'},{folder / 'weights.nc'}"
    regridder(values[:2])
    for _ in range(repeats):
        for label in ("short", "long"):
            source_file = folder / f"{label}.nc"
            measure(f"remap {label}", lambda file=source_file: cdo(remap, file, Path("/dev/null"), "-f", "srv"))  # type: ignore[misc]
            measure(f"copy {label}", lambda file=source_file: cdo("copy", file, Path("/dev/null"), "-f", "srv"))  # type: ignore[misc]
        measure("remap to NetCDF", lambda: cdo(remap, folder / "long.nc", folder / "remapped.nc"))
        measure("copy to NetCDF", lambda: cdo("copy", folder / "long.nc", folder / "copied.nc"))
        measure("orbit2", lambda: regridder(values))
        measure("orbit2 with files", lambda: through_files(regridder, folder / "long.nc", folder / "ours.nc"))
    check(folder / "remapped.nc", regridder(values))
    middle, cpu = ({name: 1e3 * statistics.median(found) for name, found in times.items()} for times in (wall, processor))
    extra = fields - short

    def theirs(of: dict[str, float]) -> float:
        return (of["remap long"] - of["remap short"] - (of["copy long"] - of["copy short"])) / extra

    ours, plain = middle["orbit2"] / fields, (middle["remap to NetCDF"] - middle["copy to NetCDF"]) / fields
    return {
        "cdo ms": theirs(middle), "orbit2 ms": ours, "ratio": theirs(middle) / ours,
        "cdo CPU ms": theirs(cpu), "orbit2 CPU ms": cpu["orbit2"] / fields, "ratio, CPU": theirs(cpu) / (cpu["orbit2"] / fields),
        "cdo remap - copy, NetCDF written, ms": plain, "ratio, NetCDF written": plain / ours,
        "cdo with files ms": middle["remap to NetCDF"] / fields, "orbit2 with files ms": middle["orbit2 with files"] / fields,
        "ratio with files": middle["remap to NetCDF"] / middle["orbit2 with files"],
    }


def cpu_seconds() -> float:
    """User and system time of this process and of the commands it has waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def cdo(operator: str, source: Path, target: Path, *options: str) -> None:
    command = ["cdo", "-s", "-O", "-P", "1", *options, operator, str(source), str(target)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def dataset(values: np.ndarray, grid: Grid) -> xr.Dataset:
    coords = {"time": ("time", np.arange(len(values), dtype=float), {"units": "hours since 2020-01-01"}),
              "lat": ("lat", grid.lat, {"units": "degrees_north"}), "lon": ("lon", grid.lon, {"units": "degrees_east"})}
    return xr.Dataset({"field": (("time", "lat", "lon"), values)}, coords=coords)


def through_files(regridder: Regridder, source: Path, target: Path) -> None:
    with xr.open_dataset(source, engine="netcdf4", decode_times=False) as data:
        regridder(data.field.load()).to_dataset(name="field").to_netcdf(target, engine="netcdf4", format="NETCDF3_64BIT")


def check(file: Path, ours: np.ndarray) -> None:
    """Both sides must have done the same work."""
    with xr.open_dataset(file, engine="netcdf4", decode_times=False) as data:
        np.testing.assert_allclose(ours, data.field.values, rtol=1e-5)


def own_times(count: int, repeats: int) -> dict[str, float]:
    era5 = SOURCES["721 rows, both poles"]
    values = 280 + 20 * np.random.default_rng(1).standard_normal((count, *era5.shape), dtype=np.float32)
    masked = np.where(era5.lat[:, None] < -60, np.float32(np.nan), values)
    cases = {"0.25 -> 1.0": ("global_1.0", values), "0.25 -> 1.0, a third of the rows missing": ("global_1.0", masked),
             "0.25 -> us_15": ("us_15", values), "0.25 -> us_2.5": ("us_2.5", values), "0.25 -> global_0.25": ("global_0.25", values)}
    return {label: 1e3 * statistics.median(timed(lambda g=Regridder(era5, named(name)), v=fields: g(v), repeats)) / count  # type: ignore[misc]
            for label, (name, fields) in cases.items()}


def daymet(quick: bool) -> dict[str, float]:
    """Weights for a part of the United States, extrapolated by cells to the whole window; then one field of that part."""
    whole = projected(np.arange(-3_089_500.0, 4_984_500, 1000), np.arange(-4_559_750.0, 3_254_000, 1000), DAYMET_CRS)
    needed = [part.stop - part.start for part in whole.around(named("us_2.5"))]
    result: dict[str, float] = {"rows of the US window": needed[0], "columns of the US window": needed[1]}
    for name in ("us_2.5", "us_0.625"):
        target = named(f"{name}@{'36,38,255,258' if quick else '33,43,250,265'}")
        source = whole.crop(*whole.around(target))
        start = time.perf_counter()
        regridder = Regridder(source, target)
        spent = time.perf_counter() - start
        field = np.random.default_rng(2).gamma(0.4, 8, size=source.shape).astype(np.float32)
        apply = statistics.median(timed(lambda r=regridder, f=field: r(f), 5))  # type: ignore[misc]
        field[:, : source.shape[1] // 3] = np.nan
        regridder(field)
        holes = statistics.median(timed(lambda r=regridder, f=field: r(f), 5))  # type: ignore[misc]
        scale = needed[0] * needed[1] / (source.shape[0] * source.shape[1])
        result |= {f"{name}: weights, s for the US": spent * scale, f"{name}: a field, ms for the US": 1e3 * apply * scale,
                   f"{name}: a field with missing cells, ms for the US": 1e3 * holes * scale,
                   f"{name}: source cells measured": source.shape[0] * source.shape[1]}
    return result


def timed(work: Callable[[], object], repeats: int) -> Iterator[float]:
    work()
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        yield time.perf_counter() - start


def report(result: dict[str, Any]) -> None:
    for label, case in result.get("to 1 degree", {}).items():
        print(f"\n0.25 -> 1.0 degree, {label}, float32, one thread")
        print(f"{'':34}{'cdo remap':>12}{'orbit2':>10}{'ratio':>8}")
        rows = (("ms a field, files excluded", "cdo ms", "orbit2 ms", "ratio"),
                ("  the same in CPU time", "cdo CPU ms", "orbit2 CPU ms", "ratio, CPU"),
                ("  remap - copy, NetCDF written", "cdo remap - copy, NetCDF written, ms", "orbit2 ms", "ratio, NetCDF written"),
                ("ms a field, from file to file", "cdo with files ms", "orbit2 with files ms", "ratio with files"))
        for name, theirs, ours, ratio in rows:
            print(f"{name:34}{case[theirs]:12.2f}{case[ours]:10.2f}{case[ratio]:8.1f}")
    for title in ("orbit2 ms a field", "Daymet 1 km"):
        print(f"\n{title}")
        for label, value in result[title].items():
            print(f"  {label:52}{value:12.2f}" if value < 1e4 else f"  {label:52}{value:12.0f}")


if __name__ == "__main__":
    sys.exit(main())
