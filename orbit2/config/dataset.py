"""The `datasets` section: periods, splits and what coarse/fine pairs are made of. Never reads files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from orbit2 import times
from orbit2.config.base import Given, Machine, Strict
from orbit2.config.files import STEPS, FilesConfig
from orbit2.config.own_files import resolved
from orbit2.config.sources import SourceName, traits
from orbit2.errors import OrbitError
from orbit2.grid import named
from orbit2.variables import variable

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?")


# A day's anomaly keeps about 0.7 of its correlation a day (2 m temperature, pressure; rain less): 0.08 after a week.
GAP_DAYS = 7.0
SAMPLE_GAP_DAYS = 0.25  # the packaged week is too short for more; its report says so


class Period(Strict):
    start: str = Field(description="First time (ISO 8601 date or date-time, UTC), inclusive.")
    end: str = Field(description="Last time (ISO 8601; a bare date means its whole day), inclusive.")

    @field_validator("start", "end", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """YAML turns a date without quotes into a date."""
        return value.isoformat() if isinstance(value, date) else value

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        for text in (self.start, self.end):
            if not _TIME.fullmatch(text):  # numpy takes "2020" for its first second, and 20200101 for a year
                raise ValueError(f"not a date or date-time such as 2020-01-31 or 2020-01-31T06:00: {text!r}")
        try:
            calendar = next(c for c in times.CALENDARS if times.is_date(self.start, c) and times.is_date(self.end, c))
        except StopIteration:
            raise ValueError(f"not ISO 8601 dates or date-times of any calendar: {self.start}, {self.end}") from None
        first, last = self.bounds(calendar)
        if last < first:
            raise ValueError(f"period ends ({self.end}) before it starts ({self.start})")
        return self

    def bounds(self, calendar: str = "standard") -> tuple[times.Time, times.Time]:
        """First and last second in a calendar: datetime64[s], or cftime dates. Raises ValueError for days that it does not have."""
        return times.begin(self.start, calendar), times.end(self.end, calendar)

    @property
    def first(self) -> np.datetime64:
        """datetime64[s], of the real calendar."""
        found: np.datetime64 = times.begin(self.start)
        return found

    @property
    def last(self) -> np.datetime64:
        """datetime64[s]; of a bare date its last second."""
        found: np.datetime64 = times.end(self.end)
        return found


class Split(Strict):
    """Three blocks of time, in any order, apart: random splits leak, and so do blocks that touch."""

    train: Period | None = Field(None, description="Training block; the only one statistics are computed from.")
    validation: Period | None = Field(None, description="Validation block (early stopping, choice of the best checkpoint).")
    test: Period = Field(description="Test block; never seen before evaluation.")

    @property
    def blocks(self) -> dict[str, Period]:
        """The periods that are given, by name."""
        return {n: p for n, p in (("train", self.train), ("validation", self.validation), ("test", self.test)) if p is not None}

    gap_days: float | None = Field(
        None, ge=0, description="Least time between blocks (days); none: 7, by when weather has forgotten itself; packaged sample: 6 hours."
    )

    def close(self, gap: np.timedelta64, calendar: str = "standard") -> str | None:
        """Which blocks overlap or are closer than `gap`, in words; None where none are."""
        blocks = sorted((*p.bounds(calendar), n) for n, p in self.blocks.items())
        for (_, end, first), (start, _, second) in pairwise(blocks):
            if start <= end:
                return f"blocks '{first}' and '{second}' overlap; leave a gap between them"
            if (span := np.timedelta64(round(times.apart(end, start)), "s")) < gap:
                return f"blocks '{first}' and '{second}' are {duration(span)} apart, less than {duration(gap)}"
        return None


def duration(span: np.timedelta64) -> str:
    """A span of time in the unit that people would use."""
    hours = float(span / np.timedelta64(1, "h"))
    short = "1 hour" if hours == 1 else f"{hours:.3g} hours"
    return f"{hours / 24:.3g} days" if hours >= 48 else short if hours >= 1 else f"{hours * 3600:.0f} s"


class DatasetConfig(Strict):
    """Coarse/fine pairs built by retrieve, regrid and statistics.

    Without inputs it is an observation to score predictions against; without outputs it can only be downscaled.
    """

    source: SourceName = Field(
        description="Where outputs (and inputs not listed under input_sources) come from; `sample` is the ERA5 week that ships with "
        "orbit2, `synthetic` its test world, `files` your own (key `files`)."
    )
    input_sources: dict[SourceName, tuple[str, ...]] = Field({}, description="Inputs that come from another source, by source.")
    files: Given[FilesConfig] = Field(None, description="Your own files, for `source: files`.")
    inputs: tuple[str, ...] = Field(description="Dynamic input variables (canonical names) on the coarse grid.")
    outputs: tuple[str, ...] = Field(description="Output variables (canonical names) on the fine grid.")
    statics: tuple[str, ...] = Field(("land_sea_mask", "orography", "slope"), description="Static fields on both grids.")
    frequency: Literal["native", "hourly", "3h", "6h", "12h", "daily"] = Field(
        "native", description="Samples: every hour, every 3, 6 or 12 (at 00, 03, ... UTC), every day, or what the source holds (sample: 24 "
        "frames; ERA5: hours; your own files: their longest step; others: days)."
    )
    calendar: Given[Literal["standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day"]] = Field(
        None, description="Calendar that the split's dates and the samples count in (CF name); null: the real one. 2000-02-30 is a day of "
        "`360_day`. Of `source: files` it is found in the files."
    )
    coarse_grid: str = Field(
        description="Named coarse grid: `global_<degrees>`, `nodes_<degrees>`, `us_<arc minutes>`, `prism_<arc minutes>`; "
        "`@south,north,west,east` cuts one, `/n` divides its cells. "
        "Of `files`: `from_files`, or `coarsen_<n>`, blocks of n fine cells."
    )
    fine_grid: str = Field(description="Named fine grid, or of `files` `from_files`; its cells must nest in the coarse ones.")
    split: Split = Field(description="Time blocks for training, validation and test.")
    samples_per_part: Machine[Annotated[int, Field(ge=1)] | Literal["month"]] = Field(
        "month",
        description="Samples built by one regrid job: `month` (to the first shard of every month), or a multiple of samples_per_shard.",
    )
    samples_per_shard: Machine[int] = Field(8, ge=1, description="Samples in one Zarr shard; also how many are in memory at once.")
    min_valid_fraction: float = Field(0.5, gt=0, le=1, description="Least valid area fraction of a target cell (0 to 1).")
    regrid_backend: Literal["builtin", "xesmf"] = Field(
        "builtin", description="What regrids: orbit2's own exact weights, or xesmf (only conda has it; not run by this project's tests)."
    )
    finer_than_source: bool = Field(
        False, description="Accept grids finer than the source's own: neighbouring cells then repeat, and card and report say so."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_files(cls, given: Any) -> Any:
        """Grids and times that follow from files are found once, when the run's configuration is read; slices carry them."""
        section = given.get("files") if isinstance(given, Mapping) else None
        if not isinstance(section, Mapping) or section.get("found") is not None:
            return given
        try:
            split = Split.model_validate(given["split"])
            listed = given.get("input_sources") or {}
            inputs, outputs = (tuple(given.get(key) or ()) for key in ("inputs", "outputs"))
            elsewhere = {name for source, names in listed.items() if source != "coarse_files" for name in names}
            coarse = [name for name in inputs if name not in elsewhere and (given["source"] == "files" or name in listed["coarse_files"])]
            section = FilesConfig.model_validate(section)
            daily = any(not traits(name).adopted and not traits(name).hourly for name in (given["source"], *listed))
            asked = "daily" if daily and given.get("frequency", "native") == "native" else str(given.get("frequency", "native"))
        except (KeyError, TypeError, ValueError, OrbitError):
            return given  # said below, with its place
        fine = tuple(dict.fromkeys((*(outputs if given["source"] == "files" else ()), *(() if section.coarse else coarse))))
        return resolved(given, coarse if section.coarse else (), fine, split, asked)

    @field_validator("inputs", "outputs", "statics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            variable(name)
        if len(set(names)) != len(names):
            raise ValueError("a variable is listed twice")
        return names

    @property
    def counted(self) -> str:
        """The calendar by its CF name."""
        return self.calendar or "standard"

    @model_validator(mode="after")
    def _days(self) -> DatasetConfig:
        """The split's dates are days of the calendar."""
        for name, period in self.split.blocks.items():
            for text in (period.start, period.end):
                if not times.is_date(text, self.counted):
                    raise ValueError(f"split.{name}: {text} is no date of the calendar {self.counted}")
        others = [name for name in self.sources if not traits(name).adopted]
        if not times.real(self.counted) and others:
            raise ValueError(f"calendar: {others[0]} counts in the real calendar; only `files` may count in {self.counted}")
        return self

    @model_validator(mode="after")
    def _variables(self) -> DatasetConfig:
        if not self.inputs and not self.outputs:
            raise ValueError("a dataset needs inputs, outputs or both")
        if self.inputs and self.outputs and len(self.split.blocks) < 3:
            raise ValueError("split: a dataset with inputs and outputs needs train, validation and test")
        listed = [name for names in self.input_sources.values() for name in names]
        for name in listed:
            if name not in self.inputs:
                raise ValueError(f"input_sources lists '{name}', which is not among the inputs")
        if len(set(listed)) != len(listed):
            raise ValueError("input_sources lists a variable twice")
        adopted = [name for name in self.sources if traits(name).adopted]
        if bool(adopted) != (self.files is not None):
            raise ValueError("`files` goes with source: files (or input_sources: coarse_files), and these with it")
        if adopted and self.files is not None and self.files.found is not None:
            rest = {traits(name).step_hours for name in self.sources if not traits(name).adopted and not traits(name).hourly}
            mixed = self.sources != tuple(adopted)
            if rest - {self.files.found.step_hours} or (mixed and self.files.found.step_hours not in STEPS.values()):
                raise ValueError(f"the files have a step of {self.files.found.step_hours} hours, the other sources another")
            if self.frequency != "native" and STEPS[self.frequency] != self.files.found.step_hours:
                raise ValueError(f"the files have a step of {self.files.found.step_hours} hours: frequency cannot be {self.frequency}")
        other = sorted(name for name in self.sources if (not traits(name).hourly or traits(name).packaged) and not traits(name).adopted)
        if self.frequency not in ("native", "daily") and other:
            raise ValueError(f"only era5 has hourly fields, not {', '.join(other)}")
        if any(traits(name).packaged for name in self.sources) and (len(self.sources) > 1 or self.frequency != "native"):
            raise ValueError("the packaged sample cannot be combined with other sources or averaged to days")
        if any(traits(name).synthetic for name in self.sources) and len(self.sources) > 1:
            raise ValueError("the synthetic test world is not mixed with what was observed")
        return self

    @property
    def gap(self) -> np.timedelta64:
        """Least time between blocks: neighbours in time are nearly the same, also across a boundary between them."""
        days = self.split.gap_days
        if days is None:
            days = SAMPLE_GAP_DAYS if "sample" in self.sources else GAP_DAYS
        return np.timedelta64(round(days * 86400), "s")

    @model_validator(mode="after")
    def _gaps(self) -> DatasetConfig:
        """Blocks apart; a trailing day reaches 23 hours back, and closer blocks would share hours."""
        told = self.split.close(self.gap, self.counted)
        if told:
            raise ValueError(f"split: {told}; the weather of neighbouring days is nearly the same (split.gap_days sets another least gap)")
        over_day = [name for name in (*self.inputs, *self.outputs) if "interval: 24 hours" in variable(name).cell_methods]
        if over_day and self.step_hours < 24 and (told := self.split.close(np.timedelta64(23, "h"), self.counted)):
            raise ValueError(f"split: {told}, and {over_day[0]} covers 24 hours")
        return self

    @model_validator(mode="after")
    def _geometry(self) -> DatasetConfig:
        named(self.fine_grid).nests_in(named(self.coarse_grid))
        if self.samples_per_part != "month" and self.samples_per_part % self.samples_per_shard:
            raise ValueError(
                f"samples_per_part ({self.samples_per_part}) must be a multiple of samples_per_shard ({self.samples_per_shard})"
            )
        return self

    @property
    def refinement(self) -> int:
        return named(self.fine_grid).nests_in(named(self.coarse_grid))

    @property
    def sources(self) -> tuple[SourceName, ...]:
        """Every source of dynamic fields, the outputs' first."""
        own = tuple(source for source in (self.source_of(name) for name in self.inputs) if source == "coarse_files")
        fine = (self.source,) if self.outputs or not own or self.source != "files" else ()
        return tuple(dict.fromkeys((*fine, *own, *self.input_sources)))

    def source_of(self, name: str) -> SourceName:
        """Where input `name` comes from."""
        own: SourceName = "coarse_files" if self.source == "files" and self.files is not None and self.files.coarse else self.source
        return next((source for source, names in self.input_sources.items() if name in names), own)

    @property
    def step_hours(self) -> int:
        """Hours between samples (of files what they have; 730 of months)."""
        if self.files is not None and self.files.found is not None:
            return self.files.found.step_hours
        if self.frequency == "native":
            return 1 if all(traits(name).hourly for name in self.sources) else 24
        return STEPS[self.frequency]
