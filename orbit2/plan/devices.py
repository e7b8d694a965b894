"""Data sheets of the devices that a plan can be made for: vendors' numbers of a device and of its node. Never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GIGA, TERA = 1e9, 1e12


@dataclass(frozen=True)
class Link:
    """A level of the network, as one device has it: `bandwidth` bytes/s each way, `latency` seconds of one hop of a collective."""

    bandwidth: float
    latency: float


# Hops as NCCL's own tuner takes them (src/graph/tuning.cc, ring, Simple protocol); RCCL has its table from there.
INSIDE, OUTSIDE = 3.4e-6, 14e-6


@dataclass(frozen=True)
class Device:
    """One device, and its share of a node.

    `rates`: dense matrix FLOP/s by precision (bf16, fp32). `reached`: the share of them that a plain matrix product was seen to reach
    (None: not known of this kind). `memory` bytes, `bandwidth` bytes/s of its memory. `per_node` devices a node has; `inside` and
    `outside` are the links between devices of a node, and between nodes. `node_watts` of a node under load; `cores` and `host_memory`
    of a node that jobs can have. None: not known.
    """

    rates: Mapping[str, float]
    memory: float
    bandwidth: float
    per_node: int
    inside: Link
    outside: Link
    node_watts: float | None
    cores: int
    host_memory: float
    source: str
    reached: float | None = None
    processor: bool = False  # a CPU
    threads: int = 1  # of the process whose rates these are
    call: float | None = None  # seconds to call an operator on it; None: as assumed of its kind
    names: tuple[str, ...] = field(default=())  # of machines that have it

    @property
    def peak(self) -> float:
        """Dense bf16 matrix FLOP/s."""
        return self.rates["bf16"]

    def rate(self, precision: str) -> float:
        """Dense matrix FLOP/s in `precision`: bf16 or fp32."""
        return self.rates["fp32" if precision == "fp32" else "bf16"]

    @property
    def watts(self) -> float | None:
        """Of one device with its share of the node."""
        return None if self.node_watts is None else self.node_watts / self.per_node

    @property
    def cores_each(self) -> float:
        return self.cores / self.per_node


ETHERNET = Link(1.25 * GIGA, 50e-6)  # 10 Gbit/s, for what has no faster network

DEVICES = {
    "mi250x-gcd": Device(
        {"bf16": 191.5 * TERA, "fp32": 47.9 * TERA}, 64 * GIGA, 1.638 * TERA, 8, Link(50 * GIGA, INSIDE), Link(12.5 * GIGA, OUTSIDE),
        node_watts=2422, cores=56, host_memory=512 * GIGA, names=("frontier",), reached=0.65,
        source="AMD Instinct MI250X data sheet (a module is two devices), OLCF Frontier User Guide (Infinity Fabric of 50 GB/s on the "
        "slowest edge of a node's ring, four NICs of 200 Gbit/s, 56 of 64 cores); watts: TOP500 of 2023, 22,786 kW over 9,408 nodes; "
        "reached: 125 TFLOP/s in bf16 on Frontier, Singh et al. 2024 (arXiv 2502.08145, empirical peaks of products; quoted from memory)",
    ),
    "h100": Device(
        {"bf16": 989.4 * TERA, "fp32": 66.9 * TERA}, 80 * GIGA, 3.35 * TERA, 8, Link(450 * GIGA, INSIDE), Link(50 * GIGA, OUTSIDE),
        node_watts=10200, cores=112, host_memory=2000 * GIGA, names=("dgx", "dgx-h100"),
        source="NVIDIA H100 SXM and DGX H100 data sheets (NVLink 900 GB/s both ways, eight NICs of 400 Gbit/s)",
    ),
    "h200": Device(
        {"bf16": 989.4 * TERA, "fp32": 66.9 * TERA}, 141 * GIGA, 4.8 * TERA, 8, Link(450 * GIGA, INSIDE), Link(50 * GIGA, OUTSIDE),
        node_watts=10200, cores=112, host_memory=2000 * GIGA, names=("dgx-h200",), reached=0.77,
        source="H200 SXM and DGX H200 data sheets; reached: benchmarks/results/h200.json",
    ),
    "a100": Device(
        {"bf16": 312 * TERA, "fp32": 19.5 * TERA}, 80 * GIGA, 2.039 * TERA, 8, Link(300 * GIGA, INSIDE), Link(25 * GIGA, OUTSIDE),
        node_watts=6500, cores=128, host_memory=2000 * GIGA, names=("dgx-a100",),
        source="NVIDIA A100 SXM 80 GB and DGX A100 data sheets (NVLink 600 GB/s both ways, eight NICs of 200 Gbit/s)",
    ),
    "rtx-4090": Device(
        {"bf16": 165.2 * TERA, "fp32": 82.6 * TERA}, 24 * GIGA, 1.008 * TERA, 1, Link(32 * GIGA, INSIDE), ETHERNET,
        node_watts=850, cores=16, host_memory=128 * GIGA, names=("workstation",),
        source="NVIDIA Ada architecture paper (bf16 with sums in float32); around it a workstation of 16 cores, 128 GB, a "
        "supply of 850 W, PCIe 4",
    ),
    "rtx-6000-ada": Device(
        {"bf16": 364.2 * TERA, "fp32": 91.1 * TERA}, 48 * GIGA, 0.96 * TERA, 1, Link(32 * GIGA, INSIDE), ETHERNET,
        node_watts=750, cores=32, host_memory=256 * GIGA,
        source="NVIDIA RTX 6000 Ada data sheet; around it a workstation of 32 cores, 256 GB, a supply of 750 W, PCIe 4",
    ),
    "epyc-7763": Device(
        {"bf16": 5.02 * TERA, "fp32": 5.02 * TERA}, 256 * GIGA, 204.8 * GIGA, 1, Link(32 * GIGA, INSIDE), ETHERNET,
        node_watts=400, cores=64, host_memory=256 * GIGA, processor=True,
        source="AMD EPYC 7763 data sheet: 64 cores, 2.45 GHz, 32 float32 operations a cycle (bf16 is no faster), eight channels of "
        "DDR4-3200; around it a server of 256 GB and 400 W",
    ),
}  # fmt: skip
HERE = ("cpu", "this")  # this machine's processor; its GPU where it has one. Both are measured when they are asked about


def known() -> list[str]:
    """All that --device takes."""
    return [*HERE, *DEVICES, *(name for device in DEVICES.values() for name in device.names)]


def canonical(name: str) -> str | None:
    """The device that `name` stands for (a machine's name for what it has), in small letters; None for one that is not known."""
    low = name.lower()
    if low in HERE or low in DEVICES:
        return low
    return next((key for key, device in DEVICES.items() if low in device.names), None)
