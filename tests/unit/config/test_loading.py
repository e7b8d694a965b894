"""Includes, overrides, and what a user is told about a configuration that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orbit2.config import slices
from orbit2.config.load import dataset_hash, load, model_hash
from orbit2.errors import OrbitError

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "config/config.yaml"


def wrong(*overrides: str) -> str:
    with pytest.raises(OrbitError) as caught:
        load(DEMO, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_misspelt_key_names_the_nearest() -> None:
    assert "did you mean 'learning_rate'?" in wrong("models.reslim.train.lerning_rate=0.1")


def test_misspelt_dataset_names_the_nearest() -> None:
    assert "did you mean 'era5_week'?" in wrong("downscale.test.dataset=era5_weak")


def test_heads_must_divide_and_valid_values_are_printed() -> None:
    assert "nearest valid: [2, 4, 8]" in wrong("models.reslim.architecture.heads=5")


def test_grids_must_nest() -> None:
    assert "do not nest" in wrong("datasets.era5_week.fine_grid=global_1.5")


def test_refinement_must_match_the_grids() -> None:
    assert "refinement 2 does not match dataset 'era5_week' (4)" in wrong("models.reslim.architecture.refinement=2")


def test_unknown_variable_names_the_nearest() -> None:
    assert "2m_temperature" in wrong("datasets.era5_week.inputs=['2m_temprature']")


def test_blocks_of_time_must_not_touch() -> None:
    assert "overlap" in wrong("datasets.era5_week.split.train.end='2026-03-30T05:00'")


def test_out_of_range_value_names_the_key_and_the_value() -> None:
    message = wrong("models.reslim.train.learning_rate=-1")
    assert "models.reslim.train.learning_rate" in message and "-1" in message


def test_circle_of_fine_tuning_is_named() -> None:
    message = wrong("models.a={datasets: [era5_week], finetune_from: b}", "models.b={datasets: [era5_week], finetune_from: a}")
    assert "circle" in message


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("label: x\n", encoding="utf-8")
    with pytest.raises(OrbitError, match=r"did you mean 'mine.yaml'\?"):
        load(tmp_path / "mien.yaml")


def test_files_that_include_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: b.yaml\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("include: a.yaml\n", encoding="utf-8")
    with pytest.raises(OrbitError, match="include each other"):
        load(tmp_path / "a.yaml")


def test_include_then_own_keys_then_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("include: runs/demo.yaml\nlabel: mine\nmodels: {reslim: {train: {steps: 7}}}\n", encoding="utf-8")
    run = load(path, ["models.reslim.train.seed=3"])
    demo = load(DEMO)
    assert (run.label, run.models["reslim"].train.steps, run.models["reslim"].train.seed) == ("mine", 7, 3)
    assert run.models["reslim"].train.learning_rate == demo.models["reslim"].train.learning_rate


@pytest.mark.parametrize(("override", "moves_data", "moves_model"), [
    ("evaluate.bootstrap=5", False, False),
    ("report.title=other", False, False),
    ("label=other", False, False),
    ("models.conus.train.steps=61", False, False),
    ("models.reslim.train.learning_rate=0.01", False, True),
    ("datasets.era5_week.min_valid_fraction=0.4", True, True),
])
def test_hashes_follow_only_what_a_thing_depends_on(override: str, moves_data: bool, moves_model: bool) -> None:
    before, after = load(DEMO), load(DEMO, [override])
    assert (dataset_hash(before, "era5_week") != dataset_hash(after, "era5_week")) == moves_data
    assert (model_hash(before, "reslim") != model_hash(after, "reslim")) == moves_model


def test_a_parent_moves_its_child() -> None:
    before, after = load(DEMO), load(DEMO, ["models.reslim.train.seed=9"])
    assert model_hash(before, "conus") != model_hash(after, "conus")


def test_an_evaluation_key_is_in_no_slice_before_evaluation() -> None:
    before, after = load(DEMO), load(DEMO, ["evaluate.bootstrap=5"])
    for made in (lambda run: slices.dataset(run, "era5_week"), lambda run: slices.model(run, "reslim"),
                 lambda run: slices.downscale(run, "test")):
        assert made(before) == made(after)
    for scored in (slices.evaluate, slices.diagnose):  # intervals stand in both tables
        assert scored(before, "test") != scored(after, "test")
    assert slices.diagnose(before, "test") == slices.diagnose(load(DEMO, ["evaluate.spectra_bands=[]"]), "test")
    assert slices.report(before) != slices.report(after)


def test_show_is_plain_yaml() -> None:
    text = yaml.safe_dump(load(DEMO).model_dump(mode="json"))
    assert yaml.safe_load(text)["label"] == "demo"
