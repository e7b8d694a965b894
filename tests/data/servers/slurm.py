"""A SLURM of virtual nodes on one machine, in a temporary folder: munged, slurmctld and slurmd of its own, no accounting database.

    with Slurm() as slurm:                           # two nodes
        with slurm.environment():
            subprocess.run(["sbatch", ...])          # or snakemake --executor slurm
        slurm.kill_node(slurm.nodes[0])              # then start_node, drain, down, resume
        slurm.wait(number, "COMPLETED")
        slurm.tasks()                                # what scontrol knows of every task

    python -m tests.data.servers.slurm --nodes 2 -- COMMAND     # the same round any command, which may be a shell

Claims more cores, memory and GPUs than there are, so that profiles for real nodes run as they stand. As on real sites a job's
processes are tracked, and its memory is limited, by control groups where they can be written (as root; `limited`); elsewhere processes
are found by their parents and nothing is limited. Never touches an installed SLURM, nor another one of these: ports, keys, sockets,
job numbers and names of nodes (after which slurmd names its control groups) are its own.
"""

from __future__ import annotations

import argparse
import getpass
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import psutil

from tests.data.servers.slurm_config import (
    CONFIGURATION,
    TRACKED,
    UNTRACKED,
    free_ports,
    gpu_file,
    group_text,
    group_version,
    members,
    node_lines,
    open_slice,
    remove_groups,
    unlimited,
)

__all__ = ["Slurm", "missing", "unlimited"]

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
CLIENTS = ("sbatch", "srun", "sattach", "sbcast", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare")
NEEDED = ("munged", "slurmctld", "slurmd", *CLIENTS)
OVER = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")


def missing() -> str:
    """Why there can be no SLURM here; empty when there can."""
    absent = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm and munge)" if absent else ""


class Slurm:
    """A context manager. `nodes` in it are their names.

    `cpus`, `memory_mb` and `gpus` are claimed by each node. `max_time` is the partition's MaxTime (minutes or SLURM's text), `requeue`
    whether jobs that do not say may be queued again (JobRequeue: after the loss of a node, and by `scontrol requeue`), `exclusive`
    whether a job has its nodes alone. Seconds: `node_timeout` until a silent node counts as down (SlurmdTimeout), `requeue_delay` until
    a job that was queued again may start (cred_expire; sites: 120), `kill_wait` from SIGTERM to SIGKILL, `min_job_age` for which
    finished jobs are remembered. `more`: further lines of slurm.conf, e.g. another partition. `groups`: False does without control
    groups also where they can be written.
    """

    def __init__(self, *, nodes: int = 2, cpus: int = 64, memory_mb: int = 1_000_000, gpus: int = 8, partition: str = "batch",
                 max_time: int | str = "INFINITE", requeue: bool = True, exclusive: bool = False, node_timeout: int = 20,
                 requeue_delay: int = 20, kill_wait: int = 30, min_job_age: int = 300, groups: bool = True,
                 more: str = "") -> None:  # fmt: skip
        name = f"t{secrets.token_hex(3)}n"
        self.nodes = [f"{name}{number}" for number in range(1, nodes + 1)]
        self.partition, self.gpus = partition, gpus
        self._claims = {"cpus": cpus, "memory_mb": memory_mb, "gpus": gpus}
        self._settings = {
            "partition": partition, "max_time": max_time, "requeue": int(requeue), "sharing": "EXCLUSIVE" if exclusive else "NO",
            "node_timeout": node_timeout, "requeue_delay": requeue_delay, "kill_wait": kill_wait, "min_job_age": min_job_age,
            "more": more,
            # ranks meet at a port that follows the job's number: jobs of two SLURMs on one machine are to have different ones
            "first_job": random.SystemRandom().randrange(1000, 9_000_000)}
        self._groups = group_version() if groups else 0
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}  # "munged", "slurmctld", and slurmd by the name of its node

    @property
    def limited(self) -> bool:
        """Whether a job that takes more memory than it asked for is killed."""
        return bool(self._groups)

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to find this SLURM; nothing of another one stays."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH_", "SRUN_"))}
        return others | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder / 'bin'}{os.pathsep}{PATH}"}

    @contextmanager
    def environment(self) -> Iterator[None]:
        """The same for this process and what it starts."""
        before = dict(os.environ)
        variables = self.variables
        os.environ.clear()
        os.environ.update(variables)
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

    def job(self, number: str) -> Mapping[str, str]:
        """What scontrol knows of one job: JobState, Reason, Restarts, NodeList, ... Raises CalledProcessError where it knows none."""
        line = self("scontrol", "show", "job", "--oneliner", number).splitlines()[0]
        return dict(pair.partition("=")[::2] for pair in line.split())

    def wait(self, number: str, *states: str, seconds: float = 120.0) -> Mapping[str, str]:
        """Wait until a job is in one of these states (none: over) and return what scontrol says then. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (found := self.job(number))["JobState"] not in (states or OVER):
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {number} is {found['JobState']} ({found['Reason']}) and not {' or '.join(states or OVER)}")
            time.sleep(0.2)
        return found

    def log(self, name: str = "slurmctld") -> str:
        """The log of slurmctld, or of a node's slurmd, by the node's name."""
        return (self.folder / f"{f'slurmd.{name}' if name in self.nodes else name}.log").read_text(errors="replace")

    # What goes wrong on a machine, and what its keepers do.

    def state(self, node: str) -> str:
        """idle, mixed, allocated, draining, drained, down, completing, ...; a `*` at the end says that the node does not answer."""
        return self("sinfo", "--noheader", f"--nodes={node}", f"--partition={self.partition}", "--format=%T").strip()

    def drain(self, node: str) -> None:
        """No new jobs; those that run go on."""
        self("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def down(self, node: str) -> None:
        """Its jobs are ended, and queued again where that is allowed."""
        self("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def resume(self, node: str) -> None:
        """Take it into use after drain or down; one that is down comes back by itself, too, when its slurmd is heard of again."""
        with suppress(subprocess.CalledProcessError):  # it has
            self("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self._until(f"{node} is usable", lambda: self.state(node) in ("idle", "mixed", "allocated", "completing"), 60)

    def limit(self, max_time: int | str) -> None:
        """A new MaxTime of the partition, in minutes; jobs that are queued and ask for more wait for ever."""
        self("scontrol", "update", f"PartitionName={self.partition}", f"MaxTime={max_time}")

    def kill_daemon(self, node: str) -> None:
        """kill -9 of slurmd alone: the jobs on the node go on, until slurmctld takes the node for lost."""
        self._daemons[node].kill()
        self._daemons[node].wait()

    def kill_node(self, node: str) -> None:
        """kill -9 of slurmd and of every process of the node's jobs, as a power cut does it. `start_node` brings it back."""
        self.kill_daemon(node)
        for _ in range(50):  # what is being born meanwhile
            left = self.processes(node)
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            if not left:
                return
            time.sleep(0.05)

    def processes(self, node: str) -> list[psutil.Process]:
        """Every living process of a node's jobs, those of SLURM that look after them included, without slurmd."""
        daemon, log, found = self._daemons[node].pid, str(self.folder / f"slurmd.{node}.log"), set(members(node))
        for process in psutil.process_iter(["name", "pid"]):
            with suppress(psutil.Error):
                if process.info["name"] == "slurmstepd" and any(file.path == log for file in process.open_files()):
                    found |= {process.pid, *(child.pid for child in process.children(recursive=True))}
        living = []
        for pid in found - {daemon}:
            with suppress(psutil.Error):
                if (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                    living.append(process)
        return living

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node that was killed, and wait until it is known to be back."""
        self._start(node, "slurmd", "-D", "-N", node)
        self._until(f"{node} is back", lambda: self.state(node) in ("idle", "mixed", "allocated", "completing", "drained", "draining"), 60)

    # Start and end.

    def __enter__(self) -> Self:
        # not below pytest's folders: a socket's path is at most 107 characters long, and munged wants them open to others
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)
        try:
            self._launch()
        except RuntimeError as error:  # control groups that can be written are not always enough: a container's own tree, for one
            self._stop()
            if not self._groups:
                raise
            print(f"no control groups for this SLURM: {str(error).splitlines()[0]}", file=sys.stderr)
            self._groups = 0
            return self.__enter__()
        except BaseException:
            self._stop()
            raise
        return self

    def _launch(self) -> None:
        open_slice(self._groups)
        self._configure()
        self._start("munged", "munged", "--foreground", "--force", *(
            f"--{name}={self.folder / file}" for name, file in (
                ("socket", "munge.socket"), ("key-file", "munge.key"), ("pid-file", "munged.pid"), ("seed-file", "munge.seed"))))
        self._until("munged answers", lambda: (self.folder / "munge.socket").exists())
        self._start("slurmctld", "slurmctld", "-D")
        self._until("slurmctld answers", lambda: "is UP" in self("scontrol", "ping"))
        for node in self.nodes:
            self._start(node, "slurmd", "-D", "-N", node)
        self._until("every node is idle", lambda: all(self.state(node) == "idle" for node in self.nodes))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        controller, *ports = free_ports(1 + len(self.nodes))
        for name in ("state", "bin", *(f"spool.{node}" for node in self.nodes)):
            (self.folder / name).mkdir(mode=0o755)
        for name in CLIENTS:  # Snakemake's jobstep takes SLURM_CONF out of the environment: each command brings its own
            script = self.folder / "bin" / name
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which(name, path=PATH)} "$@"\n')
            script.chmod(0o755)
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o600)
        (self.folder / "cgroup.conf").write_text(group_text(self._groups))
        gres: list[str] = []
        for index in range(self.gpus):
            gpu_file(self.folder / f"gpu{index}")
            gres.append(f"Name=gpu File={self.folder}/gpu{index}")
        (self.folder / "gres.conf").write_text("\n".join(gres) + "\n")
        nodes = node_lines(dict(zip(self.nodes, ports, strict=True)), host, **self._claims)
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(
            host=host, user=getpass.getuser(), folder=self.folder, controller=controller, nodes=nodes,
            limits=TRACKED if self._groups else UNTRACKED, **self._settings))  # fmt: skip

    def _start(self, name: str, *command: str) -> None:
        """Start a daemon, which ends when this process ends without having ended it."""
        bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with open(self.folder / f"{name}.out", "ab") as out:
            self._daemons[name] = subprocess.Popen([*bound, *command], env=self.variables, stdout=out, stderr=out, start_new_session=True)

    def _until(self, what: str, happened: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(subprocess.CalledProcessError):
                if happened():
                    return
            if any(process.poll() not in (None, -signal.SIGKILL) for process in self._daemons.values()):  # not one that a test killed
                break
            time.sleep(0.1)
        said = sorted([*self.folder.glob("*.out"), *self.folder.glob("*.log")])
        told = "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in said)
        raise RuntimeError(f"waited in vain until {what}\n{told}")

    def _stop(self) -> None:
        """Jobs first: what slurmd started would outlive it."""
        started = [node for node in self.nodes if node in self._daemons]
        try:
            if len(started) == len(self.nodes) and all(process.poll() is None for process in self._daemons.values()):
                self("scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}")
                self._until("no job is left", lambda: not self("squeue", "--noheader").strip(), 10.0)
        except (OSError, RuntimeError, subprocess.SubprocessError):
            pass
        for node in started:
            self.kill_node(node)
        for name in ("slurmctld", "munged"):
            if (process := self._daemons.get(name)) is not None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._daemons.clear()
        remove_groups(started if self._groups else [])
        shutil.rmtree(self.folder, ignore_errors=True)


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.data.servers.slurm", description="Run a command beside a SLURM of its own.")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=64, help="claimed by each node")
    parser.add_argument("--memory-mb", type=int, default=1_000_000, help="claimed by each node")
    parser.add_argument("--gpus", type=int, default=8, help="claimed by each node")
    parser.add_argument("--partition", default="batch")
    parser.add_argument("--max-time", default="INFINITE", help="of a job in the partition, minutes")
    parser.add_argument("--no-requeue", dest="requeue", action="store_false", help="jobs are not queued again unless they ask for it")
    parser.add_argument("--exclusive", action="store_true", help="a job has its nodes alone")
    parser.add_argument("command", nargs="+", help="after --")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Run the command with SIGINT, SIGTERM and SIGHUP passed on; its exit code."""
    settings = vars(_arguments(words))
    command = settings.pop("command")
    if reason := missing():
        print(f"error: no SLURM can be started here: {reason}", file=sys.stderr)
        return 2
    child: list[subprocess.Popen[bytes]] = []

    def passed_on(number: int, frame: FrameType | None) -> None:
        if not child:
            sys.exit(128 + number)
        if number != signal.SIGINT or not sys.stdin.isatty():  # a terminal sends Ctrl-C to both
            with suppress(ProcessLookupError):
                child[0].send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, passed_on)
    with Slurm(**settings) as started:
        print(f"SLURM of {len(started.nodes)} nodes: {', '.join(started.nodes)}; "
              f"memory is {'limited' if started.limited else 'not limited'}", file=sys.stderr)  # fmt: skip
        child.append(subprocess.Popen(command, env=started.variables))
        code = child[0].wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
