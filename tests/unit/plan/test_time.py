"""Times of steps by hand, from operators and exchanges made up for it; and of measured ones on one H200."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orbit2.notebook import Notebook
from orbit2.parallel.mesh import Sizes
from orbit2.plan import here, time
from orbit2.plan.devices import DEVICES, Link
from orbit2.plan.machine import Machine
from orbit2.plan.operators import BACKWARD, FORWARD, UPDATE, Operator
from orbit2.plan.rehearse import Rehearsal
from orbit2.plan.watch import Collective

ASSUMED = time.Assumptions(product=0.5, attention=0.5, memory=0.5, call=1e-3, link=0.5, start=0.0, read=1e-3, unpack=0.0, host=100.0)
SHEET = replace(DEVICES["h100"], rates={"bf16": 1000.0, "fp32": 100.0}, bandwidth=100.0, inside=Link(10.0, 0.0), outside=Link(1.0, 0.0),
                node_watts=8000.0, cores=16, reached=None)  # fmt: skip


@pytest.fixture(autouse=True)
def sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "h100", SHEET)


def step(*operators: Operator, **given: Any) -> Rehearsal:
    """A rank's step of 2 samples of 500 bytes each."""
    facts = {"mesh": Sizes(), "shapes": {}, "collectives": (), "weights": 4, "moments": 8, "average": 4, "inputs": 1000,
             "gradients": 0, "activations": 0, "gathered": 0, "workspace": 0, "together": 2, **given}  # fmt: skip
    return Rehearsal(operators=operators, **facts)


def operator(name: str = "aten.mm", phase: str = FORWARD, **given: Any) -> Operator:
    return Operator(**{"name": name, "count": 2, "flops": 0, "read": 0, "written": 0, "backward": phase == BACKWARD, "phase": phase,
                       "dtype": "bfloat16", **given})  # fmt: skip


def predict(what: Rehearsal, samples: float = 0.0, precision: str = "bf16", count: int = 8) -> time.Split:
    return time.predict(what, Machine("h100", count), samples=samples, precision=precision, assumed=ASSUMED)


@pytest.mark.parametrize(
    ("what", "precision", "seconds"),
    [
        (operator(flops=1000), "bf16", 2 * 1000 / (1000 * 0.5)),
        (operator(flops=1000), "fp32", 2 * 1000 / (100 * 0.5)),
        (operator(flops=1000, dtype="float32"), "bf16", 2 * 1000 / (100 * 0.5)),
        (operator("aten._scaled_dot_product_flash_attention_for_cpu", flops=1000), "bf16", 2 * 1000 / (1000 * 0.25)),
        (operator(flops=10, read=150, written=50), "bf16", 2 * 200 / (100 * 0.5)),  # memory takes longer than FLOPs
        (operator(), "bf16", 2e-3),  # launching takes longer than both
    ],
)
def test_operators(what: Operator, precision: str, seconds: float) -> None:
    found = predict(step(what), precision=precision)
    assert found.forward == pytest.approx(seconds) and found.total == found.forward
    assert found.flops_rate == pytest.approx(2 * what.flops / found.total)
    assert found.energy == pytest.approx(1000 * found.total)


def test_phases_add_up_and_data_is_waited_for() -> None:
    parts = [operator(phase=phase, flops=flops) for phase, flops in ((FORWARD, 250), (BACKWARD, 500), (UPDATE, 125))]
    found = predict(step(*parts), samples=2)
    assert (found.forward, found.backward, found.optimiser) == (1.0, 2.0, 0.5)
    assert found.data == 0 and found.total == 3.5  # 1000 bytes take 1 s of one core, and a rank has two
    slow = predict(step(*parts), samples=20)
    assert slow.data == pytest.approx(20 * 500 * 1e-3 / 2 - 3.5) and slow.total == pytest.approx(5.0)
    assert time.saving(step(), Machine("h100")) == 16 / time.GPU.host


def test_a_graph_is_launched_by_no_host() -> None:
    parts = [operator(phase=phase, flops=250) for phase in (FORWARD, BACKWARD, UPDATE)]
    launched, calls = predict(step(*parts, operator(count=5000))), replace(ASSUMED, replayed=1e-4)
    assert launched.forward == 5002 * 1e-3  # of the host, which the device waits for
    found = time.predict(step(*parts, operator(count=5000)), Machine("h100", 8), samples=0, replayed=True, assumed=calls)
    assert found.forward == pytest.approx(1 + 5002 * 1e-4) and found.backward == pytest.approx(1 + 2e-4)
    assert found.optimiser == launched.optimiser == 1.0  # AdamW is no part of it


def exchange(kind: str, size: int, backward: bool, *axes: str) -> Collective:
    return Collective(kind, axes, 0, size, backward)


def test_what_is_exchanged_behind_computing() -> None:
    """Gathers of 10^5 bytes within a node of 8 take (7/8) 10^5 / 5 s = 17,500 s."""
    gather = exchange("all-gather", 10**5, False, "fsdp")
    scatter = exchange("reduce-scatter", 10**5, True, "fsdp")
    parts = [operator(flops=10**7), operator(phase=BACKWARD, flops=10**7)]  # 40,000 s each
    mesh = Sizes(fsdp=8)
    one = predict(step(*parts, mesh=mesh, collectives=(gather, gather, scatter)))
    assert one.communication == pytest.approx(3 * 17_500)
    assert one.exposed == pytest.approx(2 * 17_500)  # the first gather and the last sum
    many = predict(step(*parts, mesh=mesh, collectives=(*[gather] * 5, scatter)))
    assert many.exposed == pytest.approx(17_500 + (4 * 17_500 - 40_000) + 17_500)


def test_tokens_and_small_sums_are_waited_for() -> None:
    parts = [operator(flops=10**9)]
    tokens = exchange("all-reduce", 10**5, False, "tp")
    pairs = exchange("all-to-all", 10**5, False, "sp")
    norm = exchange("all-reduce", 4, False, "ddp")
    found = predict(step(*parts, mesh=Sizes(ddp=2, sp=2, tp=2), collectives=(tokens, pairs, norm)))
    assert found.exposed == found.communication > 0


def test_between_nodes_takes_longer() -> None:
    big = exchange("all-reduce", 10**6, True, "ddp")
    near, far = (predict(step(mesh=mesh, collectives=(big,))) for mesh in (Sizes(ddp=8), Sizes(ddp=8, fsdp=8)))
    assert far.communication == pytest.approx(10 * near.communication)  # one rank a node: one NIC of a tenth of the links inside


def test_a_processor_calls_and_computes_one_after_the_other_with_the_threads_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = replace(SHEET, processor=True, threads=4, call=0.5, reached=1.0)
    monkeypatch.setitem(DEVICES, "h100", sheet)
    monkeypatch.setattr("orbit2.model.threads.EACH", 1000)
    small, middle, large = (predict(step(operator(flops=flops))).forward for flops in (500, 1000, 10**4))
    assert small == pytest.approx(2 * (500 / 250 + 0.5))  # 1000 operations: one thread of four
    assert middle == pytest.approx(2 * (1000 / 500 + 0.5)) and large == pytest.approx(2 * (10**4 / 1000 + 0.5))
    moved = predict(step(operator(read=100, flops=250))).forward
    assert moved == pytest.approx(2 * (100 / 12.5 + 0.5))  # one thread has a quarter of the bandwidth


@pytest.mark.parametrize(("together", "flops", "threads"), [(1, 800, 1), (1, 2000, 2), (1, 10**4, 4), (8, 8 * 800, 1), (8, 8 * 2000, 2)])
def test_predictions_take_the_threads_that_one_window_is_worth(
    together: int, flops: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEVICES, "h100", replace(SHEET, processor=True, threads=4, call=0.5, reached=1.0))
    monkeypatch.setattr("orbit2.model.threads.EACH", 1000)
    calls = 2 * (0.5 + time.WAKE * (threads > 1))
    found = predict(step(operator(flops=flops // 2), moments=0, together=together))  # twice
    assert found.forward == pytest.approx(flops / (250 * threads) + calls)


def test_this_processor_is_measured_for_each_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(Machine("cpu").sheet)
    finally:
        torch.set_num_threads(before)
    assert [sheet.threads for sheet in found] == [1, 2]
    assert all(sheet.call and 1e-6 < sheet.call < 1e-3 for sheet in found)


def test_a_later_command_of_the_day_finds_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that a report made twice says the same of its plan."""
    found = []
    for timed in (here._timed, None):
        monkeypatch.setattr(here, "_timed", timed)  # the second command times nothing
        monkeypatch.setattr(here, "NOTEBOOK", Notebook())
        here._measured.cache_clear()
        with here.NOTEBOOK.opened(tmp_path):
            found.append(Machine("cpu").sheet)
    here._measured.cache_clear()
    assert found[0] == found[1]
