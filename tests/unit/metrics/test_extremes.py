"""ETCCDI indices from days in any pieces, against xclim and hand-made years."""

from datetime import date

import numpy as np
import pytest
import xarray as xr

from orbit2.metrics.extremes import COLDEST, OTHER, RAIN, WARMEST, DailyStatistic, Day, role

RAIN_NAME, MAX_NAME, MIN_NAME = "total_precipitation_24hr", "2m_temperature_max", "2m_temperature_min"


def days(first, count):
    start = date.fromisoformat(first).toordinal()
    for number in range(start, start + count):
        year = date.fromordinal(number).year
        yield Day(number, year, date(year, 1, 1).toordinal(), date(year, 12, 31).toordinal())


def gathered(name, first, fields, parts=None, heavy=None):
    """DailyStatistic of `fields` [T, S, C] in `parts` (lists of positions), each made apart and merged."""
    index = list(days(first, len(fields)))
    whole = DailyStatistic(name, *fields.shape[1:], heavy)
    for part in [range(len(fields))] if parts is None else parts:
        piece = DailyStatistic(name, *fields.shape[1:], heavy)
        for position in part:
            piece.update(index[position], fields[position])
        whole.add(piece.state())
    return whole


def months(first, count):
    labels = [date.fromordinal(day.number).strftime("%Y%m") for day in days(first, count)]
    return [[i for i, label in enumerate(labels) if label == month] for month in dict.fromkeys(labels)]


def values(name, first, fields, **options):
    return gathered(name, first, fields, **options).climate().means


def rain(count, cells=6, seed=0):
    generator = np.random.default_rng(seed)
    return np.where(generator.random((count, 2, cells)) < 0.4, generator.gamma(0.6, 14, (count, 2, cells)), 0.0)


def test_roles_follow_from_what_a_variable_is():
    assert role(RAIN_NAME) == role("precipitation_rate") == RAIN
    assert (role(MAX_NAME), role(MIN_NAME)) == (WARMEST, COLDEST)
    assert {role(name) for name in ("2m_temperature", "2m_temperature_max_1hr", "temperature_850", "mean_sea_level_pressure")} == {OTHER}


def test_oracle_year():
    fields = np.zeros((365, 1, 1))
    fields[10:15, 0, 0], fields[100, 0, 0] = (5, 10, 20, 1, 0.5), 50
    found = {name: float(value[0, 0]) for name, value in values(RAIN_NAME, "2021-01-01", fields, parts=months("2021-01-01", 365)).items()}
    expected = {"rx1day": 50, "sdii": 17.2, "cdd": 264, "cwd": 4, "wet_days": 5, "rx5day": 50, "prcptot": 86, "r10mm": 3, "r20mm": 2,
                "r50mm": 1}  # fmt: skip
    assert {name: pytest.approx(found[name]) for name in expected} == expected


def longest(days):
    """Per column of [T, ...]."""
    run = best = np.zeros(days.shape[1:], dtype=int)
    for day in days:
        run = np.where(day, run + 1, 0)
        best = np.maximum(best, run)
    return best


def test_years_agree_with_indices_of_whole_years():
    count, first = 366 + 365 + 365, "2020-01-01"
    fields = rain(count).astype(np.float32)
    found = values(RAIN_NAME, first, fields, parts=months(first, count), heavy={"r99p": np.full(fields.shape[-1], 40.0)})
    fives = np.concatenate([np.full((4, *fields.shape[1:]), np.nan), np.lib.stride_tricks.sliding_window_view(fields, 5, axis=0).sum(-1)])
    wet, each = fields >= 1, []
    for year in np.split(np.arange(count), [366, 731]):
        x, rainy = fields[year].astype(np.float64), wet[year]
        each.append({
            "rx1day": x.max(0), "rx5day": np.nanmax(fives[year], axis=0), "sdii": np.where(rainy, x, 0).sum(0) / rainy.sum(0),
            "cdd": longest(~rainy), "cwd": longest(rainy), "r20mm": (x >= 20).sum(0), "r99p": np.where(x > 40, x, 0).sum(0),
            "annual_mean": x.mean(0),
        })  # fmt: skip
    for name in each[0]:
        np.testing.assert_allclose(found[name], np.mean([year[name] for year in each], axis=0), rtol=1e-6, err_msg=name)


@pytest.mark.slow  # its import and compilation
def test_years_agree_with_xclim():
    xclim = pytest.importorskip("xclim")
    count, first = 366 + 365 + 365, "2020-01-01"
    fields = rain(count)
    fields[200, :, 2] = np.nan
    heavy = {"r95p": np.nanquantile(np.where(fields[:, 0] >= 1, fields[:, 0], np.nan), 0.95, axis=0)}
    found = values(RAIN_NAME, first, fields, parts=months(first, count), heavy=heavy)
    time = xr.date_range(first, periods=count, freq="D")
    pr = xr.DataArray(fields, dims=("time", "series", "cell"), coords={"time": time}, attrs={"units": "mm/day"})
    indices = xclim.indices
    per = xr.DataArray(heavy["r95p"], dims="cell", attrs={"units": "mm/day"})
    share = indices.fraction_over_precip_thresh(pr, per, thresh="1 mm/day", freq="YS")
    total = indices.prcptot(pr, thresh="1 mm/day", freq="YS")
    expected = {
        "rx1day": indices.max_1day_precipitation_amount(pr), "rx5day": indices.max_n_day_precipitation_amount(pr, window=5),
        "sdii": indices.daily_pr_intensity(pr, thresh="1 mm/day"), "cdd": indices.maximum_consecutive_dry_days(pr, thresh="1 mm/day"),
        "cwd": indices.maximum_consecutive_wet_days(pr, thresh="1 mm/day"), "wet_days": indices.wetdays(pr, thresh="1 mm/day"),
        "r10mm": indices.wetdays(pr, thresh="10 mm/day"), "r20mm": indices.wetdays(pr, thresh="20 mm/day"), "prcptot": total,
        "r95p": share * total,
    }  # fmt: skip
    for name, each in expected.items():
        np.testing.assert_allclose(found[name], each.mean("time").transpose("series", "cell"), rtol=2e-6, err_msg=name)


@pytest.mark.slow
def test_temperatures_agree_with_xclim():
    xclim = pytest.importorskip("xclim")
    season = 12 * np.sin(2 * np.pi * np.arange(730) / 365)[:, None, None]
    fields = 285 + season + np.random.default_rng(3).normal(0, 6, (730, 2, 5))
    time = xr.date_range("2021-01-01", periods=730, freq="D")
    series = xr.DataArray(fields, dims=("time", "series", "cell"), coords={"time": time}, attrs={"units": "K"})
    parts = months("2021-01-01", 730)
    warm, cold = (values(name, "2021-01-01", fields, parts=parts) for name in (MAX_NAME, MIN_NAME))
    indices = xclim.indices
    expected = {"txx": (warm, indices.tx_max(series)), "txn": (warm, indices.tx_min(series)), "tnx": (cold, indices.tn_max(series)),
                "tnn": (cold, indices.tn_min(series)), "fd": (cold, indices.frost_days(series)), "id": (warm, indices.ice_days(series)),
                "su": (warm, indices.tx_days_above(series, thresh="25 degC")),
                "tr": (cold, indices.tn_days_above(series, thresh="20 degC"))}  # fmt: skip
    for name, (found, each) in expected.items():
        np.testing.assert_allclose(found[name], each.mean("time").transpose("series", "cell"), rtol=1e-6, err_msg=name)


def test_any_order_and_any_pieces_give_the_same():
    count, first = 366 + 365 + 40, "2019-12-20"
    fields = rain(count, cells=4, seed=1)
    generator = np.random.default_rng(2)
    cuts = np.split(np.arange(count), np.sort(generator.choice(np.arange(1, count), 20, replace=False)))
    by_month = months(first, count)
    one = gathered(RAIN_NAME, first, fields)
    shuffled = ([pieces[i] for i in generator.permutation(len(pieces))] for pieces in (by_month, cuts))
    for parts in (by_month, *shuffled):
        other = gathered(RAIN_NAME, first, fields, parts=parts)
        assert one.climate().means.keys() == other.climate().means.keys()
        for name, value in one.climate().means.items():
            np.testing.assert_allclose(other.climate().means[name], value, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(other.pairs.autocorrelation(), one.pairs.autocorrelation(), rtol=1e-12)
        np.testing.assert_array_equal(other.climate().maxima, one.climate().maxima)
        assert set(other.open) == {2019, 2022}  # what is complete is kept as sums


def test_daymet_leaves_out_the_last_day_of_a_leap_year():
    """366 days without 31 December: the year counts, spells and windows end there."""
    fields = np.full((365, 1, 1), 2.0)
    found = values(RAIN_NAME, "2020-01-01", fields)
    assert (found["cwd"][0, 0], found["rx5day"][0, 0], found["wet_days"][0, 0]) == (365, 10, 365)


def test_a_year_with_more_than_15_missing_days_is_not_told():
    fields = np.full((365, 1, 3), 2.0)
    fields[100:115, :, 1], fields[100:116, :, 2] = np.nan, np.nan
    found = values(RAIN_NAME, "2021-01-01", fields)["wet_days"][0]
    np.testing.assert_array_equal(found, [365, 350, np.nan])
    assert gathered(RAIN_NAME, "2021-01-01", fields[:300]).climate() is None


def test_spread_of_annual_means_needs_ten_years():
    years = [date(2001 + i, 12, 31).timetuple().tm_yday for i in range(11)]
    fields = np.concatenate([np.full((length, 1, 1), 280.0 + i**2) for i, length in enumerate(years)])
    assert np.isnan(gathered("2m_temperature", "2001-01-01", fields[: sum(years[:9])]).climate().spread).all()
    found = gathered("2m_temperature", "2001-01-01", fields).climate().spread[0, 0]
    assert found == pytest.approx(np.std([280.0 + i**2 for i in range(11)], ddof=1), rel=1e-6)
