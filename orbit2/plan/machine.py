"""How many devices of which kind a plan is made for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psutil

from orbit2.errors import OrbitError, one_of
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
    def nodes(self) -> int:
        """Nodes that `count` devices are on."""
        return 1 if self.device in HERE else -(-self.count // self.sheet.per_node)

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
                         hint=one_of(device.lower(), known()))  # fmt: skip
    if devices is not None and nodes is not None:
        raise OrbitError("give either --devices (in all) or --nodes (full ones), not both", where="command line",
                         hint="leave one of them out")  # fmt: skip
    per_node = 1 if name == "cpu" else Machine(name).sheet.per_node
    return Machine(name, devices if devices is not None else per_node * (nodes or 1), devices is not None or nodes is not None)
