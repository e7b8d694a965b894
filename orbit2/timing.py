"""Where the time of a training or prediction went, try after try: a clock, and the record `timing.json`. Never waits for a device."""

from __future__ import annotations

import logging
import platform
import resource
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from orbit2 import processor
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_json

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
Rate = Callable[[str, str], float | None]  # (a device as it calls itself, precision as torch names it) -> its FLOP/s by data sheet
FORMAT = "orbit2-timing-1"
NAME = "timing.json"
ON_DEVICE = ("copy", "forward", "backward", "optimiser")
STEP = ("waiting", *ON_DEVICE)  # parts of a step, or of a pass
PARTS = ("setup", "waiting", *ON_DEVICE, "validation", "saving", "other")  # of the main thread's time, without gap or overlap
LOADER = ("staging", "reading", "decoding", "packing")  # core seconds of whoever loads, beside the main thread or inside `waiting`


Seconds = defaultdict[str, float]  # by part


def add(into: Seconds, more: Mapping[str, float]) -> None:
    for part, seconds in more.items():
        into[part] += seconds


class Mark(Protocol):
    """A place in a device's stream (see DeviceEvent)."""

    def record(self) -> None: ...
    def query(self) -> bool: ...
    def elapsed_time(self, end: Any) -> float: ...


class Clock:
    """Time goes to one part at a time: `lap(part)` ends the part before it.

    On a GPU (`mark` makes its events) the parts ON_DEVICE are the device's own time between marks in its stream, which `read` books once
    they have come to pass: nothing ever waits for them. Elsewhere all parts are the host's.
    """

    def __init__(self, part: str = "setup", mark: Callable[[], Mark] | None = None) -> None:
        self.seconds: Seconds = defaultdict(float)
        self.heard: Callable[[str], object] = lambda part: None  # told of every lap
        self._mark, self._free, self._marks = mark, list[Mark](), deque[tuple[Mark, str | None]]()
        self.began = self._since = perf_counter()
        self.part = part

    def lap(self, part: str) -> str:
        """From now on it is `part`; returns what it was."""
        now, before, device = perf_counter(), self.part, self._mark is not None
        if device and (before in ON_DEVICE or part in ON_DEVICE):
            mark = self._free.pop() if self._free else self._mark()  # type: ignore[misc]
            mark.record()
            self._marks.append((mark, part if part in ON_DEVICE else None))
        if not device or before not in ON_DEVICE:
            self.seconds[before] += now - self._since
        self.part, self._since = part, now
        self.heard(part)
        return before

    def read(self) -> None:
        """Book what the device has done by now."""
        while len(self._marks) > 1 and self._marks[1][0].query():
            mark, part = self._marks.popleft()
            if part is not None:
                self.seconds[part] += mark.elapsed_time(self._marks[0][0]) / 1000
            self._free.append(mark)

    @property
    def elapsed(self) -> float:
        return perf_counter() - self.began

    def split(self) -> dict[str, float]:
        """Seconds by part up to now; `other` is what no part has: on a GPU, where host and device overlap, never less than 0."""
        self.lap(self.part)
        self.read()
        known = {part: seconds for part, seconds in self.seconds.items() if seconds}
        return {**known, "other": known.get("other", 0.0) + max(0.0, self.elapsed - sum(known.values()))}


@dataclass(frozen=True)
class Foreseen:
    """What plan says of the same work on the same device: seconds of all of it and where they go, of `count` steps or samples, bytes of
    a device, joules of all devices, FLOP/s of one. None: not told, and perhaps `untold` says why."""

    seconds: float | None = None
    split: Mapping[str, float] = field(default_factory=dict)
    count: float | None = None
    device_bytes: int | None = None
    joules: float | None = None
    rate: float | None = None
    untold: str | None = None


def quality(curve: Iterable[Mapping[str, Any]], target: float) -> dict[str, Any]:
    """When a training first reached the validation loss `target` (0: none was stated), and when its best, in seconds of all its tries.

    `curve` are lines of metrics.jsonl. What was never reached, or not timed, is None.
    """
    scores = [line for line in curve if isinstance(line.get("validation_loss"), (int, float))]
    best = min(scores, key=lambda line: line["validation_loss"], default=None)
    first = next((line for line in scores if target and line["validation_loss"] <= target), None)
    told: dict[str, Any] = {"target": target or None}
    for what, line in (("target", first), ("best", best)):
        told |= {f"{what}_step": line and line["step"], f"{what}_seconds": line and line.get("seconds")}
    return {**told, "best": best and best["validation_loss"]}


def clock_on(device: torch.device) -> Clock:
    """A clock for what computes there."""
    return Clock(mark=partial(DeviceEvent, device) if device.type == "cuda" else None)


class DeviceEvent:
    """A place in the stream of a GPU, be it torch's current one or not. Who waits for it sleeps."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self.device, self.event = device, torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call, unused-ignore]

    def record(self) -> None:
        import torch

        self.event.record(torch.cuda.current_stream(self.device))

    def query(self) -> bool:
        return bool(self.event.query())  # type: ignore[no-untyped-call, unused-ignore]

    def synchronize(self) -> None:
        self.event.synchronize()

    def elapsed_time(self, end: DeviceEvent) -> float:
        """Milliseconds until `end`."""
        return float(self.event.elapsed_time(end.event))


def own_gpu(device: torch.device) -> int | None:
    """torch's number of the GPU that is meant; None for a CPU."""
    import torch

    if device.type != "cuda":
        return None
    return torch.cuda.current_device() if device.index is None else device.index


def device_bytes(device: torch.device) -> int | None:
    """The most that torch's allocator ever held of a GPU; of a CPU it keeps no count."""
    import torch

    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def host_bytes() -> int:
    """The most memory that this process ever had."""
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def device_name(device: torch.device) -> str:
    """What the device calls itself: a GPU by its driver, a CPU by Linux, else by its kind."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return processor.told("model name") or platform.machine()


def operations(count: Callable[[], float]) -> float | None:
    """What `count` makes of a model's floating-point operations; None, and a word in the log, where a kernel cannot be counted."""
    try:
        return float(count())
    except Exception as error:  # of a library's own kernel: no reason to end what is timed
        log.warning("%s: the model's operations are not counted (%s)", NAME, " ".join(str(error).split())[:120])
        return None


def tries(path: Path) -> list[dict[str, Any]]:
    """The tries that a record knows of; none where it is missing, damaged or another version's."""
    with suppress(OrbitError, AttributeError, TypeError, KeyError):
        found = read_json(path)
        if found.get("format") == FORMAT:
            return [one for one in found["tries"] if isinstance(one, dict)]
    return []


def write(path: Path, told: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write, and return, the record of tries with their sums; `about` is what is true of all of them."""
    content = {"format": FORMAT, **about, "total": total(told), "tries": list(told)}
    write_json(path, content)
    return content


def total(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all tries took together. A sum is None where a try does not know its part of it.

    `elapsed` leaves out the time between tries, and counts once what went on side by side; rates rest on it, with all that is no
    arithmetic (I/O, validation, saving) inside.
    """
    elapsed = round(covered([(one["began"], one["began"] + one["elapsed"]) for one in told]), 3)
    busy = round(sum(one["elapsed"] * one["ranks"] for one in told), 3)
    flops, rates = _sum(told, "flops"), {one.get("rate") for one in told}
    rate = rates.pop() if len(rates) == 1 else None
    found: dict[str, Any] = {
        "elapsed": elapsed,
        "device_seconds": busy,
        "seconds": _added(told, "seconds"),
        "loader": _added(told, "loader"),
        "samples": sum(one["samples"] for one in told),
        "flops": flops,
        "flops_per_second": None if flops is None or not elapsed else flops / elapsed,
        "of_rate": None if flops is None or not rate or not busy else flops / busy / rate,
        "communication": _sum(told, "communication"),
        "joules": _sum(told, "joules"),
        "device_bytes": _most(told, "device_bytes"),
        "host_bytes": _most(told, "host_bytes"),
    }
    return {**found, "samples_per_second": found["samples"] / elapsed if elapsed else None}


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """The length of what `spans` (begin, end) cover together."""
    length, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        length += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return length


def _added(told: Sequence[Mapping[str, Any]], key: str) -> dict[str, float]:
    found: Seconds = defaultdict(float)
    for one in told:
        add(found, one.get(key) or {})
    return dict(found)


def _sum(told: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [one.get(key) for one in told]
    return None if not values or None in values else float(sum(value for value in values if value is not None))


def _most(told: Sequence[Mapping[str, Any]], key: str) -> int | None:
    return max((one[key] for one in told if one.get(key) is not None), default=None)
