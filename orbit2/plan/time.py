"""How long a step or a pass takes on a machine, from what it computes, moves and exchanges. Every assumption has a name and a source.

Operators go one by one through a roofline: FLOPs at the rate that their kind reaches, or bytes at the rate that memory reaches, whichever
takes longer. The host must launch them too. Exchanges of parameters and gradients hide behind computing, those of activations do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from orbit2.model.threads import worthwhile
from orbit2.plan.devices import GIGA, Device
from orbit2.plan.machine import Machine
from orbit2.plan.network import group, seconds
from orbit2.plan.operators import BACKWARD, FORWARD, UPDATE, Operator
from orbit2.plan.rehearse import Rehearsal


@dataclass(frozen=True)
class Assumptions:
    """What a machine does of what its data sheet says, in eager PyTorch.

    `product`: share of the matrix rate that a plain product reaches, where that was not measured (Device.reached); `attention`: share of
    a product's rate that fused attention reaches; `memory`: share of the memory's bandwidth. `call`: the host's seconds for an operator.
    `link`: share of a link's bandwidth, `start`: seconds before an exchange begins. `read`, `unpack`: core seconds to load a byte of a
    step's fields in a worker, and to unpack and normalise it, which a GPU does itself. `host`: bytes/s from a device to its host.
    `replayed`: seconds from one operator of a CUDA graph to the next, which no host calls.
    """

    product: float
    attention: float
    memory: float
    call: float
    link: float
    start: float
    read: float
    unpack: float
    host: float
    replayed: float = 0.0


# benchmarks/loader.py: a sample of 23 x 180 x 360 -> 3 x 720 x 1440 with four statics and weights in float32, batch 8, core time.
SAMPLE = 4 * (23 * 180 * 360 + (3 + 4 + 1) * 720 * 1440)
READ, UNPACK = 0.00487 / SAMPLE, 0.00898 / SAMPLE
# benchmarks/results/h200.json, bf16. product: 760 to 765 of 989 TFLOP/s. attention: 424 of those, at head size 64 (wider heads are faster).
# memory: with which what is left of the measured steps of batch 8 after both comes nearest, against 4.8 TB/s; short kernels are in it.
# call: the three of batch 1, 19 to 31 microseconds. link, start: about what NCCL's own tests show on NVLink and
# InfiniBand; host: PCIe 4 x16. replayed: with which the graphs of up to 8 samples that were measured are all within 7 %.
GPU = Assumptions(
    product=0.77, attention=0.556, memory=0.315, call=26e-6, link=0.8, start=10e-6, read=READ, unpack=0.0, host=25 * GIGA, replayed=2.7e-6
)  # fmt: skip
# benchmarks/results/roofline.json, one core: products inside a model 0.78 to 0.96 of a plain one, attention 0.9 of one in float32 and
# the same in bfloat16 (PyTorch's kernel is no faster then). memory: one-process steps of benchmarks/results/parallel.json, beside a copy.
# call: benchmarks/results/threads.json, where this machine's was not measured.
CPU = Assumptions(product=0.85, attention=0.9, memory=0.3, call=10e-6, link=0.8, start=50e-6, read=READ, unpack=UNPACK, host=10 * GIGA)
# benchmarks/threads.py: seconds to wake threads that sleep between the operators of a prediction, where there are several.
WAKE = 25e-6
SMALL = 1 << 16  # bytes: sums of losses and norms, which nothing hides


@dataclass(frozen=True)
class Split:
    """Seconds of one step, or pass, of one rank.

    `communication` is all that it exchanges, `exposed` the part of it that nothing hides; `data`: waiting for samples beyond computing;
    `total` = forward + backward + optimiser + exposed + data. `flops` are the step's, `watts` those of a device and its share of the node.
    """

    forward: float
    backward: float
    optimiser: float
    communication: float
    exposed: float
    data: float
    flops: int
    watts: float | None

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.optimiser + self.exposed + self.data

    @property
    def flops_rate(self) -> float:
        """Sustained FLOP/s of one rank, exchanges and waiting for data included."""
        return self.flops / self.total

    @property
    def energy(self) -> float | None:
        """Joules of one rank's step, with its share of the node; None where the machine's power is not known."""
        return None if self.watts is None else self.watts * self.total


def predict(
    step: Rehearsal, machine: Machine, *, samples: float, precision: str = "bf16", replayed: bool = False,
    assumed: Assumptions | None = None,
) -> Split:  # fmt: skip
    """One rank's `step` (training, or a pass of a prediction) on `machine`, which reads `samples` samples or windows of that size.

    `precision` bf16: operators on bfloat16 go at that rate, others at float32's; fp32: all at float32's. `replayed`: its passes as a CUDA
    graph. This machine is measured first.
    """
    assume = assumed or (CPU if machine.sheet.processor else GPU)
    sheet = _as_used(machine.sheet, step, assume)
    took = {phase: computing((each for each in step.operators if each.phase == phase), sheet, precision, assume,
                             replayed and phase != UPDATE) for phase in (FORWARD, BACKWARD, UPDATE)}  # fmt: skip
    whole, exposed = exchanging(step, sheet, took[FORWARD], took[BACKWARD], assume)
    feeding = samples * step.inputs / step.together * (assume.read + assume.unpack) / sheet.cores_each
    waiting = max(feeding - sum(took.values()) - exposed, 0.0)  # workers load the next step meanwhile
    return Split(took[FORWARD], took[BACKWARD], took[UPDATE], whole, exposed, waiting, step.flops, sheet.watts)


def _as_used(sheet: Device, step: Rehearsal, assume: Assumptions) -> Device:
    """A processor with the threads that the trainer, or a prediction by one of its windows, takes (see model/threads.py), and its calls."""
    if not sheet.processor:
        return sheet
    most, call = sheet.threads, assume.call if sheet.call is None else sheet.call
    threads = worthwhile(step.flops if step.moments else step.flops / step.together, most)
    share, waking = threads / most, 0.0 if step.moments or threads == 1 else WAKE
    return replace(sheet, rates={key: rate * share for key, rate in sheet.rates.items()}, bandwidth=sheet.bandwidth * share,
                   call=call + waking)  # fmt: skip


def saving(step: Rehearsal, machine: Machine) -> float:
    """Seconds that training stands still for a checkpoint: its state is copied to the host, and written from there meanwhile."""
    sheet = machine.sheet
    return step.state / (CPU if sheet.processor else GPU).host


def computing(operators: Iterable[Operator], sheet: Device, precision: str, assume: Assumptions, replayed: bool = False) -> float:
    """Seconds of operators one after the other. A device computes while its host launches the next: the slower of both counts; a
    processor does first the one, then the other. `replayed`: no host launches them."""
    device = host = 0.0
    for each in operators:
        attends = "attention" in each.name
        half = precision != "fp32" and each.dtype == "bfloat16" and not (attends and sheet.processor)
        rate = sheet.rate("bf16" if half else "fp32") * (sheet.reached or assume.product) * (assume.attention if attends else 1.0)
        device += each.count * max(each.flops / rate, (each.read + each.written) / (sheet.bandwidth * assume.memory))
        host += each.count * (assume.replayed if replayed else assume.call if sheet.call is None else sheet.call)
    return device + host if sheet.processor or replayed else max(device, host)


def exchanging(step: Rehearsal, sheet: Device, forward: float, backward: float, assume: Assumptions) -> tuple[float, float]:
    """(all exchanges, those that nothing hides) of a step that computes for `forward` and `backward` seconds.

    Blocks' parameters are gathered while the block before is computed, and gradients are summed while the next ones are: only the first
    gathering, the last sum and what is longer than computing show. Tokens (tp, sp) are waited for.
    """
    shards = {axis for axis in ("fsdp", "sp") if getattr(step.mesh, axis) > 1}
    everything = exposed = 0.0
    for phase, compute in ((False, forward), (True, backward)):
        hidden: list[float] = []
        for each in (c for c in step.collectives if c.backward == phase):
            took = seconds(each.kind, each.bytes, group(step.mesh, each.axes, sheet.per_node), sheet, assume.link, assume.start)
            everything += took
            parameters = each.kind != "all-to-all" and (set(each.axes) == shards or set(each.axes) <= {"ddp", "tiles"})
            if parameters and each.bytes >= SMALL:
                hidden.append(took)
            else:
                exposed += took
        if hidden:
            edge = hidden[-1] if phase else hidden[0]
            exposed += edge + max(sum(hidden) - edge - compute, 0.0)
    return everything, exposed
