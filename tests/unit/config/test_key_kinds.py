"""Every key of the configuration, found by introspection: machine keys move nothing, science keys move what uses them."""

from __future__ import annotations

import copy
import json
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, ValidationError

from orbit2.config import slices
from orbit2.config.base import Kind, kind_of, machine, science, section_in
from orbit2.config.generate import keys
from orbit2.config.identity import identity
from orbit2.config.load import dataset_hash, machine_file, merge, model_hash, read_slice
from orbit2.config.schema import ModelConfig, RunConfig
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.variables import forgetting

PERIODS = {"train": {"start": "2000-01-01", "end": "2009-12-24"}, "validation": {"start": "2010-01-03", "end": "2010-12-24"},
           "test": {"start": "2011-01-03", "end": "2011-12-31"}}
BOTH = ["2m_temperature", "total_precipitation_24hr"]
PAIRS = {"source": "era5", "inputs": BOTH, "outputs": BOTH, "frequency": "daily",
         "coarse_grid": "global_4", "fine_grid": "global_1", "split": PERIODS}
RUN: dict[str, Any] = {
    "datasets": {"pairs": PAIRS, "others": {**PAIRS, "split": {**PERIODS, "test": {"start": "2012-01-03", "end": "2012-12-31"}}},
                 "seen": {**PAIRS, "source": "imerg", "inputs": [], "outputs": BOTH[1:], "split": {"test": PERIODS["test"]},
                          "coarse_grid": "global_0.4", "fine_grid": "global_0.1"},
                 **{f"{source}_seen": {**PAIRS, "source": source, "inputs": [], "outputs": BOTH[1:], "split": {"test": PERIODS["test"]},
                                       "coarse_grid": "prism_10", "fine_grid": "prism_2.5"} for source in ("prism", "daymet")}},
    "models": {"base": {"datasets": ["pairs"], "architecture": {"dropout": 0.1}},
               "child": {"datasets": ["pairs"], "finetune_from": "base"}},
    "downscale": {"task": {"model": "base", "dataset": "pairs"}},
    "variables": {"2m_temperature": {}},
}
EXAMPLE = {"variables": "2m_temperature", "datasets": "pairs", "models": "base", "downscale": "task",
           "report": "heavy_rain_20mm"}  # what `<name>` stands for

# Another value for keys where the type alone does not give a valid one. A new key for which the test asks gets a line here.
OTHER: dict[str, Any] = {
    "label": "another",
    "models.<name>.architecture.noise.channels": 2,
    "downscale.<name>.reference": "child",
    "variables.<name>.units": "degC",
    "variables.<name>.range": [160.0, 340.0],
    "variables.<name>.period": "6h",
    "variables.<name>.vector.partner": "third",
    "variables.<name>.aliases": ["theta"],
    "sources.resources": "elsewhere",
    "sources.imerg.version": "06",
    "datasets.<name>.calendar": "noleap",
    "datasets.<name>.input_sources": {"prism": ["2m_temperature"]},
    "datasets.<name>.inputs": ["2m_temperature"],
    "datasets.<name>.outputs": ["2m_temperature"],
    "datasets.<name>.statics": ["orography"],
    "datasets.<name>.coarse_grid": "global_2",
    "datasets.<name>.fine_grid": "global_2",
    "datasets.<name>.split.train.start": "2001-01-01",
    "datasets.<name>.split.train.end": "2009-11-30",
    "datasets.<name>.split.validation.start": "2010-02-01",
    "datasets.<name>.split.validation.end": "2010-11-30",
    "datasets.<name>.split.test.start": "2011-02-01",
    "datasets.<name>.split.test.end": "2011-11-30",
    "datasets.<name>.samples_per_part": 16,
    "datasets.<name>.files.coarse": ["others/*.nc"],
    "datasets.<name>.files.fine": ["others/*.nc"],
    "datasets.<name>.files.statics": ["relief.nc"],
    "datasets.<name>.files.rename": {"tg": "2m_temperature"},
    "datasets.<name>.files.accumulated": "24h",
    "datasets.<name>.files.found.step_hours": 6,
    "datasets.<name>.files.found.lacking": [["2001-01-01T00:00:00", "2001-01-03T00:00:00"]],
    "datasets.<name>.files.found.closing": ["coarse"],
    **{f"datasets.<name>.files.found.{side}.{key}": value for side in ("coarse", "fine")
       for key, value in (("hours", 3), ("stamps", {"2m_temperature": "end"}), ("raw", {"2m_temperature_max": "2m_temperature"}))},
    "downscale.<name>.map_climate.period.start": "2002-01-01",
    "downscale.<name>.map_climate.period.end": "2004-12-31",
    "downscale.<name>.map_climate.onto": "pairs",
    "models.<name>.finetune_from": "second",
    "models.<name>.architecture.refinement": 2,
    "models.<name>.datasets": ["pairs", "others"],
    "models.<name>.outputs": ["2m_temperature"],
    "models.<name>.region": [20.0, 60.0, 230.0, 300.0],
    "models.<name>.leave_out": [20.0, 60.0, 230.0, 300.0],
    "models.<name>.architecture.table_shape": [45, 90],
    "models.<name>.imported.found.architecture": {"kind": "orbit2", "embed_dim": 32},
    "models.<name>.imported.found.inputs": BOTH[::-1],
    "models.<name>.imported.found.outputs": BOTH[:1],
    "models.<name>.imported.found.statics": ["land_sea_mask"],
    "models.<name>.imported.found.tiles": [2, 2],
    "models.<name>.imported.found.learned": [["train block of 'theirs'", "1990-01-01", "1991-01-01", "standard"]],
    "downscale.<name>.model": "child",
    "downscale.<name>.dataset": "others",
    "downscale.<name>.observations": "seen",
    "evaluate.spectra_bands": [[-30.0, 30.0]],
    "evaluate.spectra_boxes": {"europe": [35.0, 70.0, 0.0, 40.0]},
    "diagnose.regions": {"basins": "basins.geojson"},
    "report.map_task": "task",
    "report.thresholds.<name>.variable": "total_precipitation_24hr",
    "report.thresholds.<name>.statistic": "sum",
    "report.thresholds.<name>.units": "cm",
    "report.zoom": [30.0, 48.0, 0.0, 20.0],
}
FREE = {"models": {"base": {"datasets": ["others"]}, "child": {"datasets": ["others"]}}}  # nobody trains on `pairs`: its grids may differ
# The test world is alone in a run.
WORLD = {"datasets": {name: {"source": "synthetic", "frequency": "native", "finer_than_source": True} for name in RUN["datasets"]}}
# A user's own files, which nobody looks for: what they say is said.
FILES = {"datasets": {"pairs": {"source": "files", "frequency": "native", "files": {
    "coarse": ["c.nc"], "fine": ["f.nc"], "found": {"step_hours": 24}}}}}  # fmt: skip
HOURS = {"hours": 1, "stamps": {"2m_temperature": "moment"}}
IMPORTED = {"models": {"base": {"datasets": [], "architecture": None, "imported": {"folder": "theirs", "found": {
    "content": "0", "architecture": {"kind": "orbit2"}, "inputs": BOTH, "outputs": BOTH}}}}}  # fmt: skip
MAPPED = {"downscale": {"task": {"map_climate": {"period": {"start": "2001-01-01", "end": "2005-12-31"}}}}}
PART = {"standard_name": "", "units": "K", "range": [150.0, 350.0]}
VECTOR = {"variables": {"2m_temperature": {"vector": {"partner": "second", "component": "east"}},
                        "second": {**PART, "vector": {"partner": "2m_temperature", "component": "north"}}, "third": PART}}
NOISY = {"models": {"base": {"architecture": {"noise": {"channels": 1}}, "train": {"loss": "crps"}}, "child": {"train": {"loss": "crps"}}}}
# What else must be said, before and after, for a key to be free; and what must change along with it.
BESIDE: dict[str, dict[str, Any]] = {
    "variables.<name>.period": {"variables": {"2m_temperature": {"kind": "mean"}}},
    "variables.<name>.vector.partner": VECTOR,
    "variables.<name>.vector.component": VECTOR,
    "sources.synthetic.degrees": WORLD,
    "sources.synthetic.seed": WORLD,
    "sources.synthetic.bands": WORLD,
    "sources.synthetic.waves": WORLD,
    "datasets.<name>.coarse_grid": FREE,
    "datasets.<name>.fine_grid": FREE,
    "models.<name>.finetune_from": {"models": {"base": {"architecture": None, "finetune_from": "first"},
                                               "first": RUN["models"]["base"], "second": RUN["models"]["base"]}},
    "models.<name>.architecture.noise.channels": NOISY,
    "downscale.<name>.members": NOISY,
    "downscale.<name>.reference": {**NOISY, "downscale": {"task": {"members": 4}}},
    "models.<name>.train.freeze_trunk": {"models": {"base": {"architecture": None, "finetune_from": "first"},
                                                    "first": RUN["models"]["base"]}},
    "models.<name>.architecture.width": {"models": {"base": {"architecture": {"kind": "unet", "dropout": 0.0}}}},
    "models.<name>.architecture.cnn_ratio": {"models": {"base": {"architecture": {"kind": "orbit2", "compression": {"mode": "off"}}}}},
    "models.<name>.architecture.km": {"models": {"base": {"architecture": {"kind": "orbit2", "compression": {"mode": "off"}}}}},
    "models.<name>.architecture.levels": {"models": {"base": {"architecture": {"kind": "unet", "dropout": 0.0}}}},
    "models.<name>.architecture.layers": {"models": {"base": {"architecture": {"kind": "conv", "dropout": 0.0}}}},
    "report.thresholds.<name>.below": {"report": {"thresholds": {"heavy_rain_20mm": {
        "use": "drought", "variable": "precipitation", "above": None, "below": 1.0}}}},
    "models.<name>.train.tiles_per_sample": {"models": {"base": {"train": {"tile": 16}}}},
}
BESIDE |= {f"datasets.<name>.{key}": FILES for key in ("calendar", *(f"files.{each}" for each in (
    "coarse", "fine", "statics", "rename", "accumulated", "day_starts.coarse", "day_starts.fine", "day_starts.apart", "credit",
    "stamps.coarse", "stamps.fine", "found.step_hours", "found.first_hour", "found.lacking", "found.closing")))}  # fmt: skip
BESIDE |= {f"datasets.<name>.files.found.{side}.{key}": merge(FILES, {"datasets": {"pairs": {"files": {"found": {side: HOURS}}}}})
           for side in ("coarse", "fine") for key in ("hours", "begins", "stamps", "raw")}  # fmt: skip
BESIDE |= {f"models.<name>.imported.{key}": IMPORTED for key in ("folder", *(f"found.{each}" for each in (
    "content", "architecture", "inputs", "outputs", "statics", "tiles", "learned")))}  # fmt: skip
BESIDE |= {f"downscale.<name>.map_climate.{key}": MAPPED for key in ("period.start", "period.end", "onto")}
ALONG: dict[str, dict[str, Any]] = {
    "models.<name>.architecture.refinement": {"datasets": {"pairs": {"fine_grid": "global_2"}}},
    "variables.<name>.vector.partner": {"variables": {
        "second": {"vector": None}, "third": {**PART, "vector": {"partner": "2m_temperature", "component": "north"}}}},
    "variables.<name>.vector.component": {"variables": {"second": {"vector": {"component": "east"}}}},
}


class Leaf(NamedTuple):
    path: str
    kind: Kind
    annotation: Any


def leaves(model: type[BaseModel] = RunConfig, prefix: str = "", kind: Kind = Kind.SCIENCE) -> Iterator[Leaf]:
    """Every key that holds a value."""
    for name, field in model.model_fields.items():
        own = kind_of(field) if kind == Kind.SCIENCE else kind
        section, mapped = section_in(field.annotation)
        if section is None:
            yield Leaf(prefix + name, own, field.annotation)
        else:
            yield from leaves(section, f"{prefix}{name}.{'<name>.' if mapped else ''}", own)


def alone(annotation: Any) -> bool:
    """Has a single value so far."""
    return typing.get_origin(annotation) is Literal and len(typing.get_args(annotation)) == 1


LEAVES = [leaf for leaf in leaves() if not alone(leaf.annotation)]


def at(path: str) -> list[str]:
    first, *rest = path.split(".")
    return [first, *(EXAMPLE[first] if part == "<name>" else part for part in rest)]


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(at(path)):
        value = {part: value}
    return value


def candidates(annotation: Any, value: Any) -> Iterator[Any]:
    """Values other than `value` that the type lets one try."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        yield from (argument for argument in arguments if argument != value)
    elif origin in (types.UnionType, typing.Union):
        for argument in arguments:
            yield from candidates(argument, value)
    elif origin is typing.Annotated:
        yield from candidates(arguments[0], value)
    elif origin is tuple and isinstance(value, list):
        yield from (value[:-1], [v * 1.5 if isinstance(v, float) else v for v in value], [v * 0.5 for v in value if isinstance(v, float)])
    elif origin is dict:
        yield from ({"2m_temperature": 0.7},)
    elif annotation is bool:
        yield not value
    elif annotation in (int, float):
        number = value if isinstance(value, (int, float)) else 1
        yield from (annotation(n) for n in (number + 1, number * 2, number / 2, number - 1, 0.3, 8, 2))
    elif annotation is str:
        yield from ("https://example.org/x", "other", "07", "06")


@cache
def run_with(beside: str) -> RunConfig:
    return RunConfig.model_validate(merge(RUN, json.loads(beside)))


@cache
def told_before(beside: str) -> dict[str, Any]:
    return told(run_with(beside))


def changed(leaf: Leaf) -> tuple[RunConfig, RunConfig]:
    """A valid run, and the same with another value of the key."""
    with forgetting():  # the two mean different things by one name
        before = run_with(json.dumps(BESIDE.get(leaf.path, {})))
    plain = before.model_dump(mode="json")
    value: Any = plain
    for part in at(leaf.path):
        value = value[part] if value is not None else None
    last: Exception | None = None
    for other in [OTHER[leaf.path]] if leaf.path in OTHER else candidates(leaf.annotation, value):
        if other == value:
            continue
        try:
            content = merge(merge(copy.deepcopy(plain), nested(leaf.path, other)), ALONG.get(leaf.path, {}))
            return before, RunConfig.model_validate(content)
        except (ValidationError, OrbitError) as error:
            last = error
    raise AssertionError(f"give {leaf.path} another valid value in OTHER (and what it needs in BESIDE): {last}")


def told(run: RunConfig) -> dict[str, Any]:
    """Every slice of a run, by the stage and what it is of."""
    made: dict[str, Any] = {f"retrieve {name}": slices.retrieve(run, name) for name in slices.sources_of(run)}
    made |= {f"datasets {name}": slices.dataset(run, name) for name in run.datasets}
    made |= {f"retrieve {source} for {name}": slices.retrieve(run, source, name)
             for name in run.datasets for source in slices.receipts(run, name)}
    made |= {f"models {name}": slices.model(run, name) for name in run.models}
    for task in run.downscale:
        made |= {f"{stage} {task}": getattr(slices, stage)(run, task) for stage in ("downscale", "evaluate", "diagnose")}
    return {**made, "report": slices.report(run)}


def paths(run: RunConfig) -> list[str]:
    return [*(slices.dataset_folder(run, name) for name in run.datasets), *(slices.store(run, name) for name in run.datasets),
            *(slices.model_folder(run, name) for name in run.models),
            *(path for name in run.datasets for path in slices.receipts(run, name).values()),
            slices.run_folder(run)]


USER = {"variables": "datasets pairs", "sources": "retrieve ",
        "datasets": "datasets pairs", "models": "models base", "downscale": "downscale task",
        "evaluate": "evaluate task", "diagnose": "diagnose task", "report": "report"}


@pytest.mark.parametrize("leaf", LEAVES, ids=[leaf.path for leaf in LEAVES])
def test_a_key_moves_what_its_kind_says(leaf: Leaf) -> None:
    before, after = changed(leaf)
    old, new = dict(told_before(json.dumps(BESIDE.get(leaf.path, {})))), told(after)
    if leaf.kind == Kind.MACHINE:
        assert paths(before) == paths(after)
        assert old == new
        assert machine(before) != machine(after)  # the stage is told of it all the same
    elif leaf.kind == Kind.PLACE:
        for name in before.datasets:
            assert dataset_hash(before, name) == dataset_hash(after, name)
        for name in before.models:
            assert model_hash(before, name) == model_hash(after, name)
        assert paths(before) != paths(after)
        old.pop("report"), new.pop("report")
        assert old == new
    else:
        moved = {name for name in {*old, *new} if old.get(name) != new.get(name)}
        top = leaf.path.split(".")[0]
        assert any(name.startswith(USER[top]) for name in moved), moved
        assert "report" in moved
        if top in ("evaluate", "diagnose", "report"):
            assert not any(name.startswith(("retrieve", "datasets", "models", "downscale")) for name in moved)
        assert machine(before) == machine(after) or top in ("datasets", "models", "downscale")


MACHINE = [
    "sources.transfer.workers", "sources.transfer.timeout_seconds", "sources.era5.url", "datasets.<name>.samples_per_part",
    "models.<name>.train.compile", "models.<name>.train.workers", "models.<name>.train.threads", "models.<name>.train.wall_minutes",
    "models.<name>.train.checkpoint_minutes", "models.<name>.train.checkpoint_every", "models.<name>.train.keep_checkpoints",
    "models.<name>.train.checkpoint_background", "models.<name>.train.cuda_graphs",
    "downscale.<name>.blocks", "downscale.<name>.batch", "downscale.<name>.cuda_graphs", "downscale.<name>.wall_minutes",
    "downscale.<name>.writers",
]
SCIENCE = [
    "models.<name>.train.precision", "models.<name>.train.seed", "models.<name>.train.validate_every",
    "models.<name>.train.deterministic", "downscale.<name>.members", "downscale.<name>.seed", "downscale.<name>.tile",
    "sources.static.relief", "sources.era5.sst_over_sea", "evaluate.bootstrap",
]


def test_the_kinds_that_were_decided() -> None:
    kinds = {leaf.path: leaf.kind for leaf in LEAVES}
    assert {path: kinds[path] for path in MACHINE} == dict.fromkeys(MACHINE, Kind.MACHINE)
    assert {path: kinds[path] for path in SCIENCE} == dict.fromkeys(SCIENCE, Kind.SCIENCE)
    assert {path for path, kind in kinds.items() if kind == Kind.PLACE} == {"label", "sources.resources"}


def test_what_decides_a_dataset_is_science() -> None:
    """`VALUES` names keys by hand: none of them may be a machine key."""
    sources = RunConfig.model_validate(RUN).sources
    for name in type(sources).model_fields:
        provider = type(getattr(sources, name))
        for key in getattr(provider, "VALUES", ()):
            assert kind_of(provider.model_fields[key]) == Kind.SCIENCE, f"{name}.{key}"


def test_the_generated_table_says_the_kind() -> None:
    said = {key.path: key.kind for key in keys()}
    assert said["models.<name>.train.threads"] == "machine" and said["models.<name>.train.steps"] == "science"
    assert said["label"] == "place" and said["models.<name>.train"] == ""


def test_what_is_asked_of_kept_days_concerns_no_part(tmp_path: Path) -> None:
    file = tmp_path / "basins.geojson"
    file.touch()
    more = {"diagnose": {"regions": {"basins": str(file)}},
            "report": {"thresholds": {"ice": {"use": "frost", "variable": "2m_temperature", "below": 270.0}}}}  # fmt: skip
    run, other = RunConfig.model_validate(RUN), RunConfig.model_validate(merge(RUN, more))
    assert slices.part(run, "task") == slices.part(other, "task")
    assert slices.diagnose(run, "task") != slices.diagnose(other, "task")
    assert slices.region_files(other) == [str(file)]
    file.unlink()
    with pytest.raises(OrbitError, match="file of regions not found"):
        slices.region_files(other)


def test_science_and_machine_together_are_the_whole() -> None:
    run = RunConfig.model_validate(RUN)
    assert RunConfig.model_validate(merge(science(run), machine(run))) == run
    for stage, name in (("retrieve", "era5"), ("dataset", "pairs"), ("model", "base"), ("downscale", "task"), ("evaluate", "task"),
                        ("diagnose", "task"), ("report", "")):
        assert slices.whole(run, stage, name)
    assert ModelConfig.model_validate(slices.whole(run, "model", "child")["model"]) == run.models["child"]


def test_a_stage_reads_its_machine_keys_from_the_file_beside_its_slice(tmp_path: Path) -> None:
    run = RunConfig.model_validate(merge(merge(RUN, nested("models.<name>.train.threads", 3)), {"data": {"cache": "$NVME"}}))
    path = tmp_path / "config.json"
    write_json(path, slices.model(run, "base"))
    assert "threads" not in read_slice(path)["model"]["train"]
    write_json(machine_file(path), slices.machine_keys(run, "model", "base"))
    told_all = read_slice(path)
    assert told_all["model"]["train"]["threads"] == 3 and told_all["hash"] == model_hash(run, "base")
    assert ModelConfig.model_validate(told_all["model"]) == run.models["base"]
    assert set(run.models["base"].train.model_dump()) - set(told_all["model"]["train"]) == {
        "site_memory", "choose_by", "crps_alpha", "difference_weight", "rain_weight", "freeze_trunk"}  # came later, at their defaults
    assert told_all["data"] == {"cache": "$NVME", "cache_gb": 100.0}


def test_a_checkpoint_does_not_know_the_machine() -> None:
    """The identity of a run is the same with machine keys in it, without them, and without keys that did not exist yet."""
    run = RunConfig.model_validate(merge(RUN, nested("models.<name>.train.threads", 3)))
    full, plain = slices.whole(run, "model", "base"), slices.model(run, "base")
    assert identity(full) == identity(plain)
    older = json.loads(json.dumps(plain))
    del older["model"]["train"]["shift_probability"]
    assert identity(older) == identity(plain)
    older["model"]["train"]["learning_rate"] = 1.0
    assert identity(older) != identity(plain)
