"""Checkpoints of one process: whole or not there, verified, never code, and what is written meanwhile."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from orbit2.config.load import read_slice, validate
from orbit2.config.schema import ModelConfig
from orbit2.errors import OrbitError
from orbit2.files import sealed, sha256, unsealed, write_json
from orbit2.parallel.launch import Ranks
from orbit2.train import run, shards
from orbit2.train.build import Setup
from orbit2.train.checkpoint import Checkpoints
from orbit2.train.taken import optimise
from tests.data import old_checkpoint
from tests.data.tiny_training import Tiny, batch_of


def state(value: float = 1.0, **progress: float) -> dict[str, Any]:
    """A state of every type, shape and layout that one has."""
    draw = torch.Generator().manual_seed(int(value))
    weight = torch.randn(5, 3, generator=draw)
    return {
        "model": {"weight": weight, "tied": weight, "turned": torch.randn(4, 6, generator=draw).T, "none": torch.zeros(0, 3),
                  "half": torch.randn(7, generator=draw).bfloat16(), "count": torch.tensor(int(value)),
                  "flags": torch.tensor([True, False])},
        "average": {"weight": weight.double() / 3},
        "optimizer": {"weight": {"step": torch.tensor(float(value)), "exp_avg": torch.full((5, 3), -0.0)}},
        "objective": {},
        "progress": {"step": int(value), "best": math.inf, "seconds": 0.1 + 0.2, **progress},
    }  # fmt: skip


def blank() -> dict[str, Any]:
    return {part: _blank(tensors) for part, tensors in state().items()}


def _blank(tensors: Any) -> Any:
    return {key: _blank(value) if isinstance(value, dict) else torch.zeros_like(value) if isinstance(value, Tensor) else value
            for key, value in tensors.items()}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """To the bit: -0.0 is not 0.0."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b) and torch.equal(a.double().signbit(), b.double().signbit())
    return bool(a == b) and type(a) is type(b)


def resumed(kept: Checkpoints) -> dict[str, Any]:
    found, into = kept.choose(), blank()
    assert found is not None
    kept.read(found, into)
    return into


@pytest.mark.parametrize("background", [True, False])
def test_what_is_read_is_what_was_saved_to_the_bit(tmp_path: Path, background: bool) -> None:
    kept, saved = Checkpoints(tmp_path, {}, background=background), state(3)
    kept.save(saved, 3)
    for tensor in (saved["model"]["weight"], saved["average"]["weight"], saved["model"]["count"]):
        tensor.add_(1)  # training goes on
    kept.wait()
    assert same(resumed(Checkpoints(tmp_path, {})), state(3))
    assert sorted(p.name for p in (tmp_path / "step-00000003").iterdir()) == [
        "index.json", "manifest.json", "shard-00000-of-00001.safetensors"
    ]  # fmt: skip


def test_the_newest_few_and_the_best_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {}, keep=2)
    for step in (1, 2, 3, 10):
        kept.save(state(step), step)
        if step != 10:
            kept.save_best({"model": state(step)["model"]}, step)
    kept.save_best({"model": state(7)["model"]}, 3)  # a run that went back to an earlier checkpoint
    kept.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-00000003-1", "step-00000003", "step-00000010"]
    found = kept.best()
    assert found is not None and found.step == 3
    kept.read(found, into := {"model": blank()["model"]})
    assert same(into["model"], state(7)["model"])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda folder: os.truncate(shard(folder), shard(folder).stat().st_size - 1),
    "bit flipped": lambda folder: flip(shard(folder)),
    "index": lambda folder: flip(folder / "index.json"),
    "manifest": lambda folder: flip(folder / "manifest.json"),
    "progress": lambda folder: edit(folder / "manifest.json", lambda told: told["progress"].update(step=7)),
    "no shard": lambda folder: shard(folder).unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
}


def shard(folder: Path) -> Path:
    return folder / "shard-00000-of-00001.safetensors"


def flip(file: Path) -> None:
    """One bit in its middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    kept = Checkpoints(tmp_path, {}, keep=3)
    for step in (4, 8):
        kept.save(state(step), step)
    kept.wait()
    DAMAGES[damage](tmp_path / "step-00000008")
    assert same(resumed(kept), state(4))
    assert "step-00000008 is damaged" in caplog.text and "damaged-1-step-00000008" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged-1-step-00000008", "step-00000004"]
    kept.save(state(8), 8)
    assert same(resumed(kept), state(8))


class Code:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_no_pickle_in_a_checkpoint_is_ever_loaded(tmp_path: Path) -> None:
    """Whoever can write checksums, too, makes an error, not a process."""
    kept, mark = Checkpoints(tmp_path, {}), tmp_path / "mark"
    kept.save(state(4), 4)
    kept.wait()
    folder = tmp_path / "step-00000004"
    hostile = pickle.dumps(Code(mark))
    (folder / ".metadata").write_bytes(hostile)  # torch's own name for what it would unpickle
    assert same(resumed(kept), state(4))
    for file in (shard(folder), folder / "index.json"):
        before, told = file.read_bytes(), (folder / "manifest.json").read_text()
        file.write_bytes(hostile)
        resign(folder, file)
        with pytest.raises(OrbitError, match=file.name):
            resumed(kept)
        file.write_bytes(before)
        (folder / "manifest.json").write_text(told)
    outside = tmp_path / "outside.safetensors"
    shutil.copyfile(shard(folder), outside)
    edit(folder / "index.json", lambda index: index.update(files=[f"../{outside.name}"]))
    resign(folder, folder / "index.json")
    with pytest.raises(OrbitError, match="outside the checkpoint"):
        resumed(kept)
    assert not mark.exists()
    pickle.loads(hostile)
    assert mark.exists()


def resign(folder: Path, file: Path) -> None:
    told = unsealed(json.loads((folder / "manifest.json").read_text()))
    told["files"][file.name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    write_json(folder / "manifest.json", sealed(told))


def test_no_code_of_an_old_checkpoint_is_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "step-00000004.pt", tmp_path / "mark"
    torch.save({"step": 4, "model": Code(mark)}, path)
    write_json(path.with_suffix(".json"), {"step": 4, "bytes": path.stat().st_size, "sha256": sha256(path), "config": {}})
    with pytest.raises(OrbitError, match=r"step-00000004\.pt: not a checkpoint that this orbit2 can read"):
        resumed(Checkpoints(tmp_path, {}))
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A disk that stands still until `go` is set; how many files were being written at once at most."""
    real, lock = shards._save, threading.Lock()
    seen: dict[str, Any] = {"go": threading.Event(), "now": 0, "most": 0}

    def save(tensors: dict[str, Tensor], path: Path) -> None:
        with lock:
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])
        assert seen["go"].wait(60)
        real(tensors, path)
        with lock:
            seen["now"] -= 1

    monkeypatch.setattr(shards, "_save", save)
    return seen


def test_training_goes_on_while_one_checkpoint_at_a_time_is_written(tmp_path: Path, slow: dict[str, Any]) -> None:
    kept = Checkpoints(tmp_path, {})
    kept.save(state(1), 1)
    assert not (tmp_path / "step-00000001").exists()
    threading.Timer(0.2, slow["go"].set).start()
    kept.save(state(2), 2)  # waits for the first
    assert (tmp_path / "step-00000001").is_dir()
    kept.save_best({"model": state(2)["model"]}, 2)
    kept.wait()
    assert slow["most"] == 1 and kept.seconds > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-00000002", "step-00000001", "step-00000002"]


def test_an_error_of_training_costs_no_checkpoint(tmp_path: Path, slow: dict[str, Any]) -> None:
    kept = Checkpoints(tmp_path, {})
    with pytest.raises(RuntimeError, match="a step"), kept.finishing():
        kept.save(state(1), 1)
        threading.Timer(0.2, slow["go"].set).start()
        raise RuntimeError("a step")
    assert (tmp_path / "step-00000001").is_dir()


def test_a_failed_save_in_the_background_is_an_error_at_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path, {})
    kept.save(state(1), 1)
    kept.wait()

    def broken(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(shards, "_save", broken)
    kept.save(state(2), 2)
    with pytest.raises(OrbitError, match=r"step-00000002: a checkpoint could not be written \(Input/output error\)"):
        kept.save(state(3), 3)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    kept.save(state(3), 3)
    assert same(resumed(kept), state(3))


def test_a_process_that_ends_finishes_what_it_writes(tmp_path: Path) -> None:
    script = f"""
import time, torch
from orbit2.train import shards
from orbit2.train.checkpoint import Checkpoints
real = shards._save
shards._save = lambda *given: (time.sleep(1), real(*given))
Checkpoints({str(tmp_path)!r}, {{}}).save({{"model": {{"weight": torch.ones(3)}}, "progress": {{"step": 5}}}}, 5)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr
    kept = Checkpoints(tmp_path, {})
    found = kept.choose()
    assert found is not None and found.step == 5
    kept.read(found, into := {"model": {"weight": torch.zeros(3)}, "progress": {}})
    assert torch.equal(into["model"]["weight"], torch.ones(3)) and into["progress"] == {"step": 5}


def test_half_a_checkpoint_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    part = tmp_path / ".step-00000004.part"
    part.mkdir()
    (part / "shard-00000-of-00001.safetensors").write_bytes(b"half")
    kept = Checkpoints(tmp_path, {})
    assert kept.choose() is None
    with kept.alone():
        assert [p.name for p in tmp_path.iterdir()] == ["owner.json"]
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_model_is_named(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    kept.save(state(4), 4)
    found = kept.choose()
    assert found is not None
    for changed, said in ((lambda m: m.update(weight=torch.zeros(5, 4)), r"model\.weight: \[5, 3\]"),
                          (lambda m: m.update(extra=torch.zeros(1)), r"model\.extra: nothing.*allowed: \[1\]"),
                          (lambda m: m.pop("flags"), r"model\.flags: \[2\].*allowed: nothing")):  # fmt: skip
        into = blank()
        changed(into["model"])
        with pytest.raises(OrbitError, match=f"a checkpoint of another model; got '{said}"):
            kept.read(found, into)


def made(tiny: Tiny, config: Path) -> Setup:
    section = read_slice(config)
    given = ({"tiny": tiny.store}, {"tiny": tiny.statistics})
    torch.manual_seed(0)
    return Setup(section, validate(ModelConfig, section["model"], config), *given, None, Ranks(0, 1, torch.device("cpu")))


@pytest.mark.parametrize("loss", ["mse", "perceptual"])
def test_a_checkpoint_of_an_earlier_orbit2_goes_on_to_the_bit(tiny: Tiny, tmp_path: Path, loss: str) -> None:
    """The optimiser was kept by number; its moments come back to the right parameters, and the average with its count."""
    settings: dict[str, Any] = {"steps": 6, "loss": loss, "perceptual_steps": 2, "validate_every": 6}
    weights = []
    for old in (False, True):
        out = tmp_path / str(old)
        config = tiny.slice(out / "config.json", **settings)
        if old:
            setup = made(tiny, config)
            if loss == "perceptual":
                setup.objective.prepare(setup.training, torch.stack([setup.model.scale_at(1667.9)]), setup.here)
            for step in range(3):
                optimise(setup, batch_of(setup.steps, step), step)
            old_checkpoint.write(out / "checkpoints", json.loads(config.read_text()), 3, setup.state(), setup.optimizer, heads=2)
            old_checkpoint.write_best(out / "checkpoints", json.loads(config.read_text()), 3, setup.averaged(), heads=2)
        run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=out / "model",
            checkpoints=out / "checkpoints")  # fmt: skip
        weights.append(load_file(out / "model" / "weights.safetensors"))
        steps = [json.loads(line)["step"] for line in (out / "model" / "metrics.jsonl").read_text().splitlines()]
        assert steps[-1] == 6
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert sorted(p.name for p in (tmp_path / "True" / "checkpoints").glob("*-*")) == ["best-00000006", "step-00000003.json",
                                                                                  "step-00000003.pt", "step-00000006"]  # fmt: skip


def test_old_and_new_checkpoints_replace_each_other_in_order(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    plain = {"model": model.state_dict(), "average": model.state_dict(), "objective": {}, "optimizer": {}}
    for step in (2, 4):
        old_checkpoint.write(tmp_path, {}, step, plain, optimizer)
    best = old_checkpoint.write_best(tmp_path, {}, 2, model.state_dict())
    kept = Checkpoints(tmp_path, {}, keep=2)
    found, best_found = kept.choose(), kept.best()
    assert found is not None and found.step == 4 and best_found is not None and best_found.step == 2
    kept.read(best_found, into := {"model": {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}})
    assert torch.equal(into["model"]["weight"], model.weight)
    os.truncate(best, 100)
    assert kept.best() is None and len(list(tmp_path.glob("damaged-1-best*"))) == 2
    os.truncate(tmp_path / "step-00000004.pt", 100)
    found = kept.choose()
    assert found is not None and found.step == 2
    kept.save(state(4), 4)
    kept.save_best({"model": model.state_dict()}, 4)
    kept.save(state(6), 6)
    kept.wait()
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("damaged")) == [
        "best-00000004", "step-00000004", "step-00000006"
    ]  # fmt: skip


def test_waiting_for_a_save_is_what_it_says(tmp_path: Path, slow: dict[str, Any]) -> None:
    """`seconds`, by which the trainer begins early enough for a period, is all of a save."""
    kept, began = Checkpoints(tmp_path, {}), time.monotonic()
    kept.save(state(1), 1)
    threading.Timer(0.3, slow["go"].set).start()
    kept.wait()
    assert 0.3 <= kept.seconds <= time.monotonic() - began
