"""Inference under fire: kill -9, a damaged shard, a full disk, signals. What was finished stays, what was not is computed again."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbit2.cli import main
from orbit2.downscale import Settings, run
from orbit2.downscale import job as jobs
from orbit2.downscale.blending import Blender
from orbit2.downscale.journal import Journal
from orbit2.errors import Interrupted, OrbitError
from orbit2.grid import uniform
from tests.data.small_downscaling import arguments, computed, exit_code, forked, growth, lazy_input, random_model, shards, task
from tests.data.tiny_training import Tiny, build

CUTS = {"halos thrown away": {"tile": 6, "halo": 2, "time_block": 4, "blend": 0},
        "blended": {"tile": 6, "halo": 2, "time_block": 4}}  # 3 x 8 items  # fmt: skip
ITEMS = 24


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny_faults"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=CUTS)
def cut(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CUTS[request.param]


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, model: Path, cut: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "p.zarr"
    run(**arguments(tiny, model, task(out.with_suffix(".config"), **cut), out))
    return shards(out)


@pytest.fixture
def given(tiny: Tiny, model: Path, cut: dict[str, Any], tmp_path: Path) -> dict[str, Path]:
    return arguments(tiny, model, task(tmp_path / "c.json", **cut), tmp_path / "p.zarr")


def before_item(number: int, act: Callable[[], object]) -> Callable[..., object]:
    """`compute` that does `act` when the given item's turn comes."""
    original = jobs.Job.compute

    def compute(self: jobs.Job, item, fields):  # type: ignore[no-untyped-def]
        if item.index == number:
            act()
        return original(self, item, fields)

    return compute


@pytest.mark.parametrize("moment", ["while computing", "shard on disk, not journalled", "torn journal line"])
def test_killed_then_resumed_is_the_undisturbed_store(
    given: dict[str, Path], undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def tear(self, item, written, seconds):  # type: ignore[no-untyped-def]
        if item == 9:
            if moment.startswith("torn"):
                os.write(self._handle, b'{"item": 9, "seco')
            kill()
        append(self, item, written, seconds)

    append = Journal.append
    with monkeypatch.context() as patch:
        if moment == "while computing":
            patch.setattr(jobs.Job, "compute", before_item(10, kill))
        else:
            patch.setattr(Journal, "append", tear)
        assert exit_code(forked(lambda: run(**given))) == -signal.SIGKILL
    finished = computed(given["out"])
    assert 8 <= len(finished) < ITEMS and not given["out"].with_suffix(".json").exists()
    run(**given)
    assert computed(given["out"]) == list(range(ITEMS)), "an item was computed twice, or never"
    assert shards(given["out"]) == undisturbed
    assert not list(given["out"].rglob("*.partial"))


@pytest.mark.parametrize("damage", ["truncated", "vanished"])
def test_a_damaged_shard_of_a_finished_store_is_made_again(
    given: dict[str, Path], cut: dict[str, Any], undisturbed: dict[str, bytes], damage: str
) -> None:
    run(**given)
    file = given["out"] / "precipitation_rate/c/1/0/1"
    if damage == "truncated":
        os.truncate(file, file.stat().st_size - 7)
    else:
        file.unlink()
    run(**given)
    assert shards(given["out"]) == undisturbed
    again = [9] if cut.get("blend") == 0 else [8, 9, 10, 12, 13, 14]  # tile 1 of time block 1, and its neighbours
    assert computed(given["out"]) == sorted([*range(ITEMS), *again]), "only what the damaged item needs"


def test_a_full_disk_is_one_clear_error_and_resumes(
    given: dict[str, Path], undisturbed: dict[str, bytes], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(**given, block="init")
    largest = sorted(len(data) for name, data in undisturbed.items() if "_" in name.split("/")[0])[len(undisturbed) // 2]

    def limited() -> None:
        monkeypatch.setattr(jobs.Job, "compute", before_item(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 4,) * 2)))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python's start-up does
        options = [f"--{key}={value}" for key, value in given.items()]
        main(["downscale", *options, "--block", "0/1"])

    assert exit_code(forked(limited)) == 2
    said = capfd.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "could not be written (File too large)" in errors[0] and "finished items are kept" in errors[0]
    assert "Traceback" not in said and computed(given["out"]) in ([0, 1], [0, 1, 2])  # 2 is being written when the disk fills up
    run(**given)
    assert shards(given["out"]) == undisturbed and computed(given["out"]) == list(range(ITEMS))


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_finishes_the_item_and_exits_75(
    given: dict[str, Path], undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def signalled() -> None:
        monkeypatch.setattr(jobs.Job, "compute", before_item(5, lambda: os.kill(os.getpid(), number)))
        main(["downscale", *[f"--{key}={value}" for key, value in given.items()]])

    assert exit_code(forked(signalled)) == 75
    assert computed(given["out"]) == [0, 1, 2, 3, 4, 5]
    (status,) = given["out"].parent.glob(".p.zarr.*.journal/status.json")
    assert '"resumable"' in status.read_text() and number.name in status.read_text()
    run(**given)
    assert shards(given["out"]) == undisturbed and computed(given["out"]) == list(range(ITEMS))
    assert not status.exists()


def test_the_deadline_stops_between_items(given: dict[str, Path], cut: dict[str, Any], tmp_path: Path) -> None:
    task(tmp_path / "c.json", **cut, wall_minutes=1e-9)
    with pytest.raises(Interrupted, match="wall time with 24 of 24 items left"):
        run(**given)


def test_a_reader_that_fails_ends_the_work_with_its_own_error(given: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    original = jobs.Job.read

    def read(self: jobs.Job, item):  # type: ignore[no-untyped-def]
        if item.index == 4:
            raise OrbitError("sample 2 cannot be read", where="here", hint="none")
        return original(self, item)

    monkeypatch.setattr(jobs.Job, "read", read)
    with pytest.raises(OrbitError, match="sample 2 cannot be read"):
        run(**given)
    assert computed(given["out"]) == [0, 1, 2, 3], "what was computed before is kept"


@pytest.mark.slow
def test_memory_goes_with_the_tile_not_with_the_domain(tmp_path: Path) -> None:
    """Eight times the domain (17 million coarse cells), read, computed and written by window: the peak stays within 10 %."""
    model = random_model(tmp_path / "model")
    peaks = []
    for name, grid in (("1", uniform(-45, 45, 0, 90, 1440, 1440)), ("8", uniform(-90, 90, 0, 360, 2880, 5760))):
        lazy_input(tmp_path / f"{name}.zarr", grid)
        settings, blocks = Settings(tile=90, halo=8), grid.shape[0] * grid.shape[1] // 90**2 // 4
        peaks.append(growth(tmp_path / f"{name}.zarr", model, tmp_path / f"{name}_out.zarr", settings, f"1/{blocks}"))
        assert len(computed(tmp_path / f"{name}_out.zarr")) == 4
    assert peaks[1] < 1.1 * peaks[0] + 1, peaks


@pytest.mark.parametrize("cut", ["blended"], indirect=True)
def test_windows_wait_on_disk_no_longer_than_they_are_needed(given: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of blended tiles: gone when their time block is complete; a torn one is computed again; none are left at the end."""

    def windows() -> list[Path]:
        return sorted(given["out"].parent.glob(".p.zarr.*.journal/windows/*"))

    keep = Blender.keep

    def watched(self: Blender, item, fields, seconds):  # type: ignore[no-untyped-def]
        keep(self, item, fields, seconds)
        if item.index == 12:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Blender, "keep", watched)
        assert exit_code(forked(lambda: run(**given))) == -signal.SIGKILL
    left = windows()
    assert [file.name for file in left] == sorted(f"{i}.f32" for i in range(8, 13)), "the first time block is complete and gone"
    os.truncate(left[0], left[0].stat().st_size - 1)
    torn = int(left[0].stem)
    run(**given)
    assert computed(given["out"]) == sorted([*range(ITEMS), torn]) and windows() == []
