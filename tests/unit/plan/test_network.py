"""Exchanges between ranks by hand, and what is known of devices."""

from dataclasses import replace

import psutil
import pytest
import torch

from orbit2.parallel.mesh import Sizes
from orbit2.plan.devices import DEVICES, Link, canonical, known
from orbit2.plan.machine import Machine, machine
from orbit2.plan.network import Group, group, seconds

DEVICE = replace(DEVICES["h100"], inside=Link(100.0, 1e-3), outside=Link(10.0, 1e-2))  # bytes a second


@pytest.mark.parametrize(
    ("mesh", "axes", "expected"),
    [
        (Sizes(ddp=4, fsdp=8), ("fsdp",), Group(8, 1)),
        (Sizes(ddp=4, fsdp=8), ("ddp",), Group(4, 4)),
        (Sizes(ddp=4, fsdp=4), ("ddp",), Group(4, 2)),
        (Sizes(ddp=4, fsdp=16), ("fsdp",), Group(16, 2)),
        (Sizes(ddp=2, tiles=2, fsdp=4, tp=2), ("ddp", "tiles"), Group(4, 4)),
        (Sizes(ddp=2, fsdp=3, sp=2), ("fsdp", "sp"), Group(6, 1)),
        (Sizes(ddp=8192, fsdp=8), ("ddp", "fsdp"), Group(65536, 8192)),
    ],
)
def test_who_talks_to_whom_on_nodes_of_eight(mesh: Sizes, axes: tuple[str, ...], expected: Group) -> None:
    assert group(mesh, axes, 8) == expected


@pytest.mark.parametrize(
    ("kind", "who", "expected"),
    [
        ("all-gather", Group(1, 1), 0.0),
        ("all-gather", Group(5, 1), 4e-3 + 1000 * 4 / 5 / 100),
        ("reduce-scatter", Group(5, 5), 4e-2 + 1000 * 4 / 5 / 10),  # one rank a node: each has one device's share of the NICs
        ("all-gather", Group(8, 2), 2e-2 + 5e-3 + 1000 * 7 / 8 / 40),  # four ranks' NICs carry what comes from the other node
        ("all-reduce", Group(5, 1), 2 * (4e-3 + 1000 * 4 / 5 / 100)),
        ("all-reduce", Group(1024, 1024), 2 * (10e-2 + 1000 / 10)),  # 10 levels of a tree, not 1,023 steps of a ring
        ("all-to-all", Group(4, 1), 1e-3 + 1000 * 3 / 4 / 100),
        ("all-to-all", Group(4, 2), 1e-2 + 1000 * 2 / 4 / 10),
    ],
)
def test_exchanges_by_hand(kind: str, who: Group, expected: float) -> None:
    assert seconds(kind, 1000, who, DEVICE, 1.0, 0.0) == pytest.approx(expected)
    if who.ranks > 1:
        assert seconds(kind, 1000, who, DEVICE, 1.0, 0.5) == pytest.approx(expected + 0.5)
        assert seconds(kind, 1000, who, DEVICE, 0.5, 0.0) > expected


def test_devices_go_by_their_machine_too() -> None:
    assert canonical("Frontier") == "mi250x-gcd" and canonical("DGX") == "h100" and canonical("tpu") is None
    assert machine("frontier", nodes=2) == Machine("mi250x-gcd", 16)
    assert all(canonical(name) is not None for name in known())
    for name, sheet in DEVICES.items():
        assert sheet.rate("bf16") >= sheet.rate("fp32") > 1e12, name
        assert sheet.memory > 1e10 and sheet.bandwidth > 1e11 and sheet.source, name


def test_this_machine_is_measured() -> None:
    here = Machine("cpu")
    assert here.peak is None and here.memory == psutil.virtual_memory().total
    sheet = here.sheet
    assert sheet.reached == 1 and 1e8 < sheet.rate("fp32") < 1e15 and 1e8 < sheet.bandwidth < 1e13
    assert here.sheet is sheet  # once
    assert Machine("cpu", 2).sheet.rate("fp32") == sheet.rate("fp32") / 2  # two processes share a processor
    if not torch.cuda.is_available():
        assert machine("this").sheet.rates.keys() == sheet.rates.keys()
