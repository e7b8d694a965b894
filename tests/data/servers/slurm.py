"""A SLURM of one machine in a temporary folder: munged, slurmctld and slurmd of its own, without an accounting database.

    with Slurm() as slurm:
        with slurm.environment():
            subprocess.run(["sbatch", ...])          # or snakemake --executor slurm
        slurm.tasks()                                # what scontrol knows of every task

Claims more cores, memory and GPUs than there are, so that profiles for real nodes run as they stand. Limits nothing, needs no root
and no cgroups, and never touches an installed SLURM: ports, keys and sockets are its own.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.data.small_ranks import free_port

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare")
NEEDED = ("munged", "slurmctld", "slurmd", *CLIENTS)
CONFIGURATION = """
ClusterName=orbit2
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
KillWait=5
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName={partition} Nodes=ALL Default=YES MaxTime=INFINITE State=UP
{more}
"""


def missing() -> str:
    """Why there can be no SLURM here; empty when there can."""
    absent = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm and munge)" if absent else ""


class Slurm:
    """A context manager. `more`: further lines of slurm.conf, e.g. of an accounting database."""

    def __init__(self, *, cpus: int = 64, memory_mb: int = 1_000_000, gpus: int = 8, partition: str = "batch", more: str = "") -> None:
        self._claims = {"cpus": cpus, "memory_mb": memory_mb, "gpus": gpus, "partition": partition, "more": more}
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to find this SLURM; nothing of another one stays."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        return others | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder / 'bin'}{os.pathsep}{PATH}"}

    @contextmanager
    def environment(self) -> Iterator[None]:
        """The same for this process and what it starts."""
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.variables)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def __call__(self, *command: str) -> str:
        """What a SLURM command prints. Raises CalledProcessError when it fails."""
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def tasks(self) -> list[Mapping[str, str]]:
        """Every job and array task of the last five minutes, as scontrol shows it: JobId, ArrayJobId, ArrayTaskId, JobState, ..."""
        lines = self("scontrol", "show", "job", "--oneliner").splitlines()
        return [dict(pair.partition("=")[::2] for pair in line.split()) for line in lines if line.startswith("JobId=")]

    def log(self, name: str = "slurmctld") -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        # not below pytest's folders: a socket's path is at most 107 characters long, and munged wants them open to others
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)
        try:
            self._configure()
            self._start("munged", "--foreground", "--force", *(
                f"--{name}={self.folder / file}" for name, file in (
                    ("socket", "munge.socket"), ("key-file", "munge.key"), ("pid-file", "munged.pid"), ("seed-file", "munge.seed"))))
            self._until("munged answers", lambda: (self.folder / "munge.socket").exists())
            self._start("slurmctld", "-D")
            self._until("slurmctld answers", lambda: "is UP" in self("scontrol", "ping"))
            self._start("slurmd", "-D")
            self._until("the node is idle", lambda: self("sinfo", "--noheader", "--format=%T").strip() == "idle")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        ports = {"controller": free_port(), "daemon": free_port()}
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(mode=0o755)
        for name in CLIENTS:  # Snakemake's jobstep takes SLURM_CONF out of the environment: each command brings its own
            script = self.folder / "bin" / name
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which(name, path=PATH)} "$@"\n')
            script.chmod(0o755)
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o600)
        (self.folder / "cgroup.conf").write_text("")
        gres: list[str] = []
        for index in range(int(self._claims["gpus"])):  # slurmd believes in a GPU whose file is there
            (self.folder / f"gpu{index}").touch()
            gres.append(f"Name=gpu File={self.folder}/gpu{index}")
        (self.folder / "gres.conf").write_text("\n".join(gres) + "\n")
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(host=host, user=getpass.getuser(), folder=self.folder, **ports, **self._claims))

    def _start(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "wb") as out:
            self._started.append(subprocess.Popen(command, env=self.variables, stdout=out, stderr=out, start_new_session=True))

    def _until(self, what: str, happened: Any, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if happened():
                    return
            except subprocess.CalledProcessError:
                pass
            ended = [process for process in self._started if process.poll() is not None]
            if ended:
                break
            time.sleep(0.1)
        said = sorted([*self.folder.glob("*.out"), *self.folder.glob("*.log")])
        told = "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in said)
        raise RuntimeError(f"waited in vain until {what}\n{told}")

    def _stop(self) -> None:
        """Jobs first: what slurmd started would outlive it."""
        try:
            if len(self._started) == 3:
                self("scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}")
                self._until("no job is left", lambda: not self("squeue", "--noheader").strip(), 10.0)
        except (OSError, RuntimeError, subprocess.SubprocessError):
            pass
        for process in reversed(self._started):
            process.terminate()
        for process in reversed(self._started):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
