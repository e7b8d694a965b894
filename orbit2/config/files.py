"""The `files` section of a dataset: the user's own files on both sides, and what follows from them (grids, times). Opens headers only,
and only where a configuration is read: what it finds stands in the slices that stages are told."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from orbit2.config.base import Strict
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, ProjectedGrid, named, spelled
from orbit2.variables import VARIABLES, variable

if TYPE_CHECKING:
    from orbit2.door.headers import Header

log = logging.getLogger(__name__)
FROM_FILES, COARSEN = "from_files", "coarsen_"
SIDE = {"files": "fine", "coarse_files": "coarse"}  # source -> key of the section
DAY = 86400
BRIDGED = 31 * DAY  # seconds between blocks that are still built as one stretch of time
MOST_LACKING = 0.5  # of a block's times
Times = npt.NDArray[np.datetime64]
Block = tuple[str, np.datetime64, np.datetime64]  # of a split: name, first and last second


class Found(Strict):
    """What the files say of themselves; made from them, not written by hand."""

    step_hours: int = Field(description="Hours between samples.")
    first_hour: float = Field(0.0, description="Hour of the day of the first sample of a day.")
    lacking: tuple[tuple[str, str], ...] = Field((), description="First and last of each run of samples that no file has.")


class DayStarts(Strict):
    """When the day of a date begins on both sides, hours after 00:00 UTC of that date (-12: noon of the day before)."""

    coarse: float | None = Field(None, ge=-24, le=24, description="Of the coarse side.")
    fine: float | None = Field(None, ge=-24, le=24, description="Of the fine side.")
    apart: float = Field(0.0, ge=0, le=24, description="By how many hours the two may differ.")


class FilesConfig(Strict):
    """The user's own files: paths or patterns, seen from the folder that orbit2 is started in. They stay where they are."""

    coarse: tuple[str, ...] = Field((), description="Files of the coarse side; none: it is made of the fine side's block means.")
    fine: tuple[str, ...] = Field((), description="Files of the fine side (the truth).")
    statics: tuple[str, ...] = Field(
        (), description="Files of static fields (orography, land_sea_mask); what they lack is `sources.static`'s."
    )
    rename: dict[str, str] = Field({}, description="Names in the files -> canonical names, where neither name nor standard name tells.")
    accumulated: str | None = Field(None, description="Over how long amounts of precipitation are taken (`1h`, `24h`), where no file says.")
    day_starts: DayStarts = Field(default_factory=lambda: DayStarts(), description="Where days begin, of two daily products.")
    credit: str | None = Field(None, description="Who made the files, and their licence: stands in the card and the report.")
    found: Found | None = Field(None, description="What the files say (made when the configuration is read; not to be written).")

    @field_validator("coarse", "fine", "statics", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("rename")
    @classmethod
    def _known(cls, rename: dict[str, str]) -> dict[str, str]:
        for ours in rename.values():
            variable(ours)
        if len(set(rename.values())) != len(rename):
            raise ValueError("two names in the files are to be the same variable")
        return rename

    @model_validator(mode="after")
    def _something(self) -> FilesConfig:
        if not self.coarse and not self.fine:
            raise ValueError("neither coarse nor fine files are named")
        return self

    def patterns(self, source: str) -> tuple[str, ...]:
        """Of `files` or `coarse_files`."""
        found: tuple[str, ...] = getattr(self, SIDE[source])
        return found


def resolved(raw: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str], spans: Sequence[Block]) -> dict[str, Any]:
    """`raw` (a dataset's section) with grids spelled out and `files.found`.

    `inputs`: those that come from coarse files; `outputs`: all that come from fine ones. `spans`: name, first and last second of each block
    of the split. Raises OrbitError naming what the files do not hold: variables, a grid of their own that serves, times.
    """
    section = FilesConfig.model_validate(raw["files"])
    held = {source: _held(section, source, names) for source, names in (("coarse_files", inputs), ("files", outputs)) if names}
    own = {SIDE[source]: _one_grid(one) for source, one in held.items()}
    coarse, fine = _grids(raw, own)
    found = _times(section, held, spans)
    return {**raw, "coarse_grid": coarse, "fine_grid": fine, "files": {**raw["files"], "found": found.model_dump(mode="json")}}


def _held(section: FilesConfig, source: str, names: Sequence[str]) -> dict[str, list[Header]]:
    """The headers of each variable. Raises OrbitError for one that no file holds."""
    from orbit2.door.headers import headers
    from orbit2.door.naming import accepted

    side, patterns = SIDE[source], section.patterns(source)
    if not patterns:
        raise OrbitError(f"no {side} files are named", where=f"files.{side}", got="nothing", allowed="paths or patterns",
                         hint=f"they are to hold {', '.join(names)}")  # fmt: skip
    every = headers(patterns, names, section.rename)
    found: dict[str, list[Header]] = {}
    for name in names:
        theirs = next((theirs for theirs, ours in section.rename.items() if ours == name), None)
        standard = variable(name).standard_name
        unique = bool(standard) and sum(v.standard_name == standard for v in VARIABLES.values()) == 1

        def has(header: Header, name: str = name, theirs: str | None = theirs, standard: str = standard, unique: bool = unique) -> bool:
            if theirs is not None and theirs in header.fields:
                return True
            by_name = any(key in header.fields and key not in section.rename for key in accepted(name))
            return by_name or (unique and any(about.get("standard_name") == standard for about in header.fields.values()))

        found[name] = [header for header in every if header.runs and has(header)]
        if not found[name]:
            held = sorted({key for header in every for key in header.fields})
            raise OrbitError(f"no {side} file holds '{name}' with times", where=f"files.{side}", got=", ".join(held) or "no fields",
                             allowed=" or ".join(accepted(name)), hint=f"say which it is: files.rename: {{NAME: {name}}}")  # fmt: skip
    return found


def _one_grid(held: Mapping[str, Sequence[Header]]) -> Header:
    """A header of the one grid of a side's files."""
    first = next(header for each in held.values() for header in each)
    for header in (header for each in held.values() for header in each):
        if not header.beside(first):
            raise OrbitError("the files lie on different grids", where=header.file, got=header.about,
                             allowed=f"{first.about} as in {first.file}", hint="name files of one grid")  # fmt: skip
    return first


def _grids(raw: Mapping[str, Any], own: Mapping[str, Header]) -> tuple[str, str]:
    """Coarse and fine grid, spelled out where they are the files' own; cut to whole blocks, which is said."""
    asked = {side: str(raw.get(f"{side}_grid", FROM_FILES)) for side in ("coarse", "fine")}
    for side in ("coarse", "fine"):
        if asked[side] == FROM_FILES and side not in own:
            raise OrbitError(f"no files are named whose grid the {side} one could be", where=f"{side}_grid", got=FROM_FILES,
                             allowed=f"a named grid{', or coarsen_<n>' if side == 'coarse' else ''}")  # fmt: skip
    fine: AnyGrid = own["fine"].grid if asked["fine"] == FROM_FILES else named(asked["fine"])
    if asked["fine"] == FROM_FILES:
        _even(fine)
    if asked["coarse"].startswith(COARSEN):
        factor = asked["coarse"].removeprefix(COARSEN)
        if not factor.isdecimal() or int(factor) < 2:
            raise OrbitError("not a number of cells", where="coarse_grid", got=asked["coarse"], allowed="coarsen_2, coarsen_4, ...")
        fine = _whole(fine, int(factor), asked["fine"])
        return spelled(fine.coarsen(int(factor))), spelled(fine) if asked["fine"] == FROM_FILES else asked["fine"]
    if asked["coarse"] != FROM_FILES:
        return asked["coarse"], spelled(fine) if asked["fine"] == FROM_FILES else asked["fine"]
    if asked["fine"] != FROM_FILES:
        fine.nests_in(own["coarse"].grid)
        return spelled(own["coarse"].grid), asked["fine"]
    coarse, fine = _nested(own["coarse"].grid, fine)
    return spelled(coarse), spelled(fine)


def _edges(grid: AnyGrid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of rows and of columns; degrees, or metres of a map."""
    assert isinstance(grid, (Grid, ProjectedGrid))
    return (grid.lat_edges, grid.lon_edges) if isinstance(grid, Grid) else (grid.y_edges, grid.x_edges)


def _even(grid: AnyGrid) -> None:
    """Raises OrbitError for a grid that cannot be trained on as it is: half cells at the poles."""
    steps = np.diff(_edges(grid)[0])
    if steps.min() < 0.9 * steps.max():
        raise OrbitError("the files' rows are uneven (half cells at the poles, or a stretched grid)", where="fine_grid",
                         got=f"{steps.min():g} to {steps.max():g} {'degrees' if isinstance(grid, Grid) else 'along y'}",
                         allowed="even rows", hint="choose a named grid, e.g. global_0.25: the files are averaged to it")  # fmt: skip


def _whole(fine: AnyGrid, factor: int, asked: str) -> AnyGrid:
    """`fine` cut to whole blocks of `factor` cells."""
    height, width = fine.shape
    rows, columns = height - height % factor, width - width % factor
    if (rows, columns) == (height, width):
        return fine
    if asked != FROM_FILES or rows < factor or columns < factor or fine.periodic:
        raise OrbitError("the fine grid does not divide into whole blocks", where="coarse_grid", got=f"{height}x{width} by {factor}")
    log.info("fine grid from files: %d x %d cells cut to %d x %d, whole blocks of %d", height, width, rows, columns, factor)
    return fine.crop(slice(0, rows), slice(0, columns))


def _nested(coarse: AnyGrid, fine: AnyGrid) -> tuple[AnyGrid, AnyGrid]:
    """The part of both where fine cells fill coarse ones whole. Raises OrbitError where they do not nest."""
    if isinstance(coarse, Grid) and isinstance(fine, Grid):
        fine = Grid(fine.lat_edges, fine.lon_edges + 360 * round((coarse.lon_edges.mean() - fine.lon_edges.mean()) / 360))
    elif not (isinstance(coarse, ProjectedGrid) and isinstance(fine, ProjectedGrid) and coarse.same_map(fine)):
        raise _apart(coarse, fine)
    (down, along), (small_down, small_along) = _edges(coarse), _edges(fine)
    factor = round(float(np.median(np.diff(down)) / np.median(np.diff(small_down))))
    cut = []
    for big, small in ((down, small_down), (along, small_along)):
        place = np.array([int(np.abs(small - edge).argmin()) for edge in big])
        (inside,) = np.nonzero(np.abs(small[place] - big) <= 1e-3 * np.diff(small).max())
        run = inside[: 1 + int(np.argmax(np.append(np.diff(inside), 0) != 1))] if len(inside) else inside
        if factor < 2 or len(run) < 2 or (np.diff(place[run]) != factor).any():
            raise _apart(coarse, fine)
        cut.append((slice(int(run[0]), int(run[-1])), slice(int(place[run[0]]), int(place[run[-1]]))))
    (big_rows, small_rows), (big_columns, small_columns) = cut
    outer, inner = coarse.crop(big_rows, big_columns), fine.crop(small_rows, small_columns)
    if outer.shape != coarse.shape or inner.shape != fine.shape:
        log.info("grids from files: cut to where both are: %s; %s", outer.describe(), inner.describe())
    return (outer if isinstance(outer, Grid) else inner.coarsen(factor)), inner  # of a map: files in single precision are metres apart


def _apart(coarse: AnyGrid, fine: AnyGrid) -> OrbitError:
    return OrbitError("the fine files' cells do not fill the coarse files' ones", where="coarse_grid: from_files",
                      got=f"{fine.describe()} in {coarse.describe()}", hint="coarse_grid: coarsen_<n> averages the coarse files to "
                      "blocks of n fine cells")  # fmt: skip


def _times(
    section: FilesConfig, held: Mapping[str, Mapping[str, Sequence[Header]]], spans: Sequence[Block]
) -> Found:
    """The step between samples, and which of the split's samples no file has. Raises OrbitError for a block outside the files' years."""
    stamps: dict[str, Times] = {}
    for source, fields in held.items():
        for name, each in fields.items():
            stamps[f"{SIDE[source]}: {name}"] = np.unique(np.concatenate([header.stamps for header in each]))
    steps = {key: _step(times, key) for key, times in stamps.items()}
    step = max(steps.values())
    if len(set(steps.values())) > 1:
        told = ", ".join(f"{key} {seconds / 3600:g} h" for key, seconds in steps.items())
        raise OrbitError("the files have different steps of time", where="files", got=told, allowed="one step",
                         hint="average the finer ones first, e.g. with cdo daymean")  # fmt: skip
    if step >= DAY:
        stamps = {key: _dates(times, key) for key, times in stamps.items()}
    _same_days(section, held, step)
    common = next(iter(stamps.values()))
    for times in stamps.values():
        common = np.intersect1d(common, times)
    if not len(common):
        raise OrbitError("the files have no time in common", where="files", got="; ".join(f"{k} {_span(t)}" for k, t in stamps.items()))
    first = int((common[0] - common[0].astype("datetime64[D]")).astype(np.int64)) % step if step < DAY else 0
    lacking = []
    for name, begin, end in spans:
        begin, end = (t.astype("datetime64[D]").astype("datetime64[s]") if step >= DAY else t for t in (begin, end))
        expected = np.arange(begin.astype("datetime64[D]").astype("datetime64[s]") + np.timedelta64(first, "s"),
                             end + np.timedelta64(1, "s"), np.timedelta64(step, "s"))  # fmt: skip
        expected = expected[expected >= begin]
        absent = np.setdiff1d(expected, common)
        if expected[0] < common[0] or expected[-1] > common[-1] or len(absent) > MOST_LACKING * len(expected):
            raise OrbitError(f"the files do not hold the {name} block", where=f"split.{name}",
                             got=f"{_span(expected)}, of which {len(absent)} of {len(expected)} times are in no file",
                             allowed=_span(common), hint="change the split, or name the files of these years")  # fmt: skip
        lacking += [absent]
    for (_, _, end), (_, begin, _) in pairwise(sorted(spans, key=lambda span: span[1])):
        if (begin - end).astype(np.int64) < BRIDGED:  # what lies between is built too, where it is there
            day = end.astype("datetime64[D]").astype("datetime64[s]")
            between = np.arange(day + np.timedelta64(first, "s"), begin, np.timedelta64(step, "s"))
            lacking += [np.setdiff1d(between[between > end], common)]
    runs = _ranges(np.unique(np.concatenate([np.empty(0, "datetime64[s]"), *lacking])), step)
    if runs:
        log.warning("files: %d stretches of time within the split are in no file and are left out, the first: %s", len(runs), runs[0][0])
    return Found(step_hours=step // 3600, first_hour=first / 3600, lacking=tuple(runs))


def _step(times: Times, key: str) -> int:
    """Seconds between times. Raises OrbitError for steps that samples cannot have."""
    if len(times) < 2:
        raise OrbitError("a single time is no archive to train on", where=f"files: {key}", got=_span(times))
    seconds = int(np.median(np.diff(times).astype(np.int64)))
    if seconds % 3600 or DAY % min(seconds, DAY) or (seconds > DAY):
        raise OrbitError("samples of this step cannot be trained on", where=f"files: {key}", got=f"{seconds / 3600:g} h",
                         allowed="1, 2, 3, 4, 6, 8, 12 or 24 hours")  # fmt: skip
    return seconds


def _dates(times: Times, key: str) -> Times:
    days: Times = times.astype("datetime64[D]").astype("datetime64[s]")
    if len(np.unique(days)) != len(days):
        raise OrbitError("a date is there twice", where=f"files: {key}", got=_span(times), hint="are these daily files?")
    return days


def _same_days(section: FilesConfig, held: Mapping[str, Mapping[str, Sequence[Header]]], step: int) -> None:
    """Raises OrbitError where two daily products do not say when their days begin, say it differently from their files, or differ."""
    told = section.day_starts
    if step < DAY:
        return
    for source, fields in held.items():
        side = SIDE[source]
        said, begins = getattr(told, side), {header.begins for each in fields.values() for header in each} - {None}
        wrong = [hour for hour in begins if hour is not None and said is not None and (hour - said) % 24]
        if wrong:
            raise OrbitError(f"the {side} files' time bounds begin their days at another hour", where=f"files.day_starts.{side}", got=said,
                             allowed=f"{wrong[0]:g}, or {wrong[0] - 24:g} where the date is that of the day's end")  # fmt: skip
    if len(held) < 2:
        return
    if told.coarse is None or told.fine is None:
        raise OrbitError("two daily products: say when the days of both begin", where="files.day_starts", got="nothing",
                         allowed="{coarse: 0, fine: 0}: hours after 00:00 UTC of the date (-12: noon of the day before)")  # fmt: skip
    if abs(told.coarse - told.fine) > told.apart:
        raise OrbitError("the two products' days are not the same", where="files.day_starts", got=f"{told.coarse:g} and {told.fine:g} h",
                         allowed=f"at most {told.apart:g} h apart", hint="day_starts.apart allows more, for those who mean it")  # fmt: skip


def _ranges(times: Times, step: int) -> list[tuple[str, str]]:
    if not len(times):
        return []
    pieces = np.split(times, np.flatnonzero(np.diff(times).astype(np.int64) != step) + 1)
    return [(str(piece[0]), str(piece[-1])) for piece in pieces]


def _span(times: Times) -> str:
    return f"{times[0]} to {times[-1]}" if len(times) else "nothing"
