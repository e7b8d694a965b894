"""How this process was started (plain, torchrun or srun), and its meeting with the others. What ranks do together is in reduce.py."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from orbit2.errors import EXIT_DONE, EXIT_RESUMABLE, Interrupted, OrbitError
from orbit2.parallel import alike, usage
from orbit2.parallel.reduce import agree_on, barrier, from_first
from orbit2.parallel.watch import POLL, SAY, Watch, ends_soon, watching
from orbit2.progress import detect
from orbit2.scheduler import time_left
from orbit2.signals import FLOOR, StopRequest

TIMEOUT = timedelta(minutes=30)  # within which every rank takes part in a step's sums, or saves a checkpoint
MEETING = timedelta(minutes=10)  # from the first rank's start to the last one's
TAKEN = timedelta(seconds=30)  # for which the first rank tries to open a port that somebody else has
PORTS = range(20000, 32768)  # below those that systems give to whoever connects: a rank that looks for the port could be given that one


@dataclass(frozen=True)
class Ranks:
    """This process among `world` processes; `device` is where it computes."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


def device_of(asked: str | None, local: int = 0, world: int = 1) -> torch.device:
    """Where a process with this local rank computes: a GPU where there is one, or what was `asked` for: cpu, cuda, cuda:N.

    Raises OrbitError for any other name, a device that is not there, and one GPU for several processes.
    """
    count, allowed = torch.cuda.device_count() if torch.cuda.is_available() else 0, ["cpu"]
    allowed += ["cuda", *(f"cuda:{number}" for number in range(count))] if count else []
    name = asked or ("cuda" if count else "cpu")
    if name not in allowed:
        known = name.partition(":")[0] == "cuda"
        raise OrbitError("no such device here" if known else "unknown device", where="--device", got=name,
                         allowed=", ".join(allowed), hint="`orbit2 doctor` lists what torch sees")  # fmt: skip
    if ":" in name and world > 1:
        raise OrbitError("one GPU for several processes", where="--device", got=name, allowed="cuda (each its own), cpu",
                         hint="leave --device out, or start one process")  # fmt: skip
    return torch.device("cuda", local % count) if name == "cuda" else torch.device(name)


def heed_job(stop: StopRequest, here: Ranks, floor: float = FLOOR) -> None:
    """Let `stop` know when the job ends, to keep at least `floor` seconds free; the first rank alone asks, for all."""
    found = from_first(time_left() if here.first else None)
    if found is not None:
        stop.before(found[0] + (0 if here.first else 1), found[1], floor)  # the first rank, which writes it down, is to be the first


def _store(rank: int, world: int) -> Store:
    """Where ranks meet: torchrun's own store, or one that the first rank keeps, open before the others are there.

    While it is closed a few ranks say so every SAY seconds: the powers of two, should the second be missing too. Raises torch's
    DistError after MEETING, and on the first rank where somebody keeps its port for longer than TAKEN.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store: Store = next(rendezvous("env://", rank, world, timeout=MEETING))[0]
        return store
    host, port, began = os.environ["MASTER_ADDR"], int(os.environ.get("MASTER_PORT", "29500")), time.monotonic()
    while True:
        try:
            store = TCPStore(host, port, world, rank == 0, timeout=timedelta(seconds=SAY), wait_for_workers=False)
            store.set_timeout(MEETING)
            return store
        except dist.DistNetworkError:
            if (waited := time.monotonic() - began) > (MEETING if rank else TAKEN).total_seconds():
                raise
            if rank == 0:
                time.sleep(POLL)
            elif rank & (rank - 1) == 0:
                print(f"waiting since {waited:.0f} s: rank 0 is not at {host}:{port}", file=sys.stderr, flush=True)


@contextmanager
def ranks(timeout: timedelta = TIMEOUT, device: str | None = None) -> Iterator[Ranks]:
    """Join the process group when there is more than one process, and leave it at the end; `timeout` is how long ranks wait.

    That is for ranks that live: the death or the error of one ends the others in less than a minute (`Watch`). Raises OrbitError when
    they do not find each other.
    """
    rank, world, local = detect()
    if world == 1:
        try:
            yield Ranks(0, 1, device_of(device, local, world))
        except Interrupted:
            usage.tell(0, 1)
            raise
        usage.tell(0, 1)
        return
    if "MASTER_ADDR" not in os.environ:  # srun: the first node of the step; the port follows job and step
        os.environ["MASTER_ADDR"] = os.environ.get("SLURM_LAUNCH_NODE_IPADDR", socket.gethostname())
        job, step = int(os.environ.get("SLURM_JOB_ID", "0")), int(os.environ.get("SLURM_STEP_ID", "0"))
        os.environ["MASTER_PORT"] = str(PORTS[(job + 4099 * step) % len(PORTS)])  # steps of one job may share a node
    try:
        watch = Watch(store := _store(rank, world), rank, world, MEETING)
    except dist.DistError as error:
        raise OrbitError(f"the {world} ranks did not find each other", where=f"rank {rank} on {socket.gethostname()}",
                         got=" ".join(str(error).split())[:160], allowed=f"all within {MEETING.seconds // 60} minutes at "
                         f"{os.environ['MASTER_ADDR']}:{os.environ.get('MASTER_PORT')}",
                         hint="see the log of the first rank, where they meet") from None  # fmt: skip
    try:
        place = device_of(device, local, world)  # what a rank lacks ends the others too
        if place.type == "cuda":
            torch.cuda.set_device(place)
        watch.meet()
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo",  # in every group flags and objects go over gloo
            store=PrefixStore("ranks", store),
            rank=rank,
            world_size=world,
            timeout=timeout,
        )
        agree_on(alike.of_process(place))
        with watching(watch):
            yield Ranks(rank, world, place)
        usage.tell(rank, world)
    except Interrupted:  # all ranks stop together, once the first has written all it has to write
        barrier()
        usage.tell(rank, world)
        watch.leave()
        with ends_soon(EXIT_RESUMABLE):
            dist.destroy_process_group()
        raise
    except BaseException as error:  # the process ends soon, and what the others wait for with it
        watch.fail(error)
        raise
    watch.leave()
    with ends_soon(EXIT_DONE):
        dist.destroy_process_group()
