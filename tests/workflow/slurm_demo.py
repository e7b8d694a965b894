"""The demo through a SLURM of two virtual nodes: `python -m tests.workflow.slurm_demo [FOLDER] [-- ARGUMENTS OF SNAKEMAKE]`.

`make slurm-demo` calls it. The profile is profiles/slurm as a user edits it: account, partition, and training as 4 ranks on 2 nodes.
Works in a copy of workflow/, config/ and profiles/ in FOLDER (results/slurm-demo); started again, it goes on there.

At the end its RMSE are compared with those of `make demo`. Few steps in float32 give the same to less than 1e-3 (test_slurm_demo.py). Where
the CPU multiplies bfloat16 fast, training uses it: after all 800 steps the global RMSE of the first model was found 2e-3 away, that of the
fine-tuned one 9e-3. `--set models.reslim.train.precision=fp32` takes float32.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tests.data.servers import slurm

ROOT = Path(__file__).resolve().parents[2]
# The demo's batch is 2 samples: 2 copies of the model, each split over 2 ranks. How ranks share the work changes no hash.
MESH = "models.reslim.train.mesh.tp=2"
ACCOUNT = "demo"
TRAINING = {"mpi": "srun", "nodes": 2, "tasks_per_node": 2, "gres": "gpu:2", "mem_mb": 16000, "runtime": 60,
            "slurm_extra": "'--signal=USR1@300'"}
QUICK = 2  # seconds until Snakemake asks SLURM for the first time, then 10 more each time: nobody else uses this one
SCORED = ["task", "model", "dataset", "variable", "space", "region", "season", "protocol", "reference"]
CPUS = 8  # of each node: what rules ask for at most, so that this machine is not given everything at once


def edited(profile: Mapping[str, Any], partition: str) -> dict[str, Any]:
    """profiles/slurm/config.yaml with what a user edits there, asked more often."""
    defaults = {**profile["default-resources"], "slurm_account": ACCOUNT, "slurm_partition": partition}
    return {**profile, "slurm-init-seconds-before-status-checks": QUICK, "default-resources": defaults,
            "set-threads": {**profile.get("set-threads", {}), "train_model": 2},
            "set-resources": {**profile["set-resources"], "train_model": TRAINING}}


def prepare(folder: Path, partition: str, **more: Any) -> None:
    """Copy what Snakemake reads, with the profile edited, and with `more` in it; what was made there before stays."""
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    path = folder / "profiles/slurm/config.yaml"
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**edited(profile, partition), **more}, sort_keys=False), encoding="utf-8")


def idle(tasks: Sequence[Mapping[str, str]]) -> tuple[float, float]:
    """(seconds in which no job was queued or ran, seconds from the first submission to the last end): Snakemake had not looked yet."""
    spans = sorted(tuple(datetime.fromisoformat(task[name]).timestamp() for name in ("SubmitTime", "EndTime")) for task in tasks)
    empty, reached = 0.0, spans[0][0]
    for submitted, ended in spans:
        empty, reached = empty + max(0.0, submitted - reached), max(reached, ended)
    return empty, reached - spans[0][0]


def scores(run: Path, metric: str) -> pd.Series[float]:
    """A run's scores by one metric, by what was scored."""
    table = pd.read_parquet(run / "evaluate/metrics.parquet")
    return table[table["metric"] == metric].set_index(SCORED)["value"].sort_index()


def furthest(run: Path, other: Path, metric: str = "rmse") -> float:
    """The largest relative difference between two runs' scores by one metric. Raises ValueError when they scored different things."""
    ours, theirs = scores(run, metric), scores(other, metric)
    if ours.empty or not ours.index.equals(theirs.index) or not ours.isna().equals(theirs.isna()):
        raise ValueError(f"{run} and {other} hold different scores")
    return float(((ours - theirs).abs() / theirs.abs()).max())


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workflow.slurm_demo", description="The demo through a SLURM of its own.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "results/slurm-demo")
    parser.add_argument("--set", dest="keys", action="append", default=[], metavar="KEY=VALUE", help="of the configuration")
    parser.add_argument("--against", type=Path, default=ROOT / "results/demo", help="a run of the same on this machine alone")
    parser.add_argument("more", nargs="*", help="further arguments of Snakemake, after --")
    given = parser.parse_args(words)
    folder: Path = given.folder.resolve()
    if reason := slurm.missing():
        print(f"error: no SLURM can be started here: {reason}", file=sys.stderr)
        return 2
    with slurm.Slurm(cpus=CPUS, min_job_age=3600) as started:
        prepare(folder, started.partition)
        began = time.monotonic()
        keys = ",".join(f'"{key}"' for key in (MESH, *given.keys))
        command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--config", f"set=[{keys}]", *given.more, "--", "all"]
        done = subprocess.run(command, cwd=folder, env=started.variables, check=False)
        if tasks := started.tasks():
            empty, whole = idle(tasks)
            print(f"{(time.monotonic() - began) / 60:.1f} minutes, {len(tasks)} jobs on {', '.join(started.nodes)}; of {whole:.0f} s "
                  f"there was no job for {empty:.0f}, until Snakemake looked")  # fmt: skip
    if done.returncode:
        return done.returncode
    subprocess.run([sys.executable, "-m", "orbit2", "report", "headline", "results/demo"], cwd=folder, check=True)
    if (given.against / "evaluate/metrics.parquet").is_file():
        print(f"furthest RMSE from that of {given.against}: {furthest(folder / 'results/demo', given.against):.1e} of it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
