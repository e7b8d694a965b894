"""What merging forty years of a task's parts takes: core seconds and memory, by years merged, and of the tables that follow.

    .venv/bin/python benchmarks/merge.py [--years 40]

A task of daily temperature and rain on 180 x 360 cells with every baseline that ships: what parts hold of a task is capped (cells that are
followed, blocks of maps, rows of diagrams) or depends on days, models and regions alone, so 0.25 degree or 7 km add little but maps. The
24 parts of a common and of a leap year are made by the collectors themselves, from one day's fields turned round the globe by the day;
they are then merged as those of 1961 to 2000 and so on, their dates moved as they are read. Structure is of every 10th day. Kept days are
never merged.
"""

from __future__ import annotations

# ruff: noqa: E402  (the repository's tests are no package that is installed)
import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from evaluate_speed import highest_gb, make

from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSE
from orbit2.evaluate.collectors import COLLECTORS as EVALUATE
from orbit2.evaluate.run import write
from orbit2.files import write_json
from orbit2.metrics import parts
from orbit2.metrics.collector import Collector, Settings, gather
from orbit2.metrics.matched import Matched, Scored
from orbit2.provenance import code_version

RESULTS = ROOT / "benchmarks" / "results" / "merge.json"
FIRST, COMMON, LEAP = 1961, 1961, 1964
EVERY = 10
KINDS = [kind for kind in (*EVALUATE, *DIAGNOSE) if kind.name != "kept"]


class Long(Matched):
    """A task of many years whose fields are those of one day, turned eastward day by day."""

    def __init__(self, folder: Path, years: int) -> None:
        config = {"task": "test", "downscale": {"model": "reslim", "dataset": "era5_week", "split": "test", "input": "coarse", "tile": 0}}
        super().__init__(config, folder / "prediction.zarr", folder / "pairs.zarr", EvaluateConfig().baselines, fits=folder / "fits.nc")
        self.held = [scored for scored in super().samples() if scored.position == 0]
        first, after = (np.datetime64(f"{year}-01-01T00:00:00", "s") for year in (FIRST, FIRST + years))
        self.times = np.arange(first, after, np.timedelta64(86400, "s"))
        self.stamps = [str(each) for each in self.times]
        self.indices = np.zeros(len(self.times), dtype=np.int64)
        self.streamed = list(range(len(self.times)))

    def samples(self) -> Iterator[Scored]:
        for position in self.streamed:
            for each in self.held:
                models = {model: np.roll(values, 7 * position, axis=1) for model, values in each.models.items()}
                truth = np.roll(each.truth, 7 * position, axis=1)
                yield Scored(each.index, self.times[position], each.variable, truth, models, dict(models), position)


class Moved(Mapping[str, npt.NDArray[Any]]):
    """A collector's state of a month of `year`, as if it were the same month of `wanted`: stamps, numbers of days, places of months."""

    def __init__(self, group: h5py.Group, collector: Collector, year: int, wanted: int) -> None:
        self.stored, self.name, self.year, self.wanted = parts.Stored(group), collector.name, str(year), str(wanted)
        self.names = {name.replace(f".{year}", f".{wanted}") if self.name == "climate" else name: name for name in self.stored}
        self.days = int((np.datetime64(f"{wanted}-01-01") - np.datetime64(f"{year}-01-01")).astype(int))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        values, last = self.stored[self.names[name]], name.rsplit("/", 1)[-1].rsplit(".", 1)[-1]
        if last == "samples" and values.dtype.kind == "S":
            return np.array([self.wanted.encode() + sample[4:] for sample in values.tolist()], dtype=values.dtype)
        if self.name == "climate" and last in ("bounds", "span"):
            return values + self.days
        if self.name == "hovmoller" and last == "place":
            return values + 12 * (int(self.wanted) - int(self.year))
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def base_parts(folder: Path, settings: Settings, years: int) -> None:
    """The months of a common and of a leap year, of a task of `years`: how many cells are followed depends on its length."""
    matched = Long(folder, years)
    whole = {stamp: position for position, stamp in enumerate(matched.stamps)}
    for year in (COMMON, LEAP):
        for month in range(1, 13):
            matched.streamed = [position for stamp, position in whole.items() if stamp.startswith(f"{year}-{month:02d}")]
            collectors = [kind(matched, settings, matched.training) for kind in KINDS]
            gather(matched, collectors)
            slice_ = {"task": "test", "downscale": {"model": "reslim", "dataset": "era5_week", "split": "test"}}
            parts.write(folder / f"{year}{month:02d}.h5", matched, slice_, settings, collectors)


def leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def merged(folder: Path, settings: Settings, years: int) -> dict[str, Any]:
    """Core seconds by year, memory after some of them, then both of the evaluate stage's tables and files."""
    matched = Long(folder, years)
    collectors = [kind(matched, settings, matched.training) for kind in KINDS]
    base, spent, after = highest_gb(), {collector.name: 0.0 for collector in collectors}, {}
    for year in range(FIRST, FIRST + years):
        source = LEAP if leap(year) else COMMON
        for month in range(1, 13):
            with h5py.File(folder / f"{source}{month:02d}.h5") as file:
                for collector in collectors:
                    before = time.process_time()
                    collector.merge(Moved(file[f"{collector.stage}/{collector.name}"], collector, source, year))
                    spent[collector.name] += time.process_time() - before
        done = year - FIRST + 1
        if done in (1, 2, 4, 10, 20, years):
            after[str(done)] = {"core_s": sum(spent.values()), "highest_gb": highest_gb()}
            print(done, after[str(done)], flush=True)
    before = time.process_time()
    write(matched, settings, [collector for collector in collectors if collector.stage == "evaluate"], folder / "out")
    table = {"core_s": time.process_time() - before, "highest_gb": highest_gb()}
    print("tables", table, flush=True)
    size = sum(path.stat().st_size for path in folder.glob(f"{COMMON}*.h5")) / 12
    return {"years": years, "days": len(matched.times), "parts": 12 * years, "part_mb": size / 2**20, "before_gb": base,
            "merge_core_s": dict(sorted(spent.items(), key=lambda item: -item[1])), "after_years": after, "tables": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="a folder that fields and parts are kept in, and taken from where they are there")
    parser.add_argument("--quick", action="store_true", help="four years on 60 x 120 cells: shows that it runs, writes nothing")
    given = parser.parse_args()
    settings = Settings(EvaluateConfig(every=EVERY), DiagnoseConfig())
    with tempfile.TemporaryDirectory() as temporary:
        folder, years = given.keep or Path(temporary), 4 if given.quick else max(given.years, 4)
        if not (folder / "fits.nc").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder, 12.0 if given.quick else 4.0)
        if not (folder / f"{LEAP}12.h5").exists():
            before = time.process_time()
            base_parts(folder, settings, years)
            print(f"24 parts {time.process_time() - before:.0f} core s", flush=True)
        record = merged(folder, settings, years)
        print({name: round(value, 2) for name, value in record["merge_core_s"].items() if value > 0.01})
        print(f"{record['part_mb']:.1f} MB a part")
        if not given.quick:
            write_json(RESULTS, {"code_version": code_version(), "cells": [180, 360], "every": EVERY} | record)


if __name__ == "__main__":
    main()
