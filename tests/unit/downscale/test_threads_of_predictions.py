"""The threads of predictions are those that one window's pass is worth, whichever way it is reached, and afterwards what they were."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.downscale import Settings, downscale_file, load_model, passes, run
from orbit2.downscale.predictor import Downscaler
from orbit2.errors import Interrupted
from orbit2.grid import global_grid
from orbit2.model import threads
from orbit2.model.inspect import build
from orbit2.plan.rehearse import rehearse_prediction
from orbit2.signals import StopRequest
from tests.data.scripts import ROOT
from tests.data.small_downscaling import arguments, random_model, shards, task
from tests.data.tiny_training import Tiny

CUT = {"tile": [6, 12], "halo": 2, "time_block": 6}  # windows of 10 x 16 cells
WINDOW = (10, 16)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has noise, but need not be asked for members."""
    return random_model(tmp_path_factory.mktemp("model"), noise={"channels": 2})


@pytest.fixture(scope="module")
def mine(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two times as a user's file."""
    path = tmp_path_factory.mktemp("mine") / "in.nc"
    PairStore(tiny.store).dataset("coarse").isel(time=slice(0, 2)).load().drop_encoding().to_netcdf(path)
    return path


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """As if a processor of three cores were there; nothing has changed that afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        yield
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that torch had at each pass."""
    found: list[int] = []
    deliver: Callable[..., Any] = Downscaler.delivered

    def delivered(*given: Any) -> Any:
        found.append(torch.get_num_threads())
        return deliver(*given)

    monkeypatch.setattr(Downscaler, "delivered", delivered)
    return found


def worth(monkeypatch: pytest.MonkeyPatch, model: Path, count: float, shape: tuple[int, int] = WINDOW) -> None:
    """A pass of one window is worth `count` threads."""
    monkeypatch.setattr(threads, "EACH", passes.of_window(load_model(model, "cpu").model, shape)[0] / count)


@pytest.mark.parametrize(("count", "expected"), [(0.4, 1), (1.6, 1), (2.1, 2), (50.0, 3)])
def test_one_window_decides_and_the_record_says_so(
    tiny: Tiny, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[int], count: float, expected: int
) -> None:
    """Batches of 6 windows compute six times as much."""
    worth(monkeypatch, drawn, count)
    for batch in (1, 6):
        out = tmp_path / f"{batch}.zarr"
        run(**arguments(tiny, drawn, task(tmp_path / "c.json", batch=batch, **CUT), out))
        (one,) = json.loads(out.with_suffix(".timing.json").read_text())["tries"]
        assert one["threads"] == expected and set(seen) == {expected}


@pytest.mark.parametrize(("count", "chosen"), [(1.2, 1), (2.2, 2)])
def test_bits_are_those_of_the_chosen_threads_whatever_a_batch_or_a_block_holds(
    tiny: Tiny, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: float, chosen: int
) -> None:
    """Batches of four times and of the two that are left; blocks that cut the work elsewhere, one of them in two tries."""
    worth(monkeypatch, drawn, count)
    config = task(tmp_path / "c.json", batch=4, **CUT)
    run(**arguments(tiny, drawn, config, tmp_path / "whole.zarr"))
    given = arguments(tiny, drawn, config, tmp_path / "blocks.zarr")
    run(**given, block="init", receipt=tmp_path / "r.json")
    seen = iter(range(100))
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "__bool__", lambda _: next(seen) > 0)
        with pytest.raises(Interrupted):
            run(**given, block="0/3", receipt=tmp_path / "r.json")
    for block in ("0/3", "1/3", "2/3", "finalise"):
        run(**given, block=block, receipt=tmp_path / "r.json")
    monkeypatch.setattr(threads, "EACH", 1.0)  # all that there are
    with threads.taking(chosen):
        run(**arguments(tiny, drawn, config, tmp_path / "given.zarr"))
    expected = shards(tmp_path / "given.zarr")
    assert shards(tmp_path / "whole.zarr") == expected and shards(tmp_path / "blocks.zarr") == expected


def test_blocks_and_members_of_any_number_take_the_same(
    tiny: Tiny, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[int]
) -> None:
    worth(monkeypatch, drawn, 2.4)
    for members in (1, 5):
        config = task(tmp_path / "c.json", last="01", members=members, **CUT)
        given = arguments(tiny, drawn, config, tmp_path / f"{members}.zarr")
        for block in ("init", "0/2", "1/2", "finalise"):
            run(**given, block=block, receipt=tmp_path / "r.json")
    assert len(seen) == 2 * 4 * (1 + 5) and set(seen) == {2}


@pytest.mark.parametrize("members", [0, 2])
def test_files_and_python_take_what_tasks_take(
    drawn: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[int], members: int
) -> None:
    worth(monkeypatch, drawn, 2.4)
    downscale_file(input=mine, model=drawn, out=tmp_path / "out.nc", settings=Settings(tile=(6, 12), halo=2, members=members))
    model, cut = load_model(drawn, "cpu"), {"tile": (6, 12), "halo": 2, "members": members}
    made = model.downscale(mine, **cut)
    lazy = model.downscale(mine, lazy=True, **cut)
    assert all(np.array_equal(made[name], lazy[name].values) for name in made.data_vars)  # another thread makes these
    lazy.close()
    assert set(seen) == {2}
    worth(monkeypatch, drawn, 2.4, (12, 24))
    seen.clear()
    model.downscale(mine, members=members)  # in one piece
    assert set(seen) == {2}


@pytest.mark.parametrize("fails", [True, False])
def test_an_end_before_time_leaves_the_threads_as_they_were(
    tiny: Tiny, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The fixture looks at them."""
    worth(monkeypatch, drawn, 2.4)
    given = arguments(tiny, drawn, task(tmp_path / "c.json", **CUT), tmp_path / "p.zarr")
    if fails:

        def broken(*_: Any) -> None:
            assert torch.get_num_threads() == 2
            raise ValueError("broken")

        monkeypatch.setattr(Downscaler, "delivered", broken)
        with pytest.raises(ValueError, match="broken"):
            run(**given)
        with pytest.raises(ValueError, match="broken"):
            load_model(drawn, "cpu").downscale(PairStore(tiny.store).dataset("coarse").isel(time=[0]).load(), tile=(6, 12), halo=2)
    else:
        monkeypatch.setattr(StopRequest, "__bool__", lambda _: True)
        with pytest.raises(Interrupted):
            run(**given)


def test_what_was_given_is_the_most_and_a_gpu_s_host_is_left_alone(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(drawn, "cpu").model
    worth(monkeypatch, drawn, 50.0)
    for most in (1, 2, 3):
        with threads.taking(most), passes.fitting_threads(model, torch.device("cpu"), WINDOW):
            assert torch.get_num_threads() == most
    worth(monkeypatch, drawn, 0.1)
    with passes.fitting_threads(model, torch.device("cuda"), WINDOW):
        assert torch.get_num_threads() == 3


def test_what_cannot_be_counted_takes_all(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise NotImplementedError("no formula")

    monkeypatch.setattr(passes, "operations", unknown)
    passes._counted.cache_clear()
    with passes.fitting_threads(load_model(drawn, "cpu").model, torch.device("cpu"), WINDOW):
        assert torch.get_num_threads() == 3
    passes._counted.cache_clear()


@pytest.mark.parametrize("together", [1, 4])
def test_plan_and_prediction_count_alike(together: int) -> None:
    """A plan's pass counts a little that operations do not."""
    config = load(ROOT / "config/runs/demo.yaml")
    grid = global_grid(4.0).crop(slice(0, WINDOW[0]), slice(0, WINDOW[1]))
    step = rehearse_prediction(build(config, "reslim"), grid, together)
    assert step.flops / step.together == pytest.approx(passes.of_window(build(config, "reslim"), WINDOW)[0], rel=0.02)
