"""24-hour fields from hourly stamps: against sums, maxima and minima written out hour by hour in float64."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.regrid.fields import DailyFields, HourlyFields, at, raw_window, recipe, trailing_day

HOUR = np.timedelta64(1, "h")


def hourly(days: int, seed: int = 0) -> xr.Dataset:
    """`days` days of hours from 2020-02-28 00:00: rain with dry hours, and temperature with a daily cycle."""
    random = np.random.default_rng(seed)
    times = pd.date_range("2020-02-28", periods=24 * days, freq="h")
    rain = np.where(random.random((len(times), 3, 4)) < 0.5, 0, random.gamma(0.4, 30, (len(times), 3, 4)))
    warm = 280 + 8 * np.sin(2 * np.pi * np.arange(len(times)) / 24)[:, None, None] + random.normal(0, 1, (len(times), 3, 4))
    fields = {"precipitation_rate": rain, "2m_temperature": warm, "mean_sea_level_pressure": 1e5 + 100 * warm}
    return xr.Dataset({name: (("time", "lat", "lon"), values.astype(np.float32)) for name, values in fields.items()},
                      coords={"time": times, "lat": [10.0, 11, 12], "lon": [0.0, 1, 2, 3]}).chunk({"time": 7})


RECIPES = {"total_precipitation_24hr": recipe("total_precipitation_24hr", "precipitation_rate"),
           "2m_temperature_max": recipe("2m_temperature_max", "2m_temperature"),
           "2m_temperature_min": recipe("2m_temperature_min", "2m_temperature"),
           "2m_temperature": recipe("2m_temperature", "2m_temperature")}


def stamps(first: str, count: int, step: str = "h") -> np.ndarray:
    return pd.date_range(first, periods=count, freq=step).values.astype("datetime64[s]")


def one_by_one(source: xr.Dataset, name: str, end: np.datetime64, how: str) -> np.ndarray:
    """The 24 stamps that end at `end`, picked by label and reduced in float64."""
    chosen = source[name].sel(time=[end - k * HOUR for k in range(24)]).values.astype(np.float64)
    return {"sum": chosen.sum(0), "max": chosen.max(0), "min": chosen.min(0)}[how]


@pytest.mark.parametrize("block", [1, 5, 24, 48])
def test_trailing_day_at_every_hour_whatever_the_blocks(block: int) -> None:
    source, times = hourly(5), stamps("2020-02-29 00:00", 72)
    fields = HourlyFields(source, RECIPES, 1)
    parts = [fields.block(times[i : i + block]) for i in range(0, len(times), block)]
    made = {name: np.concatenate([part[name].values for part in parts]) for name in RECIPES}
    for i, time in enumerate(times):
        # mm of 24 hours from rates in mm per day: a 24th of each hour's
        rain = one_by_one(source, "precipitation_rate", time, "sum") / 24
        np.testing.assert_allclose(made["total_precipitation_24hr"][i], rain, rtol=2e-6)
        np.testing.assert_array_equal(made["2m_temperature_max"][i], one_by_one(source, "2m_temperature", time, "max").astype(np.float32))
        np.testing.assert_array_equal(made["2m_temperature_min"][i], one_by_one(source, "2m_temperature", time, "min").astype(np.float32))
    np.testing.assert_array_equal(made["2m_temperature"], source["2m_temperature"].sel(time=times).values)


def test_a_dry_day_after_a_flood_is_exactly_dry() -> None:
    values = np.zeros((60, 1), dtype=np.float32)
    values[10] = 9000.0
    found = trailing_day(values, "mean")
    assert found.shape == (37, 1)
    assert (found[:11] > 374).all() and (found[11:] == 0).all()  # a running difference would leave a rest


def test_missing_hours_spread_over_their_day_only() -> None:
    values = np.ones((60, 1), dtype=np.float32)
    values[30] = np.nan
    for how in ("mean", "max", "min"):
        assert np.flatnonzero(np.isnan(trailing_day(values, how)[:, 0])).tolist() == list(range(7, 31))


def test_daily_values_use_the_right_stamps() -> None:
    """Accumulated over the hour that ends at the stamp: 01 to 24 UTC. Instantaneous: 00 to 23 UTC."""
    source, dates = hourly(5), stamps("2020-02-29", 2, "D")
    made = {name: array.values for name, array in HourlyFields(source, RECIPES, 24).block(dates).items()}
    for i, date in enumerate(dates):
        end = date.astype("datetime64[ns]") + 24 * HOUR
        rain = one_by_one(source, "precipitation_rate", end, "sum") / 24
        np.testing.assert_allclose(made["total_precipitation_24hr"][i], rain, rtol=2e-6)
        of_day = source["2m_temperature"].sel(time=str(date)[:10]).values.astype(np.float64)
        assert of_day.shape[0] == 24
        np.testing.assert_allclose(made["2m_temperature"][i], of_day.mean(0), rtol=1e-6)
        np.testing.assert_array_equal(made["2m_temperature_max"][i], of_day.max(0).astype(np.float32))


def test_since_previous_extremes_cover_the_hours_that_end_in_the_day() -> None:
    source = hourly(4).rename({"2m_temperature": "2m_temperature_max_1hr"})
    recipes = {"2m_temperature_max": recipe("2m_temperature_max", "2m_temperature_max_1hr")}
    (date,) = stamps("2020-02-29", 1, "D")
    made = HourlyFields(source, recipes, 24).block(np.array([date]))["2m_temperature_max"].values[0]
    np.testing.assert_array_equal(made, one_by_one(source, "2m_temperature_max_1hr", date.astype("datetime64[ns]") + 24 * HOUR, "max"))
    assert raw_window(recipes, np.array([date]), 24) == (np.datetime64("2020-02-29T01:00:00"), np.datetime64("2020-03-01T00:00:00"))


def test_windows_hold_exactly_what_is_needed() -> None:
    times = stamps("2020-02-29 00:00", 3)
    assert raw_window(RECIPES, times, 1) == (np.datetime64("2020-02-28T01:00:00"), times[-1])
    instant = {"2m_temperature": recipe("2m_temperature", "2m_temperature")}
    assert raw_window(instant, times, 1) == (times[0], times[-1])
    assert raw_window(instant, times[:1], 24) == (times[0], times[0] + 23 * HOUR)
    first, last = raw_window(RECIPES, times[:1], 24)
    source = hourly(5).sel(time=slice(first, last))
    HourlyFields(source, RECIPES, 24).block(times[:1])  # enough, and not one stamp too many
    for shorter in (source.isel(time=slice(1, None)), source.isel(time=slice(-1))):
        with pytest.raises(OrbitError, match="not in the source files"):
            HourlyFields(shorter, RECIPES, 24).block(times[:1])


def test_no_raw_hour_is_read_twice() -> None:
    source, reads = hourly(4), []

    def counted(values: np.ndarray) -> np.ndarray:
        reads.append(len(values))
        return values

    for name in source.data_vars:
        source[name] = source[name].copy(data=source[name].data.map_blocks(counted, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)))
    fields, times = HourlyFields(source, RECIPES, 1), stamps("2020-02-29 00:00", 48)
    reads.clear()
    for i in range(0, 48, 24):
        for array in fields.block(times[i : i + 24]).values():
            array.load()
    needed = 2 * (48 + 23)  # two raw variables; the mean over a block's edge costs one chunk of 7 hours each
    assert sum(reads) <= needed + 2 * 2 * 7


def test_24_hour_fields_need_every_hour() -> None:
    source = hourly(4)
    with pytest.raises(OrbitError, match="need every hour"):
        HourlyFields(source, RECIPES, 1).block(stamps("2020-02-29 00:00", 3, "2h"))
    with pytest.raises(OrbitError, match=r"1 configured times are not in the source files.*2020-02-29T05"):
        holed = source.sel(time=source["time"].values != np.datetime64("2020-02-29T05:00"))
        HourlyFields(holed, RECIPES, 1).block(stamps("2020-02-29 00:00", 24))


def test_daily_sources_are_taken_as_they_are() -> None:
    dates = stamps("2020-02-27", 4, "D")
    values = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    source = xr.Dataset({"2m_temperature_min": (("time", "y", "x"), values)}, coords={"time": dates.astype("datetime64[ns]")})
    fields = DailyFields(source, {"2m_temperature_min": recipe("2m_temperature_min", "2m_temperature_min")})
    np.testing.assert_array_equal(fields.block(dates[1:3])["2m_temperature_min"].values, values[1:3])
    with pytest.raises(OrbitError, match="not in the source files"):
        at(source, "2m_temperature_min", stamps("2020-03-09", 1, "D"))
