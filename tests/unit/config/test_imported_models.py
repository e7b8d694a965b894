"""`models.<name>.imported`: a folder stands for a model that nobody trains; what is in it is what it is, wherever it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.comparisons import parents
from orbit2.config.imported import PUBLISHED, expected
from orbit2.config.load import CONFIG_ROOT, from_mapping, load, model_hash
from orbit2.config.network import ArchitectureConfig
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.grid import named
from orbit2.model.build import build
from orbit2.model.inspect import describe
from orbit2.model.published_tiles import equal_tiles
from orbit2.plan import plan
from orbit2.plan.hours import seconds
from orbit2.plan.text import render
from tests.data.imported_models import LEAST, RAIN, folder, raw

PARAMETERS = {  # of the published files, as third parties count them
    "global_9.5m_precipitation": 9_653_743, "global_126m_precipitation": 126_712_815, "us_9.5m_precipitation": 7_163_375,
    "us_126m_temperature": 116_751_343, "us_9.5m_temperature": 7_163_375, "us_126m_precipitation": 116_751_343,
    "intermediate_8m": 9_501_571, "intermediate_117m": 126_099_843, "intermediate_1b": 986_374_531,
}  # fmt: skip


def loaded(model: Path | str, **more: Any) -> RunConfig:
    return from_mapping(raw(model, **more))


def test_the_folder_is_the_model(tmp_path: Path) -> None:
    run = loaded(folder(tmp_path / "a"))
    assert run.architecture_of("theirs").embed_dim == 16 and run.lineage("theirs") == ["theirs"]
    assert slices.model_path(run, "theirs") == str(tmp_path / "a")
    told = slices.downscale(run, "test")
    assert told["model_hash"] == model_hash(run, "theirs")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    content = json.loads((tmp_path / "b/config.json").read_text())
    write_json(tmp_path / "b/config.json", {**content, "code_version": "2", "sha256": {**content["sha256"], "card.md": "c" * 64}})
    assert slices.downscale(loaded(tmp_path / "b"), "test") == told, "the same content elsewhere is the same model"
    for other in ({"sha256": {"weights.safetensors": "d" * 64}}, {"trained_tiles": {"div": 2, "overlap": 2}}):
        write_json(tmp_path / "b/config.json", {**content, **other})
        assert slices.downscale(loaded(tmp_path / "b"), "test") != told
    again = RunConfig.model_validate(json.loads(json.dumps(run.model_dump(mode="json"))))
    assert again == run  # what was found is not looked for again
    assert slices.report(run) == slices.report(loaded(tmp_path / "a"))
    assert slices.machine_keys(run, "report")["run"]["models"]["theirs"]["imported"] == {"folder": str(tmp_path / "a")}


@pytest.mark.parametrize(("more", "says"), [
    ({"models": {"theirs": {"train": {"steps": 5}}}}, "remove `train`"),
    ({"models": {"theirs": {"architecture": {"embed_dim": 16, "heads": 2}}}}, "remove `architecture`"),
    ({"models": {"theirs": {"datasets": ["us"]}}}, "remove `datasets`"),
    ({"models": {"theirs": {"region": [30, 40, 240, 260]}}}, "remove `region`"),
    ({"models": {"theirs": {"finetune_from": "theirs"}}}, "remove `finetune_from`"),
    ({"models": {"theirs": {"importd": "x"}}}, "did you mean 'imported'"),
    ({"models": {"theirs": {"imported": {"file": "x"}}}}, "unknown key"),
    ({"models": {"theirs": {"imported": {}}}}, "imported: FOLDER"),
    ({"models": {"mine": {"architecture": {"embed_dim": 16}}}}, "give `datasets`"),
    ({"datasets": {"us": {"fine_grid": "us_7.5"}}}, "refines 4 times, dataset 'us' 2 times"),
    ({"datasets": {"us": {"inputs": [RAIN], "outputs": [RAIN]}}}, f"reads {LEAST}, which dataset 'us' does not have"),
    ({"downscale": {"test": {"members": 2}}}, "has no noise"),
    ({"downscale": {"test": {"map_climate": {"period": {"start": "1991-01-01", "end": "1992-12-31"}}}}}, "it was imported"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused_in_a_line(tmp_path: Path, more: dict[str, Any], says: str) -> None:
    with pytest.raises(OrbitError) as error:
        loaded(folder(tmp_path / "a"), **more)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    write_json(tmp_path / "foreign/config.json", {"format": "other"})
    folder(tmp_path / "box", region=[30, 40, 240, 260])
    folder(tmp_path / "half", outputs=None)
    for name, says in (("empty", "not a model folder"), ("file", "no such model folder"), ("missing", "no such model folder"),
                       ("foreign", "not a model folder"), ("box", "a model of a box"), ("half", "not a model that this")):  # fmt: skip
        with pytest.raises(OrbitError, match=says):
            loaded(tmp_path / name)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(raw(tmp_path / "missing")))
    with pytest.raises(SystemExit) as stop:
        main(["config", "check", str(tmp_path / "run.yaml")])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and "orbit2 model import" in told and told.count("\n") == 1


def test_years_that_the_folder_names_are_not_tested_on(tmp_path: Path) -> None:
    known = {"datasets": {"theirs": {"split": {"train": {"start": "1980-01-01", "end": "2001-04-10"}}}}}
    assert loaded(folder(tmp_path / "unknown")).models["theirs"].imported is not None
    with pytest.raises(OrbitError, match="train block of 'theirs', which 'theirs' says that it saw"):
        loaded(folder(tmp_path / "known", **known))


def test_a_model_may_be_fine_tuned_from_it(tmp_path: Path) -> None:
    child = {"models": {"mine": {"datasets": ["us"], "finetune_from": "theirs", "train": {"steps": 5}}},
             "downscale": {"mine": {"model": "mine", "dataset": "us"}}}  # fmt: skip
    run, other = loaded(folder(tmp_path / "a"), **child), loaded(folder(tmp_path / "b", name="other"), **child)
    assert run.architecture_of("mine") == run.architecture_of("theirs")
    assert slices.model(run, "mine")["parent"] == model_hash(run, "theirs") and model_hash(run, "mine") != model_hash(other, "mine")
    assert parents(run)["mine"] == ("theirs", "test")  # the same samples: its parent's own task serves


def test_published_weights_are_planned_before_they_are_there(tmp_path: Path) -> None:
    run = loaded(tmp_path / "us_9.5m_temperature")
    section = run.models["theirs"].imported
    assert section is not None and not section.there and "not there yet" in describe(run, "theirs")
    with pytest.raises(OrbitError, match="no such model folder"):
        section.refuse_absent("theirs")


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_of_the_published_files(name: str) -> None:
    facts = expected(name)
    config = ArchitectureConfig.model_validate(facts["architecture"])
    width, read = config.embed_dim, len([one for one in facts["inputs"] if one != "sea_surface_temperature"])
    with torch.device("meta"):
        made = sum(p.numel() for p in build(config, facts["inputs"], facts["outputs"], facts["statics"]).parameters())
    unread, spare = (23 - read) * 6 * width, read * 4 * width  # variables of the file that are no inputs; rows for missing values
    assert made == PARAMETERS[name] - width**2 - unread + spare  # query and its matrix are one vector here


def test_it_costs_no_training(tmp_path: Path) -> None:
    run = loaded(folder(tmp_path / "a", trained_tiles={"div": 4, "overlap": 2}), downscale={"test": {"max_samples": 2}})
    told = plan(run, device="h200")
    assert told.models == () and told.fits and [one.kind for one in told.stored if one.kind in ("model", "checkpoints")] == []
    (task,) = told.tasks
    assert task.cuts[0].windows == 16 and task.cuts[0].window == (28, 64)  # 104 x 240 cells in 4 x 4, overlap 2
    text = render(told, run)
    assert "nothing is trained" in text and "downscale.test" in text
    assert seconds(run, "h200", {})["train"] == {}


@pytest.mark.parametrize("name", ["published_global", "published_us"])
def test_what_ships_for_published_weights_gives_them_what_they_read(name: str) -> None:
    """Every input but the static fields, and windows of the size of their table: nothing is missing, nothing is resized."""
    run = load(CONFIG_ROOT / f"runs/{name}.yaml")
    assert run.sources.era5.sst_over_sea
    for task in run.downscale.values():
        section, dataset, grid = run.models[task.model].imported, run.datasets[task.dataset], named(run.datasets[task.dataset].coarse_grid)
        assert section is not None and Path(section.folder).parent == Path("published") and Path(section.folder).name in PUBLISHED
        facts = section.facts
        assert set(facts.inputs) - {"sea_surface_temperature", *facts.statics} <= set(dataset.inputs)
        assert dataset.refinement == facts.network.refinement
        tiling = equal_tiles(grid, {"div": facts.tiles[0], "overlap": facts.tiles[1]}, None) if facts.tiles else None
        window = tiling.padded if tiling else grid.shape
        assert window == tuple(facts.network.patch * side for side in facts.network.table_shape)
