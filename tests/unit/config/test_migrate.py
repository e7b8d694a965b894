"""`orbit2 migrate`: results made under the hashes of every key are kept under today's; times stay, nothing is computed, lost or guessed."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.base import WHERE_GIVEN, Kind, kind_of
from orbit2.config.begun import as_begun
from orbit2.config.identity import identity
from orbit2.config.load import load, merge, read_slice, slice_text
from orbit2.config.migrate import migrate, plan, waiting
from orbit2.config.old_hash import old_dataset_hash, old_model_hash
from orbit2.config.schema import RunConfig
from orbit2.files import sealed, short_hash, unsealed, write_json, write_text

ROOT = Path(__file__).resolve().parents[3]
LONG_AGO = 1_700_000_000_000_000_000  # ns


class Old:
    """Results of the demo with two tasks in blocks, as the code before wrote them."""

    def __init__(self, root: Path, *overrides: str) -> None:
        self.root, self.results = root, root / "results"
        self.run: RunConfig = load(ROOT / "config/config.yaml", ["downscale.test.blocks=2", "models.reslim.train.threads=3", *overrides])
        plain = self.run.model_dump(mode="json")
        sources = slices.dataset(self.run, "era5_week")["sources"]
        dataset = {"name": "era5_week", "dataset": plain["datasets"]["era5_week"], "sources": sources}
        self.data = self.add("data", dataset, old_dataset_hash(dataset))
        self.models: dict[str, Path] = {}
        for name in ("reslim", "conus"):
            parent = self.models["reslim"].name.split("-")[1] if name == "conus" else None
            model = {"name": name, "model": plain["models"][name], "architecture": plain["models"]["reslim"]["architecture"],
                     "datasets": {"era5_week": {"hash": dataset["hash"], **dataset["dataset"]}}, "parent": parent}
            self.models[name] = self.add("models", model, old_model_hash(model))
            write_json(self.models[name] / "model/config.json", {"hash": model["hash"], "datasets": model["datasets"]})
            write_json(self.models[name] / "checkpoints/step-00000004.json", {"step": 4, "config": model})
            write_json(self.models[name] / "checkpoints/step-00000005/manifest.json", sealed({"step": 5, "config": model}))
        write_json(self.data / "parts/init.json", {"store": "pairs.zarr", "initialised": True})
        write_json(self.data / "parts/000.json", {"part": "000", "config_hash": dataset["hash"]})
        write_json(self.data / "pairs.zarr/zarr.json", {"attributes": {"config_hash": dataset["hash"], "dataset": "era5_week"}})
        run = self.results / "demo"
        write_json(run / "config/report.json", {"label": "demo", "run": plain})
        model = self.models["reslim"].name.split("-")[1]
        told = {"task": "test", "downscale": plain["downscale"]["test"], "model_hash": model, "dataset_hash": dataset["hash"]}
        write_json(run / "config/downscale_test.json", told)
        write_json(run / "downscale/test.json", {"store": "test.zarr", "frames": 4})
        write_json(run / "downscale/test.zarr/zarr.json", {"attributes": {"model_hash": model, "weights": "w"}})
        for number in (0, 1):
            write_json(run / f"downscale/test.parts/{number}.json", {"block": f"{number}/2"})
        record = root / ".snakemake/metadata" / base64.urlsafe_b64encode(b"results/demo/downscale/test.json").decode()
        write_json(record, {"input": [f"results/data/{self.data.name}/finalised.json", "results/demo/downscale/test.parts/1.json"]})
        for path in root.rglob("*.json"):
            os.utime(path, ns=(LONG_AGO, LONG_AGO))

    def add(self, kind: str, content: dict[str, Any], digest: str) -> Path:
        content["hash"] = digest
        folder = self.results / kind / f"{content['name']}-{digest}"
        write_json(folder / "config.json", content)
        return folder

    def content(self) -> dict[str, str]:
        return {str(path): path.read_text() for path in sorted(self.root.rglob("*")) if path.is_file()}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Old:
    monkeypatch.chdir(tmp_path)
    return Old(tmp_path)


def given(section: BaseModel) -> dict[str, Any]:
    """Its content without the keys that are kept only where they are given."""
    values = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if WHERE_GIVEN in field.metadata and value == field.get_default(call_default_factory=True):
            del values[key]
        elif isinstance(value, BaseModel):
            values[key] = given(value)
    return values


def test_everything_is_where_the_workflow_looks_for_it(old: Old) -> None:
    run, said = old.run, list[str]()
    data, models = slices.dataset_folder(run, "era5_week"), [slices.model_folder(run, name) for name in ("reslim", "conus")]
    assert waiting(Path("results"), [data, *models]) == [str(p.relative_to(old.root)) for p in (old.data, *old.models.values())]
    migrate(Path("results"), say=said.append)
    assert f"results/data/{old.data.name} -> {data}" in said and len(said) == 4
    assert waiting(Path("results"), [data, *models]) == []
    assert Path(data, "config.json").read_text() == slice_text(slices.dataset(run, "era5_week"))
    for name, folder in zip(("reslim", "conus"), models, strict=True):
        assert Path(folder, "config.json").read_text() == slice_text(slices.model(run, name))
        said_of = given(run.models[name])
        assert read_slice(Path(folder, "config.json"))["model"] == said_of  # threads among them
        manifest = json.loads(Path(folder, "checkpoints/step-00000004.json").read_text())
        newer = unsealed(json.loads(Path(folder, "checkpoints/step-00000005/manifest.json").read_text()))
        for found in (manifest, newer):
            assert identity(found["config"]) == identity(slices.model(run, name)), "a checkpoint would be refused"
        assert json.loads(Path(folder, "model/config.json").read_text())["hash"] == slices.model(run, name)["hash"]
    hashed = slices.dataset(run, "era5_week")["hash"]
    assert json.loads(Path(data, "parts/000.json").read_text())["config_hash"] == hashed
    assert json.loads(Path(data, "pairs.zarr/zarr.json").read_text())["attributes"] == {"config_hash": hashed, "dataset": "era5_week"}
    assert json.loads(Path(data, "parts/init.json").read_text())["samples_per_part"] == 8
    folder = Path("results/demo")
    assert (folder / "config/downscale_test.json").read_text() == slice_text(slices.downscale(run, "test"))
    assert (folder / "config/report.json").read_text() == slice_text(slices.report(run))
    assert json.loads((folder / "downscale/test.json").read_text())["blocks"] == 2
    assert sorted(p.name for p in (folder / "downscale/test.parts").iterdir()) == ["0of2.json", "1of2.json"]
    record = json.loads(next(Path(".snakemake/metadata").iterdir()).read_text())
    assert record["input"] == [f"{data}/finalised.json", "results/demo/downscale/test.parts/1of2.json"]


def test_times_stay_so_that_nothing_is_new(old: Old) -> None:
    migrate(old.results)
    changed = [p for p in old.results.rglob("*.json") if p.stat().st_mtime_ns != LONG_AGO and not p.name.endswith(".machine.json")]
    assert changed == []


def test_a_dry_run_changes_nothing_and_a_second_run_has_nothing_to_do(old: Old, capsys: pytest.CaptureFixture[str]) -> None:
    before = old.content()
    with pytest.raises(SystemExit) as stop:
        main(["migrate", "--dry-run", "results"])
    assert stop.value.code == 0 and old.content() == before
    assert f"results/data/{old.data.name} -> " in capsys.readouterr().out
    for expected in (f"{old.data.name} -> ", "nothing to do"):
        with pytest.raises(SystemExit):
            main(["migrate", "results"])
        assert expected in capsys.readouterr().out


def test_interrupted_before_the_name_changed_it_goes_on(old: Old) -> None:
    slice_ = slices.dataset(old.run, "era5_week")
    write_text(old.data / "config.json", slice_text(slice_))  # everything inside is done, the folder has its old name
    migrate(old.results)
    assert (old.results / "data" / f"era5_week-{slice_['hash']}").is_dir()
    assert all((old.root / slices.model_folder(old.run, name) / "config.json").is_file() for name in old.models)


@pytest.mark.parametrize("what", ["there already", "parent gone", "damaged", "foreign hash", "close blocks"])
def test_what_cannot_be_kept_is_left_as_it_is_and_said(old: Old, what: str) -> None:
    if what == "there already":
        (old.root / slices.dataset_folder(old.run, "era5_week")).mkdir()
        subject, reason = old.data, "is there already"
    elif what == "parent gone":
        os.rename(old.models["reslim"], old.root / "away")
        subject, reason = old.models["conus"], "the model that it was fine-tuned from is not here"
    elif what == "damaged":
        (old.data / "config.json").write_text("{")
        subject, reason = old.data, "not valid JSON"
    elif what == "close blocks":
        content = json.loads((old.data / "config.json").read_text())
        split = content["dataset"]["split"]
        split["validation"]["start"] = str(np.datetime64(split["train"]["end"]) + np.timedelta64(60, "m"))
        split.pop("gap_days", None)
        write_json(old.data / "config.json", content)
        subject, reason = old.data, "blocks 'train' and 'validation' are 1 hour"
    else:
        content = json.loads((old.data / "config.json").read_text())
        write_json(old.data / "config.json", merge(content, {"dataset": {"min_valid_fraction": 0.1}}))
        subject, reason = old.data, "do not belong together"
    before, said = {p: p.read_bytes() for p in subject.rglob("*") if p.is_file()}, list[str]()
    migrate(old.results, say=said.append)
    assert any(line.startswith(f"left as it is: {subject}") and reason in line for line in said), said
    assert {p: p.read_bytes() for p in before} == before


FROZEN = ROOT / "tests/data/old_results/made_by_3dbdec2.json"  # slices, receipts and part markers of a real demo of few steps


def test_results_that_the_old_code_made_are_those_of_todays_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that came since must mean by default what was done then; and each store gets receipts of its own."""
    monkeypatch.chdir(tmp_path)
    frozen: dict[str, Any] = json.loads(FROZEN.read_text(encoding="utf-8"))
    (data,) = (Path(name).parent for name in frozen if name.startswith("results/data") and name.endswith("config.json"))
    old_receipts = [name for name in frozen if name.endswith(".done.json")]
    for name, content in frozen.items():
        write_json(Path(name), content)
    memory = Path(".snakemake/metadata")
    for part in ("init", "000", "001", "002"):
        key = base64.urlsafe_b64encode(f"{data}/parts/{part}.json".encode()).decode()
        write_json(memory / key, {"input": sorted([*old_receipts, f"{data}/config.json"])})
    for path in tmp_path.rglob("*"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    migrate(Path("results"), dry_run=True)
    assert not any("era5_week" in str(path) for path in Path("resources").rglob("*"))
    assert migrate(Path("results")).left == []
    run = RunConfig.model_validate(frozen["results/demo/config/report.json"]["run"])
    for name in run.datasets:
        assert Path(slices.dataset_folder(run, name), "config.json").read_text() == slice_text(slices.dataset(run, name))
    for name in run.models:
        assert Path(slices.model_folder(run, name), "config.json").read_text() == slice_text(slices.model(run, name))
    for task in run.downscale:
        for stage in ("downscale", "evaluate", "diagnose"):
            assert Path(f"results/demo/config/{stage}_{task}.json").read_text() == slice_text(getattr(slices, stage)(run, task))
    today = load(ROOT / "config/config.yaml", ["datasets.era5_week.samples_per_part=month"])  # the default was 8 then
    parts = RunConfig.model_validate(merge(run.model_dump(mode="json"), {"datasets": {"era5_week": {"samples_per_part": "month"}}}))
    assert today.datasets["era5_week"] == parts.datasets["era5_week"]
    assert as_begun(parts).datasets["era5_week"].samples_per_part == 8
    wanted = slices.receipts(run, "era5_week")
    for source, receipt in wanted.items():
        (before,) = (name for name in old_receipts if f"/{source}/" in name)
        assert json.loads(Path(receipt).read_text()) == frozen[before] and Path(receipt).stat().st_mtime_ns == LONG_AGO
        digest = receipt.removesuffix(".done.json").rpartition("-")[2]
        asked = Path(slices.dataset_folder(run, "era5_week"), "requests", f"{source}-{digest}.json")
        assert asked.read_text() == slice_text(slices.retrieve(run, source, "era5_week")) and asked.stat().st_mtime_ns == LONG_AGO
    remembered = {json.dumps(json.loads(path.read_text())["input"]) for path in memory.iterdir()}
    assert remembered == {json.dumps(sorted([*wanted.values(), f"{slices.dataset_folder(run, 'era5_week')}/config.json"]))}
    again = migrate(Path("results"))
    assert not (again.moves or again.runs or again.receipts or again.left)


def without(content: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    """As if `key` did not exist when this slice was written."""
    result: dict[str, Any] = json.loads(json.dumps(content))
    node = result
    for part in section.split("."):
        node = node[part]
    del node[key]
    return result


def test_a_key_that_will_come_with_a_default_breaks_no_recognition(tmp_path: Path) -> None:
    """Results of today, less one key each, under the hash of what is left: found to be those of today's run."""
    run = load(ROOT / "config/config.yaml")
    dataset, model = slices.dataset(run, "era5_week"), slices.model(run, "reslim")
    defaults: list[tuple[str, str, BaseModel]] = [
        ("dataset", "datasets.era5_week", run.datasets["era5_week"]), ("dataset.split", "datasets.era5_week.split",
                                                                       run.datasets["era5_week"].split),
        ("", "model", run.models["reslim"]), ("", "model.train", run.models["reslim"].train),
        ("", "architecture", run.architecture_of("reslim"))]
    tried = 0
    for in_dataset, in_model, section in defaults:
        for key, field in type(section).model_fields.items():
            usual = None if field.is_required() else field.get_default(call_default_factory=True)
            if field.is_required() or kind_of(field) != Kind.SCIENCE or getattr(section, key) != usual or WHERE_GIVEN in field.metadata:
                continue
            results = tmp_path / f"{in_model}.{key}"
            old_data = without(dataset, in_dataset, key) if in_dataset else dict(dataset)
            old_data["hash"] = short_hash({"dataset": old_data["dataset"], "sources": old_data["sources"]})
            old_model = without(model, in_model, key)
            old_model["datasets"]["era5_week"]["hash"] = old_data["hash"]
            old_model["hash"] = short_hash({name: value for name, value in old_model.items() if name != "hash"})
            write_json(results / f"data/era5_week-{old_data['hash']}/config.json", old_data)
            write_json(results / f"models/reslim-{old_model['hash']}/config.json", old_model)
            found = plan(results)
            assert found.left == [], (in_model, key)
            moved = {move.new.name: move.slice_ for move in found.moves}
            assert moved.get(f"reslim-{model['hash']}") == model, (in_model, key)
            assert not in_dataset or moved.get(f"era5_week-{dataset['hash']}") == dataset, (in_model, key)
            tried += 1
    assert tried > 30
