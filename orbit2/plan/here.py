"""What this machine does: one matrix product in each precision, one copy, and what calling an operator takes. Sets nothing.

Timed when first asked, once a day where commands keep such answers (orbit2/notebook.py): what is made of the numbers twice is the same.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import psutil
import torch

from orbit2.notebook import NOTEBOOK
from orbit2.plan.devices import DEVICES, ETHERNET, GIGA, INSIDE, Device, Link
from orbit2.timing import device_name

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LONG = 0.02  # seconds of a product beside which calling it is nothing
HOST = 10 * GIGA  # bytes/s between processes of one machine: a copy through its memory
CHAIN = 50  # products of 16 numbers, one after the other, and back: three operators each
# benchmarks/threads.py: an operator of a step or a pass costs 10 microseconds beside its computing (modules, autocast, autograd, tensors
# that are made) where one of the chain takes 1.65.
CALLS = 6.0


def measured(name: str) -> Device:
    """`cpu`: this machine's processor, all threads of torch; `this`: its GPU, or the processor where there is none.

    Rates are those a product and a copy reached (`reached` = 1), not a vendor's. What cannot be measured here (links, watts) is of the
    data sheet with the device's name, or not known.
    """
    return _measured(name, torch.get_num_threads())


@functools.cache
def _measured(name: str, threads: int) -> Device:
    """The same with as many threads as torch has now."""
    gpu = name == "this" and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    question = ("this machine", device_name(device), threads, f"{date.today()}")
    timed = NOTEBOOK.ask(question, lambda: _timed(device), dict, _read)
    rates, bandwidth = {precision: timed[precision] for precision in DTYPES}, timed["bandwidth"]
    cores, host = psutil.cpu_count(logical=False) or 1, float(psutil.virtual_memory().total)
    if not gpu:
        link = Link(HOST, 50e-6)
        called = CALLS * timed["call"]
        return Device(rates, host, bandwidth, 1, link, ETHERNET, None, cores, host, f"measured here: {cores} cores", 1.0, True,
                      threads, called)  # fmt: skip
    title, count = torch.cuda.get_device_name(device), torch.cuda.device_count()
    memory = float(torch.cuda.get_device_properties(device).total_memory)
    sheet = next((sheet for key, sheet in DEVICES.items() if key.replace("-", " ") in title.lower()), None)
    fallback = Device({}, 0, 0, count, Link(32 * GIGA, INSIDE), ETHERNET, None, cores, host, "")
    return replace(sheet or fallback, rates=rates, memory=memory, bandwidth=bandwidth, per_node=count, cores=cores, host_memory=host,
                   node_watts=None if sheet is None or sheet.watts is None else sheet.watts * count,
                   source=f"measured here: {title}", reached=1.0)  # fmt: skip


def _timed(device: torch.device) -> dict[str, float]:
    """FLOP/s by precision, bytes/s of a copy, read and written, and seconds of an operator that computes next to nothing."""
    gpu = device.type == "cuda"
    sides, length = ((8192,), 1 << 28) if gpu else ((256, 512, 1024), 1 << 24)
    found = {precision: _rate(dtype, device, sides) for precision, dtype in DTYPES.items()}
    values = torch.empty(length, device=device)
    target = torch.empty_like(values)
    found["bandwidth"] = 2 * values.nbytes / _fastest(lambda: target.copy_(values), device)
    if not gpu:
        found["call"] = _fastest(_chain, device, 8) / (3 * CHAIN)
    return found


def _read(kept: dict[str, float]) -> dict[str, float]:
    """What a notebook kept. Raises for what is not a number."""
    return {name: float(value) for name, value in kept.items()}


def _rate(dtype: torch.dtype, device: torch.device, sides: tuple[int, ...]) -> float:
    """FLOP/s of a product of the first of `sides` that takes LONG enough; a processor may emulate bf16, a hundred times slower."""
    rate = 0.0
    for side in sides:
        seconds = _fastest(_product(side, dtype, device), device)
        rate = 2 * side**3 / seconds
        if seconds > LONG:
            break
    return rate


def _product(side: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b


def _chain() -> None:
    """Forward and backward through operators that have next to nothing to compute: what it takes to call them."""
    first = torch.zeros(16, requires_grad=True)
    value = first
    for _ in range(CHAIN):
        value = value * first
    torch.autograd.backward(value.sum())


def _fastest(call: Callable[[], object], device: torch.device, turns: int = 3) -> float:
    """Seconds of the fastest of a few turns after one to warm up: others' work on the machine only ever adds."""
    taken = []
    for _ in range(turns + 1):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return min(taken[1:])
