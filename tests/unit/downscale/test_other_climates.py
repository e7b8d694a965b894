"""An input of another climate than the training's: how much of it lies outside is counted, and said in log, attributes and report."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import orbit2
from orbit2.data.packing import packing_of
from orbit2.data.pairs import PairStore
from orbit2.data.ranges import LEVELS, Ranges, chosen, lines, outside
from orbit2.downscale import downscale_file
from orbit2.downscale.plausible import climate_of_task
from orbit2.downscale.samples import StoreSamples
from orbit2.report.pages.jobs import climate
from tests.data.tiny_training import Tiny

WARMTH, RAIN = "2m_temperature", "precipitation_rate"


def codes(values: np.ndarray, names: list[str]) -> np.ndarray:
    from orbit2.data.packing import pack

    return pack(values.astype(np.float32), names)


def ranges_of(samples: list[tuple[np.datetime64, np.ndarray]], area: np.ndarray, names: list[str]) -> Ranges:
    found = Ranges(names, [packing_of(name) for name in names], area)
    for time, values in samples:
        found.add(time, codes(values, names))
    return found


@pytest.mark.parametrize("level", [0.001, 0.05, 0.5, 0.999])
def test_quantiles_are_those_of_the_values_weighted_by_area_and_miss_nothing(level: float) -> None:
    random = np.random.default_rng(1)
    area = np.array([[1.0] * 50, [0.25] * 50])
    values = 280 + 10 * random.normal(size=(40, 1, 2, 50))
    values[:, 0, 1] += 30
    values[3, 0, 0, :5] = np.nan
    times = np.datetime64("2001-01-10", "s") + np.arange(40) * np.timedelta64(6 * 86400, "s")  # January to September
    found = ranges_of(list(zip(times, values, strict=True)), area, [WARMTH]).quantiles()[WARMTH]
    assert list(found) == ["DJF", "MAM", "JJA", "SON"]
    march = [i for i, t in enumerate(times) if int(str(t)[5:7]) in (3, 4, 5)]
    flat, weights = values[march, 0].ravel(), np.broadcast_to(area, (len(march), 2, 50)).ravel()
    order = np.argsort(flat)
    share = np.cumsum(weights[order]) / weights.sum()
    expected = flat[order][np.searchsorted(share, level)]
    assert found["MAM"][LEVELS.index(level)] == pytest.approx(expected, abs=2 * packing_of(WARMTH).step)


def test_the_order_of_samples_does_not_change_a_bit() -> None:
    random = np.random.default_rng(2)
    area = random.uniform(0.3, 1, (4, 6))
    samples = [(np.datetime64("2001-07-01", "s") + np.timedelta64(i, "D"), random.gamma(1, 5, (1, 4, 6))) for i in range(30)]
    one, other = (ranges_of(each, area, [RAIN]).quantiles() for each in (samples, samples[::-1]))
    assert one == other


def test_shares_beyond_are_weighted_by_area_and_of_all_datasets_together() -> None:
    trained = [{WARMTH: {"DJF": [270.0, *[280.0] * 7, 290.0]}}, {WARMTH: {"DJF": [260.0, *[280.0] * 7, 285.0]}}]
    weights = np.array([3.0, 1.0, 1.0, 5.0])
    january, july = (np.datetime64(f"2001-{m}-15", "s") for m in ("01", "07"))
    samples = [(january, np.array([[291.0, 265.0, 255.0, np.nan]]), weights), (july, np.array([[300.0] * 4]), weights)]
    found, strange = outside(trained, [WARMTH], samples)
    assert strange == ["JJA"] and len(found) == 1
    assert (found[0].below, found[0].above, found[0].low, found[0].high) == (0.2, 0.6, 260.0, 290.0)
    said = lines(found, strange)
    assert "in DJF 80.0 % of 2m_temperature" in said[0] and "260 and 290 K (20.0 % below, 60.0 % above" in said[0]
    assert said[1] == "climate: the training has no samples of JJA"
    within = outside(trained, [WARMTH], [(january, np.full((1, 4), 290.0), weights)])
    assert within[0][0].share == 0 and lines(*within) == []


def test_a_few_fields_of_every_season_are_looked_at() -> None:
    times = np.datetime64("2001-01-01", "s") + np.arange(730) * np.timedelta64(86400, "s")
    picked = chosen(times)
    assert len(picked) == 24 and {0, 729} <= set(picked)


def known(model: Path, folder: Path, tiny: Tiny) -> Path:
    """The model as its training would leave it with statistics that have quantiles (those of the fixture have none)."""
    pairs = PairStore(tiny.store)
    made = Ranges(pairs.variables("coarse"), pairs.packings("coarse"), pairs.grid("coarse").area_km2)
    for i in range(8):
        made.add(pairs.times[i], pairs.read_packed("coarse", i))
    folder.mkdir()
    for path in model.iterdir():
        if path.name != "config.json":
            (folder / path.name).symlink_to(path)
    about = json.loads((model / "config.json").read_text())
    assert "input_quantiles" not in about  # an older statistics.json: nothing is known, nothing said
    about["input_quantiles"] = {"tiny": {"levels": list(LEVELS), "coarse": made.quantiles()}}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def aware(model: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known(model, tmp_path_factory.mktemp("aware") / "model", tiny)


def of_store(tiny: Tiny, warmer: float, day: str) -> xr.Dataset:
    pairs = PairStore(tiny.store)
    data = pairs.dataset("coarse").isel(time=[3]).load()
    data[WARMTH] = data[WARMTH].copy(data=data[WARMTH].values + np.float32(warmer))
    return data.assign_coords(time=np.array([day], dtype="datetime64[ns]"))


def test_a_warmer_file_is_named_with_numbers_and_one_like_the_training_is_not(aware: Path, tiny: Tiny, tmp_path: Path) -> None:
    def said(warmer: float, day: str) -> tuple[list[str], dict[str, Any]]:
        of_store(tiny, warmer, day).to_netcdf(tmp_path / "in.nc")
        downscale_file(input=tmp_path / "in.nc", model=aware, out=tmp_path / "out.nc", overwrite=True)
        with xr.open_dataset(tmp_path / "out.nc") as made:
            told = [line for line in str(made.attrs.get("warnings", "")).splitlines() if "outside" in line or "no samples" in line]
            return told, json.loads(made.attrs["training_range"])

    told, numbers = said(0.0, "2026-01-05")
    assert not told and all(each["below"] + each["above"] < 0.01 for each in numbers["outside"])
    told, numbers = said(25.0, "2026-01-05")
    (line,) = told
    pairs = PairStore(tiny.store)
    values = pairs.read("coarse", 3)[0] + 25.0
    area = pairs.grid("coarse").area_km2
    high = next(each["high"] for each in numbers["outside"] if each["variable"] == WARMTH)
    share = 100 * area[values > high].sum() / area.sum()
    assert f"in DJF {share:.1f} % of {WARMTH}" in line and share > 20
    told, numbers = said(0.0, "2026-07-05")
    assert told == ["climate: the training has no samples of JJA"] and numbers["new_seasons"] == ["JJA"]
    made = orbit2.load_model(aware).downscale(of_store(tiny, 25.0, "2026-01-05"))
    assert line in made.attrs["warnings"] and "training_range" in made.attrs


def test_a_task_on_another_dataset_says_it_and_the_report_shows_it(aware: Path, tiny: Tiny) -> None:
    pairs = PairStore(tiny.store)
    about = json.loads((aware / "config.json").read_text())
    for seasons in about["input_quantiles"]["tiny"]["coarse"][WARMTH].values():
        seasons[-1] = 260.0  # as if the training had been colder
    samples = StoreSamples(pairs, "coarse", [9, 10], (WARMTH, RAIN))
    said, attrs = climate_of_task(about, samples, pairs.times[[9, 10]], pairs.grid("coarse"))
    assert len(said) == 1 and f"% of {WARMTH} lies outside" in said[0] and "of 2 fields" in said[0]
    task = SimpleNamespace(name="elsewhere", prediction=SimpleNamespace(attrs=attrs))
    ((name, check, result, number, words),) = climate(task)
    assert (name.text, check.text, result.text) == ("elsewhere", "inputs within the training's climate", "for information")
    assert said[0].removeprefix("climate: ") in words.text
    area = pairs.grid("coarse").area_km2
    beyond = np.mean([area[pairs.read("coarse", i)[0] > 260.01].sum() / area.sum() for i in (9, 10)])
    assert float(number.value) == pytest.approx(beyond, abs=0.02)
    assert climate(SimpleNamespace(name="own", prediction=SimpleNamespace(attrs={}))) == []
