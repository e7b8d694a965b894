"""Checkpoints that appear whole, are verified before use, and belong to one configuration. Never unpickles code.

All ranks call `save`, `save_best`, `wait`, `choose`, `best` and `read` together, and get the same answer or the same error.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from orbit2 import owner
from orbit2.config.identity import identity
from orbit2.errors import OrbitError
from orbit2.files import sha256
from orbit2.parallel.launch import TIMEOUT
from orbit2.parallel.reduce import agree, any_rank, from_first, gathered
from orbit2.parallel.sharded import axes, local
from orbit2.provenance import code_version
from orbit2.train import earlier, kept
from orbit2.train.shards import ANOTHER, SHARED, Copies, Files, Held, Reader, Writer, flat, manifest, temporary

log = logging.getLogger(__name__)
State = dict[str, Any]
PROGRESS = "progress"


class Choice(NamedTuple):
    """A checkpoint that verified: what ranks agree on."""

    step: int
    path: str


class Checkpoints:
    """The newest few `step-<n>/` of one training run and its `best-<n>/` (shards.py says what lies in them).

    A state is a nested mapping of tensors by name, sharded (DTensor) or the same on all ranks, and its `progress`: plain numbers, of
    which the first rank's count. `background`: training goes on while a checkpoint is written, one at a time, from a copy in memory.
    The first rank's folder is everybody's. What an earlier orbit2 wrote there is read and replaced too (earlier.py).
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], keep: int = 2, background: bool = True) -> None:
        self.folder, self.config, self.keep, self.background = Path(folder), identity(config), keep, background
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seconds = 0.0  # from the start of the last save until it was whole
        self._writing: tuple[Future[Any], Path] | None = None
        self._group: ProcessGroup | None = None
        self._shared: Path | None = None
        self._owner: owner.Owner | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """This folder for one process; what a killed one left half-written goes. Raises OrbitError while another one trains here."""
        with owner.hold(self.folder / owner.NAME, "trains in this folder") as self._owner:
            for half in self.folder.glob(".*.part"):
                kept.remove(half)
            yield

    def sure(self, now: bool = False) -> None:
        """On the process that is `alone`: raises OrbitError when another one has taken over (see `owner`)."""
        if self._owner is not None:
            self._owner.sure(now)

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Write `step-<n>`, then drop all but the newest of those before it; first waits for the save before this one.

        Raises OrbitError for NaN, and when that one or this one cannot be written (in the background: from `wait`, or the next save).
        """
        self._save("step", state, step)

    def save_best(self, state: Mapping[str, Any], step: int) -> None:
        """Write `best-<n>` beside the best before it, which goes when the new one counts. Raises as `save`."""
        self._save("best", state, step)

    def wait(self) -> None:
        """Until what is being written is whole. Raises OrbitError when it cannot be written; the checkpoints before it are kept."""
        if self._writing is None:
            return
        (writing, path), self._writing = self._writing, None
        try:
            writing.result()
        except CheckpointException as error:
            if _rank() == 0:
                self.sure(now=True)  # it may be another one's by now
                kept.remove(temporary(path))
            _raise(error, path, "written", "those before it are kept: make room, then run the same command to go on")

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """At the end, and before an error goes on, what is being written becomes whole: an error costs no checkpoint."""
        try:
            yield
        except Exception:
            if self._writing is not None:
                wait([self._writing[0]])
            raise
        self.wait()

    def _save(self, kind: str, state: Mapping[str, Any], step: int) -> None:
        self.wait()
        self.sure()
        began, (group, folder) = time.monotonic(), self._together()
        tensors = dict(flat({name: value for name, value in state.items() if name != PROGRESS}))
        bad = _not_finite(tensors)
        if any_rank(bad is not None, group):
            names = [name for name in gathered(bad, group) if name]
            raise OrbitError("not saved: a value of the model or its optimiser is not finite", where=f"step {step}", got=names[0],
                             hint="the checkpoint before it is kept; lower train.learning_rate")  # fmt: skip
        path = from_first(kept.free(folder, kind, step) if _rank() == 0 else folder, group)
        about = {
            "step": step,
            PROGRESS: {name: _plain(value) for name, value in state.get(PROGRESS, {}).items()},
            "config": self.config,
            "world": _world(),
            "mesh": axes(tensors.values()),
            "orbit2": code_version() if _rank() == 0 else "",
            "torch": str(torch.__version__),
        }
        writer = Writer(path, about, lambda: kept.drop(path, self.keep))
        planner = Copies(tensors) if self.background else DefaultSavePlanner(flatten_state_dict=False)
        write = partial(save, tensors, storage_writer=writer, planner=planner, process_group=group)
        _quiet()
        writing: Future[Any] = Future()
        if self.background:
            alone = ThreadPoolExecutor(1, "checkpoint")  # which a process that ends waits for
            writing = alone.submit(write)
            alone.shutdown(wait=False)
        else:
            try:
                writing.set_result(write())
            except CheckpointException as error:
                writing.set_exception(error)
        writing.add_done_callback(lambda _: setattr(self, "seconds", time.monotonic() - began))
        self._writing = writing, path
        if not self.background:
            self.wait()

    def choose(self) -> Choice | None:
        """The newest checkpoint that verifies; damaged ones are set aside under another name and named in a warning.

        Each rank verifies its share of the files. Raises OrbitError, on all ranks, for one of another configuration (naming the keys
        that differ), one that cannot be read and one that not all ranks see.
        """
        return self._choose("step", "the one before it is used")

    def best(self) -> Choice | None:
        """The best weights; None when there are none, or none whole. Raises as `choose`."""
        return self._choose("best", "the last average of weights counts until a validation is better")

    def _choose(self, kind: str, instead: str) -> Choice | None:
        self.wait()
        group, folder = self._together()
        for path in from_first(kept.found(folder, kind)[::-1] if _rank() == 0 else [], group):
            facts, *first = from_first(_told(partial(kept.facts, path)) if _rank() == 0 else ({}, "", ""), group)
            answers = [first]
            if not any(first):
                agree("the checkpoint to resume from", _seen(kept.manifest_of(path)), SHARED, group)
                share = {name: facts["files"][name] for name in sorted(facts["files"])[_rank() :: _world()]}
                mine = list(_told(partial(kept.verify, path, share))[1:])
                answers = gathered(mine, group) if any_rank(any(mine), group) else []
            if unreadable := next((error for _, error in answers if error), None):
                raise OrbitError(f"a checkpoint cannot be read ({unreadable})", where=path,
                                 hint="make the folder readable; a damaged checkpoint is set aside by itself")  # fmt: skip
            if damage := "; ".join(said for said, _ in answers if said):
                if _rank() == 0:
                    aside = ", ".join(kept.set_aside(path))
                    log.warning("checkpoint %s is damaged (%s); set aside as %s, %s", path, damage, aside, instead)
                continue
            if differing := sorted(_differences(identity(facts["config"]), self.config)):
                raise OrbitError(
                    "checkpoint belongs to another configuration",
                    where=path,
                    got="different " + ", ".join(differing[:8]),
                    hint="restore these keys, or delete the checkpoints folder to start anew",
                )
            return Choice(facts["step"], str(path))
        return None

    def read(self, choice: Choice, into: State, convert: earlier.Convert = dict) -> None:
        """Fill the tensors of `into` in place, however they are sharded now, and its `progress` where it has one.

        `convert` brings tensors by parameter name, of a checkpoint that an earlier orbit2 wrote, to today's names. Raises OrbitError
        when names or shapes differ.
        """
        path, (group, _) = Path(choice.path), self._together()
        wanted = dict(flat({name: value for name, value in into.items() if name != PROGRESS}))
        shapes = {name: tensor.shape for name, tensor in wanted.items()}
        reader: Reader
        if path.suffix == ".json":
            tensors, progress = earlier.read(earlier.data(path), shapes, convert)
            reader = Held(tensors)
        else:
            reader, progress = Files(path), {name: float(v) if isinstance(v, str) else v for name, v in manifest(path)[PROGRESS].items()}
        _refuse_others(path, shapes, reader.shapes)
        _quiet()
        try:
            load(wanted, storage_reader=reader, planner=DefaultLoadPlanner(flatten_state_dict=False), process_group=group)
        except CheckpointException as error:
            _raise(error, path, "read", ANOTHER)
        if PROGRESS in into:
            into[PROGRESS] = progress

    def _together(self) -> tuple[ProcessGroup | None, Path]:
        """A group of all ranks for checkpoints alone, since the trainer's own exchanges go on beside a save; and their one folder."""
        if self._group is None and dist.is_initialized():
            self._group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        if self._shared is None:
            self._shared = from_first(self.folder.absolute(), self._group)
        return self._group, self._shared


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _quiet() -> None:
    warnings.filterwarnings("ignore", message="torch.distributed is (disabled|unavailable)")  # one process is no mistake


def _told(act: Callable[[], dict[str, Any] | None]) -> tuple[dict[str, Any], str, str]:
    """What `act` returns, in what way it finds a checkpoint damaged, why it cannot read it."""
    try:
        return act() or {}, "", ""
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, OrbitError) as error:
        return {}, f"no {error}" if isinstance(error, KeyError) else str(error), ""
    except OSError as error:
        return {}, "", str(error.strerror)


def _seen(path: Path) -> str:
    """What this rank reads there: the checksum, or why there is none."""
    try:
        return sha256(path)
    except OSError as error:
        return f"{error.strerror}: {path}"


def _raise(error: CheckpointException, path: Path, done: str, hint: str) -> NoReturn:
    """The one error of all ranks: the first rank's that has one."""
    causes = [cause for _, (cause, _) in sorted(error.failures.items())]
    for cause in causes:
        if isinstance(cause, KeyboardInterrupt | OrbitError):
            raise cause from None
        if isinstance(cause, OSError):
            raise OrbitError(f"a checkpoint could not be {done} ({cause.strerror})", where=path, hint=hint) from None
    raise causes[0]


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The first tensor with NaN or an infinite value in this rank's part; None when there is none."""
    parts = {name: local(tensor).detach() for name, tensor in tensors.items() if tensor.is_floating_point()}
    ends = {name: torch.stack(torch.aminmax(own)) for name, own in parts.items() if own.numel()}
    by_device: dict[torch.device, list[Tensor]] = {}
    for found in ends.values():  # a NaN is both; ten times faster than isfinite of all, and one wait for the device
        by_device.setdefault(found.device, []).append(found.double())
    if all(bool(torch.isfinite(torch.stack(found)).all()) for found in by_device.values()):
        return None
    return next(name for name, found in ends.items() if not bool(torch.isfinite(found).all()))


def _plain(value: float) -> float | str:
    """A number as JSON has it: "inf" for what no validation has set yet."""
    return value if isinstance(value, int) or math.isfinite(value) else str(float(value))


def _refuse_others(path: Path, wanted: Mapping[str, torch.Size], found: Mapping[str, torch.Size]) -> None:
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            here, there = (list(shapes[name]) if name in shapes else "nothing" for shapes in (wanted, found))
            raise OrbitError("a checkpoint of another model", where=path, got=f"{name}: {there}", allowed=str(here),
                             hint="delete the checkpoints folder to start anew")  # fmt: skip


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{prefix}.{k}" if prefix else str(k))]
    return [] if old == new else [prefix or "config"]
