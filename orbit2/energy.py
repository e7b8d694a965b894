"""The energy that this machine says it used: counters of the node, its processors and its GPUs. Never a guess: what none tells is None."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODE = Path("/sys/cray/pm_counters/energy")  # of Cray EX (Frontier): the whole node's, GPUs too, readable by all
RAPL = Path("/sys/class/powercap")  # of Linux; most systems let root alone read it
EVERY = 10.0  # seconds between looks: RAPL's counters come round in many minutes, and power is taken as steady in between


@dataclass
class Counter:
    """Joules that only grow, up to `top`, where they begin anew at 0 (0: never)."""

    name: str
    read: Callable[[], float]
    top: float = 0.0


class Meter:
    """Joules since it was made, by all counters that can be read; None where there is none. `of` names them."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters, self._last, self._joules, self._looked = [], list[float](), 0.0, time.monotonic()
        for counter in counters:
            with suppress(Exception):  # a driver's library raises whatever it likes
                self._last.append(counter.read())
                self._counters.append(counter)
        self.of = ", ".join(dict.fromkeys(counter.name for counter in self._counters))

    def look(self, now: bool = False) -> None:
        """Add what was used since the last look, if that was long enough ago."""
        if not self._counters or not (now or time.monotonic() - self._looked >= EVERY):
            return
        self._looked = time.monotonic()
        try:
            values = [counter.read() for counter in self._counters]
        except Exception:  # what is missing cannot be told from what was not used
            self._counters = []
            return
        for counter, before, value in zip(self._counters, self._last, values, strict=True):
            self._joules += value - before + (counter.top if value < before else 0.0)
        self._last = values

    @property
    def joules(self) -> float | None:
        return self._joules if self._counters else None


def meter(first_of_node: bool, gpu: int | None = None, *, node: Path = NODE, rapl: Path = RAPL) -> Meter:
    """What a process is to look at: its own GPU (torch's number), and for its node the first one there also node or processors."""
    if node.is_file():
        return Meter([Counter("node (Cray)", lambda: float(node.read_text().split()[0]))] if first_of_node else [])
    processors = _processors(rapl) if first_of_node else []
    return Meter([*processors, *([] if gpu is None else _gpu(gpu))])


def _processors(rapl: Path) -> list[Counter]:
    """Packages, and the memory that they do not count."""
    found = []
    for domain in sorted(rapl.glob("*-rapl:*")):
        with suppress(OSError, ValueError):
            name = (domain / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                top = float((domain / "max_energy_range_uj").read_text()) / 1e6
                label = "processor packages (RAPL)" if name != "dram" else "memory (RAPL)"
                found.append(Counter(label, lambda file=domain / "energy_uj": float(file.read_text()) / 1e6, top))  # type: ignore[misc]
    return found


def _gpu(number: int) -> list[Counter]:
    """NVIDIA's own counter through nvidia-ml-py; else torch's reading of the power (ROCm by amdsmi), added up over time."""
    import torch

    with suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(number).uuid}")
        return [Counter("GPU (NVML)", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)]
    if torch.version.hip is None:
        return []
    last: list[Any] = [time.monotonic(), 0.0]

    def spent() -> float:
        now = time.monotonic()
        last[1] += (now - last[0]) * torch.cuda.power_draw(number) / 1000
        last[0] = now
        return float(last[1])

    return [Counter("GPU (its power, sampled)", spent)]
