"""Blocks of time for training, validation and test: the last for the test, gaps between. Counts in seconds of the files' calendar."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2 import times as clocks
from orbit2.config.dataset import GAP_DAYS
from orbit2.config.files import DAY
from orbit2.config.own_times import MONTH, MOST_LACKING
from orbit2.errors import OrbitError

Seconds = npt.NDArray[np.int64]
LEAST = 12  # samples
YEARS = 4  # whole ones from which on blocks are years
VALIDATION, TEST = 0.1, 0.15  # of whole years
ENDS = (0.66, 0.83)  # of a shorter record: where training and validation end
CALM = GAP_DAYS / 0.05  # days from which on blocks are GAP_DAYS apart; shorter records have shorter gaps


@dataclass(frozen=True)
class Blocks:
    """First and last date (or date-time) of each block, inclusive; `gap_days` where it is less than the usual; `why` in words."""

    train: tuple[str, str]
    validation: tuple[str, str]
    test: tuple[str, str]
    gap_days: float | None
    why: str


def blocks(samples: Seconds, step: int, calendar: str) -> Blocks:
    """Of `samples` [S], sorted, `step` seconds apart (MONTH: months). Raises OrbitError for too few, and for too many gaps."""
    whole, note = samples, ""
    for _ in range(2):
        if len(samples) < LEAST:
            raise OrbitError("too few times that all variables have, to train, validate and test on", where="--fine", got=len(whole),
                             allowed=f"{LEAST} or more", hint="name files of more times")  # fmt: skip
        found = _years(samples, step, calendar) or _shares(samples, step, calendar)
        if all(_filled(samples, *pair, step, calendar) > MOST_LACKING for pair in (found.train, found.validation, found.test)):
            return Blocks(found.train, found.validation, found.test, found.gap_days, found.why + note)
        samples = _longest(samples, step)
        note = f"; of the longest stretch without a long gap, {len(samples):,} of {len(whole):,} times"
    raise OrbitError("the record has too many gaps: of a block, half of the times are missing or more", where="--fine",
                     got=f"{len(samples):,} times, {found.test[0]} to {found.test[1]} the last block", allowed="less than half of them",
                     hint="name files of whole days, or of every time")  # fmt: skip


def _years(samples: Seconds, step: int, calendar: str) -> Blocks | None:
    """By calendar years; None for fewer than YEARS whole ones."""
    slack = 31 * DAY if step == MONTH else 2 * step
    first, last = _dates(samples[[0, -1]], calendar)
    begin, end = int(first[:4]), int(last[:4])
    begin += samples[0] > _second(f"{begin:04d}-01-01", calendar) + slack
    end -= samples[-1] < _second(f"{end + 1:04d}-01-01", calendar) - slack
    count = end - begin + 1
    if count < YEARS:
        return None
    test, validation = max(1, round(TEST * count)), max(1, round(VALIDATION * count))
    starts = [f"{end + 1 - test:04d}-01-01", f"{end + 1 - test - validation:04d}-01-01"]
    train, between = ((start, _before(_second(earlier, calendar), step, GAP_DAYS, calendar))
                      for start, earlier in zip((first[:10], starts[1]), starts[::-1], strict=True))  # fmt: skip
    years = [(int(block[1][:4]) - int(block[0][:4]) + 1) for block in (train, between)]
    return Blocks(train, between, (starts[0], last[:10]), None, f"by years: {years[0]} to train, {years[1]} to validate, {test} to test")


def _shares(samples: Seconds, step: int, calendar: str) -> Blocks:
    """By shares of the samples, for a short record."""
    days = float(samples[-1] - samples[0]) / DAY
    calm = days >= CALM or step == MONTH
    unit = DAY if calm or step >= DAY else step
    gap = GAP_DAYS if calm else max(0.05 * days * DAY // unit, 1) * unit / DAY
    places = [int(samples[int(share * len(samples))]) // unit * unit for share in ENDS]
    ends = [_before(place, step, gap, calendar) if unit == DAY else _dates(np.array([place - round(gap * DAY)]), calendar)[0][:16]
            for place in places]  # fmt: skip
    size = 10 if unit == DAY else 16
    first, *starts, last = (text[:size] for text in _dates(np.array([samples[0], *places, samples[-1]]), calendar))
    return Blocks((first, ends[0]), (starts[0], ends[1]), (starts[1], last), None if calm else math.floor(gap * 1e4) / 1e4,
                  "by shares of a record of less than four whole years: scores of one season at best say little of others")  # fmt: skip


def _before(start: int, step: int, gap: float, calendar: str) -> str:
    """The last date of a block before one that starts at a second: `gap` days lie between; of months, one month."""
    if step == MONTH:
        month = clocks.month_starts(clocks.from_seconds([start - 1], calendar=calendar))
        return _dates(clocks.seconds(month) - 1, calendar)[0][:10]
    return _dates(np.array([start - round((gap + 1) * DAY)]), calendar)[0][:10]


def _filled(samples: Seconds, start: str, end: str, step: int, calendar: str) -> float:
    """The share of a block's times that are there."""
    begin, stop = _second(start, calendar), int(clocks.seconds(clocks.normal(np.array([clocks.end(end, calendar)])))[0])
    inside = int(((samples >= begin) & (samples <= stop)).sum())
    return inside / max((stop - begin + 1) / (30.4 * DAY if step == MONTH else step), 1)


def _longest(samples: Seconds, step: int) -> Seconds:
    """The longest stretch without a gap of more than a month (of months: a year)."""
    limit = (365 if step == MONTH else 31) * DAY
    return max(np.split(samples, np.flatnonzero(np.diff(samples) > limit) + 1), key=len)


def _second(text: str, calendar: str) -> int:
    return int(clocks.seconds(clocks.normal(np.array([clocks.begin(text, calendar)])))[0])


def _dates(seconds: Seconds, calendar: str) -> list[str]:
    return clocks.stamps(clocks.from_seconds(seconds, calendar=calendar))
