"""A run that goes on with another number of ranks, on another mesh, is the same run: samples, losses, the delivered weights."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file

from orbit2.errors import Interrupted
from orbit2.train import run, trainer
from tests.data.tiny_training import Tiny, build

pytestmark = pytest.mark.parallel
STEPS = 10
PARTS = [(4, {"ddp": 2, "fsdp": 2}, 4), (2, {"fsdp": 2}, 7), (3, {"ddp": 3}, STEPS)]  # ranks, their mesh, the step that they reach


def part(rank: int, world: int, mesh: Mapping[str, int], until: int, tiny: Tiny, folder: Path, port: int) -> None:
    """Train on to step `until`, then get the signal that a cluster sends; note which samples this rank has seen."""
    if world > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost",
                       "MASTER_PORT": str(port)}  # fmt: skip
    config = tiny.slice(folder / f"{world}-{rank}" / "config.json", steps=STEPS, batch_size=4, validate_every=3, mesh=dict(mesh), workers=0)
    section = json.loads(config.read_text())
    for architecture in (section["architecture"], section["model"]["architecture"]):  # what is drawn differs with the ranks
        architecture.update(dropout=0.0, drop_path=0.0)
    config.write_text(json.dumps(section))
    original, seen = trainer.optimise, {}

    def optimise(setup: Any, batches: Any, step: int) -> dict[str, Any]:
        seen[step] = [name for batch in batches for name in batch.samples]
        record = original(setup, batches, step)
        if step + 1 == until < STEPS and rank == world - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return record

    trainer.optimise = optimise
    try:
        run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=folder / "model",
            checkpoints=folder / "checkpoints")  # fmt: skip
        assert until == STEPS
    except Interrupted:
        assert until < STEPS
    (folder / f"seen-{until}-{rank}.json").write_text(json.dumps(seen))


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_four_then_two_then_three_ranks_are_one_run(tmp_path: Path) -> None:
    tiny = build(tmp_path)
    alone, changed = tmp_path / "alone", tmp_path / "changed"
    mp.start_processes(part, (1, {}, STEPS, tiny, alone, 0), nprocs=1, start_method="spawn")
    for world, mesh, until in PARTS:
        mp.start_processes(part, (world, mesh, until, tiny, changed, free()), nprocs=world, start_method="spawn")
    expected: dict[str, list[str]] = json.loads((alone / f"seen-{STEPS}-0.json").read_text())
    found: dict[str, list[str]] = {}
    for world, _, until in PARTS:
        for rank in range(world):
            for step, names in json.loads((changed / f"seen-{until}-{rank}.json").read_text()).items():
                found.setdefault(step, []).extend(names)
    assert {step: sorted(names) for step, names in found.items()} == {step: sorted(names) for step, names in expected.items()}
    curves = [[json.loads(line) for line in (folder / "model" / "metrics.jsonl").read_text().splitlines()] for folder in (alone, changed)]
    for key in ("loss", "validation_loss"):
        one, other = ({record["step"]: record[key] for record in curve if key in record} for curve in curves)
        assert one and other == pytest.approx(one, rel=1e-5)
    weights = [load_file(folder / "model" / "weights.safetensors") for folder in (alone, changed)]
    assert all(torch.allclose(weights[1][name], value, rtol=1e-4, atol=1e-5) for name, value in weights[0].items())
