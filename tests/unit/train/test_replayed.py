"""Training steps as CUDA graphs, on a stand-in that takes operators down (tests/data/tape.py): the same steps, bit by bit."""

import logging
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from orbit2.data.batch import Packed
from orbit2.errors import Interrupted, OrbitError
from orbit2.parallel.launch import Ranks
from orbit2.train import replayed, trainer
from orbit2.train import step as steps
from orbit2.train.build import Setup
from orbit2.train.replayed import Replays, require
from orbit2.train.taken import Taken, read, take
from tests.data.tape import stand_in
from tests.data.tiny_training import Tiny
from tests.unit.train.test_no_waiting import CASES, holed, setup


def awake(tiny: Tiny, folder: Path, case: str, **train: Any) -> Setup:
    """A training whose network already says something."""
    settings, architecture = CASES[case]
    torch.manual_seed(0)
    made = setup(tiny, folder, {**settings, **train}, architecture)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def replaying(tiny: Tiny, folder: Path, case: str, **train: Any) -> Setup:
    made = awake(tiny, folder, case, **train)
    made.replays = Replays(made.model.parameters(), made.objective.by_core)
    return made


def parts(made: Setup, number: int) -> list[Packed]:
    """Step `number`'s, every other time with gaps."""
    found: list[Packed] = made.steps[number]  # type: ignore[assignment]
    return [holed(part) for part in found] if number % 2 else found


def state(made: Setup) -> dict[str, torch.Tensor]:
    moments = {f"{i} {key}": value for i, one in made.optimizer.state_dict()["state"].items() for key, value in one.items()}
    return {**made.model.state_dict(), **moments, **{f"average {k}": v for k, v in made.average.values.items()}}


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_the_same_steps(tiny: Tiny, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, made = awake(tiny, tmp_path / "plain", case), replaying(tiny, tmp_path / "replayed", case)
    graphs = stand_in(monkeypatch)
    for number in range(6):
        expected, found = (read([take(one, parts(one, number), number)])[0] for one in (plain, made))
        assert found == expected
        for (name, a), b in zip(plain.model.named_parameters(), made.model.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            assert a.grad is None or b.grad is None or torch.equal(a.grad, b.grad), name
    before, after = state(plain), state(made)
    assert before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())
    assert made.replays is not None
    kinds, batches = len(made.replays.seen), 6 * len(parts(made, 0))
    assert sum(graph.replayed for graph in graphs) == batches - kinds  # the first of a kind is not
    assert len(graphs) == len(made.replays.kept) and (kinds == batches if by_place(made) else len(graphs) > 0)


def by_place(made: Setup) -> bool:
    """Whether tiles are drawn, and the loss asks where they lie: no two draws are alike."""
    return made.objective.by_core and made.cutting is not None


def test_dropout_and_parts_that_have_no_graph(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one step that are replayed beside others that are not, with random numbers that go on from part to part."""
    plain, made = (make(tiny, tmp_path / str(i), "accumulated") for i, make in enumerate((awake, replaying)))
    stand_in(monkeypatch)
    monkeypatch.setattr(replayed, "GRAPHS", 1)
    assert made.architecture.dropout and made.architecture.drop_path
    for number in range(4):
        mixed = [holed(part) if k == 1 else part for k, part in enumerate(plain.steps[number])]  # type: ignore[arg-type, call-overload]
        assert read([take(plain, mixed, number)]) == read([take(made, mixed, number)])
    assert made.replays is not None and len(made.replays.kept) == 1 < len(made.replays.seen)
    assert all(torch.equal(value, state(made)[name]) for name, value in state(plain).items())


@pytest.mark.parametrize("where", ["warming up", "recording"])
def test_what_there_is_no_room_for_runs_as_it_is(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    plain, made = (make(tiny, tmp_path / str(i), "plain") for i, make in enumerate((awake, replaying)))
    stand_in(monkeypatch)

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "stream" if where == "warming up" else "graph", full)
    with caplog.at_level(logging.WARNING):
        for number in (0, 2, 4):
            assert read([take(plain, parts(plain, number), number)]) == read([take(made, parts(made, number), number)])
    assert caplog.text.count("a step cannot be recorded as a CUDA graph (CUDA out of memory") == 1
    assert made.replays is not None and not made.replays.kept


def test_what_cannot_be_recorded_ends_the_training(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch stays on the recording's stream, and frees no memory, after an operator that no graph can hold."""
    made = replaying(tiny, tmp_path, "plain")
    stand_in(monkeypatch)
    asked = steps.masked
    monkeypatch.setattr(steps, "masked", lambda setup, batch: asked(setup, batch) if bool(batch.fine.sum() < torch.inf) else batch.fine)
    with pytest.raises(OrbitError, match=r"cannot be recorded(?s:.)*operation not permitted(?s:.)*cuda_graphs: false"):
        for number in (0, 2, 4):
            take(made, parts(made, number), number)


def test_a_graph_is_of_the_memory_that_it_was_recorded_in(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are read back from a checkpoint, and averaged ones that were validated, in between."""
    plain, made = (make(tiny, tmp_path / str(i), "plain") for i, make in enumerate((awake, replaying)))
    stand_in(monkeypatch)
    other = {name: value + 0.01 for name, value in plain.model.state_dict().items()}
    for number in range(6):
        for one in (plain, made):
            if number == 3:
                one.model.load_state_dict(other)
            if number == 4:
                with one.average.swapped():
                    pass
        assert read([take(plain, parts(plain, number), number)]) == read([take(made, parts(made, number), number)])
    assert made.replays is not None and len(made.replays.kept) == 2


@pytest.mark.parametrize(
    ("train", "architecture", "device", "world", "words"),
    [
        ({}, {}, "cpu", 1, "needs a CUDA device.*cpu"),
        ({}, {}, "cuda", 2, "is for trainings of one process.*2 ranks"),
        ({}, {"compression": {"mode": "threshold"}}, "cuda", 1, "needs compression off or by budget.*threshold"),
        ({"checkpointing": "blocks"}, {}, "cuda", 1, "cannot compute dropout again.*checkpointing: blocks"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    tiny: Tiny, tmp_path: Path, train: dict[str, Any], architecture: dict[str, Any], device: str, world: int, words: str
) -> None:
    made = setup(tiny, tmp_path, train, architecture)
    made.here = Ranks(0, world, torch.device(device))
    with pytest.raises(OrbitError, match=rf"cuda_graphs {words}.*set cuda_graphs: false") as told:
        require(made)
    assert told.value.where == "train.cuda_graphs"


def test_a_configuration_asks_for_it(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OrbitError, match="needs a CUDA device"):
        setup(tiny, tmp_path / "a", {"cuda_graphs": True}, {})
    monkeypatch.setattr("orbit2.train.build.require", lambda setup: None)
    assert setup(tiny, tmp_path / "b", {"cuda_graphs": True}, {}).replays is not None
    assert setup(tiny, tmp_path / "c", {}, {}).replays is None


def test_a_whole_training_with_graphs_is_the_same_training(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validated, saved, stopped and resumed: the same weights as without."""
    graphs = stand_in(monkeypatch)
    monkeypatch.setattr("orbit2.train.build.require", lambda setup: None)

    def stopped(setup: Setup, batch: Any, step: int) -> Taken:
        if step == 6:
            signal.raise_signal(signal.SIGUSR1)
        return take(setup, batch, step)

    def trained(folder: Path, **settings: Any) -> bytes:
        config = tiny.slice(folder / "config.json", steps=12, validate_every=3, accumulate=3, **settings)
        for taking in (stopped, take):
            monkeypatch.setattr(trainer, "take", taking)
            with pytest.raises(Interrupted) if taking is stopped else nullcontext():
                trainer.run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=folder / "model",
                            checkpoints=folder / "checkpoints")  # fmt: skip
        return (folder / "model" / "weights.safetensors").read_bytes()

    assert trained(tmp_path / "replayed", cuda_graphs=True) == trained(tmp_path / "plain")
    assert len(graphs) > 2 and all(graph.replayed for graph in graphs)
