"""Core seconds of regridding PRISM, Daymet and IMERG, by the raw field and by the job: what `orbit2 plan` tells their hours from.

    .venv/bin/python benchmarks/regrid_sources.py [--quick] [--only prism|daymet|imerg] [--whole] [--folder DIR]

Files of each provider's real size, made on the fly as the provider writes them (PRISM: zips of 621 x 1405 cells; Daymet: NetCDF of 1 km,
deflated in chunks of 1 x 1000 x 1000; IMERG: daily NetCDF of 3600 x 1800): smooth weather with grain. Daymet's files have the cells of a
box of 10 x 18 degrees only, and what a field takes is told for the dataset's whole box by the number of Daymet's cells in both;
`--whole`: all 7814 x 8075 cells (half an hour). The real stage builds two parts of the dataset that ships, the second half as long as the
first, each in a process of its own with one thread; the weights of the regridding are there already (the first job on a machine makes
them). Values stored are taken off at the rate of pairstore_read.py. Core time (user and system). Judges nothing: it measures.
"""

from __future__ import annotations

# ruff: noqa: E402  (the repository's tests are no package that is installed)
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from orbit2 import regrid
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import load
from orbit2.config.sources import SourcesConfig
from orbit2.files import short_hash, write_json
from orbit2.grid import named
from orbit2.plan.stages import STORED
from orbit2.provenance import code_version
from orbit2.sources import manifest
from orbit2.sources.catalogue import source
from orbit2.sources.sample import STATIC
from orbit2.sources.source import Need, Request
from tests.data import daymet_files, imerg_files, prism_files

RESULTS = ROOT / "benchmarks" / "results" / "regrid_sources.json"
MADE = {"origin": "made by a benchmark", "licence": "none", "doi": None, "attribution": ""}
SHIPPED = {  # run, dataset, samples of the shorter part
    "prism": ("prism_pretrain", "prism_16km", 8), "daymet": ("daymet_pretrain", "daymet_16km", 2),
    "imerg": ("imerg_global", "imerg_daily", 8),
}
REDUCED = (32, 42, 248, 266)  # of Daymet: south, north, west, east
Array = npt.NDArray[np.float64]


def weather(name: str, day: np.datetime64, lat: Array, lon: Array) -> Array:
    """mm or K: waves and grain, so that it compresses like weather."""
    at = (day - np.datetime64("2021-01-01")).astype(int)
    waves = sum(np.sin(k * np.radians(lon) + at * k / 5) * np.cos(k * np.radians(lat) * 1.5) / k for k in (3, 7, 19))
    grain = np.random.default_rng(at).normal(0, 0.1, lat.shape)
    return np.asarray(np.maximum(8 * (waves + grain) - 2, 0) if "precipitation" in name else 285 + 8 * waves + grain)


def make(name: str, folder: Path, days: npt.NDArray[np.datetime64], box: Sequence[float] | None) -> None:
    """The provider's files of `days`, and their manifest."""
    provider = source(name, SourcesConfig())
    requests = provider.plan(Need(provider.offers(), days[0], days[-1], None))
    entries = []
    for request in requests:
        path = folder / request.file
        path.parent.mkdir(parents=True, exist_ok=True)
        write(name, request, path, days, box)
        entries.append(manifest.entry(path, **MADE, file=request.file, variables=request.variables, first=request.first, last=request.last))
    manifest.write(folder, name, entries)


def write(name: str, request: Request, path: Path, days: npt.NDArray[np.datetime64], box: Sequence[float] | None) -> None:
    (variable,), day = request.variables, request.first.astype("datetime64[D]")
    if name == "prism":
        element = request.file.split("/")[1]
        values = weather(variable, day, *np.meshgrid(prism_files.CONUS.lat, prism_files.CONUS.lon, indexing="ij"))
        prism_files.write_cog_zip(path, element, f"{day}".replace("-", ""), values - (0 if element == "ppt" else 273.15))
    elif name == "imerg":
        imerg_files.daily(path, day, lambda when, lat, lon: weather(variable, when, lat, lon))
    else:
        own = next(key for key, canonical in daymet_files.CANONICAL.items() if canonical == variable)
        x, y = daymet_files.window(box) if box else (daymet_files.GRID_X, daymet_files.GRID_Y)
        daymet_files.write(path, own, days, lambda when, lat, lon: weather(variable, when, lat, lon), x, y)


def measured(name: str, folder: Path, quick: bool, whole: bool) -> dict[str, Any]:
    """Core seconds of a raw field, and of a part whatever its samples."""
    run, shipped, short = SHIPPED[name]
    reduced = (38, 40, 253, 256) if quick else REDUCED if name == "daymet" and not whole else None
    short = 1 if quick else short if whole or name != "daymet" else 4
    days = np.datetime64("2021-01-01") + np.arange(3 * short + 3)  # the first makes the weights; the last two: validation and test
    resources = folder / "resources"
    make(name, resources / name / manifest.VERSION, days, reduced)
    static = resources / "static" / manifest.VERSION
    static.mkdir(parents=True)
    shutil.copy(STATIC, static / "static_0.25deg.nc")
    manifest.write(static, "static", [manifest.entry(static / "static_0.25deg.nc", **MADE)])
    box = "@" + ",".join(map(str, reduced)) if reduced else ""
    given = load(ROOT / "config/runs" / f"{run}.yaml").datasets[shipped].model_dump(mode="json")
    fine = named(given["fine_grid"])
    edges = [float(edge) for ends in (fine.lat_edges, fine.lon_edges) for edge in (ends[0], ends[-1])]
    covered = cells_of_daymet(edges) / cells_of_daymet(reduced) if name == "daymet" and reduced else 1.0
    given |= {"statics": ["land_sea_mask"], "coarse_grid": given["coarse_grid"] + box, "fine_grid": given["fine_grid"] + box}
    found: dict[str, float] = {}
    for part, first, count in (("first", 0, 1), ("long", 1, 2 * short), ("short", 1 + 2 * short, short)):
        blocks = {"test": (-1, -1)} | ({"train": (first, first + count - 1), "validation": (-2, -2)} if given["inputs"] else
                                       {"test": (first, first + count - 1)})  # fmt: skip
        split = {block: {"start": str(days[begin]), "end": str(days[end])} for block, (begin, end) in blocks.items()}
        one = given | {"split": {**split, "gap_days": 0}, "samples_per_part": count, "samples_per_shard": min(count, short)}
        dataset = DatasetConfig.model_validate(one)
        section = dataset.model_dump(mode="json")
        config = folder / f"{part}.json"
        write_json(config, {"name": shipped, "hash": short_hash(section), "dataset": section, "sources": {}})
        store = folder / f"{part}.zarr"
        regrid.initialise(config=config, resources=resources, store=store)
        found[part] = core_seconds(folder, "part", "--config", config, "--resources", resources, "--store", store, "--part", "000",
                                   "--out", folder / f"{part}.done.json")  # fmt: skip
    fields = len(dataset.outputs)  # each is a raw field of a day, read once for both sides
    values = sum(len(names) * int(np.prod(named(grid).shape))
                 for names, grid in ((dataset.inputs, dataset.coarse_grid), (dataset.outputs, dataset.fine_grid)))  # fmt: skip
    a_sample = (found["long"] - found["short"]) / short
    box_of = {"box": reduced, "cells_beside_the_box": covered} if reduced else {}
    return {**box_of, "dataset": shipped, "samples": [2 * short, short], "core_seconds": [found["long"], found["short"]], "fields": fields,
            "values": values, "a_sample": a_sample, "a_field": covered * (a_sample - STORED * values) / fields,
            "a_job": max(found["short"] - short * a_sample, 0.0), "a_first_job": found["first"] - a_sample}  # fmt: skip


def cells_of_daymet(box: Sequence[float]) -> int:
    x, y = daymet_files.window(box, margin=0)
    return len(x) * len(y)


def core_seconds(folder: Path, *words: object) -> float:
    """Of `orbit2 regrid ...` in a process with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ORBIT2_THREADS": "1", "PYTHONPATH": str(ROOT), "ORBIT2_CACHE": str(folder)}
    told = subprocess.run([sys.executable, "-m", "orbit2", "regrid", *map(str, words)], cwd=ROOT, capture_output=True, text=True,
                          env=environment)  # fmt: skip
    if told.returncode:
        sys.exit(told.stdout + told.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one and two days, of a box: shows that it runs, writes nothing")
    parser.add_argument("--only", choices=list(SHIPPED), help="the others' results stay")
    parser.add_argument("--whole", action="store_true", help="Daymet with all its cells")
    parser.add_argument("--folder", type=Path, help="where to put the files (8 GB)")
    options = parser.parse_args()
    record: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in [options.only] if options.only else SHIPPED:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            os.environ["ORBIT2_CACHE"] = folder
            record[name] = {**measured(name, Path(folder), options.quick, options.whole), "code_version": code_version()}
        print(name, json.dumps(record[name], indent=1), flush=True)
        if not options.quick:
            write_json(RESULTS, record)


if __name__ == "__main__":
    main()
