"""timing.json of a training: where every try's time went, and what it did meanwhile. Never changes a result, waits for no device."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from orbit2 import energy, timing
from orbit2.data.batch import Batch, Packed
from orbit2.errors import Interrupted
from orbit2.files import read_lines
from orbit2.parallel.launch import Ranks
from orbit2.parallel.reduce import sums_and_maxima
from orbit2.progress import detect
from orbit2.provenance import code_version
from orbit2.timing import LOADER, PARTS, STEP, device_name
from orbit2.train.profile import SKIPPED, TRACED, Found, Profiler, keep, lines
from orbit2.train.work import of_window

if TYPE_CHECKING:
    from orbit2.train.build import Setup


class Timing:
    """One try's part of the record in `folder`. All ranks hold one and call `write` together; the first writes.

    `clock` is for the trainer to lap. With `trace`, which says lines, a few steps are traced (profile.py).
    """

    def __init__(self, folder: Path, here: Ranks, attempt: int, about: Mapping[str, Any], rate: timing.Rate | None = None,
                 trace: Callable[[str], None] | None = None) -> None:  # fmt: skip
        self.path, self.curve, self.here, self.about = folder / timing.NAME, folder / "metrics.jsonl", here, dict(about)
        self.clock = timing.clock_on(here.device)
        self._meter = energy.meter(detect()[2] == 0, timing.own_gpu(here.device))
        self._facts: dict[str, Any] = {
            "try": attempt, "began": round(time.time(), 3), "device": device_name(here.device), "ranks": here.world,
            "code_version": code_version(), "torch": torch.__version__,
        }  # fmt: skip
        self._loader: timing.Seconds = defaultdict(float)
        self._windows: Counter[tuple[int, int]] = Counter()  # by rows and columns of coarse cells
        self._rate, self._setup = rate, cast("Setup | None", None)
        self.steps, self.samples, self._trace = 0, 0, trace
        self._profiler: Profiler | None = None
        self._profiled: Found | None = None
        self._earlier = timing.tries(self.path) if here.first else []
        self._earlier = [one for one in self._earlier if one.get("try") != attempt]

    def __enter__(self) -> Timing:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if self._profiler is not None:
            self._profiler.__exit__()
        if self._trace is not None and self._profiled is None and error is None:
            self._trace(f"not profiled: it takes {SKIPPED + 1 + TRACED} steps to, and this try took {self.steps}")
        if error is not None and not isinstance(error, Interrupted):
            with suppress(Exception):  # the error goes on, whatever can be written
                self.write("failed", together=False)

    @property
    def earlier(self) -> float:
        """Seconds of the tries before this one (on the first rank)."""
        return float(sum(one["elapsed"] for one in self._earlier))

    def begins(self, setup: Setup, step: int) -> None:
        """The set-up is over; `step` steps were taken by earlier tries."""
        self._setup, setup.clock = setup, self.clock
        self._facts |= {"mesh": str(setup.mesh), "precision": str(setup.dtype or torch.float32).removeprefix("torch."),
                        "batch_size": setup.config.batch_size, "workers": setup.config.workers,
                        "threads": torch.get_num_threads()}  # fmt: skip
        sample = sampled(setup.config.communication_step, step, setup.config.validate_every) if self.here.world > 1 else 0
        skip, count = (SKIPPED, TRACED) if self._trace is not None else (max(sample - 2, 0), 1)
        wanted = self.here.first and (self._trace is not None or sample > 0)
        self._profiler = Profiler(self.here.device, skip, count, wanted, self._found).__enter__()

    def _found(self, found: Found, profiled: torch.profiler.profile) -> None:
        self._profiled = found
        if self._trace is not None:
            split = {part: seconds / self.steps for part, seconds in self.clock.split().items() if part in STEP}
            folder, device, samples = self.path.parent / "profile", self._facts["device"], self._facts["batch_size"]
            for line in keep(profiled, folder, lambda trace: lines(found, split, device, self.here.world, samples, trace)):
                self._trace(line)

    def stepped(self, batches: Sequence[Batch | Packed]) -> None:
        """A step on this rank's `batches` was taken."""
        assert self._setup is not None
        self.steps, self.samples = self.steps + 1, self.samples + self._setup.config.batch_size
        for batch in batches:
            if isinstance(batch, Packed):
                timing.add(self._loader, batch.took)
                rows, columns = (edge // batch.ground.factor for edge in batch.fine.shape[-2:])
                self._windows[rows, columns] += len(batch)
        self.clock.read()
        self._meter.look()
        if self._profiler is not None:
            self._profiler.step()

    def write(self, state: str, together: bool = True) -> None:
        """Bring this try's part of the record up to date: the mean over ranks, and the slowest; `together`: all ranks are here."""
        seconds = self.clock.split()
        self._meter.look(now=True)
        joules, device = self._meter.joules, timing.device_bytes(self.here.device)
        names = [*PARTS, *LOADER]
        own = [*(seconds.get(part, 0.0) for part in PARTS), *(self._loader[part] for part in LOADER)]
        own += [self._work(), joules or 0.0, float(joules is not None), float(timing.host_bytes()), float(device or 0)]
        sums, most = sums_and_maxima(own) if together else (own, own)
        if not self.here.first:
            return
        ranks = self.here.world if together else 1
        mean, slowest = ({name: round(value / by, 4) for name, value in zip(names, values, strict=False) if value}
                         for values, by in ((sums, ranks), (most, 1)))  # fmt: skip
        flops, energy_used, told = sums[len(names) : len(names) + 3]
        copies = 1 if self._setup is None or not together else self._setup.mesh.sizes.sp * self._setup.mesh.sizes.tp
        one = {
            **self._facts,
            "state": state,
            "elapsed": round(self.clock.elapsed, 3),
            "steps": self.steps,
            "samples": self.samples,
            "seconds": {part: mean[part] for part in PARTS if part in mean},
            "slowest": {part: slowest[part] for part in PARTS if part in slowest} if ranks > 1 else {},
            "loader": {part: round(sums[names.index(part)], 4) for part in LOADER if part in mean},
            "flops": flops / copies if flops else None,
            "rate": self._rate and self._rate(self._facts["device"], self._facts.get("precision", "float32")),
            "communication": self._communication(mean),
            "profiled": self._profiled and {key: value for key, value in asdict(self._profiled).items() if key != "top"},
            "joules": round(energy_used, 1) if told else None,
            "joules_of": self._meter.of or None,
            "host_bytes": int(most[-2]),
            "device_bytes": int(most[-1]) or None,
            "process": f"{os.getpid()} on {socket.gethostname()}",
        }
        target = 0.0 if self._setup is None else self._setup.config.target
        about = {**self.about, "kind": "training", "state": state, "quality": timing.quality(read_lines(self.curve), target)}
        timing.write(self.path, [*self._earlier, one], about)

    def _communication(self, mean: Mapping[str, float]) -> float | None:
        """Seconds of the steps in which nothing else went on, by the share in the steps that were profiled; None where none was."""
        if self.here.world == 1:
            return 0.0
        return None if self._profiled is None else round(self._profiled.exposed * sum(mean.get(part, 0.0) for part in STEP), 4)

    def _work(self) -> float:
        """Floating-point operations of the model in this try's steps on this rank's windows, as if nothing were computed twice; 0 where
        a kernel cannot be counted."""
        if (setup := self._setup) is None:
            return 0.0
        found = timing.operations(lambda: sum(count * of_window(setup, shape) for shape, count in self._windows.items()))
        if found is None:
            self._windows.clear()  # said once
            return 0.0
        return found


def sampled(wanted: int, before: int, validate_every: int) -> int:
    """The first step of a try, from its step `wanted` on (0: none), that no validation comes just before; `before` steps went before."""
    return next((k for k in (wanted, wanted + 1) if (before + k - 1) % validate_every), wanted) if wanted else 0
