"""Members of the demo's Reslim against its deterministic parent: every row of what is asked of them, both sides in one run.

    .venv/bin/python benchmarks/members.py               # seeds 0-2; what is not trained yet is (7 minutes of two cores a seed)
    .venv/bin/python benchmarks/members.py --seeds 0     # a short run: nothing is trained where `make demo` has been
    .venv/bin/python benchmarks/members.py --no-memory   # both sides without site memory: what the network alone does

For each seed the demo's workflow is run up to the scores of `test_members`: the deterministic model (800 steps), the second stage that is
fine-tuned from it with noise (300 steps, almost fair CRPS), 16 members of the 4 test frames, and their scores beside the parent's. All
numbers but the last two rows are read from the tables of `orbit2 evaluate`; rain is judged in ln(1 + mm/day), its extent and tail in mm.
Prints the mean of the seeds beside the least and the greatest of them, what is required, and the parent's; exits 1 unless every row of
every seed is within its limits. Writes benchmarks/results/members.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from orbit2.areas import relative_areas
from orbit2.baselines.interpolation import block_mean
from orbit2.config import slices
from orbit2.config.load import load
from orbit2.config.schema import RunConfig
from orbit2.data.pairs import PairStore
from orbit2.files import read_json, write_json
from orbit2.metrics import table
from orbit2.metrics.table import TRUTH
from orbit2.provenance import code_version
from orbit2.variables import is_precipitation, log_scored, variable

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "config" / "runs" / "demo.yaml"
PARENT, MEMBERS, TASK = "reslim", "members", "test_members"
FULL = 300  # steps of the second stage; the demo's is short, its trunk frozen
SHORT = {"2m_temperature": "T", "10m_u_component_of_wind": "u", "10m_v_component_of_wind": "v", "mean_sea_level_pressure": "msl",
         "precipitation_rate": "rain"}  # fmt: skip
EXACT = {"K": 1e-3, "m s-1": 1e-3, "Pa": 0.5, "mm day-1": 1e-3}  # of block means: rounding of stored float32, and of rain's steps


def configuration(seed: int, memory: bool) -> dict[str, Any]:
    """The demo's run with another seed of both trainings, its second stage at full length; seed 0 shares its parent with `make demo`."""
    raw: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    raw["label"] = label(seed, memory)
    raw["models"][MEMBERS]["train"].update(steps=FULL, validate_every=50, freeze_trunk=False)
    if seed:
        for name in (PARENT, MEMBERS):
            raw["models"][name]["train"]["seed"] = seed
    for name in (PARENT, MEMBERS):
        raw["models"][name]["train"]["site_memory"] = memory
    task = raw["downscale"][TASK]
    raw["downscale"] = {"test": raw["downscale"]["test"], TASK: task}
    raw["models"] = {name: raw["models"][name] for name in (PARENT, MEMBERS)}
    return raw


def label(seed: int, memory: bool) -> str:
    return f"members_seed{seed}" + ("" if memory else "_no_memory")


def run(seed: int, cores: int, memory: bool) -> tuple[RunConfig, Path]:
    """The seed's scores, through the workflow: what is there already is kept. Raises CalledProcessError where a stage fails."""
    folder = ROOT / "results" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{label(seed, memory)}.yaml"
    text = yaml.safe_dump(configuration(seed, memory), sort_keys=False)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    config = load(path)
    where = Path(slices.run_folder(config))
    target = where / "evaluate" / "metrics.parquet"
    subprocess.run([sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--cores", str(cores), "--configfile", str(path),
                    "--", str(target)], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    return config, ROOT / where


@dataclass(frozen=True)
class Row:
    """`low` to `high` is required of every variable; `of` gives {variable: (members, parent)}."""

    title: str
    low: float
    high: float
    of: Callable[[Scores], dict[str, tuple[float, float]]]


class Scores:
    """Look-up in the table of scores of TASK."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        frame = table.read(folder / "evaluate" / "metrics.parquet")
        self.frame = frame[(frame["task"] == TASK) & (frame["season"] == "all") & (frame["protocol"] == "standard")
                           & (frame["region"] == "global")]  # fmt: skip
        self.names = list(config.datasets[config.downscale[TASK].dataset].outputs)
        rows = self.frame[["model", "variable", "space", "metric", "value"]].itertuples(index=False, name=None)
        self.values = {tuple(key): float(value) for *key, value in rows}

    def value(self, model: str, name: str, metric: str, space: str | None = None) -> float:
        """NaN where the table has none; by default in the space that a variable is judged in."""
        judged = "log1p" if log_scored(name) else "physical"
        return self.values.get((model, name, space or judged, metric), float("nan"))

    def each(self, metric: str, parent: str | float = float("nan")) -> dict[str, tuple[float, float]]:
        """The members' score of every variable, with the parent's (`parent`: its metric, or what it must be)."""
        return {name: (self.value(MEMBERS, name, metric), self.value(PARENT, name, parent) if isinstance(parent, str) else parent)
                for name in self.names}

    def over_truth(self, metric: str) -> dict[str, tuple[float, float]]:
        """Of rain in mm, members' and parent's over the truth's."""
        rain = [name for name in self.names if is_precipitation(name)]
        return {name: tuple(self.value(who, name, metric, "physical") / self.value(TRUTH, name, metric, "physical")  # type: ignore[misc]
                            for who in (MEMBERS, PARENT)) for name in rain}

    def mean_rmse(self) -> dict[str, tuple[float, float]]:
        return {name: (self.value(MEMBERS, name, "ensemble_mean_rmse") / self.value(PARENT, name, "rmse"), 1.0) for name in self.names}

    def edges(self) -> dict[str, tuple[float, float]]:
        """Above the parent's by how much: across edges over inside, of members less of the parent."""
        return {name: (self.value(MEMBERS, name, "block_edge_ratio") - self.value(PARENT, name, "block_edge_ratio"),
                       self.value(PARENT, name, "block_edge_ratio")) for name in self.names}

    def blocks(self) -> dict[str, tuple[float, float]]:
        """Largest |mean over an input cell - input| of all members and frames, in hundredths of EXACT's limits; the parent's beside it."""
        dataset = self.config.downscale[TASK].dataset
        store = PairStore(ROOT / slices.store(self.config, dataset))
        areas = relative_areas(store.grid("fine"))
        predictions = {who: xr.open_zarr(self.folder / "downscale" / f"{task}.zarr", consolidated=False, chunks=None)
                       for who, task in ((MEMBERS, TASK), (PARENT, "test"))}
        found = {}
        for name in self.names:
            worst = []
            for prediction in predictions.values():
                off = 0.0
                for t, time in enumerate(prediction["time"].values):
                    index = int(np.flatnonzero(store.times == time.astype(store.times.dtype))[0])
                    given = store.read("coarse", index)[store.variable_index("coarse", name)].astype(np.float64)
                    frame = prediction[name].isel(time=t)
                    fields = [frame.isel(member=m) for m in range(frame.sizes["member"])] if "member" in frame.dims else [frame]
                    for field in fields:
                        means = block_mean(field.to_numpy().astype(np.float64), areas, store.refinement)
                        off = max(off, float(np.nanmax(np.abs(means - given))))
                worst.append(off / EXACT[variable(name).units])
            found[name] = (worst[0], worst[1])
        return found


ROWS = (
    Row("fair CRPS / deterministic MAE", 0.0, 0.74, lambda s: s.each(f"crps_ratio_vs_{PARENT}", 1.0)),
    Row("spread over error", 0.85, 1.12, lambda s: s.each("spread_skill", 0.0)),
    Row("outliers x (M + 1) / 2, dry cells at random", 0.7, 1.5, lambda s: s.each("rank_outliers_all")),
    Row("outliers x (M + 1) / 2, without dry cells", 0.0, float("inf"), lambda s: s.each("rank_outliers")),
    Row("RMSE of the mean / deterministic", 0.0, 1.04, lambda s: s.mean_rmse()),
    Row("power, waves < 3 cells, one member / truth", 0.75, 1.3, lambda s: s.each(*["power_ratio_2_to_3_cells"] * 2)),
    Row("power, waves of 3-6 cells", 0.75, 1.25, lambda s: s.each(*["power_ratio_3_to_6_cells"] * 2)),
    Row("rain > 0.1 mm/day, area / truth's", 0.92, 1.08, lambda s: s.over_truth("wet_share_0.1")),
    Row("rain > 1 mm/day, area / truth's", 0.92, 1.08, lambda s: s.over_truth("wet_share_1")),
    Row("rain, 99.9 % / truth's", 0.9, 1.25, lambda s: s.over_truth("quantile_0.999")),
    Row("rain, 99.99 % / truth's", 0.9, 1.25, lambda s: s.over_truth("quantile_0.9999")),
    Row("differences across block edges / inside, less deterministic's", -float("inf"), 0.0, lambda s: s.edges()),
    Row("block means, worst over what rounding allows", 0.0, 1.0, lambda s: s.blocks()),
)
TOLD = (  # not required, told beside
    ("CRPS of differences / MAE of them", f"crps_differences_ratio_vs_{PARENT}"),
    ("CRPS of 2 x 2 means / MAE of them", f"crps_2x2_ratio_vs_{PARENT}"),
)


def costs(config: RunConfig, folder: Path) -> dict[str, float]:
    """What the second stage and a member took: seconds as the stages say (of the clock; the machine may have been shared)."""
    model = ROOT / slices.model_folder(config, MEMBERS) / "model"
    about = read_json(model / "config.json")
    seconds = {}
    for who, task in ((MEMBERS, TASK), (PARENT, "test")):
        attributes = xr.open_zarr(folder / "downscale" / f"{task}.zarr", consolidated=False, chunks=None).attrs
        seconds[who] = float(attributes.get("seconds_per_sample", float("nan")))
    told = {key: float(about.get(key, float("nan"))) for key in ("training_seconds", "noise_scale")}
    return {**told, "seconds_of_16_members": seconds[MEMBERS],
            "seconds_of_one_field": seconds[PARENT]}  # fmt: skip


def report(found: dict[int, dict[str, Any]], names: Sequence[str]) -> bool:
    """Prints the table; whether every seed is within every limit."""
    heads = [SHORT.get(name, name) for name in names]
    first = f"mean of seeds {', '.join(map(str, found))}"
    print(f"\n{first:<58}{'required':>14}" + "".join(f"{head:>9}" for head in heads) + "   deterministic")
    good = True
    for row in ROWS:
        cells, beside = [], []
        for name in names:
            values = [seed["rows"][row.title][name] for seed in found.values() if name in seed["rows"][row.title]]
            if not values:
                cells.append(" " * 9)
                continue
            own = [value[0] for value in values]
            fits = all(row.low <= value <= row.high for value in own)
            good &= fits
            cells.append(f"{np.mean(own):>8.3f}{' ' if fits else '*'}")
            beside.append(f"{np.mean([value[1] for value in values]):.3g}")
        limits = f"{row.low:g} to {row.high:g}" if np.isfinite(row.low) and np.isfinite(row.high) and row.low else (
            "told" if not np.isfinite(row.high) else f"<= {row.high:g}")
        print(f"{row.title:<58}{limits:>14}" + "".join(cells) + "   " + " ".join(beside))
    for title, metric in TOLD:
        means = [float(np.mean([seed["told"][metric][name] for seed in found.values()])) for name in names]
        print(f"{title:<58}{'told':>14}" + "".join(f"{mean:>8.3f} " for mean in means))
    for seed, one in found.items():
        print(f"seed {seed}: " + ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in one["costs"].items()))
    print("* at least one seed is outside")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    memory = not arguments.no_memory
    out = arguments.out or ROOT / "benchmarks" / "results" / f"members{'' if memory else '_no_memory'}.json"
    found: dict[int, dict[str, Any]] = {}
    names: Sequence[str] = ()
    for seed in arguments.seeds:
        config, folder = run(seed, arguments.cores, memory)
        scores = Scores(config, folder)
        names = scores.names
        found[seed] = {"rows": {row.title: row.of(scores) for row in ROWS}, "costs": costs(config, folder),
                       "told": {metric: {name: scores.value(MEMBERS, name, metric) for name in names} for _, metric in TOLD}}  # fmt: skip
    good = report(found, names)
    print(f"claim (every row of every seed within its limits): {'holds' if good else 'DOES NOT HOLD'}")
    limits = {row.title: [row.low if np.isfinite(row.low) else None, row.high if np.isfinite(row.high) else None] for row in ROWS}
    write_json(out, {"seeds": {str(seed): one for seed, one in found.items()}, "limits": limits, "holds": good,
                               "code_version": code_version()})  # fmt: skip
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
