"""The one place that knows calendars: what a date in a configuration or on a command line means (its first second, as an end its last),
the times of samples as arrays, numbers and stamps, from which days, months and seasons follow. Never reads anything.

Times of the real calendar are datetime64[s]; of the others (noleap, 360_day ...) cftime dates in arrays of objects. Both compare, sort and
are keys of dicts; whatever else is asked of them is asked here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import cftime

DAY_SECONDS = 86_400
MONTH_HOURS = 730  # the step of months, as configurations say it; no month is as long
SHORTEST_MONTH = 28 * 24  # hours
Time = Any  # np.datetime64, or cftime.datetime
Times = npt.NDArray[Any]  # [T] datetime64[s], or cftime dates of one calendar
REAL = ("standard", "gregorian", "proleptic_gregorian")  # numpy's dates; they differ before 1582 only
CALENDARS = ("standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day")  # as CF names them
_ALSO = {"gregorian": "standard", "365_day": "noleap", "366_day": "all_leap"}


def begin(time: str | np.datetime64, calendar: str = "standard") -> Any:
    """datetime64[s], or a cftime date of another calendar. Raises ValueError for what is no ISO 8601 date or date-time of the calendar."""
    if isinstance(time, str) and not real(calendar):
        return _cftime(time.replace(" ", "T"), calendar)
    found: np.datetime64 = _parsed(time).astype("datetime64[s]")
    return found


def end(time: str | np.datetime64, calendar: str = "standard") -> Any:
    """The same; a bare date means the last second of its day."""
    if isinstance(time, str) and not real(calendar):
        return _cftime(time.replace(" ", "T") if len(time) > 10 else f"{time}T23:59:59", calendar)
    value = _parsed(time)
    bare = np.datetime_data(value.dtype)[0] == "D"
    found: np.datetime64 = value.astype("datetime64[s]") + np.timedelta64(DAY_SECONDS - 1 if bare else 0, "s")
    return found


def real(calendar: str) -> bool:
    """Whether dates of this calendar are numpy's."""
    return calendar in REAL


def cf_name(calendar: str) -> str:
    """The name under which CALENDARS has it. Raises ValueError for one that is none of these."""
    found = _ALSO.get(calendar.lower(), calendar.lower())
    if found not in CALENDARS:
        raise ValueError(f"unknown calendar {calendar!r}; known: {', '.join(CALENDARS)}")
    return found


def normal(times: npt.ArrayLike) -> Times:
    """Times as xarray decodes them (datetime64 of any unit, objects), as this module has them: datetime64[s], or cftime dates."""
    found = np.atleast_1d(np.asarray(times))
    if found.dtype.kind == "M":
        return found.astype("datetime64[s]")
    if found.dtype.kind == "O" and found.size and real(str(getattr(found.flat[0], "calendar", ""))):  # far from today
        return np.array([stamp(value) for value in found.flat], dtype="datetime64[s]")
    if found.dtype.kind == "O" and all(hasattr(value, "calendar") for value in found.flat):
        import cftime

        return np.array([cftime.datetime(t.year, t.month, t.day, t.hour, t.minute, t.second, calendar=t.calendar) for t in found.flat],
                        dtype=object)  # fmt: skip
    return found


def seconds(times: Times, epoch: str = "1970-01-01") -> npt.NDArray[np.int64]:
    """[T] whole seconds since 00:00 of `epoch` in the times' own calendar."""
    if np.issubdtype(times.dtype, np.datetime64):
        return (times.astype("datetime64[s]") - np.datetime64(epoch, "s")).astype(np.int64)
    import cftime

    calendar = calendar_of(times)
    days = cftime.date2num(list(times), f"days since {epoch}", calendar=calendar)  # whole days first: exact, however far away
    whole = np.floor(np.asarray(days, dtype=np.float64) + 1e-9).astype(np.int64)
    clock = np.array([3600 * t.hour + 60 * t.minute + t.second for t in times], dtype=np.int64)
    return np.asarray(whole * DAY_SECONDS + clock)


def from_seconds(values: npt.ArrayLike, epoch: str = "1970-01-01", calendar: str = "standard") -> Times:
    """What `seconds` was told."""
    whole = np.asarray(np.round(np.asarray(values, dtype=np.float64)), dtype=np.int64)
    if real(calendar):
        return np.asarray(np.datetime64(epoch, "s") + whole.astype("timedelta64[s]"))
    import cftime

    return normal(cftime.num2date(np.atleast_1d(whole), f"seconds since {epoch}", calendar=calendar, only_use_cftime_datetimes=True))


def steps(times: Times) -> npt.NDArray[np.float64]:
    """[T - 1] hours between neighbouring times."""
    return np.asarray(np.diff(seconds(times)) / 3600.0)


def months(step_hours: float) -> bool:
    """Whether samples so far apart are months."""
    return step_hours >= SHORTEST_MONTH


def month_starts(times: Times) -> Times:
    """[T] 00:00 of the first day of each time's month."""
    if np.issubdtype(times.dtype, np.datetime64):
        return np.asarray(times.astype("datetime64[M]").astype("datetime64[s]"))
    return np.array([begin(f"{stamp(time)[:8]}01", calendar_of(times)) for time in times], dtype=object)


def each_month(first: Time, last: Time) -> Times:
    """00:00 of the first day of every month that begins from `first` to `last` (of one calendar), inclusive."""
    calendar = calendar_of(np.array([first]))
    names = [f"{y:04d}-{m:02d}-01" for y in range(year(stamp(first)), year(stamp(last)) + 1) for m in range(1, 13)]
    found = normal(np.array([begin(name, calendar) for name in names]))
    return np.asarray(found[(found >= first) & (found <= last)])


def clock(times: Times) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """[T] each: the place in the year and in the day, as shares of them. A year of another calendar is as long as that has it."""
    if np.issubdtype(times.dtype, np.datetime64):
        year = (times - times.astype("datetime64[Y]")) / np.timedelta64(1, "s") / DAY_SECONDS / 365.2425
        return year, (times - times.astype("datetime64[D]")) / np.timedelta64(1, "s") / DAY_SECONDS
    day = np.array([(3600 * t.hour + 60 * t.minute + t.second) / DAY_SECONDS for t in times])
    years = {t.year: _cftime(f"{t.year:04d}-12-{30 if t.calendar == '360_day' else 31}", t.calendar).dayofyr for t in times}
    return (np.array([t.dayofyr - 1 for t in times]) + day) / np.array([years[t.year] for t in times]), day


def apart(earlier: Time, later: Time) -> float:
    """Seconds from one time to another of the same calendar."""
    span = later - earlier
    return float(span / np.timedelta64(1, "s")) if isinstance(span, np.timedelta64) else float(span.total_seconds())


def shifted(time: Time, seconds: float) -> Time:
    """A time so much later."""
    return time + (np.timedelta64(round(seconds), "s") if isinstance(time, np.datetime64) else timedelta(seconds=round(seconds)))


def as_real(time: Time) -> np.datetime64:
    """The date of the real calendar by the same name; 30 February is the month's last day. For what compares times of two calendars."""
    text = stamp(time)
    last = days_of_month(text)
    found: np.datetime64 = np.datetime64(text if int(text[8:10]) <= last else f"{text[:8]}{last}{text[10:]}", "s")
    return found


def of_any(text: str) -> np.datetime64:
    """What a date of some calendar is called in the real one; for spans and orders where nobody says the calendar. Raises ValueError for
    what is a date of none."""
    for calendar in CALENDARS:
        if is_date(text, calendar):
            return as_real(begin(text, calendar))
    raise ValueError(f"not a date of any calendar: {text!r}")


def days_of_month(sample: str, calendar: str = "standard") -> int:
    """How many days the month of a stamp has in `calendar`: 28 to 31."""
    found, following = year(sample), month(sample) + 1
    after = (found + 1, 1) if following > 12 else (found, following)
    first, last = numbers([f"{found:04d}-{month(sample):02d}-01", f"{after[0]:04d}-{after[1]:02d}-01"], calendar)
    return round(float(last - first))


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


def span(times: Sequence[Time] | Times) -> str:
    """First to last, in words."""
    return f"{stamp(times[0])} to {stamp(times[-1])}" if len(times) else "nothing"


def is_date(text: str, calendar: str) -> bool:
    """Whether `text` (ISO 8601) is a date of the calendar: 2000-02-30 is one of 360_day alone."""
    try:
        begin(text, calendar)
    except ValueError:
        return False
    return True


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


@lru_cache(maxsize=64)
def number(sample: str, calendar: str = "standard") -> float:
    """`numbers` of one: a day's is asked for again by each of its fields."""
    return float(numbers([sample], calendar)[0])


def day_of_year(sample: str, calendar: str = "standard") -> int:
    """1 to the length of the year in `calendar`."""
    return int(_cftime(sample, calendar).dayofyr)


def pentad(sample: str, calendar: str = "standard") -> int:
    """0 to 72: which of 73 five-day periods of the year; what is over (a leap day, days 361 to 366) belongs to the last before it."""
    return min((day_of_year(sample, calendar) - 1) // 5, 72)


def _cftime(sample: str, calendar: str) -> Any:
    import cftime

    date, _, clock = sample.partition("T")
    hour, minute, second = (*(int(part) for part in clock.split(":") if part), 0, 0, 0)[:3]
    return cftime.datetime(*(int(part) for part in date.split("-")), hour, minute, second, calendar=calendar)
