"""A month of scores that is killed is done again, alone: real Snakemake, real predictions of a model of two steps. Minutes, so slow."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from tests.workflow.conftest import work
from tests.workflow.interrupted import PATIENCE, Interrupted, small_run

RUN = ("--configfile", "run.yaml")


def command_of(folder: Path, task: str) -> psutil.Process | None:
    """The process that streams a month of `task`, once it has read its libraries."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == str(folder) and "part" in words and f"results/two/downscale/{task}.zarr" in words and "--part" in words:
            return process
    return None


@pytest.mark.slow
def test_a_killed_month_is_done_again_alone(tmp_path: Path) -> None:
    project = Interrupted(tmp_path, 2)
    run, task = small_run(2), {"model": "tiny", "dataset": "era5_week", "max_samples": 2}
    run |= {"downscale": {"one": task, "other": task}, "evaluate": {"baselines": ["bilinear"], "bootstrap": 0}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    project("downscale", *RUN, timeout=900)
    started = project.start("local", "--cores", "1", "--", "evaluate")
    end = time.monotonic() + PATIENCE
    parts = [tmp_path / f"results/two/evaluate/{task}/parts/202603on.h5" for task in ("one", "other")]
    while not any(part.is_file() for part in parts) and time.monotonic() < end:
        time.sleep(0.1)
    (kept,) = (part for part in parts if part.is_file())
    (task,) = (part.parent.parent.name for part in parts if not part.is_file())
    while (victim := command_of(tmp_path, task)) is None and time.monotonic() < end:
        time.sleep(0.1)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    assert started.wait(PATIENCE) != 0
    made, merged = kept.stat().st_mtime_ns, (kept.parent.parent / "metrics.parquet").is_file()
    planned = work(project.planned("evaluate", "diagnose", *RUN))
    assert planned == {"evaluate_part": 1, "evaluate_task": 2 - merged, "evaluate_merge": 1, "diagnose_task": 2, "diagnose_merge": 1}
    project("evaluate", "diagnose", *RUN, timeout=900)
    assert kept.stat().st_mtime_ns == made
    scores = pd.read_parquet(tmp_path / "results/two/evaluate/metrics.parquet")
    assert set(scores["task"]) == {"one", "other"} and (scores[scores["metric"] == "n_samples"]["value"] == 2).all()
