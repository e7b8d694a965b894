"""Boxes and bands of the configuration: in any turn, across 0 E, and refused at load where they cannot be meant."""

from __future__ import annotations

import pytest

from orbit2.config.load import CONFIG_ROOT, load
from orbit2.errors import OrbitError

DEMO = CONFIG_ROOT / "runs" / "demo.yaml"


@pytest.mark.parametrize("region", ["[30, 60, -10, 30]", "[30, 60, 350, 390]", "[-90, 90, -180, 180]"])
def test_a_region_may_cross_the_first_meridian(region: str) -> None:
    assert load(DEMO, [f"models.conus.region={region}"]).models["conus"].region is not None


@pytest.mark.parametrize(("key", "value", "message"), [
    ("models.conus.region", "[60, 30, -10, 30]", "south < north"),
    ("models.conus.region", "[30, 95, -10, 30]", "south < north"),
    ("models.conus.region", "[30, 60, 10, 10]", "not the same"),
    ("models.conus.region", "[30, 60, 400, 410]", "longitudes must be"),
    ("models.conus.region", "[30, 60, -200, 200]", "longitudes must be"),
    ("models.conus.region", "[30.1, 30.2, 10, 20]", "outside the grid"),  # between two rows of cells
    ("report.zoom", "[48, 30, 0, 20]", "south < north"),
    ("evaluate.spectra_boxes.here", "[48, 30, 0, 20]", "south < north"),
    ("evaluate.spectra_bands", "[[30, -30]]", "south < north"),
    ("diagnose.hovmoller_band", "[5, -5]", "south < north"),
])
def test_impossible_boxes_are_refused_at_load(key: str, value: str, message: str) -> None:
    with pytest.raises(OrbitError, match=message) as error:
        load(DEMO, [f"{key}={value}"])
    assert key.rpartition(".")[2] in str(error.value) or "region" in str(error.value)


def test_a_region_beyond_the_datasets_grid_is_refused_at_load() -> None:
    run = CONFIG_ROOT / "runs" / "us_finetune.yaml"
    name = next(n for n, m in load(run).models.items() if m.finetune_from)
    with pytest.raises(OrbitError, match="is not inside the grid of dataset"):
        load(run, [f"models.{name}.region=[24, 60, 240, 280]"])
