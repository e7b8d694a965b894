"""From one step to a whole training or task: hours, device-hours, queue slices, energy. A time that cannot be told says so."""

from __future__ import annotations

import torch

from orbit2.config.schema import RunConfig
from orbit2.model.build import Downscaling
from orbit2.model.precision import autocast_dtype
from orbit2.plan.machine import Machine
from orbit2.plan.records import Time, Training
from orbit2.plan.rehearse import Rehearsal
from orbit2.plan.tiling import Cut

UNTOLD = "no model of time for this device"


def multiplies_bf16(precision: str, on: Machine) -> bool:
    """Whether the network would be computed in bf16 there; every GPU that is known multiplies bf16 fast."""
    if on.device != "cpu":
        return precision != "fp32"
    return autocast_dtype(precision, torch.device("cpu")) is torch.bfloat16


def steps(step: Rehearsal | None, on: Machine, *, parts: int, samples: int, steps: float, bf16: bool, flops: int) -> Time:
    """`steps` steps like `step`."""
    return Time(on.count, untold=UNTOLD)


def whole(config: RunConfig, name: str, each: list[Training], on: Machine) -> Time:
    """A training: its steps on all datasets, validations and checkpoints."""
    return Time(on.ranks(config.models[name].train.batch_size), untold=UNTOLD)


def task(config: RunConfig, name: str, model: Downscaling, cut: Cut, passes: int, on: Machine, bf16: bool) -> Time:
    """A prediction of `passes` fields cut into the windows of `cut`."""
    return Time(1, untold=UNTOLD)
