"""What plan says of work that was done, on the device that its record names: for timing.json and the report's page. Never a guess."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from orbit2.config.comparisons import predictions
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.model.inspect import build
from orbit2.model.threads import taking
from orbit2.plan.devices import DEVICES
from orbit2.plan.machine import Machine
from orbit2.timing import Foreseen, device_name

log = logging.getLogger(__name__)
# How devices call themselves -> their data sheet. Others of the same chip (PCIe, NVL, 40 GB) have other numbers.
SHEETS = {
    "AMD Instinct MI250X": "mi250x-gcd",
    "AMD Instinct MI250X/MI250": "mi250x-gcd",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA RTX 6000 Ada Generation": "rtx-6000-ada",
    "AMD EPYC 7763 64-Core Processor": "epyc-7763",
}


def rate(device: str, precision: str) -> float | None:
    """Dense FLOP/s of a device, as it calls itself, by its data sheet; None where there is none. `precision` as torch names it."""
    sheet = SHEETS.get(device)
    return None if sheet is None else DEVICES[sheet].rate("bf16" if precision == "bfloat16" else "fp32")


def foresee(config: RunConfig, kind: str, name: str, told: Mapping[str, Any]) -> Foreseen:
    """Of the training of a model, or the prediction of a task (`kind`): on the device and the ranks of the last try of its record.

    A processor without a data sheet is measured, if it is this one's.
    """
    last = told["tries"][-1]
    device = SHEETS.get(last["device"])
    if device is None and last["device"] == device_name(torch.device("cpu")):
        device = "cpu"
    if device is None:
        return Foreseen(untold=f"no data sheet of {last['device']}")
    try:
        with taking(last["threads"]):
            return _foreseen(config, kind, name, Machine(device, last["ranks"]))
    except OrbitError as error:
        return Foreseen(untold=str(error))
    except Exception as error:  # no report is lost because of what stands beside its numbers
        log.warning("plan cannot tell what %s %s takes: %s", kind, name, " ".join(repr(error).split())[:200])
        return Foreseen(untold="plan cannot tell")


def _foreseen(config: RunConfig, kind: str, name: str, on: Machine) -> Foreseen:
    from orbit2.plan.estimate import prediction, training
    from orbit2.plan.rehearse import staying

    if kind == "training":
        with staying():
            model = training(config, name, build(config, name), on, {}, advised=False)
        time, need = model.time, max(each.memory.need for each in model.trainings)
        return Foreseen(time.wall, time.split, config.models[name].train.steps, need, time.joules, time.rate, time.untold)
    task = prediction(config, name, build(config, predictions(config)[name].model), on)
    return Foreseen(task.time.wall, task.time.split, task.samples, task.memory.need, task.time.joules, task.time.rate, task.time.untold)
