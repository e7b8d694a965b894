"""profiles/frontier's set-up of a job's nodes, with stand-ins: caches and environment on a node's own disk, or a sentence why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.data.servers.standin_slurm import StandIns

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import importlib.util, os, orbit2
print("code", orbit2.__file__, orbit2.SAYS)
print("triton", importlib.util.find_spec("triton"))
print("cache", *(os.environ.get(name) for name in ("ORBIT2_CACHE", "MIOPEN_USER_DB_PATH", "TORCHINDUCTOR_CACHE_DIR", "NCCL_NET")))
"""


class Login:
    """A project with a small environment of its own, whose `orbit2` says where it is run from, and a node's disk."""

    def __init__(self, folder: Path) -> None:
        self.project, self.disk = folder / "pro ject", folder / "bb"
        self.disk.mkdir()
        shutil.copytree(ROOT / "profiles/frontier", self.project / "profiles/frontier")
        shutil.copytree(ROOT / "workflow/scripts", self.project / "scripts")
        venv.create(self.project / ".venv", symlinks=True)
        (self.project / "orbit2").mkdir()
        (self.project / "orbit2/__init__.py").write_text("SAYS = 1\n")
        (self.project / "orbit2/__main__.py").write_text(SHOW)
        script = self.project / ".venv/bin/orbit2"
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{self.project}" exec {sys.executable} -m orbit2\n')
        script.chmod(0o755)
        self.slurm = StandIns(folder / "slurm", {"sbcast": '[ "$1" = --force ] && shift\ncp "$1" "$2"'})

    def pack(self, *options: str) -> str:
        done = subprocess.run([self.project / "profiles/frontier/pack.sh", *options], capture_output=True, text=True, check=True)
        return done.stdout

    def train(self, nodes: int) -> str:
        """What a rank would print."""
        bins = f"{self.slurm.folder / 'bin'}:{self.project / '.venv/bin'}:/usr/bin:/bin"
        line = f"source scripts/prepared.sh; prepared profiles/frontier/node.sh {nodes} srun --nodes={nodes} orbit2 train"
        environment = {"PATH": bins, "ORBIT2_NODE_DISK": str(self.disk), "SLURM_JOB_ID": "77", "USER": "me"}
        command = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(command, cwd=self.project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def login(tmp_path: Path) -> Login:
    return Login(tmp_path)


def test_caches_are_on_the_nodes_disk(login: Login) -> None:
    place = login.disk / "orbit2-77"
    said = login.train(1)
    assert f"cache {place}/samples {place}/miopen {place}/inductor Socket" in said
    assert f"code {login.project}/orbit2/__init__.py" in said  # one node reads it where it lies
    assert sorted(path.name for path in place.iterdir()) == ["code", "inductor", "miopen", "samples", "triton"]
    assert login.slurm.calls("srun")[0][:3] == ["--nodes=1", "--ntasks=1", "--ntasks-per-node=1"] or len(login.slurm.calls("srun")) == 2


def test_many_nodes_get_the_environment_by_broadcast(login: Login) -> None:
    place = login.disk / "orbit2-77"
    said = login.train(8)
    assert "run profiles/frontier/pack.sh" in said and f"code {login.project}/orbit2" in said
    login.pack()
    said = login.train(8)
    assert "environment on the disks of 8 node(s)" in said and f"code {place}/code/orbit2/__init__.py 1" in said and "OFI" in said
    assert "triton None" in said  # a cache's folder is no package, as it was beside the code
    (call,) = login.slurm.calls("sbcast")
    assert call[0] == "--force" and call[2] == f"{place}/code/archive.tar" and not (place / "code/archive.tar").exists()
    assert login.slurm.calls("srun").count(["--nodes=8", "orbit2", "train"]) == 2


def test_without_a_checkout_nodes_read_what_is_installed(login: Login) -> None:
    """The profile of an installed package, or a copy of it (`orbit2 profile`)."""
    (login.project / "orbit2").rename(login.project / "elsewhere")
    (login.project / ".venv/bin/orbit2").write_text("#!/bin/sh\necho trains\n")
    said = login.train(8)
    assert "no checkout with an environment" in said and said.count("trains") == 1


def test_an_archive_of_other_code_is_not_used(login: Login) -> None:
    login.pack()
    (login.project / "orbit2/__init__.py").write_text("SAYS = 2\n")
    said = login.train(8)
    assert "run profiles/frontier/pack.sh" in said and f"code {login.project}/orbit2/__init__.py 2" in said
    login.pack()
    assert f"code {login.disk}/orbit2-77/code/orbit2/__init__.py 2" in login.train(8)
    assert len(list((login.project / ".snakemake/orbit2").glob("environment-*"))) == 1


def test_what_cannot_be_done_is_said_and_ranks_start_all_the_same(login: Login) -> None:
    login.pack()
    (login.slurm.folder / "bin/sbcast").write_text("#!/bin/sh\nexit 1\n")
    said = login.train(8)
    assert "failed, the environment is read from the shared file system" in said and f"code {login.project}/orbit2" in said
    login.disk.rename(login.disk.with_name("gone"))
    said = login.train(8)
    assert "not every node has a disk of its own" in said and f"code {login.project}/orbit2" in said and "cache None" in said


def test_a_script_that_is_not_there_is_a_mistake(login: Login) -> None:
    line = "source scripts/prepared.sh; prepared nowhere.sh 1 echo ranks"
    done = subprocess.run(["bash", "-c", line], cwd=login.project, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 2 and "nowhere.sh" in done.stderr and "ranks" not in done.stdout
