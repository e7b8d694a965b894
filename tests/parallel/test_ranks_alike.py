"""Two real processes that are not alike: one line on each that names the rank, its host and what differs, before any step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from orbit2.cli import main
from orbit2.data.fingerprint import fingerprint
from orbit2.data.pairs import PairStore, reopen, write_part
from orbit2.data.store_layout import finalise
from orbit2.parallel import alike
from orbit2.parallel.reduce import SLOTS
from tests.data.small_downscaling import arguments, random_model, task
from tests.data.small_ranks import free_port, two_ranks
from tests.data.tiny_training import Tiny, build

pytestmark = pytest.mark.parallel
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


def other_store(tiny: Tiny, folder: Path) -> Path:
    """A copy whose last samples hold other weather of the same kind."""
    shutil.copytree(tiny.store, folder / "pairs.zarr")
    store = PairStore(tiny.store)
    coarse, fine = ([store.read(side, k) for k in (4, 5, 6, 7)] for side in ("coarse", "fine"))  # type: ignore[arg-type]
    reopen(folder / "pairs.zarr")
    write_part(folder / "pairs.zarr", 8, np.stack(coarse), np.stack(fine))
    finalise(folder / "pairs.zarr")
    return folder / "pairs.zarr"


DIFFER = {
    "the configuration": "model.train.learning_rate=0.001'; allowed: model.train.learning_rate=0.002",
    "the pair stores": "'tiny=",
    "the statistics": "'tiny=",
    "the environment": "'OMP_NUM_THREADS=2, NCCL_ALGO=absent'; allowed: OMP_NUM_THREADS=1, NCCL_ALGO=Tree",
    "their libraries": "'torch=2.5.0'; allowed: torch=",
}


@pytest.mark.parametrize("what", DIFFER)
def test_ranks_that_differ_are_an_error_of_one_line(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str) -> None:
    store = other_store(tiny, tmp_path) if what == "the pair stores" else tiny.store

    def act(rank: int) -> None:
        mine = Tiny(tiny.folder)
        if rank == 1:
            mine.store = store
            if what == "the statistics":
                mine.statistics = tmp_path / "statistics.json"
                mine.statistics.write_text(tiny.statistics.read_text().replace('"mean": 2', '"mean": 1'))
            if what == "their libraries":
                torch.__version__ = "2.5.0"
        if what == "the environment":
            os.environ.update({"OMP_NUM_THREADS": "2"} if rank else {"OMP_NUM_THREADS": "1", "NCCL_ALGO": "Tree"})
        rate = 1e-3 if rank == 1 and what == "the configuration" else 2e-3
        config = mine.slice(tmp_path / str(rank) / "config.json", learning_rate=rate)
        main(["train", *mine.command(config, tmp_path / str(rank))[:-1], str(tmp_path / "checkpoints")])

    codes, _ = two_ranks(act)
    said = capfd.readouterr().err
    assert codes == [2, 2] and "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1  # of the first rank, for all
    assert f"rank 1 of 2 on {os.uname().nodename}: ranks disagree on {what}; got " in errors[0] and DIFFER[what] in errors[0]


@pytest.mark.slow
def test_another_revision_of_the_code_is_found(tiny: Tiny, tmp_path: Path) -> None:
    """Two processes started by hand, one of them with sources with one more comment."""
    shutil.copytree(ROOT / "orbit2", tmp_path / "other" / "orbit2", ignore=shutil.ignore_patterns("__pycache__", "*.zip", "*.npz", "*.nc"))
    changed = tmp_path / "other" / "orbit2" / "train" / "optimizer.py"
    changed.write_text(changed.read_text() + "# changed\n")
    config = tiny.slice(tmp_path / "config.json")
    meeting = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, "-m", "orbit2", "train", *tiny.command(config, tmp_path)], cwd=tmp_path, stderr=subprocess.PIPE,
                         text=True, env={**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(place)})
        for rank, place in enumerate((ROOT, tmp_path / "other"))
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [2, 2], said
    assert "ranks disagree on the code; got 'sha256 of its sources=" in said[0] and alike.sources() in said[0] and "error: " not in said[1]


def test_inference_by_other_weights_is_refused(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    models = [random_model(tmp_path / "one"), random_model(tmp_path / "two", residual_width=8)]
    config = task(tmp_path / "config.json", tile=6, halo=2)

    def act(rank: int) -> None:
        given = arguments(tiny, models[rank], config, tmp_path / "prediction.zarr")
        main(["downscale", *[f"--{key}={value}" for key, value in given.items()]])

    assert two_ranks(act)[0] == [2, 2]
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "rank 1 of 2" in errors[0] and "ranks disagree on the model; got 'weights." in errors[0]
    assert not (tmp_path / "prediction.zarr").exists()


def test_copies_of_a_store_have_one_fingerprint(tiny: Tiny, tmp_path: Path) -> None:
    known = fingerprint(PairStore(tiny.store))
    shutil.copytree(tiny.store, tmp_path / "copy.zarr")
    assert fingerprint(PairStore(tmp_path / "copy.zarr")) == known
    assert fingerprint(PairStore(other_store(tiny, tmp_path))) != known


def test_all_facts_fit_into_one_comparison() -> None:
    assert len(alike.of_process(torch.device("cpu"))) < SLOTS
