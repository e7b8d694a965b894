"""A step on tiles is the same step on one rank and on two, in loss and in every gradient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.parallel.launch import Ranks
from orbit2.parallel.sharded import gather, scatter
from orbit2.signals import StopRequest
from orbit2.train.build import Setup
from orbit2.train.taken import optimise
from orbit2.train.validation import validate_model
from tests.data.small_ranks import forked_ranks
from tests.data.tiny_training import Tiny, batch_of, build

pytestmark = pytest.mark.parallel


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


def step(rank: int, world: int, tiny: Tiny, folder: Path) -> dict[str, Any]:
    """One optimiser step on this rank's share of three samples' tiles; the gradients as they were added over ranks."""
    torch.set_num_threads(1)
    section = json.loads((folder / "config.json").read_text())
    torch.manual_seed(0)
    config = validate(ModelConfig, section["model"], folder)
    made = Setup(section, config, {"tiny": tiny.store}, {"tiny": tiny.statistics}, None, Ranks(rank, world, torch.device("cpu")))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in made.model.parameters():
            scatter(gather(parameter) + 0.1 * torch.randn(parameter.shape), parameter)
    batch = batch_of(made.steps, 0)
    for k, sample in enumerate(batch.samples):  # unequal masks: tiles lose cells by their sample's hour, whoever has them
        batch.fine[k, 0, : 4 * int(sample[len("tiny:2026-01-01T") :][:2])] = torch.nan
    made.model.eval()
    stopped = StopRequest()
    stopped._reason = "SIGUSR1" if rank else None
    validated = {  # five samples: three items for the first rank, two and an empty one for the second
        "score": validate_model(made.model, made.training, None, made.mesh, samples=5),
        "tiles": validate_model(made.model, made.training, None, made.mesh, made.cutting, samples=5),
        "stopped": world > 1 and validate_model(made.model, made.training, None, made.mesh, samples=5, stop=stopped),
    }
    record = optimise(made, batch, 0)
    gradients = {name: gather(p.grad) for name, p in made.model.named_parameters() if p.grad is not None}
    return {"record": record, "gradients": gradients, "samples": batch.samples, "validated": validated}


def rank_of_two(rank: int, tiny: Tiny, folders: list[Path]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folders[0]}/meet", rank=rank, world_size=2)
    try:
        for folder in folders:
            torch.save(step(rank, 2, tiny, folder), folder / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folders(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Configurations by name, the two ranks' steps beside them."""
    made = {}
    for name, compression in (("plain", {"mode": "off"}), ("compressed", {"mode": "budget", "ratio": 4, "max_leaf": 4})):
        made[name] = tmp_path_factory.mktemp(name)
        settings = {"tile": [5, 7], "halo": 2, "tiles_per_sample": 4, "tv_weight": 0.5, "clip": 1e9}
        path = tiny.slice(made[name] / "config.json", **settings)
        section = json.loads(path.read_text())
        section["architecture"] |= {"dropout": 0.0, "drop_path": 0.0, "conserve": True, "compression": compression}
        section["model"]["architecture"] = section["architecture"]
        path.write_text(json.dumps(section))
    codes, _ = forked_ranks(lambda rank: rank_of_two(rank, tiny, list(made.values())))
    assert codes == [0, 0]
    return made


def test_ranks_with_unequal_shares_validate_alike_and_stop_together(tiny: Tiny, folders: dict[str, Path]) -> None:
    alone = step(0, 1, tiny, folders["plain"])["validated"]
    first, second = (torch.load(folders["plain"] / f"rank{rank}.pt", weights_only=False)["validated"] for rank in range(2))
    for way in ("score", "tiles"):
        assert first[way] == second[way] and first[way]["validation_ratio"] == pytest.approx(alone[way]["validation_ratio"], rel=1e-6)
    assert first["stopped"] is second["stopped"] is None  # the signal came to the second alone


@pytest.mark.parametrize("kind", ["plain", "compressed"])
def test_two_ranks_add_up_to_the_step_of_one(tiny: Tiny, folders: dict[str, Path], kind: str) -> None:
    alone = step(0, 1, tiny, folders[kind])
    first, second = (torch.load(folders[kind] / f"rank{rank}.pt", weights_only=False) for rank in range(2))
    assert sorted(first["samples"] + second["samples"]) == sorted(alone["samples"]) and len(alone["samples"]) == 12
    assert not set(first["samples"]) & set(second["samples"])  # a sample's tiles stay together
    for key in ("loss", "data_term", "prior"):
        assert first["record"][key] == pytest.approx(alone["record"][key], rel=1e-6) and alone["record"][key] > 0
    assert first["record"] == second["record"]
    norm = torch.cat([g.flatten() for g in alone["gradients"].values()]).norm()
    error = torch.cat([(g - alone["gradients"][name]).flatten() for name, g in first["gradients"].items()]).norm()
    assert float(norm) > 0 and float(error) < 1e-6 * float(norm)
    for name, gradient in alone["gradients"].items():
        assert torch.equal(first["gradients"][name], second["gradients"][name])
        assert float((gradient - first["gradients"][name]).norm()) <= 1e-5 * max(float(gradient.norm()), 1e-3 * float(norm)), name
