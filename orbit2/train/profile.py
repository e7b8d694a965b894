"""A few steps under torch's profiler: how much of a step is communication, and with `--profile` a trace and ten lines of it.

Changes no result. Everything but the first rank is silent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, schedule

from orbit2.files import write_text
from orbit2.timing import ON_DEVICE, covered

TRACED, SKIPPED = 3, 2  # steps of `--profile`, and those before them, which are like no others
TOP = 5  # operators that the lines name
Span = tuple[float, float]  # begin and end, microseconds


@dataclass(frozen=True)
class Found:
    """Of `steps` profiled steps: seconds of a step; shares of it in which something was exchanged, in which that alone went on
    (`exposed`: what nothing hid), and in which something was computed. `top`: (name, calls, share) of the greatest operators."""

    steps: int
    seconds: float
    exchanging: float
    exposed: float
    computing: float
    top: tuple[tuple[str, int, float], ...]


class Profiler:
    """Profiles `count` steps after `skip` and one to warm up (no steps at all on a rank for which it is not `wanted`).

    Use as a context manager around the steps, with `step` after each; then `done` gets what was found, and the profiler to take a trace
    from.
    """

    def __init__(self, device: torch.device, skip: int, count: int, wanted: bool, done: Callable[[Found, profile], None]) -> None:
        self._device, self._count, self._done, self._profile = device, count, done, None
        self._left = skip + 1 + count if wanted else 0
        if wanted:
            os.environ.setdefault("KINETO_LOG_LEVEL", "8")  # it would write two lines to the log
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
            when = schedule(skip_first=skip, wait=0, warmup=1, active=count, repeat=1)
            self._profile = profile(activities=activities, schedule=when)

    def __enter__(self) -> Profiler:
        if self._profile is not None:
            self._profile.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def step(self) -> None:
        """A step is over."""
        if self._profile is None:
            return
        if self._left == 1 and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # its last kernels belong to it
        self._profile.step()
        self._left -= 1
        if not self._left:
            found, self._profile = self._profile, None
            found.stop()
            self._done(weighed(found.events(), self._count, self._device), found)  # type: ignore[no-untyped-call]


def weighed(events: Iterable[Any], steps: int, device: torch.device) -> Found:
    """Shares of the steps that torch's `events` lie in. On a GPU only what it did itself counts, on a CPU operators and exchanges."""
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    whole, exchanged, computed = list[Span](), list[Span](), list[Span]()
    own: dict[str, list[float]] = {}
    for event in events:
        span = float(event.time_range.start), float(event.time_range.end)
        if event.name.startswith("ProfilerStep"):
            if event.device_type == DeviceType.CPU:
                whole.append(span)
        elif event.device_type == kind and not event.name.startswith("FSDP::"):  # a range that somebody named, on a GPU too
            if _exchange(event.name, kind):
                exchanged.append(span)
            elif kind == DeviceType.CUDA or event.name.startswith(("aten::", "fsdp::")):
                computed.append(span)
                mine = own.setdefault(event.name, [0, 0.0])
                mine[0] += 1
                mine[1] += span[1] - span[0] if kind == DeviceType.CUDA else event.self_cpu_time_total
    total = covered(whole) or 1.0
    both, computing, exchanging = covered([*exchanged, *computed]), covered(computed), covered(exchanged)
    first = sorted(own.items(), key=lambda item: -item[1][1])[:TOP]
    return Found(steps, total / steps / 1e6, exchanging / total, (both - computing) / total, computing / total,
                 tuple((name, int(calls / steps), spent / total) for name, (calls, spent) in first))  # fmt: skip


def _exchange(name: str, kind: DeviceType) -> bool:
    """Whether it is an exchange with other ranks under way: gloo's own spans on a CPU, NCCL's and RCCL's kernels on a GPU."""
    return "nccl" in name.lower() if kind == DeviceType.CUDA else name.startswith("gloo:")


def lines(found: Found, split: dict[str, float], device: str, ranks: int, samples: int, trace: Path) -> list[str]:
    """Ten lines for people. `split`: seconds of a step by part, of the steps of this try so far."""
    whole = sum(split.values()) or 1.0
    parts = ", ".join(f"{part} {split.get(part, 0.0) / whole:.0%}" for part in ("waiting", *ON_DEVICE))
    told = [
        f"profiled {found.steps} steps on {device}{f', the first of {ranks} ranks' if ranks > 1 else ''}",
        f"  a step        {found.seconds:.4g} s, {samples / found.seconds:.4g} samples/s (under the profiler: a little slower)",
        f"  parts         {parts}",
        f"  computing     {found.computing:.1%} of the time; exchanging {found.exchanging:.1%}, alone {found.exposed:.1%}",
        *(f"  {share:>6.1%}        {name[:70]}, {calls} calls a step" for name, calls, share in found.top),
    ]
    return [*told, f"  trace         {trace} (open it in ui.perfetto.dev or chrome://tracing)"]


def keep(found: profile, folder: Path, told: Callable[[Path], Sequence[str]]) -> list[str]:
    """Write trace.json.gz and summary.txt into `folder`; returns the lines."""
    folder.mkdir(parents=True, exist_ok=True)
    trace, part = folder / "trace.json.gz", folder / f".trace.{os.getpid()}.part.json.gz"
    try:
        found.export_chrome_trace(str(part))
        os.replace(part, trace)
    finally:
        part.unlink(missing_ok=True)
    summary = list(told(trace))
    write_text(folder / "summary.txt", "\n".join(summary) + "\n")
    return summary
