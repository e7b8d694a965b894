"""Two optimiser steps of a tiny run on any mesh: losses, norms, gradients, weights and their average, whole, for comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.parallel.launch import Ranks
from orbit2.parallel.sharded import gather, scatter
from orbit2.train.average import Average
from orbit2.train.build import Setup
from orbit2.train.taken import optimise
from orbit2.train.validation import validate_model
from tests.data.small_ranks import forked_ranks
from tests.data.tiny_training import Tiny

STEPS = 2
ARCHITECTURE = {"embed_dim": 16, "depth": 2, "heads": 4, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1}


@dataclass(frozen=True)
class Case:
    """A run: the mesh and other settings of `train`, of the architecture; `sets`: two datasets with other variables; `scored`: the average
    is validated before every step."""

    name: str
    train: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    sets: bool = False
    scored: bool = False


def setup(case: Case, tiny: Tiny, both: Mapping[str, Any], folder: Path, rank: int, world: int) -> Setup:
    """The run of a case, its weights moved away from where they start: layers that begin at zero would hide errors."""
    settings = {"batch_size": 4, "augment": False, "tv_weight": 0.5, "clip": 0.5, "ema": 0.9, **case.train}
    if world == 1:
        settings = {key: value for key, value in settings.items() if key not in ("mesh", "checkpointing", "accumulate")}
    if case.sets:
        from tests.data.variable_sets import section as of_sets

        section = of_sets(**settings)
        stores, facts = ({name: getattr(made, key) for name, made in both.items()} for key in ("store", "statistics"))
    else:
        section = json.loads(tiny.slice(folder / f"{case.name}-{rank}.json", **settings).read_text())
        stores, facts = {"tiny": tiny.store}, {"tiny": tiny.statistics}
    section["architecture"] = {**ARCHITECTURE, **case.architecture}
    section["model"]["architecture"] = section["architecture"]
    torch.manual_seed(0)
    made = Setup(section, validate(ModelConfig, section["model"], case.name), stores, facts, None, Ranks(rank, world, torch.device("cpu")))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in made.model.parameters():
            scatter(gather(parameter) + 0.1 * torch.randn(parameter.shape), parameter)
    made.average = Average(made.model, made.config.ema)
    return made


def steps(case: Case, tiny: Tiny, both: Mapping[str, Any], folder: Path, rank: int = 0, world: int = 1) -> dict[str, Any]:
    made = setup(case, tiny, both, folder, rank, world)
    records, gradients, scores = [], [], list[Any]()
    for step in range(STEPS):
        if case.scored:
            with made.average.swapped():
                scores.append(validate_model(made.model, made.validation, made.dtype, made.mesh, made.cutting, samples=2))
        records.append(optimise(made, made.steps[step], step))
        gradients.append({n: gather(p.grad) for n, p in made.model.named_parameters() if p.grad is not None})
    return {
        "records": records,
        "scores": [score["validation_loss"] for score in scores],
        "gradients": gradients,
        "weights": {n: gather(p.detach()).clone() for n, p in made.model.named_parameters()},
        "average": {n: gather(v).clone() for n, v in made.average.values.items()},
        "local": sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in made.model.parameters()),
    }


def _rank(rank: int, world: int, cases: list[Case], tiny: Tiny, both: Mapping[str, Any], folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        for case in cases:
            found = steps(case, tiny, both, folder, rank, world)
            if rank in (0, world - 1):
                torch.save(found, folder / f"{case.name}-rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def spread(cases: list[Case], world: int, tiny: Tiny, both: Mapping[str, Any], folder: Path) -> None:
    """Every case on `world` gloo ranks; the first and the last rank's results as files `<case>-rank<n>.pt`."""
    codes, _ = forked_ranks(lambda rank: _rank(rank, world, cases, tiny, both, folder), world)
    assert codes == [0] * world


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    """What of `found` is not `expected` within float32's noise, relative 1e-5; None when all is."""
    for step, (a, b) in enumerate(zip(found["records"], expected["records"], strict=True)):
        for key in ("loss", "data_term", "prior", "gradient_norm"):
            if abs(a[key] - b[key]) > 1e-5 * max(abs(b[key]), 1e-6):
                return f"{key} of step {step}: {a[key]} instead of {b[key]}"
    for step, (mine, theirs) in enumerate(zip(found["gradients"], expected["gradients"], strict=True)):
        if wrong := _apart(mine, theirs, 1e-5 if step == 0 else 1e-4):
            return f"gradient of step {step}: {wrong}"
    for step, (a, b) in enumerate(zip(found["scores"], expected["scores"], strict=True)):
        if not abs(a - b) <= 1e-5 * b:
            return f"score before step {step}: {a} instead of {b}"
    for what in ("weights", "average"):
        if wrong := _apart(found[what], expected[what], 1e-5):
            return f"{what}: {wrong}"
    return None


def _apart(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], relative: float) -> str | None:
    if set(found) != set(expected):
        return f"other names: {sorted(set(found) ^ set(expected))}"
    whole = torch.cat([v.flatten() for v in expected.values()]).norm()
    for name, value in expected.items():
        if found[name].shape != value.shape:
            return f"{name} has shape {list(found[name].shape)} instead of {list(value.shape)}"
        error = (found[name] - value).norm()
        if not bool(error <= relative * torch.maximum(value.norm(), 1e-2 * whole)):
            return f"{name} is {float(error / value.norm()):.2g} (relative) apart"
    return None
