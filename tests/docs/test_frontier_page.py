"""docs/frontier.md: its table is the profile's, and what it tells people to type works: with stand-ins, and on a SLURM of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orbit2.queues import bins
from tests.data.servers import slurm
from tests.data.servers.standin_slurm import StandIns
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs/frontier.md"
MODULES = "module() { shift; export LOADEDMODULES=$(IFS=:; echo \"$*\"); }\n"
SMALL = {
    "label": "small", "datasets": {"week": {"include": "config/datasets/era5_week.yaml"}},
    "models": {"small": {
        "datasets": ["week"],
        "architecture": {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 8, "residual_blocks": 1},
        "train": {"steps": 4, "batch_size": 32, "workers": 0, "validate_every": 4, "warmup_steps": 1, "precipitation_threshold": 0}}},
    "downscale": {"week": {"model": "small", "dataset": "week", "max_samples": 2}},
}  # fmt: skip
needs_slurm = pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never")


def typed() -> list[str]:
    """Every line of the page's bash blocks."""
    return [line for language, text in blocks(PAGE) if language == "bash" for line in text.splitlines() if line.strip()]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """What a user has after `make install` and the page's edit, for a run of seconds; its `.venv` calls this environment's commands."""
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "orbit2", tmp_path / "orbit2", ignore=shutil.ignore_patterns("__pycache__"))
    venv.create(tmp_path / ".venv", symlinks=True)
    packages = sysconfig.get_path("purelib")
    (next(tmp_path.glob(".venv/lib/python3*/site-packages")) / "packages.pth").write_text(f"{packages}\n")
    for name in ("orbit2", "snakemake"):
        script = tmp_path / ".venv/bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m {name} "$@"\n')
        script.chmod(0o755)
    profile = tmp_path / "profiles/frontier/config.yaml"
    profile.write_text(profile.read_text().replace('"ABC123"', '"abc123"').replace("config/runs/orbit2.yaml", "small.yaml"))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    yield tmp_path


def execute(clone: Path, lines: list[str], path: str, timeout: int, **more: str) -> str:
    """The lines in one shell, as a user would type them."""
    text = "\n".join(line.replace("config/runs/orbit2.yaml", "small.yaml") for line in lines)
    own = {"PATH": path, "PYTHONPATH": str(clone), "HOME": str(clone), "XDG_CACHE_HOME": str(clone / ".cache")}
    environment = {**os.environ, **own, **more}
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", MODULES + text], cwd=clone, env=environment, capture_output=True, text=True,
                          timeout=timeout, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def test_the_table_of_times_is_the_profiles() -> None:
    profile = yaml.safe_load((ROOT / "profiles/frontier/config.yaml").read_text())
    told = bins(profile["default-resources"]["time_limits"].strip("'"))
    rows = re.findall(r"^\| (\w+) \| [\d,]+ to ([\d,]+) \| (\d+) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert {(name, int(most.replace(",", "")), 60 * int(hours)) for name, most, hours in rows} == {
        (name, most, minutes) for name, found in told.items() for most, minutes in found.rows}  # fmt: skip
    assert profile["jobs"] <= 100  # what OLCF takes of a user


def test_the_page_installs_by_the_makefile() -> None:
    (line,) = (line for line in typed() if line.startswith("make "))
    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "path/to/rocm/torch.whl" in done.stdout


@pytest.mark.slow
def test_what_the_page_looks_at_before_anything_is_spent(clone: Path, tmp_path: Path) -> None:
    """Every line but those that install or run."""
    commands = StandIns(tmp_path / "slurm")
    lines = [line for line in typed() if not line.startswith("make ") and (not line.startswith("snakemake") or " -n " in line)]
    assert [line.split()[0] for line in lines] == ["source", "orbit2", "orbit2", "snakemake", "profiles/frontier/pack.sh"]
    said = execute(clone, lines, f"{commands.folder / 'bin'}:/usr/bin:/bin", 600)
    assert "Ready." in said and "small: 1 node(s) of mi250x-gcd" in said and "report_page" in said
    assert len(list(clone.glob(".snakemake/orbit2/environment-*"))) == 1
    assert not commands.calls("sbatch")


@pytest.mark.slow
@pytest.mark.slurm
@needs_slurm
def test_the_run_of_the_page_on_a_slurm_of_two_nodes(clone: Path) -> None:
    """The profile as it is, ranks, node set-up and all; instead of NVMe a folder, and no GPUs."""
    disk = clone / "bb"
    disk.mkdir()
    extended = "PartitionName=extended Nodes=ALL MaxTime=1440 State=UP"  # where the profile sends what takes long on one node
    with slurm.Slurm(more=extended) as cluster, cluster.environment():
        for node in cluster("sinfo", "--noheader", "--Node", "--format=%N").split():
            cluster("scontrol", "update", f"NodeName={node}", "AvailableFeatures=nvme", "ActiveFeatures=nvme")
        (run,) = (line for line in typed() if line.startswith("snakemake") and " -n " not in line)
        quick = "--slurm-status-command squeue --slurm-init-seconds-before-status-checks 2"  # no accounting here, which sacct would ask
        lines = ["source profiles/frontier/env.sh", "profiles/frontier/pack.sh", f"{run} {quick}"]
        said = execute(clone, lines, os.environ["PATH"], 1500, ORBIT2_NODE_DISK=str(disk), ORBIT2_BROADCAST_FROM="1",
                       GLOO_SOCKET_IFNAME="lo")  # fmt: skip
    assert (clone / "results/small/report/index.html").is_file(), said[-3000:]
    (log,) = clone.glob("results/models/*/logs/train.log")
    assert "environment on the disks of 1 node(s)" in log.read_text() and "8 rank(s)" in log.read_text()
