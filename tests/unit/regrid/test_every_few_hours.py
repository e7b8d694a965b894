"""ERA5 of its provider every 3, 6 or 12 hours: moments as they are, rates over the hours since the sample before, 24-hour fields of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orbit2.config.needs import spans
from orbit2.config.sources import SourcesConfig
from orbit2.data.pairs import PairStore
from orbit2.sources import manifest
from tests.data.era5_dataset import build, dataset, relist
from tests.data.era5_files import LAT, cds2024, values

DAYS = {name: {"start": f"2020-01-0{day}", "end": f"2020-01-0{day}"} for name, day in (("train", 2), ("validation", 4), ("test", 6))}
NAMES = ["2m_temperature", "precipitation_rate", "total_precipitation_24hr", "2m_temperature_max"]


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hours") / "era5" / manifest.VERSION
    folder.mkdir(parents=True)
    cds2024(folder / "hours.nc", ("t2m", "tp"), times=6 * 24)
    relist(folder)
    return folder.parents[1]


@pytest.mark.parametrize("hours", [3, 6, 12])
def test_samples_are_made_of_the_hours_since_the_one_before(resources: Path, tmp_path: Path, hours: int) -> None:
    changes = {"frequency": f"{hours}h", "inputs": NAMES, "outputs": NAMES, "split": {**DAYS, "gap_days": 0}, "statics": [],
               "samples_per_part": 64, "samples_per_shard": 64}  # fmt: skip
    pairs = PairStore(build(tmp_path, resources, **changes))
    assert pairs.step_hours == hours and len(pairs.times) == 5 * 24 // hours
    assert [pairs.cell_methods(name) for name in NAMES] == [
        "time: point", f"time: mean (interval: {hours} hours)", "time: sum (interval: 24 hours)", "time: maximum (interval: 24 hours)"]
    warm, rain = values("t2m", 6 * 24), values("tp", 6 * 24) * 24000  # K; mm a day, of the hour that ends at the stamp
    for index in (0, 1, len(pairs.times) - 1):
        stamp = int((pairs.times[index] - np.datetime64("2020-01-01T00:00")) / np.timedelta64(1, "h"))
        since, day = slice(stamp - hours + 1, stamp + 1), slice(stamp - 23, stamp + 1)
        wanted = warm[stamp], rain[since].mean(0), rain[day].mean(0), warm[day].max(0)
        got = pairs.read("fine", index)
        for name, field in zip(NAMES, wanted, strict=True):
            mean = np.average(field, axis=0, weights=_share()).mean()
            area = pairs.grid("fine").area_km2
            assert np.average(got[pairs.variable_index("fine", name)], weights=area) == pytest.approx(mean, rel=2e-4), name


def _share() -> np.ndarray:
    """Of each row of the files' points on the sphere, half-way edges, the outer ones at the poles."""
    edges = np.clip(LAT[0] + 15 - 30 * np.arange(len(LAT) + 1), -90, 90)
    return -np.diff(np.sin(np.radians(edges)))


def test_the_hours_before_the_first_sample_are_fetched() -> None:
    """The sample of 00:00 is made of the evening before; a moment is not."""
    found = dataset(frequency="6h", inputs=NAMES[:2], outputs=NAMES[:2], split={**DAYS, "gap_days": 0})
    needed = dict(spans(found, "era5", SourcesConfig()))
    assert str(needed["precipitation_rate"][0]) == "2020-01-01" and str(needed["2m_temperature"][0]) == "2020-01-02"
