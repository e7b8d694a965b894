"""A climate model's files in the climate of a model's training inputs: known biases go, known trends stay, held-out years are refused."""

import json
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr

from orbit2.cli import main
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.door.ingest import read_inputs
from orbit2.downscale import map_climate
from orbit2.downscale.mapping import mapped, spans, trend
from orbit2.errors import OrbitError
from orbit2.grid import from_centres
from orbit2.times import stamps

WARMTH, RAIN = "2m_temperature", "precipitation_rate"
BIAS, TREND, WETTER = 2.0, 0.3, 1.5  # K, K per decade, a factor
COARSE = from_centres(np.array([41.0, 43.0]), np.array([10.0, 12.0, 14.0]))
YEARS, TRAINED = (1990, 2049), (1991, 2010)  # of the climate model, of the training
SPLIT = {"train": {"start": "1991-01-01", "end": "2010-12-31"}, "validation": {"start": "2012-01-01", "end": "2012-12-31"},
         "test": {"start": "2014-01-01", "end": "2015-12-31"}}  # fmt: skip


def dates(first: int, last: int) -> list[str]:
    """Six days of two months of each year."""
    return [f"{year}-{month}-{day:02d}" for year in range(first, last + 1) for month in ("01", "07") for day in range(1, 7)]


def weather(days: list[str], seed: int, spread: float, bias: float, wetter: float) -> tuple[np.ndarray, np.ndarray]:
    """(temperature, rain) [T, 2, 3] with a trend of TREND K per decade since 2000, and one of the rain of 10 % per decade."""
    random, shape = np.random.default_rng(seed), (len(days), *COARSE.shape)
    decades = (np.array([int(day[:4]) + (int(day[5:7]) - 1) / 12 for day in days]) - 2000.0)[:, None, None] / 10
    season = np.array([-8.0 if day[5:7] == "01" else 8.0 for day in days])[:, None, None]
    noise = random.normal(size=shape)
    for month in ("01", "07"):  # without a mean or trend of its own
        of = [day[5:7] == month for day in days]
        clear = decades[of] - decades[of].mean()
        noise[of] -= noise[of].mean(0) + clear * (clear * noise[of]).sum(0) / (clear**2).sum()
    warm = 285 + season + bias + TREND * decades + spread * noise
    wet = random.random(shape) < 0.5
    return warm, np.where(wet, random.gamma(2.0, 3.0, shape), 0.0) * wetter * 1.1**decades


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pairs.zarr` of 1991 to 2015, `model/config.json`, `gcm.nc` in a calendar without leap days."""
    folder = tmp_path_factory.mktemp("map_climate")
    days = dates(1991, 2015)
    fields = np.stack(weather(days, 1, 2.0, 0.0, 1.0), axis=1).astype(np.float32)
    fields[:, :, 1, 2] = np.nan  # a cell that the training does not know
    names, none = (WARMTH, RAIN), np.empty((0, *COARSE.refine(2).shape), dtype=np.float32)
    initialise(folder / "pairs.zarr", SideSpec(COARSE, names, (), none[:, :2, :3]), SideSpec(COARSE.refine(2), (), (), none),
               np.array(days, dtype="datetime64[s]"), shard=len(days), attributes={"config_hash": "abc"})  # fmt: skip
    write_part(folder / "pairs.zarr", 0, fields, np.empty((len(days), 0, *COARSE.refine(2).shape), dtype=np.float32))
    finalise(folder / "pairs.zarr")
    (folder / "model").mkdir()
    about = {"format": "orbit2-model-1", "inputs": [WARMTH, RAIN, "orography"], "statics": ["orography"],
             "datasets": {"mine": {"hash": "abc", "coarse_grid": "x", "split": SPLIT}}}  # fmt: skip
    (folder / "model" / "config.json").write_text(json.dumps(about))
    gcm(folder / "gcm.nc")
    return folder


def gcm(path: Path, calendar: str = "noleap") -> None:
    days = dates(*YEARS)
    warm, rain = weather(days, 2, 3.0, BIAS, WETTER)
    times = [cftime.datetime(*map(int, day.split("-")), 12, calendar=calendar) for day in days]
    xr.Dataset(
        {"tas": (("time", "lat", "lon"), warm.astype("f4"), {"units": "K", "standard_name": "air_temperature"}),
         "pr": (("time", "lat", "lon"), (rain / 86400).astype("f4"), {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"})},
        {"time": times, "height": ((), 2.0, {"units": "m"}), "lat": ("lat", COARSE.lat, {"units": "degrees_north"}),
         "lon": ("lon", COARSE.lon, {"units": "degrees_east"})},
        {"history": "made by a test", "source": "a model"},
    ).to_netcdf(path)  # fmt: skip


@pytest.fixture(scope="module")
def made(place: Path) -> xr.Dataset:
    run = ["map-climate", str(place / "gcm.nc"), "--model", str(place / "model"), "--store", str(place / "pairs.zarr"),
           "--period", "1991-01-01,2010-12-31", "-o", str(place / "mapped.nc")]  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main(run)
    assert stop.value.code == 0
    return xr.open_dataset(place / "mapped.nc")


def of_period(data: xr.DataArray) -> xr.DataArray:
    return data.isel(time=[1991 <= t.year <= 2010 for t in data["time"].values])


def test_the_bias_goes_and_the_trend_stays(made: xr.Dataset, place: Path) -> None:
    training = PairStore(place / "pairs.zarr").dataset("coarse").sel(time=slice("1991", "2010"))
    warm = of_period(made[WARMTH])
    assert abs(float(warm.mean() - training[WARMTH].mean())) < 0.03  # K, of 2
    for month in (1, 7):
        ours, theirs = (data.isel(time=data["time"].dt.month.values == month).std("time") for data in (warm, training[WARMTH]))
        np.testing.assert_allclose(ours.values.ravel()[:-1], theirs.values.ravel()[:-1], rtol=0.1)  # of 3/2 before
    fit = json.loads(made.attrs["climate_mapping"])
    before, after = fit["trends"][WARMTH]["trend_per_decade"]
    assert before == pytest.approx(TREND, abs=0.001) and after == pytest.approx(before, abs=0.02)
    change = fit["trends"][WARMTH]["last_less_first_decade"]
    assert change[0] == pytest.approx(5 * TREND, abs=0.3) and change[1] == pytest.approx(change[0], abs=0.1)
    assert fit["trends"][WARMTH]["mean"][0] - fit["trends"][WARMTH]["mean"][1] == pytest.approx(BIAS, abs=0.1)


def test_rain_stays_rain(made: xr.Dataset, place: Path) -> None:
    rain, training = made[RAIN], PairStore(place / "pairs.zarr").dataset("coarse").sel(time=slice("1991", "2010"))[RAIN]
    assert float(rain.min()) == 0 and rain.attrs["units"] == "mm day-1"
    assert float((of_period(rain).isel(lat=0) < 0.01).mean()) == pytest.approx(0.5, abs=0.03)
    assert float(of_period(rain).mean()) == pytest.approx(float(training.mean()), rel=0.05)
    fit = json.loads(made.attrs["climate_mapping"])["trends"][RAIN]
    relative = [slope / mean for slope, mean in zip(fit["trend_per_decade"], fit["mean"], strict=True)]
    assert relative[0] == pytest.approx(0.1, abs=0.03) and relative[1] == pytest.approx(relative[0], abs=0.01)


def test_calendar_stamps_gaps_and_history_are_kept_and_the_door_takes_it(made: xr.Dataset, place: Path) -> None:
    assert made["time"].dt.calendar == "noleap" and stamps(made["time"].values)[-1] == "2049-07-06T12:00:00"
    gap = made[WARMTH].isnull().values
    assert gap[:, 1, 2].all() and gap.sum() == made.sizes["time"]
    first, second = made.attrs["history"].splitlines()
    assert "quantile delta mapping (xsdba" in first and "the same period of 'mine'" in first and "K per decade" in first
    assert second == "made by a test" and made[WARMTH].attrs["original_name"] == "tas"
    inputs = read_inputs(made, (WARMTH, RAIN), "mapped.nc")
    assert inputs.grid.same_as(COARSE) and not inputs.warnings
    np.testing.assert_allclose(inputs.frame(5)[0], made[WARMTH].values[5], rtol=1e-6)


@pytest.mark.slow  # the same
def test_another_grid_is_averaged_to_the_trainings_and_zarr_is_replaced_only_if_asked(place: Path, tmp_path: Path) -> None:
    with xr.open_dataset(place / "gcm.nc", decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as data:
        near = data.isel(time=[t.year < 2011 and t.month == 1 for t in data["time"].values])
        finer = near.isel(lat=np.repeat([0, 1], 2), lon=np.repeat([0, 1, 2], 2))
        finer = finer.assign_coords(lat=("lat", [40.5, 41.5, 42.5, 43.5], data["lat"].attrs),
                                    lon=("lon", np.arange(9.5, 15, 1.0), data["lon"].attrs))  # fmt: skip
        for name, each in (("near", near), ("finer", finer)):
            each.to_netcdf(tmp_path / f"{name}.nc")
    made = {}
    for name, out in (("near", tmp_path / "a.zarr"), ("finer", tmp_path / "b.nc")):
        options = {"input": tmp_path / f"{name}.nc", "model": place / "model", "store": place / "pairs.zarr",
                   "period": ("1991-01-01", "2010-12-31"), "out": out}  # fmt: skip
        map_climate.run(**options)
        with pytest.raises(OrbitError, match="overwrite"):
            map_climate.run(**options)
        made[name] = xr.open_dataset(out) if out.suffix == ".nc" else xr.open_zarr(out, consolidated=False)
    map_climate.run(**{**options, "overwrite": True})
    assert made["finer"][WARMTH].dims == ("time", "lat", "lon")
    np.testing.assert_allclose(made["near"][WARMTH].values, made["finer"][WARMTH].values, rtol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.nc", "finer.nc", "near.nc"]  # no scratch is left


@pytest.mark.parametrize(("period", "said"), [
    (("1991-01-01", "2014-06-30"), "holds validation years"),
    (("2014-06-01", "2020-12-31"), "the period holds test years"),
    (("2015-12-31", "2020-12-31"), "the period holds test years"),
    (("1995-01-01", "1994-01-01"), "not a period"),
    (("2060-01-01", "2070-01-01"), "too few samples of month 1, 7 in the period"),
])  # fmt: skip
def test_held_out_years_and_empty_periods_are_refused(place: Path, tmp_path: Path, period: tuple[str, str], said: str) -> None:
    with pytest.raises(OrbitError, match=said):
        map_climate.run(input=place / "gcm.nc", model=place / "model", store=place / "pairs.zarr", period=period, out=tmp_path / "o.nc")
    assert not list(tmp_path.iterdir())


def test_held_out_samples_are_not_read_and_years_outside_the_training_fall_back_to_all_of_it(place: Path) -> None:
    about = json.loads((place / "model" / "config.json").read_text())
    store = PairStore(place / "pairs.zarr")
    wanted = map_climate._reference(about, store)
    assert {stamp[:4] for stamp in wanted.stamps} == {str(year) for year in range(TRAINED[0], TRAINED[1] + 1)}
    moments = [f"{day}T12:00:00" for day in dates(2030, 2035)]
    every = np.ones(len(moments), bool)
    chosen, words = map_climate._same_period(wanted, "2030-01-01T00:00:00", "2035-12-31T23:59:59", moments, every, "x")
    assert len(chosen.samples) == len(wanted.samples) and "the whole training block" in words
    about["datasets"]["mine"]["hash"] = "another"
    with pytest.raises(OrbitError, match="not trained on this pair store"):
        map_climate._reference(about, store)
    about["datasets"] = {"mine": {"hash": "abc", "split": {**SPLIT, "train": {"start": "1991-01-01", "end": "2014-12-31"}}}}
    with pytest.raises(OrbitError, match="training samples lie in the validation block"):
        map_climate._reference(about, store)


@pytest.mark.slow  # xsdba takes seconds
def test_windows_of_cells_do_not_change_a_value(place: Path, tmp_path: Path, made: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_climate, "WINDOW_BYTES", 8 * map_climate.COPIES * 2 * 1000)  # two cells
    monkeypatch.setattr(map_climate, "BLOCK_BYTES", 4 * 2 * 6 * 500)  # 500 samples
    map_climate.run(input=place / "gcm.nc", model=place / "model", store=place / "pairs.zarr", period=("1991-01-01", "2010-12-31"),
                    out=tmp_path / "o.zarr")  # fmt: skip
    with xr.open_zarr(tmp_path / "o.zarr", consolidated=False) as found:
        for name in (WARMTH, RAIN):
            np.testing.assert_allclose(found[name].values, made[name].values, rtol=1e-6)
        assert found["time"].dt.calendar == "noleap" and found.sizes["time"] == made.sizes["time"]


def test_spans_are_whole_years_about_as_long_as_the_period() -> None:
    moments = [f"{year}-0{month}-01T00:00:00" for year in range(2000, 2070) for month in (1, 2)]
    found = spans(moments, 20)
    assert [len(each) for each in found] == [36, 36, 34, 34]  # of 70 years: 18, 18, 17, 17
    assert np.array_equal(np.concatenate(found), np.arange(140))


def test_trends_of_a_known_series_in_two_calendars() -> None:
    for calendar in ("standard", "360_day"):
        times = np.array([cftime.datetime(year, month, 16, calendar=calendar) for year in range(2000, 2030) for month in range(1, 13)])
        years = np.array([t.year + (t.dayofyr - 1) / (360 if calendar == "360_day" else 365.2425) for t in times])
        series = 280 + 10 * np.cos(2 * np.pi * (years % 1)) + 0.05 * (years - 2000)
        series[7] = np.nan
        found = trend(series, times)
        assert found.per_decade == pytest.approx(0.5, abs=0.01) and found.change == pytest.approx(1.0, abs=0.02)
    short = trend(series[:18], times[:18])
    assert short.per_decade is None and short.change is None


def test_months_with_few_samples_are_refused() -> None:
    moments = [f"2000-01-{day:02d}T00:00:00" for day in range(1, 9)]
    with pytest.raises(OrbitError, match="month 1"):
        mapped(WARMTH, np.full((8, 1, 1), 280.0), moments, np.ones(8, bool), np.full((8, 1, 1), 281.0), np.ones(8, np.int64))
