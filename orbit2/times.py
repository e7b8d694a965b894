"""What a date in a configuration or on a command line means: its first second, and as an end its last; and the stamps of samples, from
which days, months and seasons follow in every calendar. Never reads anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import cftime

DAY_SECONDS = 86_400


def begin(time: str | np.datetime64) -> np.datetime64:
    """datetime64[s]. Raises ValueError for what is no ISO 8601 date or date-time."""
    found: np.datetime64 = _parsed(time).astype("datetime64[s]")
    return found


def end(time: str | np.datetime64) -> np.datetime64:
    """datetime64[s]; a bare date means its whole day. Raises ValueError for what is no ISO 8601 date or date-time."""
    value = _parsed(time)
    bare = np.datetime_data(value.dtype)[0] == "D"
    found: np.datetime64 = value.astype("datetime64[s]") + np.timedelta64(DAY_SECONDS - 1 if bare else 0, "s")
    return found


def _parsed(time: str | np.datetime64) -> np.datetime64:
    return np.datetime64(time) if isinstance(time, str) else time


SEASONS = ("DJF", "MAM", "JJA", "SON")


def stamp(time: np.datetime64 | cftime.datetime) -> str:
    """`2026-03-30T18:00:00`: the key of a sample, in its own calendar. Stamps of one calendar sort by time."""
    if isinstance(time, np.datetime64):
        return str(np.datetime_as_string(time, unit="s"))
    return f"{time.year:04d}-{time.month:02d}-{time.day:02d}T{time.hour:02d}:{time.minute:02d}:{time.second:02d}"


def stamps(times: npt.NDArray[Any]) -> list[str]:
    """Of many."""
    if np.issubdtype(times.dtype, np.datetime64):
        return [str(sample) for sample in np.datetime_as_string(times, unit="s")]
    return [stamp(time) for time in times]


def day(sample: str) -> str:
    """`2026-03-30`."""
    return sample[:10]


def month(sample: str) -> int:
    """1 to 12."""
    return int(sample[5:7])


def month_name(sample: str) -> str:
    """`202603`: the calendar month that a sample lies in, by which the work on a task is divided."""
    return sample[:4] + sample[5:7]


def year(sample: str) -> int:
    return int(sample[:4])


def season(sample: str) -> str:
    """One of SEASONS."""
    return SEASONS[month(sample) % 12 // 3]


def calendar_of(times: npt.NDArray[Any]) -> str:
    """CF name of the calendar that times count in."""
    return "standard" if np.issubdtype(times.dtype, np.datetime64) or not len(times) else str(times[0].calendar)


def numbers(samples: Sequence[str], calendar: str = "standard") -> npt.NDArray[np.float64]:
    """Days since 1850 in `calendar` (CF name), so that differences are days. Raises ValueError for a day that it does not have."""
    import cftime  # slow to import, and configurations are read often

    dates = [_cftime(sample, calendar) for sample in samples]
    return np.asarray(cftime.date2num(dates, "days since 1850-01-01", calendar=calendar) if dates else [], dtype=np.float64)


def day_of_year(sample: str, calendar: str = "standard") -> int:
    """1 to the length of the year in `calendar`."""
    return int(_cftime(sample, calendar).dayofyr)


def pentad(sample: str, calendar: str = "standard") -> int:
    """0 to 72: which of 73 five-day periods of the year; what is over (a leap day, days 361 to 366) belongs to the last before it."""
    return min((day_of_year(sample, calendar) - 1) // 5, 72)


def _cftime(sample: str, calendar: str) -> Any:
    import cftime

    date, _, clock = sample.partition("T")
    hour, minute, second = (int(part) for part in clock.split(":")) if clock else (0, 0, 0)
    return cftime.datetime(*(int(part) for part in date.split("-")), hour, minute, second, calendar=calendar)
