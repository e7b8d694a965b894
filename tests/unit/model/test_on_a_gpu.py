"""What only a GPU can show (`pytest -m gpu`, benchmarks/gpu_check.sh): its numbers are a processor's, and its host waits for nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from orbit2.grid import global_grid
from orbit2.model.compiled import compile_model
from orbit2.model.geometry import Geometry
from orbit2.model.precision import rounded
from orbit2.model.replayed import replay_model
from orbit2.model.reslim import Reslim
from tests.data.small_models import INPUTS, batch_for, demo_model, wake
from tests.data.tiny_training import build

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
GPU, HALF = torch.device("cuda"), torch.bfloat16
CASES: list[dict[str, Any]] = [{}, {"conserve": True}, {"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}]


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def batch(masked: bool = False) -> tuple[Tensor, Tensor, Geometry]:
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    if masked:
        coarse[0, 0, :3, :4] = torch.nan
    return coarse, statics, geometry


def there(given: tuple[Tensor, Tensor, Geometry]) -> tuple[Tensor, Tensor, Geometry]:
    return given[0].to(GPU), given[1].to(GPU), given[2].to(GPU)


def model_of(changes: dict[str, Any]) -> Reslim:
    torch.manual_seed(0)
    return wake(demo_model(time_embedding=False, **changes)).eval()


@pytest.mark.parametrize("changes", CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_step_is_the_processors(changes: dict[str, Any], masked: bool) -> None:
    here, away = model_of(changes), model_of(changes).to(GPU)
    results = [here(*batch(masked), INPUTS), away(*there(batch(masked)), INPUTS)]
    assert (results[0] - results[1].cpu()).abs().max() < 1e-4
    for result in results:
        result.square().mean().backward()
    for (name, a), b in zip(here.named_parameters(), away.parameters(), strict=True):
        assert a.grad is None or b.grad is None or (a.grad - b.grad.cpu()).abs().max() < 1e-4 * (1 + a.grad.abs().max()), name


@pytest.mark.parametrize("changes", CASES)
def test_between_rooms_is_bfloat16(changes: dict[str, Any]) -> None:
    model, seen = model_of(changes).to(GPU), dict[str, torch.dtype]()

    def note(name: str) -> Any:
        def hook(_: Any, given: Any, result: Any) -> None:
            if isinstance(result, Tensor) and result.numel() > 1000:
                seen[name] = result.dtype
        return hook

    for name, module in model.named_modules():
        if name and "compression" not in name:
            module.register_forward_hook(note(name))
    with torch.autocast("cuda", HALF):
        half = model(*there(batch()), INPUTS)
    assert {name for name, dtype in seen.items() if dtype != HALF} == set() and seen
    exact = model_of(changes).to(GPU)(*there(batch()), INPUTS)
    bound = 0.1 if "compression" in changes else 0.02  # a leaf may be another one
    assert (half - exact).pow(2).mean().sqrt() < bound * exact.std()


@pytest.mark.parametrize("changes", CASES)
def test_compiled_and_replayed_predictions_are_the_eager_ones(changes: dict[str, Any]) -> None:
    eager, fast = model_of(changes).to(GPU), model_of(changes).to(GPU)
    rounded(eager, HALF)
    rounded(fast, HALF)
    replayed = copy.deepcopy(fast)
    compile_model(fast, "on", GPU)
    replay_model(replayed, GPU, HALF)
    with torch.no_grad(), torch.autocast("cuda", HALF):
        for _ in range(2):
            results = [model(*there(batch()), INPUTS) for model in (eager, fast, replayed)]
            assert torch.equal(results[2], results[0])
            assert (results[1] - results[0]).abs().max() < 0.03 * results[0].std()


@contextmanager
def unwaited() -> Iterator[None]:
    """Within it torch itself raises where the host would wait for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_step_waits_for_nothing(tmp_path: Path) -> None:
    """From batches as a loader pins them, also in places that were not seen before."""
    from orbit2.train.taken import read, take
    from tests.unit.train.test_no_waiting import setup

    made = setup(build(tmp_path), tmp_path, {"tv_weight": 0.1, "augment": True}, {"time_embedding": True}, GPU)
    batches = [[part.pin_memory() for part in made.steps[step]] for step in range(6)]
    taken = [take(made, batches[0], 0)]  # kernels are chosen
    with unwaited():
        taken += [take(made, one, step) for step, one in enumerate(batches[1:], 1)]
    assert all(record["loss"] > 0 for record in read(taken))


@pytest.mark.parametrize("graphs", [False, True])
def test_a_prediction_waits_for_nothing(tmp_path: Path, graphs: bool) -> None:
    """Of the reader's arrays, on tiles that were not seen before; who writes waits."""
    from orbit2.downscale.cut import HostInputs
    from orbit2.downscale.predictor import Downscaler, loaded
    from tests.data.small_downscaling import random_model

    made, grid = loaded(Downscaler, random_model(tmp_path / "model"), GPU, "bf16"), global_grid(15.0)
    if graphs:
        replay_model(made.model, GPU, made.dtype)
    names, time = made.inputs, np.array(["2026-01-01T06", "2026-01-01T07"], "datetime64[s]")
    tiling = made.tiling(grid, 6, 2)
    fields = np.full((2, len(names), *tiling.padded), 270.0, dtype=np.float32)
    statics = np.zeros((len(made.model.statics), *(made.refinement * side for side in tiling.padded)), dtype=np.float32)
    found = []

    def submit(tile: int) -> None:
        view = made.view(names, statics, grid, tiling[tile])
        found.append(made.submit(HostInputs.of(torch.from_numpy(fields).pin_memory()), view, tiling.kept(tile), time, 2))

    for _ in range(2):
        submit(0)  # kernels are chosen, graphs are made
    with unwaited():
        for tile in (1, 2):
            submit(tile)
    assert all(np.isfinite(each.array()).all() and each.seconds(-1.0) > 0 for each in found)


@pytest.mark.parametrize("architecture", [{}, {"dropout": 0.1, "drop_path": 0.1}, CASES[2]])
def test_replayed_steps_are_the_eager_ones(tmp_path: Path, architecture: dict[str, Any]) -> None:
    """Graphs of training, with the same random numbers, and on weights that have moved since."""
    from orbit2.train.taken import read, take
    from tests.unit.train.test_no_waiting import setup

    tiny, found = build(tmp_path), []
    settings = {"precision": "bf16", "deterministic": False, "accumulate": 3}
    for graphs in (False, True):
        torch.manual_seed(0)
        made = setup(tiny, tmp_path / str(graphs), {**settings, "cuda_graphs": graphs}, architecture, GPU)
        records = read([take(made, made.steps[number], number) for number in range(6)])
        assert (made.replays is not None and len(made.replays.kept) > 0) == graphs
        found.append([record["loss"] for record in records] + [record["gradient_norm"] for record in records])
    torch.testing.assert_close(torch.tensor(found[1]), torch.tensor(found[0]), rtol=2e-3, atol=1e-5)  # sums without an order


def test_a_compiled_run_on_the_device_from_end_to_end(tmp_path: Path) -> None:
    """Compiled, stopped, resumed and predicted with: the model folder is whole."""
    from orbit2.downscale.predictor import Downscaler, loaded
    from orbit2.train import trainer

    tiny = build(tmp_path)
    for steps in (4, 8):
        settings = {"compile": "on", "cuda_graphs": steps == 8}
        trainer.run(config=tiny.slice(tmp_path / "config.json", steps=steps, validate_every=4, checkpoint_every=4, **settings),
                    stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=tmp_path / f"model{steps}",
                    checkpoints=tmp_path / f"checkpoints{steps}", device="cuda")  # fmt: skip
    made = loaded(Downscaler, tmp_path / "model8", GPU, "bf16")
    assert made.dtype == HALF and next(iter(made.model.parameters())).device.type == "cuda"


def test_what_is_computed_there_is_written_by_other_processes(tmp_path: Path) -> None:
    """Forked from a process that has a GPU: the same bits, also replayed and rounded."""
    from orbit2.downscale import run
    from tests.data.small_downscaling import arguments, random_model, shards, task

    tiny, model, found = build(tmp_path), random_model(tmp_path / "model"), []
    cut = {"tile": [6, 8], "halo": 2, "time_block": 4, "batch": 4, "stored": "rounded", "cuda_graphs": True}
    for writers in (1, 3):
        out = tmp_path / str(writers) / "p.zarr"
        out.parent.mkdir()
        run(**arguments(tiny, model, task(tmp_path / f"{writers}.json", **cut, writers=writers), out), device="cuda")
        found.append(shards(out))
    assert found[0] == found[1] and len(found[0]) > 20
