"""How much a halo is worth: tiled predictions of the trained demo model against its untiled ones, halo by halo.

    make demo                                 # pairs and model
    .venv/bin/python benchmarks/halo_curve.py [--quick]   # 5 minutes of one core

The demo's test frames, 4 -> 1 degree, on tiles with cores of 12 x 12 coarse cells, and one of its 1 degree frames -> 0.25 degree on
tiles of 36 x 36 (no truth there, but windows that stay small beside the globe). The 4 degree grid has 45 rows: the northernmost is
left out, so that every window begins on a whole token of the untiled field and halos alone make the difference; odd halos show what
happens where windows do not. Differences are RMS over the fine cells, area-weighted, as a share of the residual's standard deviation
(truth - bicubic; without a truth: untiled prediction - bicubic), mean over the variables, rain as ln(1 + mm): of all cells, of those
within one coarse cell of a border between tiles, of the others. RMSE / bicubic RMSE beside them.

Exits 1 unless the halo that `orbit2 plan` recommends from the training period is where the curve of the test frames bends: the
interpolation's reach is not enough (stopping two cells short leaves at least 10 % more), two cells more take off less than 10 %.
Writes benchmarks/results/halo_curve.json and docs/halo_curve.png (not with --quick).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from demo import ROOT, first_dataset

from orbit2.baselines import interpolate
from orbit2.config import slices
from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.files import write_json
from orbit2.grid import Grid
from orbit2.metrics.fields import fields_of
from orbit2.model.tiles import Tiling, tiles
from orbit2.plan import halo as advice
from orbit2.provenance import code_version

HALOS = (0, 1, 2, 3, 4, 6, 8, 12, 16)
SHARE = 0.1  # of the difference: less than this for two cells more is not worth them
Array = np.ndarray


class Case:
    """Frames on one grid: what is predicted without tiles, and the scale that differences are measured in."""

    def __init__(self, model: Any, grid: Grid, frames: Array, statics: Array, times: Array, tile: int, truth: Array | None) -> None:
        self.model, self.grid, self.frames, self.statics, self.times, self.tile = model, grid, frames, statics, times, tile
        self.spaces = [fields_of([name])[-1] for name in model.outputs]
        weights = grid.refine(model.refinement).lat_weights[:, None]
        self.weights = np.broadcast_to(weights, (weights.shape[0], grid.shape[1] * model.refinement))
        began = time.process_time()
        self.untiled = self.predict(0, 0)
        self.seconds = time.process_time() - began
        order = [model.inputs.index(name) for name in model.outputs]
        self.bicubic = interpolate(self.space(frames[:, order].astype(np.float64)), grid, model.refinement, "bicubic")
        self.truth = None if truth is None else self.space(truth.astype(np.float64))
        self.scale = self.rms((self.untiled if self.truth is None else self.truth) - self.bicubic)

    def space(self, fields: Array) -> Array:
        return np.stack([space.of(fields[:, i]) for i, space in enumerate(self.spaces)], 1)

    def predict(self, tile: int, halo: int) -> Array:
        done = [self.model.predict(frame, self.model.inputs, self.statics, self.grid, when, tile, halo, 0)  # the halo's own effect
                for frame, when in zip(self.frames, self.times, strict=True)]
        return self.space(np.stack(done).astype(np.float64))

    def rms(self, difference: Array, where: Array | None = None) -> Array:
        """Per variable, over the fine cells of the mask [sH, sW]."""
        weights = self.weights if where is None else self.weights * where
        return np.sqrt((weights * difference**2).sum((0, 2, 3)) / (weights.sum() * len(difference)))

    def skill(self, prediction: Array) -> float | None:
        return None if self.truth is None else float((self.rms(prediction - self.truth) / self.scale).mean())

    def border(self, tiling: Tiling) -> Array:
        """Fine cells [sH, sW] of coarse cells that lie at a border between two tiles."""
        height, width = self.grid.shape
        touched = np.zeros((height, width), dtype=bool)
        for window in tiling:
            rows, columns = window.owned()
            for line in (rows.start - 1, rows.start) if rows.start else ():
                touched[line] = True
            for line in (columns.start - 1, columns.start) if columns.start or self.grid.periodic else ():
                touched[:, line % width] = True
        return np.kron(touched, np.ones((self.model.refinement,) * 2))

    def curve(self, halos: tuple[int, ...]) -> list[dict[str, Any]]:
        rows = []
        for halo in halos:
            tiling = tiles(self.grid.shape, self.grid.periodic, self.tile, halo, self.model.model.config.patch)
            began = time.process_time()
            prediction = self.predict(self.tile, halo)
            seconds, difference, near = time.process_time() - began, prediction - self.untiled, self.border(tiling)
            cells = len(tiling) * tiling.padded[0] * tiling.padded[1] / (self.grid.shape[0] * self.grid.shape[1])
            rows.append({
                "halo": halo, "window": list(tiling.padded), "cells": cells, "core_seconds": seconds,
                **{name: float((self.rms(difference, mask) / self.scale).mean())
                   for name, mask in (("all", None), ("border", near), ("inside", 1 - near))},
                "by_variable": dict(zip(self.model.outputs, (self.rms(difference) / self.scale).tolist(), strict=True)),
                "rmse": self.skill(prediction),
            })  # fmt: skip
        return rows


def show(name: str, case: Case, rows: list[dict[str, Any]]) -> None:
    height, width = case.grid.shape
    print(f"\n{name}: {height} x {width} cells, tiles of {case.tile}, {len(case.frames)} frames; untiled {case.seconds:.1f} core seconds"
          + ("" if case.truth is None else f", RMSE / bicubic {case.skill(case.untiled):.4f}"))  # fmt: skip
    print(f"{'halo':>5}{'window':>9}{'cells':>8}{'time':>7}   difference from untiled: {'all':>7}{'border':>8}{'inside':>8}"
          f"{'RMSE/bicubic':>15}")  # fmt: skip
    for row in rows:
        rmse = "" if row["rmse"] is None else f"{row['rmse']:.4f}"
        print(f"{row['halo']:>5}{'x'.join(map(str, row['window'])):>9}{row['cells']:>7.2f}x{row['core_seconds'] / case.seconds:>6.1f}x   "
              f"{'':<26}{row['all']:>7.3f}{row['border']:>8.3f}{row['inside']:>8.3f}{rmse:>15}")


def draw(path: Path, curves: dict[str, tuple[Case, list[dict[str, Any]]]], recommended: int) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for (name, (case, rows)), colour in zip(curves.items(), ("#1b6ca8", "#d1495b"), strict=False):
        even, odd = ([r for r in rows if r["halo"] % 2 == rest] for rest in (0, 1))
        for key, style in (("border", "--"), ("all", "-"), ("inside", ":")):
            left.plot([r["halo"] for r in even], [r[key] for r in even], style, color=colour, marker="o", markersize=4,
                      label=f"{name}, {'all cells' if key == 'all' else key}")
        left.plot([r["halo"] for r in odd], [r["all"] for r in odd], "x", color=colour, label=f"{name}, odd halos (all cells)")
        if case.truth is not None:
            right.plot([r["halo"] for r in rows], [r["rmse"] for r in rows], "-o", color=colour, markersize=4, label=f"{name}, tiled")
            right.axhline(case.skill(case.untiled), color="black", linewidth=1, label="untiled")
    left.set(xlabel="halo (coarse cells)", ylabel="RMS difference from untiled / std of residual", ylim=(0, None))
    right.set(xlabel="halo (coarse cells)", ylabel="RMSE / bicubic RMSE, against the truth")
    for axes in (left, right):
        axes.axvline(recommended, color="0.6", linewidth=6, alpha=0.4, zorder=0, label=f"recommended: {recommended}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "config.yaml")
    parser.add_argument("--model", type=Path, help="model folder; default the one of the configuration's first model")
    parser.add_argument("--data", type=Path, help="folder of pairs.zarr; default the one of the configuration's first dataset")
    parser.add_argument("--quick", action="store_true", help="one frame, three halos; judges nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "halo_curve.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "halo_curve.png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load(arguments.config)
    name, folder, period = first_dataset(config)
    store = PairStore((arguments.data or folder) / "pairs.zarr")
    model = load_model(arguments.model or ROOT / slices.model_folder(config, next(iter(config.models))) / "model")
    training = config.datasets[name].split.train
    assert training is not None
    scales = advice.measure(store, (training.start, training.end), model.outputs, model.model.config.interpolation)
    recommended = advice.recommended(scales, model.model.config)
    assert recommended is not None
    print("\n".join(advice.lines(scales, model.model.config, store.grid("coarse"))))
    indices = store.indices(period["start"], period["end"])[: 1 if arguments.quick else None]
    halos = HALOS[:5:2] if arguments.quick else HALOS
    patch, factor, grid, statics = model.model.config.patch, model.refinement, store.grid("coarse"), store.static_values("fine")
    rows, columns = (slice(0, size - size % patch) for size in grid.shape)
    within = (..., slice(0, rows.stop * factor), slice(0, columns.stop * factor))
    order = [store.variables("coarse").index(n) for n in model.inputs], [store.variables("fine").index(n) for n in model.outputs]
    cases = {"4 degree": Case(
        model, grid.crop(rows, columns), np.stack([store.read("coarse", int(i))[order[0]] for i in indices])[..., rows, columns],
        statics[within], store.times[indices], 12, np.stack([store.read("fine", int(i))[order[1]] for i in indices])[within],
    )}  # fmt: skip
    if not arguments.quick:
        from orbit2.sources.static import open_static

        fine, first = store.grid("fine"), int(indices[0])
        inputs = [store.variables("fine").index(n) for n in model.inputs]
        finer = open_static(fine.refine(factor), model.model.statics)
        cases["1 degree"] = Case(model, fine, store.read("fine", first)[inputs][None], finer, store.times[[first]], 36, None)
    curves = {}
    for label, case in cases.items():
        curves[label] = (case, case.curve(halos))
        show(label, *curves[label])
    if arguments.quick:
        return 0
    case, found = curves["4 degree"]
    by = {row["halo"]: row["all"] for row in found}
    less, more = by[recommended - 2] / by[recommended] - 1, 1 - by[recommended + 2] / by[recommended]
    print(f"\nrecommended {recommended}: with two cells less the difference is {less:.0%} larger, with two more {more:.0%} smaller")
    draw(arguments.figure, curves, recommended)
    write_json(arguments.out, {
        "model": f"{model.about.get('name')}-{model.about.get('hash')}", "recommended": recommended,
        "scales": {s.variable: [s.zonal, s.meridional] for s in scales},
        "with_two_less": less, "with_two_more": more, "code_version": code_version(),
        **{label: {"tile": c.tile, "untiled_rmse": c.skill(c.untiled), "untiled_core_seconds": c.seconds, "curve": r}
           for label, (c, r) in curves.items()},
    })  # fmt: skip
    return int(less < SHARE or more > SHARE)


if __name__ == "__main__":
    sys.exit(main())
