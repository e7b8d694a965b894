"""profiles/dgx on this machine: two ranks in place of the GPUs, whatever happens to them, to torchrun and to Snakemake."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.docs.blocks import blocks
from tests.workflow.conftest import ROOT, Project
from tests.workflow.interrupted import Interrupted, held, pending

LAUNCHER = "python -m orbit2.parallel.torchrun --standalone --nproc-per-node="
TARGET = "results/two/downscale/week.json"
STEPS, PAUSED = 40, 12


def test_trainings_and_predictions_start_a_process_per_gpu(shared_project: Any) -> None:
    lines = shared_project.text("-n", "-p", "downscale", profile="dgx").splitlines()
    for verb in ("train", "finetune", "downscale"):
        started = [line for line in lines if f"orbit2 {verb} --config" in line]
        assert started and all(f"{LAUNCHER}gpu orbit2 {verb} " in line for line in started), verb


@pytest.mark.slow
def test_the_recipe_for_another_site_starts_a_task_per_gpu(project: Project) -> None:
    """profiles/README.md: its lines laid over profiles/slurm, as it says."""
    (recipe,) = [yaml.safe_load(text) for language, text in blocks(ROOT / "profiles/README.md") if language == "yaml"]
    path = project.folder / "profiles/slurm/config.yaml"
    settings = yaml.safe_load(path.read_text())
    for key, value in recipe.items():
        settings[key] |= value
    path.write_text(yaml.safe_dump(settings))
    (line,) = [line for line in project.text("-n", "-p", "train", profile="slurm").splitlines() if "orbit2 train --config" in line]
    assert "srun --kill-on-bad-exit=1 --nodes=2 --ntasks=8 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=8 orbit2 train" in line


class Machine(Interrupted):
    """A working copy whose profile starts two ranks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, STEPS)
        profile = folder / "profiles/dgx/config.yaml"
        text = profile.read_text()
        assert text.count("--nproc-per-node=gpu") == 4
        profile.write_text(text.replace("--nproc-per-node=gpu", "--nproc-per-node=2"))

    def run(self) -> int:
        return self.end(self.start("dgx", "--", TARGET))

    def files(self) -> set[str]:
        """Everything that lasts, by its place: not what only one way of running leaves."""
        kept = (path for path in (self.folder / "results").rglob("*") if path.is_file())
        names = (str(path.relative_to(self.folder)) for path in kept)
        return {name for name in names if not any(part in name for part in ("checkpoints/", "tensorboard/", "journal"))}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("undisturbed"))
    assert machine.run() == 0, machine.said
    return machine


@pytest.mark.slow
def test_two_ranks_leave_what_one_process_leaves(undisturbed: Machine, tmp_path: Path) -> None:
    """The same folders and files; what they hold, to the rounding of sums."""
    alone = Machine(tmp_path)
    assert alone.end(alone.start("local", "--", TARGET)) == 0, alone.said
    assert alone.files() == undisturbed.files()
    for name, tensor in alone.weights().items():
        torch.testing.assert_close(undisturbed.weights()[name], tensor, rtol=1e-3, atol=1e-4)
    assert alone.chunks().keys() == undisturbed.chunks().keys()


GOES_ON = ("rank killed", "torchrun told to end", "torchrun killed")  # Snakemake starts it again


@pytest.mark.slow
@pytest.mark.parametrize("what", GOES_ON)
def test_whatever_is_interrupted_ends_in_the_same_bits(undisturbed: Machine, tmp_path: Path, what: str) -> None:
    machine = Machine(tmp_path)
    machine.take(undisturbed, "data")
    machine.pause(PAUSED)
    process = machine.start("dgx", "--", TARGET)
    with machine.paused(PAUSED) as first:
        (launcher,) = machine.processes("orbit2.parallel.torchrun")
        match what:
            case "rank killed":
                launcher.children()[1].kill()
            case "torchrun told to end":
                launcher.terminate()
                machine.wait(lambda: pending(first, signal.SIGTERM), "it has told the ranks")
            case _:
                launcher.kill()
    assert machine.end(process) == 0, machine.said
    assert not machine.processes("orbit2.parallel.torchrun")
    assert machine.same_model(undisturbed) and machine.same_prediction(undisturbed)


@pytest.mark.slow
def test_a_killed_snakemake_leaves_its_ranks_and_the_same_command_waits_for_them(undisturbed: Machine, tmp_path: Path) -> None:
    """kill -9: torchrun and the ranks live (and are held until they are found); no second ones are started beside them."""
    machine = Machine(tmp_path)
    machine.take(undisturbed, "data")
    machine.pause(PAUSED)
    process = machine.start("dgx", "--", TARGET)
    with machine.paused(PAUSED), held(machine.processes("orbit2.parallel.torchrun")[0].children()):
        process.kill()
        machine.end(process)
        again = machine.start("dgx", "--", TARGET)
        machine.wait(lambda: "a run that was killed has left at work" in machine.said, "the second one finds the ranks")
    assert machine.end(again) == 0, machine.said
    assert machine.resumed() == [STEPS]  # to Snakemake the model is not complete; the command that it starts finds nothing left to train
    assert machine.same_model(undisturbed) and machine.same_prediction(undisturbed)


@pytest.mark.slow
def test_after_a_dropped_connection_the_same_command_goes_on(undisturbed: Machine, tmp_path: Path) -> None:
    """A terminal that is gone sends HUP to all: Snakemake dies, the ranks save."""
    machine = Machine(tmp_path)
    machine.take(undisturbed, "data")
    machine.pause(PAUSED)
    process = machine.start("dgx", "--", TARGET)
    with machine.paused(PAUSED):
        os.killpg(process.pid, signal.SIGHUP)
    assert machine.end(process) != 0
    assert machine.end(machine.start("dgx", "--", TARGET)) == 0, machine.said
    (resumed,) = machine.resumed()
    assert PAUSED <= resumed < STEPS  # nothing is done again
    assert machine.same_model(undisturbed) and machine.same_prediction(undisturbed)
