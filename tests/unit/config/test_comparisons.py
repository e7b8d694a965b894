"""Which prediction of its parent a fine-tuned model is compared with, and where the fitted baselines come from."""

from pathlib import Path
from typing import Any

import pytest

from orbit2.config import slices
from orbit2.config.comparisons import fitted_on, parents, predictions
from orbit2.config.load import load

RUNS = Path(__file__).parents[3] / "config" / "runs"


def demo(*overrides: str) -> Any:
    return load(RUNS / "demo.yaml", list(overrides))


def test_the_demo_compares_its_regional_model_with_what_it_predicts_anyway() -> None:
    config = demo()
    assert parents(config) == {"conus": ("reslim", "test")} and set(predictions(config)) == set(config.downscale)
    assert slices.evaluate(config, "conus")["parent"] == {
        "model": "reslim", "prediction": "test", "model_hash": slices.downscale(config, "test")["model_hash"]}
    assert slices.evaluate(config, "test")["parent"] is None


@pytest.mark.parametrize("change", ["downscale.test.max_samples=1", "downscale.test.split=validation", "downscale.test.tile=23"])
def test_another_prediction_of_the_parent_does_not_serve(change: str) -> None:
    config = demo(change)
    assert parents(config) == {"conus": ("reslim", "conus_parent")}
    made = slices.downscale(config, "conus_parent")
    assert made["downscale"] == {**slices.downscale(config, "conus")["downscale"], "model": "reslim"}
    assert made["model_hash"] == slices.downscale(config, "test")["model_hash"] and made["task"] == "conus_parent"


def test_a_parent_that_cannot_predict_it_is_no_comparison() -> None:
    assert parents(demo("models.reslim.outputs=[mean_sea_level_pressure]", "models.conus.outputs=[2m_temperature]")) == {}
    assert parents(demo("models.reslim.region=[24, 60, 0, 40]")) == {}
    assert parents(demo("models.reslim.region=[20, 60, 220, 300]")) != {}


def test_the_papers_run_predicts_its_us_task_with_the_foundation_model_too() -> None:
    config = load(RUNS / "orbit2.yaml")
    assert parents(config)["us_7km"] == ("foundation", "us_7km_parent")
    assert "global_7km" not in parents(config)  # inference on a grid without a truth: not twice
    assert parents(load(RUNS / "orbit2.yaml", ["evaluate.baselines=[delta]"])) == {}
    assert slices.fits(config, "us_7km") == f"{slices.dataset_folder(config, 'us_28km')}/baselines.nc"


def test_fits_come_from_the_training_block_of_a_tasks_dataset() -> None:
    assert fitted_on(demo(), "test") == fitted_on(demo(), "quarter_degree") == "era5_week"
    assert fitted_on(demo("evaluate.baselines=[bicubic]"), "test") == "era5_week"  # thresholds and climatology, whatever is compared
