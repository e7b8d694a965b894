"""`orbit2 clean`: what no run needs is listed, what a run needs never is; nothing goes unless asked, nothing of others ever."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from orbit2.cli import main
from orbit2.config import clean, slices
from orbit2.config.load import load
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.files import write_json

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """Results of the demo as its stages leave them (files of a few bytes), in the current folder."""
    monkeypatch.chdir(tmp_path)
    made = load(ROOT / "config/runs/demo.yaml")
    built(made)
    write_json(Path("results/demo/config/report.json"), slices.report(made))
    return made


def built(run: RunConfig, models: bool = True) -> None:
    for name in run.datasets:
        folder = Path(slices.dataset_folder(run, name))
        write_json(folder / "config.json", slices.dataset(run, name))
        write_json(folder / "pairs.zarr/zarr.json", {"zarr_format": 3})
    for name in run.models if models else ():
        folder = Path(slices.model_folder(run, name))
        write_json(folder / "config.json", slices.model(run, name))
        write_json(folder / "checkpoints/step-00000800/index.json", {})
        write_json(folder / "checkpoints/timing.json", {})
        write_json(folder / "model/config.json", {"name": name})


def listed(*keep: RunConfig) -> dict[str, str]:
    return {str(one.path): one.why for one in clean.look(Path("results"), keep).unneeded}


def test_of_what_runs_need_only_checkpoints_of_finished_models_may_go(run: RunConfig) -> None:
    saved = {f"{slices.model_folder(run, name)}/checkpoints/step-00000800": "checkpoint of a finished model" for name in run.models}
    assert listed() == saved
    (Path(slices.model_folder(run, "reslim")) / "model/config.json").unlink()  # not finished: it resumes from them
    assert set(saved) - set(listed()) == {f"{slices.model_folder(run, 'reslim')}/checkpoints/step-00000800"}


def test_what_another_configuration_made_is_of_no_run_unless_it_is_kept(run: RunConfig) -> None:
    other = load(ROOT / "config/runs/demo.yaml", ["datasets.era5_week.min_valid_fraction=0.4", "models.reslim.train.steps=5"])
    built(other)
    folders = {slices.dataset_folder(other, "era5_week"), *(slices.model_folder(other, name) for name in other.models)}
    found = listed()
    assert {path: found[path] for path in folders} == {
        path: f"{'store' if '/data/' in path else 'model'} of no run" for path in folders}
    assert not folders & set(listed(other))


def test_a_run_that_got_no_further_than_a_stage_needs_what_its_slices_name(run: RunConfig) -> None:
    other = load(ROOT / "config/runs/demo.yaml", ["label=other", "models.reslim.train.steps=5"])
    built(other)
    write_json(Path("results/other/config/evaluate_conus.json"), slices.evaluate(other, "conus"))
    assert slices.model_folder(other, "conus") not in listed() and slices.model_folder(other, "reslim") not in listed()  # its parent
    assert slices.model_folder(other, "members") in listed()


def test_listing_deletes_nothing_and_deleting_nothing_else(run: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Path("results/data/mine")
    write_json(mine / "config.json", {"hello": 1})
    other = load(ROOT / "config/runs/demo.yaml", ["datasets.era5_week.min_valid_fraction=0.4"])
    built(other, models=False)
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as code:
        main(["clean"])
    assert code.value.code == 0 and sorted(Path().rglob("*")) == before
    said = capsys.readouterr().out
    assert "store of no run" in said and f"left alone: {mine}: no folder of orbit2" in said and "--delete" in said
    with pytest.raises(SystemExit) as code:
        main(["clean", "--delete", "--keep", str(ROOT / "config/runs/demo.yaml")])
    assert code.value.code == 0 and "deleted: " in capsys.readouterr().out
    gone = [path for path in before if not path.exists()]
    assert {path.parts[2] if path.parts[1] == "data" else path.parts[4] for path in gone} == {
        Path(slices.dataset_folder(other, "era5_week")).name, "step-00000800"}
    assert mine.exists() and listed() == {}


def test_an_interrupted_deletion_leaves_nothing_that_counts_and_goes_on(run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load(ROOT / "config/runs/demo.yaml", ["datasets.era5_week.min_valid_fraction=0.4"])
    built(other, models=False)
    folder = Path(slices.dataset_folder(other, "era5_week"))

    def stopped(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", stopped)
        clean.delete(clean.Found([one for one in clean.look(Path("results")).unneeded if one.path == folder]))
    assert not folder.exists()
    assert listed()[f"results/data/.{folder.name}.deleted"] == "left by a process that was killed"
    clean.delete(clean.look(Path("results")))
    assert not list(Path("results/data").glob(".*"))


def test_what_is_at_work_and_runs_that_cannot_be_read_are_left(run: RunConfig) -> None:
    other = load(ROOT / "config/runs/demo.yaml", ["models.reslim.train.steps=5"])
    built(other)
    folder = Path(slices.model_folder(other, "reslim"))
    write_json(folder / "checkpoints/owner.json", {"pid": 1, "host": "elsewhere"})
    found = clean.look(Path("results"))
    assert f"{folder}: at work" in found.left and folder not in {one.path for one in found.unneeded}
    fresh, old = Path("results/data/.new.1.x.part"), Path("results/data/.old.1.x.part")
    for path in (fresh, old):
        path.write_text("half", encoding="utf-8")
    os.utime(old, (time.time() - 2 * clean.OLD,) * 2)
    assert str(old) in listed() and str(fresh) not in listed()
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.input.lock").touch()
    with pytest.raises(OrbitError, match="workflow is running"):
        clean.delete(found)
    Path("results/demo/config/report.json").write_text(json.dumps({"run": {"label": 3}}), encoding="utf-8")
    with pytest.raises(OrbitError, match="what this run needs cannot be told"):
        clean.look(Path("results"))
