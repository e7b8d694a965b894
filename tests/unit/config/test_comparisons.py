"""Which prediction of its parent a fine-tuned model is compared with, and where the fitted baselines come from."""

from pathlib import Path
from typing import Any

import pytest

from orbit2.config import slices
from orbit2.config.comparisons import experiment, fit_memory_mb, fitted_on, others, parents, predictions
from orbit2.config.load import from_mapping, load, read_yaml

RUNS = Path(__file__).parents[3] / "config" / "runs"


def demo(*overrides: str) -> Any:
    """The demo without its second stage, whose members are held against the first's prediction."""
    raw = read_yaml(RUNS / "demo.yaml")
    del raw["models"]["members"], raw["downscale"]["test_members"]
    return from_mapping(raw, overrides)


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


def test_the_demos_members_are_held_against_its_own_test_prediction() -> None:
    assert parents(load(RUNS / "demo.yaml"))["test_members"] == ("reslim", "test")


def test_members_are_held_against_one_field_of_their_reference() -> None:
    """Or of their own model without noise; whether or not parents are wanted as baselines."""
    learned = ("models.reslim.train.loss=crps", "models.conus.train.loss=crps")
    noisy = ("models.reslim.architecture.noise.channels=2", *learned, "downscale.test.members=4", "evaluate.baselines=[bicubic]")
    config = demo(*noisy)
    assert parents(config)["test"] == ("reslim", "test_parent") and slices.parent(config, "test")["model"] == "reslim_no_noise"  # type: ignore[index]
    assert predictions(config)["test_parent"] == config.downscale["test"].model_copy(update={"members": 0})
    config = demo(*noisy, "downscale.test.seed=7", "downscale.test.reference=conus", "models.conus.region=null")
    assert parents(config)["test"][0] == "conus" and slices.parent(config, "test")["model"] == "conus"  # type: ignore[index]
    made = predictions(config)[parents(config)["test"][1]]
    assert (made.model, made.members, made.reference) == ("conus", 0, None)


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


def test_every_task_names_its_experiment() -> None:
    config = load(RUNS / "orbit2.yaml")
    assert {task: experiment(config, task) for task in config.downscale} == {
        "era5_622km": "coarse ERA5 to ERA5", "era5_112km": "coarse ERA5 to ERA5", "prism_16km": "coarse PRISM to PRISM",
        "daymet_16km": "coarse DAYMET to DAYMET", "us_7km": "ERA5 + coarse DAYMET to DAYMET", "global_7km": "ERA5 to IMERG"}
    assert experiment(demo(), "quarter_degree") == "ERA5, finer than any truth"


def test_another_product_of_the_run_is_what_agreement_is_measured_with() -> None:
    config = load(RUNS / "orbit2.yaml")
    assert {task: others(config, task) for task in config.downscale} == {
        "era5_622km": (), "era5_112km": (), "prism_16km": ("daymet_16km", "imerg_daily"), "daymet_16km": ("prism_16km", "imerg_daily"),
        "us_7km": ("prism_16km", "imerg_daily"), "global_7km": ("prism_16km", "daymet_16km")}
    assert slices.evaluate(config, "us_7km")["others"]["prism_16km"] == f"{slices.dataset_folder(config, 'prism_16km')}/pairs.zarr"
    assert slices.evaluate(config, "us_7km")["others"]["imerg_daily"].endswith("observations.zarr")
    assert others(load(RUNS / "orbit2.yaml", ["evaluate.other_products=false"]), "us_7km") == ()
    assert others(demo(), "test") == ()


def test_era5_alone_is_another_experiment_and_the_docs_show_both(tmp_path: Path) -> None:
    page = (RUNS.parents[1] / "docs" / "sources.md").read_text(encoding="utf-8")
    (text,) = (block.split("```")[0] for block in page.split("```yaml\n")[1:] if "us_two_experiments" in block)
    for name in ("runs", "datasets", "models", "train"):
        (tmp_path / name).symlink_to(RUNS.parent / name)
    (tmp_path / "two.yaml").write_text(text, encoding="utf-8")
    config = load(tmp_path / "two.yaml")
    assert experiment(config, "us_7km_era5") == "ERA5 to DAYMET" and experiment(config, "us_7km") == "ERA5 + coarse DAYMET to DAYMET"
    one, other = (config.datasets[name] for name in ("us_28km", "us_28km_era5"))
    assert one.inputs == other.inputs and one.outputs == other.outputs and one.split == other.split
    assert {other.source_of(name) for name in other.inputs} == {"era5"}
    assert parents(config)["us_7km_era5"][0] == "foundation"


def test_the_memory_of_a_fit_grows_with_the_grid_and_is_enough_where_it_was_measured() -> None:
    coarse, fine = (load(RUNS / f"{run}.yaml").datasets[name] for run, name in (("orbit2", "us_28km"), ("daymet_1km", "daymet_4km")))
    assert fit_memory_mb(coarse) < 4000 < 12_000 < fit_memory_mb(fine) < 32_000
    two = coarse.model_copy(update={"fine_grid": "global_0.25", "outputs": ("2m_temperature", "total_precipitation_24hr")})
    assert 1950 * 1.2 < fit_memory_mb(two) < 1950 * 2.5  # 1.95 GB were taken


def test_fits_come_from_the_training_block_of_a_tasks_dataset() -> None:
    assert fitted_on(demo(), "test") == fitted_on(demo(), "quarter_degree") == "era5_week"
    assert fitted_on(demo("evaluate.baselines=[bicubic]"), "test") == "era5_week"  # thresholds and climatology, whatever is compared
