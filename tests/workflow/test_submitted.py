"""What `profiles/frontier` submits: every sbatch and srun line, for each rule, and for trainings of each size on 1 to 4,096 nodes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.servers.standin_slurm import StandIns
from tests.workflow.conftest import ROOT, Project, retrieve

SIZES = ("9m", "126m", "1b", "10b")
NODES = (1, 2, 8, 64, 91, 92, 183, 184, 1024, 1881, 1882, 4096)
BINS = {91: 120, 183: 360, 9472: 720}  # OLCF's: most nodes -> most minutes
GPU = "--gpus-per-node=8 --network=disable_rdzv_get --signal=USR1@300"
TRAINED = {"train_model", "finetune_model"}
RANKS = TRAINED | {"downscale_task", "downscale_block"}
ALONE = {"regrid_init", "regrid_part", "regrid_finalise", "statistics_dataset", "evaluate_fit", "evaluate_part", "evaluate_task",
         "evaluate_merge", "diagnose_task", "diagnose_merge", "report_page", "downscale_init", "downscale_finalise"}  # fmt: skip


def run() -> dict[str, Any]:
    train = {"steps": 2, "batch_size": 2, "precipitation_threshold": 0}
    networks = {size: {"include": f"config/models/reslim_{size}.yaml"} for size in SIZES}
    models = {f"m_{size}_{count}": {"datasets": ["era5_week"], "train": train, "architecture": network}
              for size, network in networks.items() for count in NODES}  # fmt: skip
    tuned = {"tuned_7": {"datasets": ["era5_week"], "finetune_from": "m_9m_1", "train": train}}
    tasks = {"whole": {"model": "tuned_7", "dataset": "era5_week"}, "parts": {"model": "m_9m_1", "dataset": "era5_week", "blocks": 2}}
    data = {"include": "config/datasets/era5_week.yaml", "samples_per_part": 1, "samples_per_shard": 1}  # 24 parts
    return {"label": "sizes", "datasets": {"era5_week": data}, "models": models | tuned, "downscale": tasks}


class Lines:
    """Of one run that submits everything at once: (rule, model) -> the options of sbatch, `jobs` -> those of its group; what is printed."""

    def __init__(self, project: Project, partition: str = "batch") -> None:
        profile = project.folder / "profiles/frontier/config.yaml"
        said = yaml.safe_load(profile.read_text())
        for rule in TRAINED:
            said["set-resources"][rule]["nodes"] = "int(wildcards.model.partition('-')[0].rpartition('_')[2])"
        said["default-resources"] |= {"slurm_account": "abc123", "slurm_partition": partition}
        profile.write_text(yaml.safe_dump(said))
        (project.folder / "run.yaml").write_text(yaml.safe_dump(run()))
        retrieve(project.folder, "run.yaml")  # what runs right here is not submitted
        slurm = StandIns(project.folder / "slurm")
        path = f"{slurm.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(project.folder)}
        command = [sys.executable, str(ROOT / "tests/workflow/submit_at_once.py"), "--profile", "profiles/frontier",
                   "--configfile", "run.yaml", "--jobs", "1000", "-p", "all", "train"]  # fmt: skip
        done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
        self.printed = done.stdout + done.stderr
        self.sbatch: dict[tuple[str, str], list[str]] = {}
        self.submitted = slurm.calls("sbatch")
        self.together: list[dict[str, int]] = []  # of each group: rule -> jobs
        for call in self.submitted:
            rule, _, wildcards = call[call.index("--comment") + 1].removeprefix("rule_").partition("_wildcards_")
            jobs = re.findall(r"'?(\w+):[^ ']*'?", call[-1].split("--target-jobs ")[1].split(" --allowed-rules")[0])
            if "--local-groupid" in call[-1]:
                self.together.append(dict(Counter(jobs)))
                self.sbatch |= {(job, ""): call for job in jobs}
            else:
                self.sbatch[rule, wildcards.partition("-")[0]] = call


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return Lines(Project(tmp_path_factory.mktemp("submitted")))


def option(call: list[str], *names: str) -> str | None:
    """Of `--name=value`, `--name value` or `-n value`."""
    for word, after in zip(call, [*call[1:], ""], strict=True):
        if word in names:
            return after
        if word.partition("=")[0] in names and "=" in word:
            return word.partition("=")[2]
    return None


def test_every_rule_that_is_no_local_one_is_submitted(lines: Lines) -> None:
    assert {rule for rule, _ in lines.sbatch} == RANKS | ALONE, lines.printed[-3000:]


def test_account_and_partition_and_no_memory(lines: Lines) -> None:
    """A node is the job's alone: with `--mem` it would be held to less than it has."""
    for (rule, _), call in lines.sbatch.items():
        text = " ".join(call[: call.index(next(word for word in call if word.startswith("--wrap")))])
        partition = "extended" if rule in ("evaluate_fit", "evaluate_part") else "batch"
        assert option(call, "-A", "--account") == "abc123" and option(call, "-p", "--partition") == partition, text
        assert "--mem" not in text and "--exclude" not in text


def test_no_job_asks_for_more_time_than_its_bin_gives(lines: Lines) -> None:
    for (rule, _), call in lines.sbatch.items():
        nodes, minutes = int(option(call, "--nodes") or 1), int(option(call, "-t") or 0)
        limit = 1440 if option(call, "-p") == "extended" else next(limit for most, limit in BINS.items() if nodes <= most)
        assert 0 < minutes <= limit, call
        if rule in TRAINED:
            assert minutes == limit  # it goes on in the next job


@pytest.mark.parametrize("size", SIZES)
def test_trainings_of_every_size(lines: Lines, size: str) -> None:
    for count in NODES:
        call = lines.sbatch["train_model", f"m_{size}_{count}"]
        assert [option(call, f"--{name}") for name in ("nodes", "ntasks-per-node", "cpus-per-task")] == [str(count), "8", "7"]
        assert option(call, "--ntasks") is None and option(call, "-C") == "nvme"
        assert set(GPU.split()) <= set(call)
    steps = re.findall(rf"prepared profiles/frontier/node.sh (\d+) (srun .*?) orbit2 train .*/m_{size}_(\d+)-", lines.printed)
    assert sorted(int(count) for count, _, _ in steps) == list(NODES)
    for count, step, model in steps:
        assert count == model and shlex.split(step) == [
            "srun", "--kill-on-bad-exit=1", f"--nodes={count}", f"--ntasks={8 * int(count)}", "--ntasks-per-node=8", "--cpus-per-task=7",
            "--gpus-per-task=1", "--gpu-bind=closest"]  # fmt: skip


def test_other_jobs_of_ranks(lines: Lines) -> None:
    """Fine-tuning as training; a task and each block have a node, 8 ranks of which take its items in turn."""
    tuned = lines.sbatch["finetune_model", "tuned_7"]
    assert option(tuned, "--nodes") == "7" and option(tuned, "-t") == "120" and set(GPU.split()) <= set(tuned)
    for rule in RANKS - TRAINED:
        calls = [call for (name, _), call in lines.sbatch.items() if name == rule]
        assert calls
        for call in calls:
            assert [option(call, f"--{name}") for name in ("nodes", "ntasks-per-node", "cpus-per-task")] == ["1", "8", "7"]
            assert set(GPU.split()) <= set(call) and option(call, "-C") == "nvme"
    assert len(re.findall(r"node.sh 1 srun \S+ --nodes=1 --ntasks=8 --ntasks-per-node=8 .*? orbit2 downscale ", lines.printed)) == 3


def test_jobs_of_one_process(lines: Lines) -> None:
    for (rule, _), call in lines.sbatch.items():
        if rule in ALONE:
            assert (option(call, "--nodes"), option(call, "--ntasks")) == (None, "1") and not {"-C", "--gpus-per-node=8"} & set(call), rule


def test_small_jobs_share_nodes(lines: Lines) -> None:
    """24 parts, 14 at a time on a node: half an hour, twice. Threads of all that run at once, never more than the node's 56 cores."""
    page = {"evaluate_task": 2, "diagnose_task": 2, "evaluate_merge": 1, "diagnose_merge": 1, "report_page": 1}
    expected = [{"regrid_part": 24}, {"regrid_finalise": 1, "statistics_dataset": 1}, page,
                {"evaluate_fit": 1}, {"evaluate_part": 1}, {"evaluate_part": 1}]  # fmt: skip
    assert sorted(lines.together, key=sorted) == sorted(expected, key=sorted)
    asked = {rule: (option(call, "-t"), option(call, "--cpus-per-task")) for (rule, _), call in lines.sbatch.items()}
    assert asked["regrid_part"] == ("60", "56") and asked["statistics_dataset"] == ("120", "56")
    assert asked["evaluate_fit"] == ("240", "1") and asked["evaluate_part"] == ("600", "1")  # a month of either task
    assert asked["report_page"] == ("100", "4")
    parts = [line for line in lines.printed.splitlines() if "orbit2 regrid part" in line]
    assert len(parts) == 24 and all("--memory-mb 34000 --threads 4" in line for line in parts)  # 14 of them: 476 of a node's 512 GB


def test_a_job_that_its_partition_would_never_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it waits for ever, PENDING (PartitionTimeLimit), and all that needs it. One line, nothing submitted, nothing locked."""
    project, slurm = Project(tmp_path), StandIns(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{slurm.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    resources = ("slurm_account=abc123", "slurm_partition=extended", "runtime=1441", "mem_mb=0")
    done = project("statistics", "--configfile", "config/config.yaml", "--default-resources", *resources, profile="frontier", check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(said) == 1 and "PartitionTimeLimit" in said[0] and "1440 min" in said[0], done.stdout + done.stderr
    assert not slurm.calls("sbatch") and not list((tmp_path / ".snakemake/locks").glob("*"))
