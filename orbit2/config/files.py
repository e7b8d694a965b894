"""The `files` section of a dataset: the user's own files on both sides, and what was found in them (see `own_files`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from orbit2.config.base import Given, Strict
from orbit2.variables import variable

FROM_FILES, COARSEN = "from_files", "coarsen_"
SIDE = {"files": "fine", "coarse_files": "coarse"}  # source -> key of the section
DAY = 86400
BRIDGED = 31 * DAY  # seconds between blocks that are still built as one stretch of time
STEPS = {"hourly": 1, "3h": 3, "6h": 6, "12h": 12, "daily": 24}  # `frequency` -> hours between samples
StampName = Literal["begin", "middle", "end", "moment"]


class Reduced(Strict):
    """How the hours of one side's files become samples: means, sums or extremes by the kind of each variable."""

    hours: int = Field(description="Hours between the files' times.")
    begins: float = Field(0.0, description="When a sample's day begins, hours after 00:00 UTC of its date.")
    stamps: dict[str, StampName] = Field(description="What of its interval a stamp names, by variable; `moment`: it is of the moment.")
    raw: dict[str, str] = Field({}, description="Variable -> the one in the files that it is made of, where that is another.")


class Found(Strict):
    """What the files say of themselves; made from them, not written by hand."""

    step_hours: int = Field(description="Hours between samples; 730: months.")
    first_hour: float = Field(0.0, description="Hour of the day of the first sample of a day.")
    lacking: tuple[tuple[str, str], ...] = Field((), description="First and last of each run of samples that no file has.")
    coarse: Given[Reduced] = Field(None, description="How hours of the coarse files become samples.")
    fine: Given[Reduced] = Field(None, description="The same of the fine files.")
    closing: Given[tuple[Literal["coarse", "fine"], ...]] = Field(None, description="Sides whose months are stamped by their end.")

    def reduced(self, source: str) -> Reduced | None:
        """Of `files` or `coarse_files`; None where samples are the files' own times."""
        return self.coarse if SIDE[source] == "coarse" else self.fine


class DayStarts(Strict):
    """When the day of a date begins on both sides, hours after 00:00 UTC of that date (-12: noon of the day before)."""

    coarse: float | None = Field(None, ge=-24, le=24, description="Of the coarse side.")
    fine: float | None = Field(None, ge=-24, le=24, description="Of the fine side.")
    apart: float = Field(0.0, ge=0, le=24, description="By how many hours the two may differ.")


class Stamps(Strict):
    """What of its hour a stamp names, of hourly means, amounts and extremes without time bounds."""

    coarse: Literal["begin", "middle", "end"] | None = Field(None, description="Of the coarse side (ERA5: end).")
    fine: Literal["begin", "middle", "end"] | None = Field(None, description="Of the fine side.")


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
    stamps: Given[Stamps] = Field(None, description="What of its hour a stamp names, where hours become days and no time bounds say it.")
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
