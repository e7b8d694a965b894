"""A small run in a working copy of its own, to be interrupted: who is at work, what was written, and whether it equals another one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil
import torch
import yaml
from safetensors.torch import load_file

from tests.workflow.conftest import ROOT, SNAKEMAKE, Project

EVERY, VALIDATED = 5, 20
PAUSES = ROOT / "tests/workflow/pauses"
PATIENCE = 3600.0  # seconds after which something hangs: a machine may be busy


def small_run(steps: int) -> dict[str, Any]:
    """A model of one era5 week with `steps` steps and a checkpoint every EVERY of them, and its predictions: whole, and in two blocks."""
    task = {"model": "tiny", "dataset": "era5_week", "tile": 9, "halo": 4, "precision": "fp32"}
    return {
        "label": "two",
        "datasets": {"era5_week": {"include": "config/datasets/era5_week.yaml"}},
        "models": {"tiny": {
            "datasets": ["era5_week"],
            "architecture": {"embed_dim": 32, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 16, "residual_blocks": 1},
            "train": {"steps": steps, "batch_size": 2, "workers": 0, "validate_every": VALIDATED, "checkpoint_every": EVERY,
                      "warmup_steps": 1, "precision": "fp32", "threads": 1, "precipitation_threshold": 0}}},
        "downscale": {"week": task, "blocks": {**task, "blocks": 2}},
    }  # fmt: skip


@contextmanager
def held(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """They stand still: what is to happen meanwhile happens before their next step, however fast or slow a machine is."""
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def pending(process: psutil.Process, number: signal.Signals) -> bool:
    """Whether a process that stands still has been sent a signal (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return any(int(bits, 16) >> (number - 1) & 1 for bits in re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)", status, flags=re.MULTILINE))


class Interrupted(Project):
    """A working copy in which Snakemake is started, and left to whatever comes."""

    started: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__(folder)
        self.steps = steps
        (folder / "run.yaml").write_text(yaml.safe_dump(small_run(steps)), encoding="utf-8")

    def take(self, other: Interrupted, *names: str) -> None:
        """What another working copy has made (folders of results/), as if made here."""
        for name in names:
            shutil.copytree(other.folder / "results" / name, self.folder / "results" / name)
        if (other.folder / "resources").exists():
            shutil.copytree(other.folder / "resources", self.folder / "resources", dirs_exist_ok=True)

    def start(self, profile: str, *arguments: str, environment: Mapping[str, str] = os.environ) -> subprocess.Popen[bytes]:
        """As a terminal does: a session of its own."""
        variables = {**environment, "PYTHONPATH": f"{PAUSES}{os.pathsep}{ROOT}", "HOME": str(self.folder),
                     "XDG_CACHE_HOME": str(self.folder / ".cache"), "OMP_NUM_THREADS": "1"}  # fmt: skip
        command = [*SNAKEMAKE, "--profile", f"profiles/{profile}", "--configfile", "run.yaml", *arguments]
        with (self.folder / "said").open("ab") as said:
            started = subprocess.Popen(command, cwd=self.folder, env=variables, stdout=said, stderr=said, start_new_session=True)
        self.started.append(started)
        return started

    @classmethod
    def kill_all(cls) -> None:
        """What a failed test has left: every Snakemake that was started and lives."""
        while cls.started:
            process = cls.started.pop()
            if process.poll() is None:
                process.kill()
                process.wait()

    def end(self, process: subprocess.Popen[bytes], seconds: float = PATIENCE) -> int:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"not over after {seconds:.0f} s\n{self.said[-6000:]}") from None

    @property
    def said(self) -> str:
        """All that Snakemake has printed."""
        return (self.folder / "said").read_text(errors="replace")

    @property
    def model(self) -> Path:
        (found,) = (self.folder / "results/models").glob("tiny-*")
        return found

    def log(self, name: str = "train") -> str:
        """What a rule has logged, over all tries: by the name that Snakemake does not remove before a try."""
        kept = self.model / f"logs/.{name}.log"
        return kept.read_text(errors="replace") if kept.exists() else ""

    def records(self) -> list[dict[str, float]]:
        try:
            return [json.loads(line) for line in (self.model / "checkpoints/metrics.jsonl").read_text().splitlines()]
        except (OSError, ValueError):
            return []

    def step(self) -> int:
        """The last step that was recorded."""
        return int(max((record["step"] for record in self.records()), default=0))

    def resumed(self) -> list[int]:
        """The steps at which tries went on."""
        return [int(step) for step in re.findall(r"resumes at step (\d+) of", self.log())]

    def wait(self, happened: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """What `happened` returns once it is true."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := happened():
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited in vain until {what}\n{self.said[-6000:]}")

    def pause(self, *steps: int) -> None:
        """Of a training that has not begun: it will stand still after each of these steps, once, until `paused` has it go on."""
        (self.folder / "pauses").mkdir(exist_ok=True)
        for step in steps:
            (self.folder / f"pauses/{step}").touch()

    @contextmanager
    def paused(self, step: int) -> Iterator[psutil.Process]:
        """The first rank, standing still after `step` steps: however fast a machine is, no further one is taken meanwhile."""
        reached = self.folder / f"pauses/{step}.reached"
        self.wait(reached.exists, f"step {step} is taken")
        process = psutil.Process(int(reached.read_text()))
        self.wait(lambda: process.status() == psutil.STATUS_STOPPED, f"it stands still after step {step}")
        with held([process]):
            yield process

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of this working copy whose command holds these words, by their rank."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.folder) and set(words) <= {Path(word).name for word in process.cmdline()}:
                    variables = process.environ()
                    found.append((int(variables.get("RANK", variables.get("SLURM_PROCID", "0"))), process.pid, process))
            except (psutil.Error, OSError):
                continue
        return [process for _, _, process in sorted(found, key=lambda one: one[:2])]

    def weights(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = load_file(self.model / "model/weights.safetensors")
        return found

    def chunks(self, task: str = "week") -> dict[str, bytes]:
        """Every file of a prediction that holds values, by its place."""
        store = self.folder / f"results/two/downscale/{task}.zarr"
        return {str(f.relative_to(store)): f.read_bytes() for f in store.rglob("*") if f.is_file() and f.name != "zarr.json"}

    def same_model(self, other: Interrupted) -> bool:
        """Bit-equal weights, and every record once."""
        mine, theirs = self.weights(), other.weights()
        assert [r["step"] for r in self.records() if "loss" in r] == list(range(5, self.steps + 1, 5))
        assert [r["step"] for r in self.records() if "validation_loss" in r] == list(range(VALIDATED, self.steps + 1, VALIDATED))
        return mine.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())

    def same_prediction(self, other: Interrupted, task: str = "week") -> bool:
        chunks = self.chunks(task)
        return bool(chunks) and chunks == other.chunks(task)
