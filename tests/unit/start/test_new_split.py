"""Blocks of time: the test last, gaps between, in any calendar; what the configuration takes."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2 import times as clocks
from orbit2.config.dataset import GAP_DAYS, Split
from orbit2.config.own_times import DAY, MONTH
from orbit2.errors import OrbitError
from orbit2.start.split import Blocks, blocks


def days(first: str, count: int, calendar: str = "standard") -> np.ndarray:
    (begin,) = clocks.seconds(clocks.normal(np.array([clocks.begin(first, calendar)])))
    return np.asarray(begin + DAY * np.arange(count, dtype=np.int64))


def checked(found: Blocks, calendar: str = "standard") -> Blocks:
    """As the schema takes it: in order, far enough apart."""
    split = Split.model_validate({name: {"start": pair[0], "end": pair[1]} for name, pair in (
        ("train", found.train), ("validation", found.validation), ("test", found.test))})  # fmt: skip
    gap = GAP_DAYS if found.gap_days is None else found.gap_days
    assert split.close(np.timedelta64(round(gap * DAY), "s"), calendar) is None
    assert found.train[0] < found.train[1] < found.validation[0] <= found.validation[1] < found.test[0] <= found.test[1]
    return found


@pytest.mark.parametrize("calendar, year", [("standard", 365.25), ("noleap", 365), ("360_day", 360)])
def test_long_records_are_split_by_years(calendar: str, year: float) -> None:
    found = checked(blocks(days("2001-01-01", round(10 * year), calendar), DAY, calendar), calendar)
    assert found.validation[0] == "2008-01-01" and found.test[0] == "2009-01-01" and found.gap_days is None
    assert found.test[1][:7] == "2010-12" and "7 to train, 1 to validate, 2 to test" in found.why


def test_months_leave_a_month_between() -> None:
    months = clocks.seconds(np.arange("1990-01", "2010-01", dtype="datetime64[M]").astype("datetime64[s]"))
    found = checked(blocks(months, MONTH, "standard"))
    assert found.train == ("1990-01-01", "2004-11-30") and found.validation == ("2005-01-01", "2006-11-30")
    assert found.test[0] == "2007-01-01"


@pytest.mark.parametrize("count, gap", [(151, None), (40, 1.0), (12, 1.0)])
def test_short_records_are_split_by_shares(count: int, gap: float | None) -> None:
    found = checked(blocks(days("2001-01-01", count), DAY, "standard"))
    assert found.gap_days == gap and "less than four whole years" in found.why
    assert found.test[1] == clocks.stamps(clocks.from_seconds(days("2001-01-01", count)[-1:]))[0][:10]


def test_hours_of_a_week_have_times_as_borders() -> None:
    hours = clocks.seconds(np.arange("2020-01-01T00", "2020-01-08T00", dtype="datetime64[h]").astype("datetime64[s]"))
    found = checked(blocks(hours, 3600, "standard"))
    assert found.gap_days == pytest.approx(8 / 24, abs=1e-3) and "T" in found.train[1]


def test_of_two_stretches_far_apart_the_longer_is_taken() -> None:
    both = np.concatenate([days("1980-01-01", 100), days("2010-01-01", 365)])
    found = checked(blocks(both, DAY, "standard"))
    assert found.train[0] == "2010-01-01" and "365 of 465 times" in found.why


def test_too_few_times_are_refused() -> None:
    with pytest.raises(OrbitError, match=r"too few times.*got 11; allowed: 12"):
        blocks(days("2001-01-01", 11), DAY, "standard")
