"""The networks of results/h200.json: their steps' operators as they were when they were measured, and as they are today.

    .venv/bin/python benchmarks/measured.py [--write]

Shares of a data sheet (orbit2.plan.time) are known from steps that were measured once; the network has changed since. So what those steps
computed and moved is kept beside their times, in results/h200_steps.json: rehearsed as `orbit2 plan` does it, in the last version that
was the measured one's equal. Prints both, then and now. `--write`: after a new measurement, of the version that was measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch

from orbit2.config.load import read_yaml, validate
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.files import write_text
from orbit2.grid import Grid, global_grid
from orbit2.model.build import Downscaling, build
from orbit2.parallel.mesh import Sizes
from orbit2.plan.operators import Operator
from orbit2.plan.rehearse import Rehearsal, rehearse, rehearse_prediction
from orbit2.provenance import code_version
from orbit2.variables import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RECORD, STEPS = RESULTS / "h200.json", RESULTS / "h200_steps.json"
STATICS = ("land_sea_mask", "orography", "latitude", "landcover")
DYNAMIC = tuple(name for name, facts in VARIABLES.items() if facts.kind != "static")
HALO = 4  # coarse cells
Case = tuple[str, str, int]  # network, side, global samples in a step


def model_of(size: str, outputs: int = 3, compression: int = 0, kind: str = "reslim") -> Downscaling:
    """A published size on the meta device, of 23 inputs; a ViT is of the same width, depth and heads."""
    section = read_yaml(ROOT / "config" / "models" / f"reslim_{size}.yaml")
    if kind == "vit":
        section = {**section, "kind": "vit", "decoder_depth": 0}
    if compression:
        section["compression"] = {"mode": "budget", "ratio": compression}
    with torch.device("meta"):
        return build(validate(ArchitectureConfig, section, size), (*DYNAMIC[:19], *STATICS), DYNAMIC[:outputs], STATICS)


def window(grid: Grid, tiles: int) -> Grid:
    """One of `tiles` windows of `grid` with its halo: as many along both sides."""
    side = round(tiles**0.5)
    if side == 1:
        return grid
    rows, columns = (-(-size // side) + 2 * HALO for size in grid.shape)
    return grid.crop(slice(0, rows + rows % 2), slice(0, columns + columns % 2))


def step(
    model: Downscaling, grid: Grid, mesh: Sizes = Sizes(), *, tiles: int = 1, together: int = 1, parts: int = 1, keep: str = "none"
) -> Rehearsal:
    """A rank's training step in bf16: `parts` parts of `together` samples, or windows of samples cut in `tiles`."""
    settings: dict[str, Any] = {"accumulate": parts, "checkpointing": keep, **({"tile": 64} if tiles > 1 else {})}
    train = TrainConfig(**settings)
    return rehearse(model, train, mesh, window(grid, tiles), together, dtype=torch.bfloat16, gpu=True)


def record() -> dict[str, Any]:
    """What was measured."""
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def cases(measured: dict[str, Any], way: str = "eager") -> Iterator[tuple[Case, float]]:
    """Steps of up to 8 samples, run in this `way`, and their milliseconds a sample."""
    for row in measured["rows"]:
        if row["way"] == way and row["batch"] <= 8:
            yield (row["network"], row["side"], row["batch"]), row["ms_per_sample"]


def today(network: str, side: str, batch: int) -> Rehearsal:
    """A step, or a pass, of `batch` global samples in bf16, of this code."""
    ratio = int(network.removeprefix("compression ")) if "compression" in network else 0
    model, grid = model_of("9m", compression=ratio), global_grid(1.0)
    if network == "16 tiles":
        grid, batch = grid.crop(slice(0, 45), slice(0, 90)), 16 * batch
    elif network.startswith("16 tiles"):
        grid, batch = window(grid, 16), 16 * batch
    if side == "training":
        return step(model, grid, together=batch)
    return rehearse_prediction(model, grid, batch, torch.bfloat16, gpu=True)


def then(network: str, side: str, batch: int) -> Rehearsal:
    """The same as it was when it was measured: its operators; memory is not kept. Raises KeyError for a step that was not measured."""
    kept = json.loads(STEPS.read_text(encoding="utf-8"))["steps"][named((network, side, batch))]
    return Rehearsal(Sizes(), {}, tuple(Operator(*each) for each in kept), (), 0, 0, 0, 0, 0, 0, 0, 0, batch)


def named(case: Case) -> str:
    return f"{case[0]}, {case[1]}, batch {case[2]}"


def moved(operators: Sequence[Operator]) -> int:
    """Bytes that operators read and write."""
    return sum(one.count * (one.read + one.written) for one in operators)


def write() -> None:
    """Keep the steps of this code, an operator a line."""
    blocks = []
    for case, _ in cases(record()):
        lines = ",\n   ".join(json.dumps(astuple(one)) for one in today(*case).operators)
        blocks.append(f'  {json.dumps(named(case))}: [\n   {lines}\n  ]')
    head = f' "code_version": {json.dumps(code_version())},\n "fields": {json.dumps([*Operator.__dataclass_fields__])},\n'
    write_text(STEPS, f'{{\n{head} "steps": {{\n' + ",\n".join(blocks) + "\n }\n}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep this code's steps as those that were measured")
    if parser.parse_args().write:
        write()
    print(f"{'step':42s} {'operators':>16s} {'GB a sample':>16s} {'GFLOP a sample':>16s}   then, now")
    for case, _ in cases(record()):
        pair = [then(*case), today(*case)]
        columns = ([f"{sum(one.count for one in each.operators)}" for each in pair],
                   [f"{moved(each.operators) / case[2] / 1e9:.2f}" for each in pair],
                   [f"{each.flops / case[2] / 1e9:.0f}" for each in pair])  # fmt: skip
        print(f"{named(case):42s} " + " ".join(f"{', '.join(each):>16s}" for each in columns), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
