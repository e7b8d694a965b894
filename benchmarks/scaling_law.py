"""Time of a prediction against the size of the domain: linear with tiles of fixed size, quadratic with attention over everything.

    .venv/bin/python benchmarks/scaling_law.py [--quick]

Square domains of 32 x 32 to 320 x 320 coarse cells (two decades), 7 fields, refinement 4, a small Reslim (embedding 64, 6 blocks), fp32,
one thread. One side: tiles of 16 x 16 coarse cells with a halo of 4, four at a time, reading windows and stitching cores included. Other
side: the same model, all tokens attending to all. Both sides take turns in one process; times are core times, medians over turns, so
that other work on the machine counts little. The exponent of the tiles is a fit of log time to log N over all sizes; that of full
attention is a fit to the three largest, with the local exponent between neighbours printed. Exits 1 unless tiles stay at or below 1.05
and full attention is above 1.8. Writes benchmarks/results/scaling_law.json and .png.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiled import core_seconds, gflop, stitched

from orbit2.config.network import ArchitectureConfig
from orbit2.files import write_json
from orbit2.grid import uniform
from orbit2.model.reslim import Reslim
from orbit2.model.tiles import tiles
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
SIDES, QUICK = (32, 48, 64, 96, 128, 192, 256, 320), (32, 48, 64)
CORE, HALO, PATCH, TOGETHER = 16, 4, 2, 4
MOST, BENT = 1.05, 1.8
STATICS = ("orography", "land_sea_mask")
INPUTS = (*(f"variable_{i}" for i in range(5)), *STATICS)
OUTPUTS = INPUTS[:3]


def model_of(device: str = "cpu") -> Reslim:
    torch.manual_seed(0)
    with torch.device(device):
        config = ArchitectureConfig(embed_dim=64, depth=6, heads=1, decoder_depth=2, patch=PATCH)
        return Reslim(config, INPUTS, OUTPUTS, STATICS).eval().requires_grad_(False)


def measure(sides: tuple[int, ...], turns: int) -> list[dict[str, Any]]:
    """Per size and side: core seconds and counted operations."""
    model, plain = model_of(), model_of("meta")
    rows = []
    for side in sides:
        grid = uniform(-60, 60, 0, 120, side, side)
        fields, statics = torch.randn(len(INPUTS), side, side), torch.randn(len(STATICS), 4 * side, 4 * side)
        ways = {"tiles": tiles(grid.shape, False, CORE, HALO, PATCH), "full": tiles(grid.shape, False, 0, 0)}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        with torch.inference_mode():
            for turn in range(turns + (side == sides[0])):
                for name, tiling in ways.items():
                    together = TOGETHER if name == "tiles" else 1
                    seconds = core_seconds(lambda: stitched(model, fields, statics, grid, tiling, together), 0.5)  # noqa: B023
                    if turn or side != sides[0]:  # the very first warms up
                        taken[name].append(seconds)
        rows.append({"cells": side * side, "tokens": side * side // PATCH**2, "count": len(ways["tiles"])} | {
            name: {"core_seconds": float(np.median(taken[name])), "gflop": gflop(plain, tiling)} for name, tiling in ways.items()})
        show(rows)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The newest row, with the local exponents since the one before."""
    if len(rows) == 1:
        print(f"{'cells':>8}{'tokens':>8}{'tiles':>7}{'tiled s':>10}{'full s':>10}{'full/tiled':>12}{'exponent tiled':>16}{'full':>7}"
              f"{'GFLOP tiled':>13}{'full':>9}")
    row = rows[-1]
    local = [local_exponent(rows[-2:], name) for name in ("tiles", "full")] if len(rows) > 1 else [float("nan")] * 2
    tiled, full = row["tiles"], row["full"]
    print(f"{row['cells']:>8,}{row['tokens']:>8,}{row['count']:>7}{tiled['core_seconds']:>10.3f}{full['core_seconds']:>10.3f}"
          f"{full['core_seconds'] / tiled['core_seconds']:>12.2f}{local[0]:>16.2f}{local[1]:>7.2f}"
          f"{tiled['gflop']:>13.1f}{full['gflop']:>9.1f}", flush=True)


def local_exponent(rows: list[dict[str, Any]], name: str) -> float:
    """Slope of log time over log N, least squares."""
    size, seconds = (np.log([row["cells"] for row in rows]), np.log([row[name]["core_seconds"] for row in rows]))
    return float(np.polyfit(size, seconds, 1)[0])


def plot(rows: list[dict[str, Any]], exponents: dict[str, float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cells = np.array([row["cells"] for row in rows], dtype=np.float64)
    figure, ax = plt.subplots(figsize=(6.4, 4.4), dpi=160, layout="constrained")
    for name, label, colour, marker in (
        ("full", f"attention over everything: N^{exponents['full']:.2f} at the largest three", "#0072B2", "s"),
        ("tiles", f"tiles of {CORE} x {CORE}, halo {HALO}: N^{exponents['tiles']:.2f}", "#D55E00", "o"),
    ):
        seconds = np.array([row[name]["core_seconds"] for row in rows])
        ax.loglog(cells, seconds, marker=marker, color=colour, label=label)
        power = 1.0 if name == "tiles" else 2.0
        ax.loglog(cells, seconds[-1] * (cells / cells[-1]) ** power, color=colour, linewidth=0.8, linestyle=":",
                  label=f"slope {power:.0f}")
    ax.set_ylim(bottom=min(row[name]["core_seconds"] for row in rows for name in ("tiles", "full")) / 3)
    ax.set(xlabel="coarse cells N of the domain", ylabel="core seconds of one prediction, one thread")
    ax.set_title("Cost against size, same model", loc="left", fontsize=11, fontweight="bold")
    ax.grid(True, which="major", color="#e6eaee")
    ax.legend(frameon=False, fontsize=8.5)
    figure.savefig(path)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three small domains, one turn; judges and writes nothing")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scaling_law.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(QUICK if arguments.quick else SIDES, 1 if arguments.quick else arguments.turns)
    exponents = {"tiles": local_exponent(rows, "tiles"), "full": local_exponent(rows[-3:], "full")}
    print(f"exponent: tiles {exponents['tiles']:.3f} over {rows[-1]['cells'] / rows[0]['cells']:.0f} times the cells, "
          f"full attention {exponents['full']:.3f} over the largest three")
    if arguments.quick:
        print("quick: nothing is judged or written")
        return 0
    held = exponents["tiles"] <= MOST and exponents["full"] >= BENT
    print(f"claim (tiles at most {MOST}, full attention at least {BENT}): {'holds' if held else 'DOES NOT HOLD'}")
    write_json(arguments.out, {
        "code_version": code_version(), "torch": torch.__version__, "processor": torch.backends.cpu.get_cpu_capability(), "threads": 1,
        "times": "core seconds, medians over turns; the machine was busy with other work", "turns": arguments.turns,
        "core": CORE, "halo": HALO, "batch": TOGETHER, "parameters": sum(p.numel() for p in model_of("meta").parameters()),
        "rows": rows, "exponents": exponents, "holds": held,
    })
    plot(rows, exponents, arguments.out.with_suffix(".png"))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
