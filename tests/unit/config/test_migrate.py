"""`orbit2 migrate`: results made under the hashes of every key are kept under today's; times stay, nothing is computed, lost or guessed."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.identity import identity
from orbit2.config.load import load, merge, read_slice
from orbit2.config.migrate import migrate, slice_text, waiting
from orbit2.config.old_hash import old_dataset_hash, old_model_hash
from orbit2.config.schema import RunConfig
from orbit2.files import write_json, write_text

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
        assert read_slice(Path(folder, "config.json"))["model"] == run.models[name].model_dump(mode="json")  # threads among them
        manifest = json.loads(Path(folder, "checkpoints/step-00000004.json").read_text())
        assert identity(manifest["config"]) == identity(slices.model(run, name)), "a checkpoint would be refused"
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


@pytest.mark.parametrize("what", ["there already", "parent gone", "damaged", "foreign hash"])
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
    else:
        content = json.loads((old.data / "config.json").read_text())
        write_json(old.data / "config.json", merge(content, {"dataset": {"min_valid_fraction": 0.1}}))
        subject, reason = old.data, "do not belong together"
    before, said = {p: p.read_bytes() for p in subject.rglob("*") if p.is_file()}, list[str]()
    migrate(old.results, say=said.append)
    assert any(line.startswith(f"left as it is: {subject}") and reason in line for line in said), said
    assert {p: p.read_bytes() for p in before} == before
