"""Blocks of time are apart, within a dataset and down a line of fine-tuned models; grids are no finer than their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbit2.config.dataset import GAP_DAYS
from orbit2.config.load import CONFIG_ROOT, load
from orbit2.errors import OrbitError
from tests.data.shipped import RUNS

ERA5, US = CONFIG_ROOT / "runs" / "era5_pretrain.yaml", CONFIG_ROOT / "runs" / "us_finetune.yaml"
SPLIT = "datasets.era5_622km.split"


@pytest.mark.parametrize(("sets", "says"), [
    ([f"{SPLIT}.train.end='2017-12-31'"], r"'train' and 'validation' are 1 s apart, less than 7 days"),
    ([f"{SPLIT}.validation.end='2019-12-25T23:59'"], r"'validation' and 'test' are 6 days apart, less than 7 days"),
    ([f"{SPLIT}.train.end='2018-06-01'"], "'train' and 'validation' overlap"),
    ([f"{SPLIT}.validation.end='2019-12-24'"], ""),
    ([f"{SPLIT}.validation.end='2019-12-29'", f"{SPLIT}.gap_days=2", "datasets.era5_112km.split.gap_days=2"], ""),  # said by hand
    ([f"{SPLIT}.gap_days=30"], "less than 30 days"),
])  # fmt: skip
def test_blocks_of_a_dataset_are_apart(sets: list[str], says: str) -> None:
    if not says:
        load(ERA5, sets)
        return
    with pytest.raises(OrbitError, match=says) as error:
        load(ERA5, sets)
    assert "datasets.era5_622km" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_shipped_runs_keep_the_gap_they_ask_for(path: Path) -> None:
    run = load(path)
    for dataset in run.datasets.values():
        assert dataset.split.gap_days is None and not dataset.finer_than_source
        if "sample" not in dataset.sources:
            assert dataset.gap.astype(int) == GAP_DAYS * 86400


CHILD = ["datasets.us_28km.split.train={start: '1980-01-01', end: '2005-12-31'}",
         "datasets.us_28km.split.validation={start: '2007-01-01', end: '2008-12-31'}"]


@pytest.mark.parametrize("test", ["{start: '2010-01-01', end: '2010-12-31'}", "{start: '2017-12-30', end: '2017-12-31'}"])
def test_what_a_parent_learned_is_no_test(test: str) -> None:
    """The parent trained until 2017 on other datasets: the weather is the same."""
    with pytest.raises(OrbitError, match=r"us_finetune: dataset 'us_28km': its test block .* train block of .* model 'foundation' saw"):
        load(US, [*CHILD, f"datasets.us_28km.split.test={test}"])


def test_what_chose_a_parent_is_no_test() -> None:
    with pytest.raises(OrbitError, match=r"validation block of 'era5_622km', which model 'foundation' saw"):
        load(US, [*CHILD, "datasets.us_28km.split.test={start: '2018-06-01', end: '2018-12-31'}"])


def test_a_task_on_another_dataset_is_checked_against_what_its_model_saw() -> None:
    base = CONFIG_ROOT / "runs" / "imerg_global.yaml"
    with pytest.raises(OrbitError, match=r"downscale.global_7km: dataset 'era5_28km': its test block .*2016-01-01"):
        load(base, ["datasets.era5_28km.split.test={start: '2016-01-01', end: '2016-12-31'}",
                    "datasets.imerg_daily.split.test={start: '2016-01-01', end: '2016-12-31'}"])
    assert load(base).downscale["global_7km"].split == "test"


@pytest.mark.parametrize(("run", "sets", "says"), [
    ("demo", ["datasets.era5_week.coarse_grid=global_1.0", "datasets.era5_week.fine_grid=global_0.25"],
     "fine_grid: global_0.25 is finer than sample"),
    ("era5_pretrain", ["datasets.era5_112km.coarse_grid=global_0.5", "datasets.era5_112km.fine_grid=global_0.125"],
     "finer than era5 itself"),
    ("prism_pretrain", ["datasets.prism_16km.coarse_grid=prism_2.5", "datasets.prism_16km.fine_grid=prism_0.625"],
     "finer than prism itself"),
    ("prism_pretrain", ["datasets.prism_16km.coarse_grid=prism_2.5", "datasets.prism_16km.fine_grid=prism_0.625",
                        "sources.prism.resolution=800m"], ""),
    ("us_finetune", ["datasets.us_28km.coarse_grid=us_3.75", "datasets.us_28km.fine_grid=us_0.9375"],
     "coarse_grid: us_3.75 is finer than era5"),
])  # fmt: skip
def test_no_grid_is_finer_than_what_fills_it(run: str, sets: list[str], says: str) -> None:
    path = CONFIG_ROOT / "runs" / f"{run}.yaml"
    if not says:
        load(path, sets)
        return
    with pytest.raises(OrbitError, match=says) as error:
        load(path, sets)
    assert "finer_than_source: true" in str(error.value)
    dataset = sets[0].split(".")[1]
    load(path, [*sets, f"datasets.{dataset}.finer_than_source=true"])
