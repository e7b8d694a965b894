"""`orbit2 plan --fit` finds the cheapest way there is, says what it is in YAML, and what comes closest where there is none."""

import copy
import functools
import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from orbit2.cli import main
from orbit2.config.load import from_mapping, merge
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.model.inspect import vocabulary
from orbit2.parallel.apply import CHECKPOINTED
from orbit2.parallel.mesh import products, sizes, unfit
from orbit2.plan import fit, search
from orbit2.plan.devices import DEVICES
from orbit2.plan.fit import Finder, Judge, Judged, roomy
from orbit2.plan.machine import Machine
from orbit2.plan.nodes import nodes
from orbit2.plan.search import Choice
from tests.data import tiny_training

pytestmark = pytest.mark.usefixtures("no_library")
TINY = tiny_training.tiny_run(2, {"batch_size": 8, "steps": 100, "halo": 1})


def run(**train: Any) -> RunConfig:
    raw = copy.deepcopy(TINY)
    raw["models"]["small"]["train"] |= train
    return from_mapping(raw)


def chance(*key: object) -> float:
    """From 0 to 1, always the same of a key."""
    return hashlib.sha256(repr(key).encode()).digest()[0] / 255


def pretended(config: RunConfig, machine: Machine) -> Judge:
    """What the estimates say, but for up to 12 % of time and 20 % of memory, either way: another error for every mesh and checkpointing."""
    finder = Finder(config, "small", machine, lambda choice: Judged(choice, None, 0, 0.0))

    def judge(choice: Choice) -> Judged:
        memory = int(finder.memory(choice) * (0.8 + 0.4 * chance(choice.mesh, choice.channels)))
        hours = finder.estimate(choice) / 3600 * (0.88 + 0.24 * chance(choice.mesh, choice.channels, choice.checkpointing))
        return Judged(choice, None if memory <= machine.memory else "does NOT fit", memory, hours)

    return judge


def all_ways(config: RunConfig, world: int) -> list[Choice]:
    """Every mesh, every number of parts, every checkpointing: no search."""
    train, architecture = config.models["small"].train, config.architecture_of("small")
    inputs = len(vocabulary(config, "small")[0])
    found = []
    for mesh, channels in itertools.product(products(world), (False, True)):
        if unfit(mesh, architecture, train.batch_size, inputs, train.tiled, channels) is None and (mesh.tp > 1 or not channels):
            for parts, again in itertools.product(range(1, train.batch_size // mesh.readers + 1), CHECKPOINTED):
                if parts & (parts - 1) == 0:
                    found.append(Choice(mesh, channels, parts, again, train.batch_size, train.steps, train.tile, 0))
    return found


@pytest.fixture(autouse=True)
def counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this file's runs have the same network on the same grid."""
    monkeypatch.setattr(search, "facts", lambda config, name, shares, tile, half: _facts(tile))


@functools.cache
def _facts(tile: Any, counted: Any = search.facts) -> search.Facts:
    return counted(run(), "small", {"tiny": 1.0}, tile, True)  # type: ignore[no-any-return]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Gives the a100 another memory, nodes of two, and a rate at which work counts for more than starting it."""
    slow = replace(DEVICES["a100"], per_node=2, rates={"bf16": 1e9, "fp32": 1e9})
    return lambda memory: monkeypatch.setitem(DEVICES, "a100", replace(slow, memory=memory))


@pytest.mark.parametrize("memory", [0.3e6, 0.6e6, 1e6, 4e6])
@pytest.mark.parametrize("world", [2, 4])
def test_the_cheapest_of_all_ways(memory: float, world: int, device: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "LOOKED_AT", 1000)
    device(memory)
    config, machine = run(), Machine("a100", world)
    judge = pretended(config, machine)
    found = fit.fit(config, "small", machine, judge=judge)
    good = [each for choice in all_ways(config, world) if roomy(each := judge(choice), machine.memory)]
    assert bool(good) == found.fits
    if good:
        tied = [each for each in good if each.cost <= fit.TIE * min(each.cost for each in good)]
        assert found.proposals[0] in tied
        own = search.configured(config, "small", world)
        assert own not in [each.choice for each in tied] or found.proposals[0].choice == own


@pytest.mark.parametrize(("dearer", "stays"), [(1.015, True), (1.03, False)])
@pytest.mark.parametrize("own", [{}, {"accumulate": 2, "mesh": {"fsdp": 2}}])
def test_a_run_that_is_as_good_as_any_stays_as_it_is(
    dearer: float, stays: bool, own: dict[str, Any], device: Callable[[float], None]
) -> None:
    """All ways cost the same, but for the run's own, which costs a little more."""
    device(80e9)
    config, machine = run(**own), Machine("a100", 2)
    kept = search.configured(config, "small", 2)
    found = fit.fit(config, "small", machine, judge=lambda choice: Judged(choice, None, 1, dearer if choice == kept else 1.0))
    assert (found.proposals[0].choice == kept) == stays
    assert ("nothing to change" in "\n".join(fit.lines(found, config)[:5])) == stays


@pytest.mark.slow
def test_the_cheapest_of_all_ways_by_plan_itself(device: Callable[[float], None]) -> None:
    """Every way on two devices is rehearsed and priced; the search, which rehearses a few of them, finds the same cheapest one."""
    config = run(batch_size=2)
    judge = fit.judge_of(config, "small", "a100")
    device(80e9)
    every = {choice: judge(choice) for choice in all_ways(config, 2)}
    for memory in (80e9, 1.2e6):
        device(memory)
        known = Mock(side_effect=every.__getitem__)
        found = fit.fit(config, "small", Machine("a100", 2), judge=known)
        good = [each.cost for each in every.values() if each.memory <= 0.9 * memory]
        assert found.proposals[0].cost <= fit.TIE * min(good) < float("inf") and known.call_count < len(every) / 2


def test_estimates_that_are_far_off_mislead_nobody(device: Callable[[float], None]) -> None:
    """A judge that needs four times the estimate: what fits is found all the same."""
    device(4e6)
    config, machine = run(), Machine("a100", 2)
    finder = Finder(config, "small", machine, lambda choice: Judged(choice, None, 0, 0.0))

    def judge(choice: Choice) -> Judged:
        memory = int(4 * finder.memory(choice))
        return Judged(choice, None if memory <= machine.memory else "does NOT fit", memory, finder.estimate(choice) / 3600)

    found = fit.fit(config, "small", machine, judge=judge)
    assert found.fits and found.proposals[0].memory <= 0.9 * 4e6


@pytest.mark.parametrize(
    ("train", "allow"), [({}, ()), ({"mesh": {"ddp": 2, "sp": 2}, "accumulate": 8, "checkpointing": "all"}, ()), ({}, fit.ALLOWED)]
)
def test_what_is_pasted_is_what_was_judged(train: dict[str, Any], allow: tuple[str, ...], device: Callable[[float], None]) -> None:
    """Laid over the run's file, whatever mesh that names, the YAML loads and trains as proposed, on the same samples in all."""
    device(1e6)
    config, machine = run(**train), Machine("a100", 4)
    raw = copy.deepcopy(TINY)
    raw["models"]["small"]["train"] |= train
    found = fit.fit(config, "small", machine, allow=allow, judge=pretended(config, machine))
    assert found.fits
    for each in found.proposals:
        pasted = from_mapping(merge(raw, yaml.safe_load(fit.snippet("small", each.choice, config)) or {})).models["small"].train
        assert pasted == each.choice.train(config.models["small"].train)
        built = sizes(pasted.mesh, 4, config.architecture_of("small"), pasted.batch_size, len(vocabulary(config, "small")[0]), pasted.tiled)
        assert built == each.choice.mesh and pasted.accumulate == each.choice.accumulate
        assert allow or (pasted.batch_size, pasted.tile) == (8, 0)
        assert pasted.batch_size * pasted.steps >= 800 > pasted.batch_size * (pasted.steps - 1)


def test_the_fewest_devices_that_end_in_time(device: Callable[[float], None]) -> None:
    device(30e6)
    config, machine = run(), Machine("a100", 8)
    judge = pretended(config, machine)
    alone = fit.fit(config, "small", Machine("a100", 1), judge=judge).proposals[0]
    assert alone.hours is not None
    quick = fit.fit(config, "small", machine, hours=1.01 * alone.hours, judge=judge)
    assert quick.proposals[0].choice.world == 1
    hurried = fit.fit(config, "small", machine, hours=0.8 * alone.hours, judge=judge)
    assert hurried.proposals[0].choice.world > 1 and all(each.hours and each.hours <= 0.8 * alone.hours for each in hurried.proposals)
    late = fit.fit(config, "small", machine, hours=alone.hours / 1e6, judge=judge)
    assert not late.fits and "the fastest takes" in late.advice[0] and late.nearest[0].choice.world == 8


def test_what_comes_closest(device: Callable[[float], None]) -> None:
    """Too many devices for the samples and heads; too little memory for machine keys alone; more devices that would do."""
    device(30e6)
    config = run(batch_size=3)
    found = fit.fit(config, "small", Machine("a100", 7), judge=pretended(config, Machine("a100", 7)))
    assert not found.fits and [each.choice.world for each in found.nearest[:2]] == [6] and "; 6 work" in found.advice[0]
    device(0.31e6)
    config = run()
    found = fit.fit(config, "small", Machine("a100", 1), judge=pretended(config, Machine("a100", 1)))
    assert not found.fits and "memory: " in found.advice[0] and found.needs is not None and found.needs.choice.tile != 0
    text = "\n".join(fit.lines(found, config))
    assert "NOTHING fits" in text and "would need (changes what is trained)" in text and "tile: [" in text
    told = fit.to_json(found, config)
    assert json.loads(json.dumps(told)) == told and tuple(told["needs"]["train"]["tile"]) == found.needs.choice.tile


def planned(path: Path, *options: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(path), "--device", "a100", *options])
    return int(stop.value.code or 0)


def test_proposals_load_and_fit_by_plan_itself(
    device: Callable[[float], None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two devices that the run as it is does not fit."""
    device(1.5e6)
    monkeypatch.setattr(fit, "LOOKED_AT", 2)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    assert planned(path, "--devices", "2", "--json") == 2
    capsys.readouterr()
    assert planned(path, "--devices", "2", "--fit", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fits"] and told["models"][0]["proposals"]
    for each in told["models"][0]["proposals"]:
        path.write_text(yaml.safe_dump(merge(TINY, {"models": {"small": {"train": each["train"]}}})), encoding="utf-8")
        assert planned(path, "--devices", "2", "--json") == 0
        trained = json.loads(capsys.readouterr().out)["models"][0]["trainings"][0]
        assert trained["memory"]["need"] == each["memory"] <= 0.9 * 1.5e6 and trained["each"] == each["samples"]
    assert planned(path, "--devices", "2", "--hours", "3") == 2
    assert "--fit" in capsys.readouterr().err


def test_only_what_can_be_asked_for_is() -> None:
    with pytest.raises(OrbitError, match="batch"):
        fit.fit(run(), "small", Machine("a100", 2), allow=["bacth"])
    with pytest.raises(OrbitError, match="small"):
        fit.fit(run(), "smal", Machine("a100", 2))


def test_nodes_of_a_profile(device: Callable[[float], None]) -> None:
    """The fewest full nodes of two; more in less time; and never a mesh of the profile's own making."""
    device(30e6)
    config = run()
    judge = pretended(config, Machine("a100", 2))
    few = nodes(config, "small", "a100", judge=judge)
    assert (few.count, few.problem) == (1, None) and few.hours
    more = nodes(config, "small", "a100", hours=0.7 * few.hours, judge=judge)
    assert more.count == 2 and more.problem is None and more.hours and more.hours <= 0.7 * few.hours
    longer = {1: 0.7 * few.hours, 4: few.hours}  # by the most nodes of a job: two may take all the time that one needs
    assert nodes(config, "small", "a100", hours=longer, judge=judge).count == 2
    small = nodes(config, "small", "a100", hours={1: 0.7 * few.hours}, judge=judge)  # and no job is larger
    assert small.count == 1 and "instead of" in str(small.problem)
    never = nodes(config, "small", "a100", hours=few.hours / 1e6, judge=judge)
    assert never.count == 4 and str(never.problem).startswith("0 h instead of")  # batch 8: no more than 8 devices
    assert "no number of full nodes of 3" in str(nodes(run(batch_size=2), "small", "a100", per_node=3, judge=judge).problem)
    device(0.2e6)
    assert "on a device of 0.2 MB" in str(nodes(config, "small", "a100", judge=pretended(config, Machine("a100", 2))).problem)
