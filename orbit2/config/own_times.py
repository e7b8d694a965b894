"""The times of the user's own files, as samples: the step, days and months of either side, hours that are to become days, what of a split
no file has. Counts in whole seconds of the files' own calendar; reads nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from orbit2 import times as clocks
from orbit2.config.files import BRIDGED, DAY, SIDE, STEPS, FilesConfig, Found, Reduced, StampName
from orbit2.config.recipes import over, reduction
from orbit2.errors import OrbitError, Unsaid

if TYPE_CHECKING:
    from orbit2.config.dataset import Period
    from orbit2.door.headers import Header

log = logging.getLogger(__name__)
MOST_LACKING = 0.5  # of a block's times
SHORTEST, LONGEST = 28 * DAY, 31 * DAY  # months
MONTH = clocks.MONTH_HOURS * 3600  # stands for the step of months
Seconds = npt.NDArray[np.int64]  # [T] since 1970-01-01 of the files' calendar


class Held(NamedTuple):
    """The files' headers of one variable, and the variable that they hold, of which it is made."""

    headers: Sequence[Header]
    raw: str


@dataclass(frozen=True)
class _Axis:
    """One variable's times on one side."""

    source: str
    name: str
    held: Held
    seconds: Seconds
    step: int  # seconds; MONTH of months

    @property
    def key(self) -> str:
        return f"{SIDE[self.source]}: {self.name}"


def counted(held: Mapping[str, Mapping[str, Held]], asked: str | None) -> str:
    """The calendar (CF name) that all files count in. Raises OrbitError where they do not, or count in another than is `asked` for."""
    found: dict[str, str] = {}
    for header in (header for fields in held.values() for one in fields.values() for header in one.headers):
        found.setdefault("standard" if clocks.real(header.calendar) else header.calendar, header.file)
    (first, where), *others = found.items()
    if others:
        raise OrbitError("the files count in different calendars", where=others[0][1], got=others[0][0], allowed=f"{first} as in {where}",
                         hint="days that one calendar lacks have no partner: bring both to one (xarray: convert_calendar)")  # fmt: skip
    if asked is not None and asked != first and not (clocks.real(asked) and clocks.real(first)):
        raise OrbitError("the files count in another calendar", where="calendar", got=asked, allowed=f"{first}, as {where}",
                         hint="leave `calendar` out: it is the files'")  # fmt: skip
    return first


class Samples(NamedTuple):
    """What the files' times make: `common` [S] of all variables, `step` seconds apart (MONTH: months), `first` seconds after 00:00 UTC;
    `reduced`: how the hours of a side are made into them; `closing`: sides whose months are stamped by their end."""

    common: Seconds
    step: int
    first: int
    reduced: Mapping[str, Reduced]
    closing: tuple[str, ...]


def samples_in(section: FilesConfig, held: Mapping[str, Mapping[str, Held]], calendar: str, frequency: str) -> Samples:
    """The samples that all variables have. Raises OrbitError for steps that do not go together, days that are not the same, no sample;
    Unsaid for what only the user knows of them."""
    axes = []
    for source, fields in held.items():
        for name, one in fields.items():
            seconds = np.unique(np.concatenate([header.seconds for header in one.headers]))
            axes.append(_Axis(source, name, one, seconds, _step(seconds, f"{SIDE[source]}: {name}", calendar)))
    step = _common_step(axes, frequency)
    reduced = _reduced(section, axes, step)
    _same_days(section, axes, step, reduced)
    first = next((int(axis.seconds[0]) % step for axis in axes if axis.step == step and step < DAY), 0)
    grid = _Grid(step, first, calendar)
    samples = {axis.key: grid.made_of(axis, reduced.get(SIDE[axis.source])) for axis in axes}
    common = next(iter(samples.values()))
    for seconds in samples.values():
        common = np.intersect1d(common, seconds)
    if not len(common):
        told = "; ".join(f"{key} {_span(seconds, calendar)}" for key, seconds in samples.items())
        raise OrbitError("the files have no time in common", where="files", got=told,
                         hint="give files of all variables that cover the same times")  # fmt: skip
    closing = {SIDE[axis.source] for axis in axes if step == MONTH and _closes(axis)}
    return Samples(common, step, first, reduced, tuple(sorted(closing)))


def found_in(
    section: FilesConfig, held: Mapping[str, Mapping[str, Held]], blocks: Mapping[str, Period], calendar: str, frequency: str
) -> Found:
    """The step between samples, which of the split's samples no file has, and which side's hours are made into samples.

    Raises OrbitError for a block outside the files' years, steps that do not go together, days that are not the same.
    """
    common, step, first, reduced, closing = samples_in(section, held, calendar, frequency)
    grid = _Grid(step, first, calendar)
    runs = grid.runs(_lacking(grid, common, blocks))
    if runs:
        log.warning("files: %d stretches of time within the split are in no file and are left out, the first: %s", len(runs), runs[0][0])
    for side, how in reduced.items():
        log.info("%s files: every %d hours are made into samples every %d: %s", side, how.hours, step // 3600,
                 ", ".join(f"{name} ({reduction(name, how.raw.get(name, name), step // 3600)})" for name in how.stamps))  # fmt: skip
    return Found(step_hours=step // 3600, first_hour=first / 3600, lacking=tuple(runs), coarse=reduced.get("coarse"),
                 fine=reduced.get("fine"), closing=closing or None)  # fmt: skip


def hourly(headers: Sequence[Header]) -> bool:
    """Whether there are several times a day, as a day's extremes can be made of."""
    seconds = np.unique(np.concatenate([np.empty(0, np.int64), *(header.seconds for header in headers)]))
    return len(seconds) > 1 and float(np.median(np.diff(seconds))) < DAY


def _step(seconds: Seconds, key: str, calendar: str) -> int:
    """Seconds between times. Raises OrbitError for steps that samples cannot have."""
    if len(seconds) < 2:
        raise OrbitError("a single time is no archive to train on", where=f"files: {key}", got=_span(seconds, calendar),
                         hint="name the files of all times, e.g. with a pattern")  # fmt: skip
    apart = np.diff(seconds)
    step = int(np.median(apart))
    if SHORTEST <= step <= LONGEST and apart.min() >= SHORTEST - DAY:  # mid-months are 29.5 days apart
        return MONTH
    if step % 3600 or DAY % min(step, DAY) or step > DAY:
        raise OrbitError("samples of this step cannot be trained on", where=f"files: {key}", got=f"{step / 3600:g} h",
                         allowed="1, 2, 3, 4, 6, 8, 12 or 24 hours, or months",
                         hint="average the files to one of these steps first (cdo, xarray's resample)")  # fmt: skip
    return step


def _common_step(axes: Sequence[_Axis], frequency: str) -> int:
    """Of the samples: what is asked for, else the longest of the files'. Raises OrbitError for files that cannot give it."""
    for source in {axis.source for axis in axes}:
        own = {axis.key: axis.step for axis in axes if axis.source == source}
        if len(set(own.values())) > 1:
            raise OrbitError("the files of one side have different steps of time", where=f"files.{SIDE[source]}", got=_told(own),
                             allowed="one step", hint="average the finer ones first, e.g. with cdo daymean")  # fmt: skip
    steps = {axis.key: axis.step for axis in axes}
    wanted = max(steps.values()) if frequency == "native" else 3600 * STEPS[frequency]
    unfit = {key: step for key, step in steps.items() if step > wanted or wanted % step or (wanted == MONTH and step != MONTH)}
    if unfit:
        got, hint = _told(steps), "make the finer ones coarser first, e.g. with cdo monmean"
        raise OrbitError("the files have different steps of time" if frequency == "native" else f"frequency cannot be {frequency}",
                         where="files" if frequency == "native" else "frequency", got=got, hint=hint,
                         allowed="steps that make whole samples: hours of days, or months on both sides")  # fmt: skip
    return wanted


def _told(steps: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {'a month' if step == MONTH else f'{step / 3600:g} h'}" for key, step in steps.items())


def _reduced(section: FilesConfig, axes: Sequence[_Axis], step: int) -> dict[str, Reduced]:
    """How the hours of a side become samples, of each side whose files are finer than the samples.

    Raises OrbitError where nobody says which end of its hour a stamp of a mean or an amount names, or when the days begin.
    """
    finer = [axis for axis in axes if axis.step < step]
    daily = {SIDE[axis.source] for axis in axes} - {SIDE[axis.source] for axis in finer}
    starts = {side: getattr(section.day_starts, side) for side in ("coarse", "fine")}
    found: dict[str, Reduced] = {}
    for side in sorted({SIDE[axis.source] for axis in finer}):
        mine = [axis for axis in finer if SIDE[axis.source] == side]
        judge = next(iter(daily), side)
        begins = starts[judge]
        if step == DAY and judge != side and begins is None:
            raise Unsaid(f"the {side} files' hours are to become days: say when those of the {judge} files begin", (f"day_starts.{judge}",),
                         where=f"files.day_starts.{judge}", got="nothing",
                         allowed="hours after 00:00 UTC of the date (0; -12: noon of the day before)",
                         hint="ask who made the files; their documentation says it")  # fmt: skip
        stamps = {axis.name: _names(section, axis, side, step) for axis in mine}
        raw = {axis.name: over(axis.name, axis.held.raw) for axis in mine}
        found[side] = Reduced(hours=mine[0].step // 3600, begins=(begins or 0.0) if step == DAY else 0.0, stamps=stamps,
                              raw={name: own for name, own in raw.items() if own != name})  # fmt: skip
    return found


def _names(section: FilesConfig, axis: _Axis, side: str, step: int) -> StampName:
    """What of its interval a stamp names: by the files' bounds, else as the user says; of what is of a moment, the moment."""
    said: set[StampName] = {header.names for header in axis.held.headers if header.names is not None}
    if len(said) > 1:
        raise OrbitError("stamps name different ends of their time bounds in different files", where=f"files.{axis.key}",
                         got=", ".join(sorted(said)), hint=f"say it for all with files.stamps.{side}")  # fmt: skip
    how = reduction(axis.name, over(axis.name, axis.held.raw), step // 3600)
    if how == "moment":
        return "moment"
    if said:
        return next(iter(said))
    if reduction(axis.held.raw, axis.held.raw, 1) == "moment":  # what hourly fields of it are, where no bounds say otherwise
        return "moment"
    told: StampName | None = getattr(section.stamps, side) if section.stamps is not None else None
    if told is not None:
        return told
    raise Unsaid(f"{axis.name}: which end of its hours a stamp names is said by nobody", (f"stamps.{side}",),
                 where=f"files.stamps.{side}", got="nothing", allowed="end (ERA5), begin or middle",
                 hint=f"files.stamps: {{{side}: end}}, or time bounds")  # fmt: skip


@dataclass(frozen=True)
class _Grid:
    """Where samples can be: every `step` seconds (or every month) from `first`, in a calendar."""

    step: int
    first: int
    calendar: str

    def made_of(self, axis: _Axis, reduced: Reduced | None) -> Seconds:
        """The samples that a variable's times make, each whole. Raises OrbitError for a date that is there twice."""
        seconds = axis.seconds
        if reduced is not None:
            slots = slot(seconds, reduced.stamps[axis.name], axis.step, self.step, reduced.begins)
            samples, counts = np.unique(slots[(slots - self.first) % self.step == 0], return_counts=True)
            alone = reduced.stamps[axis.name] == "moment" and self.step < DAY
            needed = 1 if alone else self.step // axis.step
            return np.asarray(samples[counts == needed], dtype=np.int64)
        if self.step < DAY:
            return seconds
        if self.step == MONTH and _closes(axis):
            seconds = seconds - 1
        days = self._floor(seconds)
        if len(np.unique(days)) != len(days):
            raise OrbitError("a date is there twice", where=f"files: {axis.key}", got=_span(axis.seconds, self.calendar),
                             hint=f"are these {'daily' if self.step == DAY else 'monthly'} files?")  # fmt: skip
        return days

    def _floor(self, seconds: Seconds) -> Seconds:
        if self.step != MONTH:
            return seconds // DAY * DAY
        return clocks.seconds(clocks.month_starts(clocks.from_seconds(seconds, calendar=self.calendar)))

    def between(self, begin: int, end: int) -> Seconds:
        """The samples from one second to another, inclusive; a day or a month counts from its first second."""
        if self.step == MONTH:
            ends = clocks.from_seconds([begin, end], calendar=self.calendar)
            return clocks.seconds(clocks.each_month(clocks.month_starts(ends[:1])[0], ends[1]))
        if self.step == DAY:
            begin, end = (second // DAY * DAY for second in (begin, end))
        found = np.arange(begin // DAY * DAY + self.first, end + 1, self.step, dtype=np.int64)
        return found[found >= begin]

    def runs(self, seconds: Seconds) -> list[tuple[str, str]]:
        """First and last stamp of each run of neighbouring samples."""
        if not len(seconds):
            return []
        apart = np.diff(seconds)
        pieces = np.split(seconds, np.flatnonzero(apart > LONGEST if self.step == MONTH else apart != self.step) + 1)
        ends = [clocks.stamps(clocks.from_seconds(piece[[0, -1]], calendar=self.calendar)) for piece in pieces]
        return [(first, last) for first, last in ends]


def _closes(axis: _Axis) -> bool:
    """Whether a stamp is the end of its time bounds."""
    return any(header.names == "end" for header in axis.held.headers)


def slot(seconds: Seconds, names: StampName, step: int, sample: int, begins: float) -> Seconds:
    """The sample that each time of hourly files belongs to: days from `begins` hours after 00:00 UTC by their date's midnight, shorter
    spans by the stamp at their end. `names`: what of its interval of `step` seconds a stamp is; a `moment` of shorter spans is its own."""
    start = seconds - {"moment": 0, "begin": 0, "middle": step // 2, "end": step}[names]
    if sample >= DAY:
        late = round(3600 * begins)
        return np.asarray((start - late) // sample * sample, dtype=np.int64)
    if names == "moment":
        return seconds
    return np.asarray(-(-(start + step) // sample) * sample, dtype=np.int64)


def _lacking(grid: _Grid, common: Seconds, blocks: Mapping[str, Period]) -> Seconds:
    """The samples of the split, and of what is built between its blocks, that no file has. Raises OrbitError for a block outside."""
    spans, calendar, lacking = [], grid.calendar, []
    for name, period in blocks.items():
        try:
            ends = clocks.seconds(clocks.normal(np.array(period.bounds(calendar))))
        except ValueError:
            raise OrbitError(f"no dates of the files' calendar, {calendar}", where=f"split.{name}", got=f"{period.start} to {period.end}",
                             hint="30 February is a day of 360_day alone, 29 February none of noleap") from None  # fmt: skip
        spans.append((name, int(ends[0]), int(ends[1])))
    for name, begin, end in spans:
        expected = grid.between(begin, end)
        absent = np.setdiff1d(expected, common)
        outside = not len(expected) or expected[0] < common[0] or expected[-1] > common[-1]
        if outside or len(absent) > MOST_LACKING * len(expected):
            raise OrbitError(f"the files do not hold the {name} block", where=f"split.{name}", got=f"{_span(expected, calendar)}, of which "
                             f"{len(absent)} of {len(expected)} times are in no file", allowed=_span(common, calendar),
                             hint="change the split, or name the files of these years")  # fmt: skip
        lacking.append(absent)
    for (_, _, end), (_, begin, _) in pairwise(sorted(spans, key=lambda span: span[1])):
        if begin - end < BRIDGED:  # what lies between is built too, where it is there
            between = grid.between(end + 1, begin - 1)
            lacking.append(np.setdiff1d(between, common))
    return np.unique(np.concatenate([np.empty(0, np.int64), *lacking]))


def _same_days(section: FilesConfig, axes: Sequence[_Axis], step: int, reduced: Mapping[str, Reduced]) -> None:
    """Raises OrbitError where two daily products do not say when their days begin, say it differently from their files, or differ."""
    told, sides = section.day_starts, {SIDE[axis.source] for axis in axes}
    if step != DAY:
        return
    for axis in axes:
        side = SIDE[axis.source]
        if side in reduced:
            continue
        said, begins = getattr(told, side), {header.begins for header in axis.held.headers} - {None}
        wrong = [hour for hour in begins if hour is not None and said is not None and (hour - said) % 24]
        if wrong:
            raise OrbitError(f"the {side} files' time bounds begin their days at another hour", where=f"files.day_starts.{side}", got=said,
                             allowed=f"{wrong[0]:g}, or {wrong[0] - 24:g} where the date is that of the day's end",
                             hint="leave the key out, or give the hour of the bounds")  # fmt: skip
    if len(sides) < 2 or reduced:
        return
    if told.coarse is None or told.fine is None:
        raise Unsaid("two daily products: say when the days of both begin",
                     tuple(f"day_starts.{side}" for side in ("coarse", "fine") if getattr(told, side) is None), where="files.day_starts",
                     got="nothing", allowed="{coarse: 0, fine: 0}: hours after 00:00 UTC of the date (-12: noon of the day before)",
                     hint="ask who made the files; their documentation says it")  # fmt: skip
    if abs(told.coarse - told.fine) > told.apart:
        raise OrbitError("the two products' days are not the same", where="files.day_starts", got=f"{told.coarse:g} and {told.fine:g} h",
                         allowed=f"at most {told.apart:g} h apart", hint="day_starts.apart allows more, for those who mean it")  # fmt: skip


def _span(seconds: Seconds, calendar: str) -> str:
    return clocks.span(clocks.from_seconds(seconds[[0, -1]], calendar=calendar)) if len(seconds) else "nothing"
