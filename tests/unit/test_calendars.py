"""Calendars: times of each as arrays, numbers and stamps, stores that keep them, splits whose dates are theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2 import times
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import validate
from orbit2.data.dataset import clock
from orbit2.data.fingerprint import fingerprint
from orbit2.data.pairs import PairStore
from orbit2.data.store_layout import SideSpec, finalise, initialise, signature, write_part
from orbit2.door.stamps import dates
from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from orbit2.sources.times import plan_times

OTHERS = ("julian", "noleap", "all_leap", "360_day")
LENGTHS = {"standard": (366, 365), "proleptic_gregorian": (366, 365), "julian": (366, 365), "noleap": (365, 365), "all_leap": (366, 366),
           "360_day": (360, 360)}  # of 2000 and 2001
FEBRUARY = {"standard": (29, 28), "proleptic_gregorian": (29, 28), "julian": (29, 28), "noleap": (28, 28), "all_leap": (29, 29),
            "360_day": (30, 30)}  # fmt: skip


@pytest.mark.parametrize("calendar", times.CALENDARS)
@pytest.mark.parametrize("hours", [1, 3, 6, 12, 24])
def test_times_of_each_calendar_come_back_from_numbers(calendar: str, hours: int) -> None:
    begin, after = times.begin("2000-01-01", calendar), times.begin("2001-01-01", calendar)
    assert times.apart(begin, after) == LENGTHS[calendar][0] * 86400
    first = int(times.seconds(np.array([begin]))[0])
    made = times.from_seconds(first + 3600 * hours * np.arange(24 * LENGTHS[calendar][0] // hours), calendar=calendar)
    assert (times.steps(made) == hours).all() and made[0] == begin and (np.diff(times.seconds(made)) == 3600 * hours).all()
    samples = times.stamps(made)
    assert samples == sorted(samples) and {times.year(sample) for sample in samples} == {2000} and len(set(samples)) == len(samples)
    assert [sum(times.month_name(s) == "200002" for s in samples) * hours // 24, times.days_of_month("2001-02-03", calendar)] == [
        *FEBRUARY[calendar]]
    assert times.calendar_of(made) == ("standard" if times.real(calendar) else calendar)
    assert all(times.begin(sample, calendar) == time for sample, time in zip(samples[::500], made[::500], strict=True))
    year, day = times.clock(made)
    assert (np.diff(year) > 0).all() and year[0] == 0 and 0.99 < year[-1] < 1.003 and np.unique(np.round(day * 24, 6)).size == 24 // hours
    assert (times.normal(made) == made).all() and times.as_real(made[-1]) >= np.datetime64("2000-12-30")


def test_which_days_a_calendar_has() -> None:
    days = ("2000-02-29", "2000-02-30", "2001-02-29", "2001-01-31", "1900-02-29")
    has = {c: [times.is_date(text, c) for text in days] for c in times.CALENDARS}
    assert has["standard"] == [True, False, False, True, False]
    assert has["julian"] == [True, False, False, True, True]
    assert has["noleap"] == [False, False, False, True, False]
    assert has["all_leap"] == [True, False, True, True, True]
    assert has["360_day"] == [True, True, True, False, True]
    assert str(times.end("2000-02-30", "360_day")) == "2000-02-30 23:59:59" and times.end("2000-02-30T06:00", "360_day").hour == 6
    assert times.as_real(times.begin("2001-02-30", "360_day")) == np.datetime64("2001-02-28")
    assert times.cf_name("365_day") == "noleap"
    with pytest.raises(ValueError, match="unknown calendar"):
        times.cf_name("mayan")


@pytest.mark.parametrize("calendar", OTHERS)
def test_a_coordinate_is_read_in_its_calendar_where_that_is_wanted(calendar: str) -> None:
    coded = xr.Dataset(coords={"time": ("time", [0, 59, 60], {"units": "days since 2000-01-01", "calendar": calendar})})
    time = xr.decode_cf(coded)["time"]
    found = dates(time, "file", others=True)
    assert times.calendar_of(found) == calendar and times.stamps(found)[1][:10] in ("2000-02-29", "2000-03-01", "2000-02-30")
    assert np.diff(times.seconds(found)).tolist() == [59 * 86400, 86400]
    with pytest.raises(OrbitError, match=f"calendar is not the real one.*{calendar}"):
        dates(time, "file")


def _store(path: Path, stamps: times.Times) -> PairStore:
    coarse = global_grid(60.0)
    sides = [SideSpec(grid, ("2m_temperature",), (), np.empty((0, *grid.shape))) for grid in (coarse, coarse.refine(2))]
    initialise(path, *sides, stamps, shard=4)
    warmer = 280 + np.arange(len(stamps), dtype=np.float32)[:, None, None, None]
    fields = [np.broadcast_to(warmer, (len(stamps), 1, *side.grid.shape)) for side in sides]
    write_part(path, 0, *fields)
    finalise(path)
    return PairStore(path)


@pytest.mark.parametrize("calendar", times.CALENDARS)
def test_a_store_keeps_its_calendar(tmp_path: Path, calendar: str) -> None:
    day = 30 if calendar == "360_day" else 28
    first = times.begin(f"2000-02-{day}", calendar)
    stamps = times.from_seconds(times.seconds(np.array([first]))[0] + 86400 * np.arange(-3, 5), calendar=calendar)
    store = _store(tmp_path / "pairs.zarr", stamps)
    assert (store.times == stamps).all() and store.step_hours == 24 and store.calendar == ("standard" if times.real(calendar) else calendar)
    assert store.indices(f"2000-02-{day}", f"2000-02-{day}").tolist() == [3]
    assert store.indices("2000-01-30" if day == 28 else "2000-02-28", "2000-12-30").size == (8 if day == 28 else 7)
    opened = store.dataset("fine")["time"].values
    assert times.stamps(times.normal(opened)) == times.stamps(stamps)
    assert len(fingerprint(store)) > 0 and clock(store.times).shape == (8, 4)
    initialise(tmp_path / "pairs.zarr", *_specs(), stamps, shard=4)  # the same is kept
    if calendar == "noleap":
        with pytest.raises(OrbitError, match="not dates of the store's calendar"):
            store.indices("2000-02-29", "2000-03-01")
        other = times.from_seconds(times.seconds(stamps), calendar="360_day")
        with pytest.raises(OrbitError, match=r"holds something else.*times: 8 from 2000-02-25"):
            initialise(tmp_path / "pairs.zarr", *_specs(), other, shard=4)


def _specs() -> list[SideSpec]:
    coarse = global_grid(60.0)
    return [SideSpec(grid, ("2m_temperature",), (), np.empty((0, *grid.shape))) for grid in (coarse, coarse.refine(2))]


def test_a_store_of_the_real_calendar_is_what_it_was() -> None:
    """The signature of a store begun before other calendars were known."""
    stamps = np.arange(np.datetime64("2000-02-27", "s"), np.datetime64("2000-03-02", "s"), np.timedelta64(6, "h"))
    assert signature(*_specs(), stamps, 8) == "c7782a2e1fd22bd1"


DATASET: dict[str, Any] = {
    "source": "files", "files": {"coarse": ["c.nc"], "fine": ["f.nc"], "found": {"step_hours": 24}},
    "inputs": ["2m_temperature"], "outputs": ["2m_temperature"], "calendar": "360_day",
    "coarse_grid": "global_4", "fine_grid": "global_1",
    "split": {"train": {"start": "2000-01-01", "end": "2000-02-30"}, "validation": {"start": "2000-03-10", "end": "2000-03-12"},
              "test": {"start": "2000-04-01", "end": "2000-04-30"}},
}  # fmt: skip


def test_a_split_counts_in_the_data_s_calendar() -> None:
    planned = plan_times(validate(DatasetConfig, DATASET))
    assert len(planned) == 60 + 9 + 3 + 19 - 1 + 30 and times.stamp(planned[59]) == "2000-02-30T00:00:00"
    with pytest.raises(OrbitError, match=r"split.train: 2000-02-30 is no date of the calendar noleap"):
        validate(DatasetConfig, {**DATASET, "calendar": "noleap"})
    with pytest.raises(OrbitError, match=r"split.train: 2000-02-30 is no date of the calendar standard"):
        validate(DatasetConfig, {key: value for key, value in DATASET.items() if key != "calendar"})
    close = {**DATASET["split"], "validation": {"start": "2000-03-05", "end": "2000-03-12"}}
    with pytest.raises(OrbitError, match="4 days apart, less than 7 days"):
        validate(DatasetConfig, {**DATASET, "split": close})
    with pytest.raises(OrbitError, match="era5 counts in the real calendar"):
        validate(DatasetConfig, {**{key: value for key, value in DATASET.items() if key != "files"}, "source": "era5"})
    with pytest.raises(OrbitError, match="not ISO 8601 dates"):
        validate(DatasetConfig, {**DATASET, "split": {**DATASET["split"], "test": {"start": "2000-04-31", "end": "2000-06-31"}}})
