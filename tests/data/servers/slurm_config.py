"""What tests/data/servers/slurm.py writes into slurm.conf, and the control groups of its nodes."""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
SLICE = GROUPS / "system.slice"
PORTS = range(10000, 20000)
# cred_expire (seconds) is also how long a job that went back to the queue waits there: 120 by default.
CONFIGURATION = """
ClusterName=orbit2
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue_delay}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
{limits}
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=1
SlurmdParameters=config_overrides
FirstJobId={first_job}
JobRequeue={requeue}
MinJobAge={min_job_age}
KillWait={kill_wait}
SlurmdTimeout={node_timeout}
ReturnToService=2
GresTypes=gpu
{nodes}
PartitionName={partition} Nodes=ALL Default=YES MaxTime={max_time} OverSubscribe={sharing} State=UP
{more}
"""
# Sites track and limit a job by control groups. Without them a job's processes are found by their parents, and nothing is limited.
TRACKED = "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup"
UNTRACKED = "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none"
LIMITS = "CgroupPlugin=cgroup/v{version}\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\nConstrainCores=no\nConstrainDevices=no\n"


def group_version() -> int:
    """The version of the control groups that can be written here: 1, 2 or, where none can, 0."""
    roots = {1: (GROUPS / "memory", GROUPS / "freezer"), 2: (GROUPS,)}
    version = 2 if (GROUPS / "cgroup.controllers").is_file() else 1
    if version == 2 and "memory" not in (GROUPS / "cgroup.controllers").read_text().split():
        return 0
    for root in roots[version]:
        probe = root / f"orbit2-probe-{os.getpid()}"
        try:
            if not (root / "cgroup.procs").is_file():  # a folder that could be made in a plain one says nothing
                return 0
            probe.mkdir()
            probe.rmdir()
        except OSError:
            return 0
    return version


def unlimited() -> str:
    """Why no memory is limited here; empty where it is."""
    return "" if group_version() else f"no control groups that can be written in {GROUPS} (needs root)"


def alone() -> bool:
    """Whether there is no systemd to make control groups, as in containers."""
    return not Path("/run/systemd/system").is_dir()


def group_text(version: int) -> str:
    """cgroup.conf. Version 2 without systemd has to be told so. Where groups are not used, the plugin of version 1 does nothing; that of
    version 2, which slurmd takes by itself, does not start where it cannot make any."""
    if not version:
        return "CgroupPlugin=cgroup/v1\n"
    return LIMITS.format(version=version) + ("IgnoreSystemd=yes\n" if version == 2 and alone() else "")


def open_slice(version: int) -> None:
    """What systemd does elsewhere: the group in which slurmd of version 2 makes its own, with the controllers handed down to it.

    Raises RuntimeError where that cannot be, as in a container whose topmost group holds processes.
    """
    if version != 2 or not alone():
        return
    given = (GROUPS / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in ("cpuset", "cpu", "memory", "pids") if name in given)
    try:
        SLICE.mkdir(exist_ok=True)
        for group in (GROUPS, SLICE):
            (group / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        raise RuntimeError(f"the controllers of {GROUPS} cannot be handed down: {error}") from None


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those at which ranks meet and those that the system gives to whoever connects."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            found += [] if port in found else [port]
    return found


def gpu_file(path: Path) -> None:
    """What stands for a GPU: a null device (CUDA_VISIBLE_DEVICES is set for it), or without the right to make one any file."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        path.touch()


def node_lines(ports: dict[str, int], host: str, cpus: int, memory_mb: int, gpus: int) -> str:
    """One NodeName line for each; all are this machine, at ports of their own."""
    return "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} "
        f"ThreadsPerCore=1 RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN" for name, port in ports.items())


def groups_of(node: str) -> Iterator[Path]:
    """The control groups of a node's jobs, deepest first. slurmd names the topmost after its node."""
    for pattern in (f"*/*_{node}", f"*_{node}", f"*/{node}*", f"*/*/{node}*"):
        for top in GROUPS.glob(pattern):
            yield from sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), key=lambda path: -len(path.parts))


def members(node: str) -> set[int]:
    """Processes in a node's control groups."""
    found: set[int] = set()
    for group in groups_of(node):
        with suppress(OSError):
            found.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
    return found


def remove_groups(nodes: Sequence[str], seconds: float = 10.0) -> None:
    """Kill what is left in the nodes' groups, frozen processes too, and remove the groups."""
    deadline = time.monotonic() + seconds
    for node in nodes:
        while True:
            for state in (group / "freezer.state" for group in groups_of(node)):
                with suppress(OSError):
                    if state.is_file():
                        state.write_text("THAWED")
            for pid in members(node):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for group in list(groups_of(node)):
                with suppress(OSError):
                    group.rmdir()
            if not any(groups_of(node)) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
