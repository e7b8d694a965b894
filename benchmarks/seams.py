"""Do tiles show? The seam ratio of the demo's model from 1 degree to 0.25 degree: halos thrown away, neighbours mixed, and never cut.

    make demo                              # builds the pairs and the model first
    .venv/bin/python benchmarks/seams.py   # about 6 core minutes

One border says little: mountains and storms beside it move the ratio by a tenth. So every test frame is cut in many ways: tiles of
several sizes move the parallels, and grids that begin at several longitudes move the meridians and the place where the grid closes. All
three sides are measured at the same borders against the same places beside (orbit2.metrics.seams); the uncut prediction says what the
places themselves do. The claim is of the shipped setting (halo 4, mixed over half of it): 1 +- 0.05 in every direction, for every
variable, precipitation as ln(1 + mm/day). Writes benchmarks/results/seams.json; exits 1 where the claim does not hold.

    .venv/bin/python benchmarks/seams.py --members 8 --model FOLDER   # of a model with noise; about 10 core minutes

The same of members (all of them together) and of their spread (the standard deviation of a cell over them), in fewer ways of cutting:
noise is cut out of the globe's, so that a member's halo says the same as its neighbour's core. Kept beside the others as `members`.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo import ROOT, first_dataset

from orbit2.config import slices
from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.downscale.cut import HostInputs
from orbit2.downscale.members import Ensemble
from orbit2.downscale.predictor import Downscaler
from orbit2.files import read_json, write_json
from orbit2.grid import Grid, uniform
from orbit2.metrics.seams import DIRECTIONS, Ratio, SeamStatistic, borders
from orbit2.model.tiles import scaled
from orbit2.provenance import code_version
from orbit2.sources.static import open_static
from orbit2.variables import is_precipitation

HALO, TOLERANCE = 4, 0.05
TILES, ORIGINS = (30, 36, 40, 45), (0, 100, 220)  # cores in cells of 1 degree; first cell's longitude in degrees
FEWER_TILES, FEWER_ORIGINS = (30, 45), (0, 100)  # of members
SIDES = ("halos thrown away", "mixed", "never cut")
Sample = tuple[np.ndarray, tuple[str, ...], np.ndarray, Grid, Any]
Found = dict[tuple[str, str, str], list[SeamStatistic]]


def rolled(grid: Grid, first: int) -> Grid:
    """The same grid round the globe, beginning `first` cells further east."""
    west = float(grid.lon_edges[0]) + first * grid.resolution
    return uniform(-90, 90, west, west + 360, *grid.shape)


def fields(prediction: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Variables by name; rain also as ln(1 + mm/day)."""
    found = {}
    for name, values in zip(names, prediction.astype(np.float64), strict=True):
        found[name] = values
        if is_precipitation(name):
            found[f"ln(1 + {name})"] = np.log1p(np.clip(values, 0, None))
    return found


def turned(model: Downscaler, store: PairStore, frames: list[int], origins: tuple[int, ...]) -> Iterator[tuple[Grid, Iterator[Sample]]]:
    """(grid, its samples) of the store's frames with the globe cut open at each origin."""
    names = store.variables("fine")
    used = tuple(name for name in names if name in model.inputs)
    positions = [names.index(name) for name in used]
    whole = store.grid("fine")
    assert isinstance(whole, Grid)
    statics = open_static(whole.refine(model.refinement), model.model.statics, None)

    def samples(origin: int, grid: Grid) -> Iterator[Sample]:
        near = np.roll(statics, -origin * model.refinement, axis=-1)
        for index in frames:
            yield np.roll(store.read("fine", index)[positions], -origin, axis=-1), used, near, grid, store.times[index]
            print(f"from {origin} degrees east, frame {index}: done", file=sys.stderr, flush=True)

    for origin in origins:
        grid = rolled(whole, origin)
        yield grid, samples(origin, grid)


def measure(model: Downscaler, store: PairStore, frames: list[int], sizes: tuple[int, ...], origins: tuple[int, ...]) -> Found:
    """(side, field, direction) -> a statistic for every way of cutting."""
    found: Found = {}
    for grid, samples in turned(model, store, frames, origins):
        cuts = {size: borders(model.tiling(grid, size, HALO), grid.refine(model.refinement), model.refinement) for size in sizes}
        kept = {(size, side, field, border.name): SeamStatistic(border)
                for size, lines in cuts.items() for border in lines for side in SIDES
                for field in fields(np.empty((len(model.outputs), 1, 1)), model.outputs)}  # fmt: skip
        for sample in samples:
            uncut = fields(model.predict(*sample), model.outputs)
            for size, lines in cuts.items():
                thrown, mixed = (fields(model.predict(*sample, size, HALO, blend), model.outputs) for blend in (0, None))
                for border in lines:
                    for side, made in zip(SIDES, (thrown, mixed, uncut), strict=True):
                        for field, values in made.items():
                            kept[size, side, field, border.name].update(values)
        for (_, *key), statistic in kept.items():
            found.setdefault((key[0], key[1], key[2]), []).append(statistic)
    return found


def drawn(ensemble: Ensemble, sample: Sample, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All members [M, C, H, W] of the same windows of `size` cells: with halos thrown away, and mixed."""
    model, (coarse, names, statics, grid, time) = ensemble.downscaler, sample
    tiling, plain = model.tiling(grid, size, HALO), model.tiling(grid, size, HALO, 0)
    s, made, cores = model.refinement, [], []
    for i, window in enumerate(tiling):
        fields = HostInputs.of(window.take(coarse)[None])
        begun = ensemble.begin(fields, names, window.take(statics, s), grid, window, tiling.kept(i), np.array([time]))
        made.append(ensemble.every(begun)[:, 0])
        rows, columns = (scaled(part, s) for part in tiling.own_part(i))
        cores.append(made[-1][..., rows, columns])
    return model.joined(plain, cores), model.joined(tiling, made)


def told_of(members: np.ndarray, names: tuple[str, ...]) -> dict[str, list[np.ndarray]]:
    """Fields of which a statistic is gathered: every member's, and their spread."""
    each = [fields(one, names) for one in members]
    found = {f"member: {field}": [one[field] for one in each] for field in each[0]}
    return {**found, **{f"spread: {field}": [np.std([one[field] for one in each], axis=0, ddof=1)] for field in each[0]}}


def measure_members(
    model: Downscaler, store: PairStore, frames: list[int], sizes: tuple[int, ...], origins: tuple[int, ...], count: int
) -> Found:
    """As `measure`, of `count` members and of their spread."""
    ensemble = Ensemble(model, count)
    found: Found = {}
    for grid, samples in turned(model, store, frames, origins):
        kept: dict[tuple[int, str, str, str], SeamStatistic] = {}
        for sample in samples:
            uncut = told_of(ensemble.frame(*sample, model.tiling(grid)), model.outputs)
            for size in sizes:
                sides = (*(told_of(one, model.outputs) for one in drawn(ensemble, sample, size)), uncut)
                for border in borders(model.tiling(grid, size, HALO), grid.refine(model.refinement), model.refinement):
                    for side, made in zip(SIDES, sides, strict=True):
                        for field, each in made.items():
                            statistic = kept.setdefault((size, side, field, border.name), SeamStatistic(border))
                            for values in each:
                                statistic.update(values)
        for (_, *key), statistic in kept.items():
            found.setdefault((key[0], key[1], key[2]), []).append(statistic)
    return found


def pooled(statistics: list[SeamStatistic]) -> Ratio:
    """The ratio of all ways of cutting together; the bootstrap draws from all their stretches of border."""
    together = SeamStatistic(statistics[0].border)
    together.sums = np.concatenate([statistic.sums for statistic in statistics], axis=1)
    return together.ratio()


def table(found: Found) -> list[dict[str, Any]]:
    """Print a line per field and direction; the same as rows."""
    print(f"{'seam ratio (95 %)':<46}" + "".join(f"{side:>26}" for side in SIDES))
    rows = []
    for field in dict.fromkeys(field for _, field, _ in found):
        for direction in DIRECTIONS:
            ratios = {side: pooled(found[side, field, direction]) for side in SIDES}
            shown = [f"{r.value:.3f}" + (f" ({r.interval[0]:.3f}-{r.interval[1]:.3f})" if r.interval else "") for r in ratios.values()]
            print(f"{field + ', ' + direction:<46}" + "".join(f"{text:>26}" for text in shown))
            mixed, uncut = ratios["mixed"].value, ratios["never cut"].value
            rows.append({
                "field": field, "direction": direction, "claimed": "ln(" in field or not is_precipitation(field.split(": ")[-1]),
                "from_one": abs(mixed - 1), "from_uncut": abs(mixed - uncut),
                "ratio": {side: {"value": r.value, "interval": r.interval, "n": r.n} for side, r in ratios.items()},
            })  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder; default the demo's")
    parser.add_argument("--members", type=int, default=0, help="of so many members and their spread instead (a model with noise)")
    parser.add_argument("--store", type=Path, help="folder of pairs.zarr; default the demo's")
    parser.add_argument("--quick", action="store_true", help="one frame, one way of cutting, nothing written; for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "seams.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = load(ROOT / "config" / "runs" / "demo.yaml")
    _, folder, period = first_dataset(run)
    store = PairStore((arguments.store or folder) / "pairs.zarr")
    model = load_model(arguments.model or ROOT / slices.model_folder(run, next(iter(run.models))) / "model")
    frames = [int(i) for i in store.indices(period["start"], period["end"])]
    if arguments.quick:
        frames = frames[:1]
    ways = (FEWER_TILES, FEWER_ORIGINS) if arguments.members else (TILES, ORIGINS)
    sizes, origins = (ways[0][1:2], ways[1][:1]) if arguments.quick else ways
    found = (measure_members(model, store, frames, sizes, origins, arguments.members) if arguments.members
             else measure(model, store, frames, sizes, origins))  # fmt: skip
    rows = table(found)
    worst, apart = (max(row[key] for row in rows if row["claimed"]) for key in ("from_one", "from_uncut"))
    holds = worst <= TOLERANCE
    print(f"claim (mixed: every ratio within 1 +- {TOLERANCE}, rain as ln(1 + mm/day); furthest {worst:.3f}): "
          f"{'holds' if holds else 'DOES NOT HOLD'}; furthest from the uncut prediction's ratio {apart:.3f}")  # fmt: skip
    if not arguments.quick:
        told = {"model": {key: model.about.get(key) for key in ("name", "hash")}, "halo": HALO, "tiles": sizes, "origins": origins,
                "frames": len(frames), "rows": rows, "furthest": worst, "furthest_from_uncut": apart, "holds": holds,
                "code_version": code_version()}  # fmt: skip
        before = read_json(arguments.out) if arguments.out.is_file() else {}
        if arguments.members:
            told = {**before, "members": {"count": arguments.members, **told}}
        write_json(arguments.out, {**({"members": before["members"]} if "members" in before else {}), **told})
    return int(not holds and not arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
