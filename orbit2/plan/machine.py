"""How many devices of which kind a plan is made for, and whether something fits on one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psutil

from orbit2.errors import OrbitError, did_you_mean
from orbit2.model.inspect import size
from orbit2.plan.devices import DEVICES, HERE, Device, canonical, known


@dataclass(frozen=True)
class Machine:
    """`count` devices of one kind; `asked`: the user named that number, so no smaller one may be assumed."""

    device: str
    count: int = 1
    asked: bool = True

    @property
    def sheet(self) -> Device:
        """The device's numbers; of this machine's, measured now if they were not before. Processes on one processor share its rate."""
        if self.device not in HERE:
            return DEVICES[self.device]
        from orbit2.plan.here import measured

        found = measured(self.device)
        share = max(self.count / found.per_node, 1)
        return found if share == 1 else replace(found, rates={key: rate / share for key, rate in found.rates.items()},
                                                bandwidth=found.bandwidth / share, cores=max(int(found.cores / share), 1))  # fmt: skip

    @property
    def memory(self) -> int:
        """Bytes of one device."""
        return int(psutil.virtual_memory().total if self.device == "cpu" else self.sheet.memory)

    @property
    def place(self) -> str:
        return "this machine" if self.device in HERE else f"one {self.device}"

    @property
    def peak(self) -> float | None:
        """Dense bf16 FLOP/s of one device by its data sheet; None where there is no sheet."""
        return None if self.device in HERE else DEVICES[self.device].peak

    def ranks(self, batch_size: int) -> int:
        """How many take part in a step of `batch_size` samples, of which each needs one at least."""
        return self.count if self.asked else min(self.count, batch_size)


def machine(device: str, devices: int | None = None, nodes: int | None = None) -> Machine:
    """`devices` in all or `nodes` full ones; else what a step can use of a node. Raises OrbitError for both, or an unknown device."""
    name = canonical(device)
    if name is None:
        raise OrbitError("unknown device", where="--device", got=device, allowed=", ".join(known()),
                         hint=did_you_mean(device.lower(), known()))  # fmt: skip
    if devices is not None and nodes is not None:
        raise OrbitError("give either --devices (in all) or --nodes (full ones), not both")
    per_node = 1 if name == "cpu" else Machine(name).sheet.per_node
    return Machine(name, devices if devices is not None else per_node * (nodes or 1), devices is not None or nodes is not None)


@dataclass(frozen=True)
class Verdict:
    """Whether one piece of a run fits on one device: `what` it is, `state` and `activations` in bytes, and `problem`, if any."""

    what: str
    state: int
    activations: int
    machine: Machine
    problem: str | None = None

    @property
    def advice(self) -> str | None:
        """What stands in the way, or None: it fits."""
        if self.state > self.machine.memory:
            return "does NOT fit: parameters must be sharded (fsdp)"
        if self.state + self.activations > self.machine.memory:
            return "does NOT fit: smaller tiles or batches"
        return self.problem

    def line(self) -> str:
        """Input fields and the system's own share come on top."""
        total = f"state {size(self.state)} + activations {size(self.activations)} = {size(self.state + self.activations)} (fp32)"
        return f"{total} of {size(self.machine.memory)} on {self.machine.place}: {self.advice or 'fits'}"


def summary(verdicts: list[Verdict], machine: Machine) -> list[str]:
    """What a reader wants first: does it fit; a line for everything, the largest need of each."""
    bad = [each for each in verdicts if each.advice]
    devices = f"{machine.count} {machine.device}"
    on = machine.place if machine.device in HERE else devices if machine.asked else f"a node of {devices}"
    count = len(verdicts)
    first = f"does NOT fit on {on}: {len(bad)} of {count} parts of the run" if bad else f"fits on {on}: all {count} parts of the run"
    return [first, *(f"  {each.what:<40}{each.line()}" for each in verdicts),
            "  hours, node hours and disk are not estimated yet: measure a few steps first"]  # fmt: skip
