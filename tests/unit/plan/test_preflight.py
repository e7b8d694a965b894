"""What stands in a run's way is found before anything is submitted: all that `doctor --profile` refuses, and a run that it lets go."""

from __future__ import annotations

import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orbit2 import queues
from orbit2.config.load import load
from orbit2.errors import OrbitError
from orbit2.plan import preflight
from orbit2.plan.doctor import Finding
from tests.data.servers.standin_slurm import StandIns

ROOT = Path(__file__).resolve().parents[3]
ENV = (ROOT / "profiles/frontier/env.sh").read_text()
Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Frontier's profile, edited, on a login node with its modules loaded: findings by name."""
    slurm = StandIns(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{slurm.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    modules = re.search(r"^module load (.*)$", ENV, flags=re.MULTILINE)
    assert modules is not None
    monkeypatch.setenv("LOADEDMODULES", ":".join([*modules[1].split(), "rccl-net-plugin/1.0"]))
    for name in ("CDSAPI_KEY", "CDSAPI_RC", "EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(ROOT / "profiles/frontier", tmp_path / "profiles/frontier")
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)

    def findings(run: str = "config/config.yaml", training: dict[str, object] | None = None, page: int = 60,
                 **defaults: object) -> dict[str, Finding]:  # fmt: skip
        file = Path("profiles/frontier/config.yaml")
        said = yaml.safe_load(file.read_text())
        said["default-resources"] |= {"slurm_account": "abc123", **defaults}
        for rule in ("train_model", "finetune_model"):
            said["set-resources"][rule] |= {"nodes": 2, **(training or {})}
        said["set-resources"]["report_page"]["runtime"] = page
        file.write_text(yaml.safe_dump(said))
        found = preflight.examine(preflight.read("frontier"), load(Path(run)))
        return {f"{each.group} {each.name}": each for each in found}

    return findings


def missing(found: dict[str, Finding]) -> dict[str, str]:
    return {name: each.text for name, each in found.items() if each.level == "missing"}


def test_a_run_that_goes_through(look: Look) -> None:
    found = look()
    assert missing(found) == {}
    assert found["Queue account"].text == "abc123" and found["Queue partition"].text == "batch: 720 min, any number of nodes"
    assert found["Queue requeueing"].level == "ok" and "2 node(s) of mi250x-gcd" in found["Training reslim"].text


@pytest.mark.parametrize(("site", "profile", "level", "why"), [
    (1, {}, "ok", "own number"), (0, {}, "note", "JobRequeue is 0 here"), (0, {"slurm-requeue": True}, "ok", "own number"),
    (1, {"slurm-no-requeue": True}, "note", "slurm-no-requeue"),
])  # fmt: skip
def test_jobs_are_queued_again_as_they_ask_else_as_the_site_has_it(
    site: int, profile: dict[str, object], level: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "ask", lambda *_: queues.Said(f"JobRequeue              = {site}\n", 0))
    (found,) = preflight._requeue(preflight.Profile(Path("config.yaml"), profile))
    assert found.level == level and why in found.text


@pytest.mark.parametrize(("defaults", "where", "why"), [
    ({"slurm_account": "ABC123"}, "Queue account", "edit slurm_account"),
    ({"slurm_account": "xyz1"}, "Queue account", "not one of yours: abc123"),
    ({"slurm_partition": "bath"}, "Queue partition", "no such partition"),
])  # fmt: skip
def test_what_is_wrong_with_the_profile(look: Look, defaults: dict[str, object], where: str, why: str) -> None:
    assert why in missing(look(**defaults))[where]


@pytest.mark.parametrize(("training", "why"), [
    ({"runtime": 121}, "121 min asked for, and this partition gives 2 node(s) 120"),
    ({"runtime": 121, "nodes": 92}, None),
    ({"nodes": 9473}, None),
])  # fmt: skip
def test_times_beyond_the_queues_bins(look: Look, training: dict[str, object], why: str | None) -> None:
    found = missing(look(training=training))
    assert (why in found["Training reslim"]) if why else not any(name.startswith("Queue") for name in found)


def test_another_rules_time_beyond_its_bin(look: Look) -> None:
    assert missing(look(page=121))["Queue report_page"] == "121 min asked for, and this partition gives 1 node(s) 120"


def test_times_and_nodes_beyond_the_partition(look: Look) -> None:
    """As SLURM itself says: such a job would wait for ever."""
    found = missing(look(slurm_partition="extended", training={"nodes": 65, "runtime": 1441}))
    assert "PartitionTimeLimit" in found["Queue train_model reslim"] and "1440 min" in found["Queue train_model reslim"]
    found = missing(look(slurm_partition="extended", training={"nodes": 65, "runtime": 60}))
    assert "PartitionNodeLimit" in found["Queue train_model reslim"]


def test_modules_that_are_not_loaded(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADEDMODULES", "PrgEnv-gnu/8.7.0:cpe/26.03:rocm/7.1.1:craype-accel-amd-gfx90a")
    assert missing(look())["Environment modules"].startswith("not loaded: rccl-net-plugin;")


def test_what_providers_want(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of what is still to be fetched, and the page where a licence is accepted."""
    days = {name: {"start": f"2020-0{k}-01", "end": f"2020-0{k}-10"} for k, name in enumerate(("train", "validation", "test"), 1)}
    dataset = {"include": "config/datasets/us_28km.yaml", "split": days}
    small = {"datasets": ["us"], "architecture": {"embed_dim": 16, "heads": 2}}
    run = {"label": "days", "datasets": {"us": dataset}, "models": {"small": small}}
    Path("run.yaml").write_text(yaml.safe_dump(run))
    found = missing(look("run.yaml"))
    assert "CDSAPI_KEY" in found["Providers era5"] and "arthdata" in found["Providers daymet"]
    monkeypatch.setenv("CDSAPI_KEY", "s3cr3t")
    monkeypatch.setenv("EARTHDATA_TOKEN", "s3cr3t")
    found = look("run.yaml")
    assert "#manage-licences" in found["Providers era5"].text and found["Providers daymet"].level == "ok"
    assert not any("s3cr3t" in each.text for each in found.values())


def test_space(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    assert "1.0 kB free" in next(text for name, text in missing(look()).items() if name.startswith("Space"))


def test_without_a_cluster(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if shutil.which("sbatch"):
        monkeypatch.setattr(preflight.shutil, "which", lambda _: None)
    assert "no sbatch here" in missing(look())["Queue slurm"]


def test_another_profile(look: Look) -> None:
    with pytest.raises(OrbitError, match="frontier"):
        preflight.read("frontir")
