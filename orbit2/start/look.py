"""What a side's files hold: variables under which names, in which units, when and where; one field of each is read. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orbit2 import times as clocks
from orbit2.config.files import DAY
from orbit2.config.own_files import holds
from orbit2.config.own_times import MONTH
from orbit2.door.headers import Header, headers
from orbit2.door.ingest import Reading, read_inputs
from orbit2.door.naming import accepted, find, renaming
from orbit2.door.opening import opened
from orbit2.errors import OrbitError, Unsaid
from orbit2.progress import number
from orbit2.variables import VARIABLES, variable


@dataclass(frozen=True)
class Field:
    """One variable of a side: its name in the files, their units, and the range of its first field in orbit2's units."""

    name: str
    theirs: str
    units: str
    least: float
    greatest: float


@dataclass(frozen=True)
class Side:
    """The files of `coarse` or `fine`. `unused`: fields that no variable is taken from."""

    side: str
    patterns: tuple[str, ...]
    headers: tuple[Header, ...]
    fields: tuple[Field, ...]
    unused: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def rename(self) -> dict[str, str]:
        """Names in the files that do not tell by themselves."""
        return {field.theirs: field.name for field in self.fields if field.theirs not in accepted(field.name)}


def look(side: str, patterns: Sequence[str], rename: Mapping[str, str], accumulated: str | None, wanted: Collection[str] = ()) -> Side:
    """Look through all files of a side. `wanted`: the variables that are to be used (none: all that are known).

    Raises OrbitError for files that are not there, cannot be read, have no times, or values that cannot be of the variable; Unsaid where
    no field has a name that orbit2 knows (`rename`), or an amount says no period (`accumulated`).
    """
    dynamic = [name for name, about in VARIABLES.items() if about.kind != "static"]
    every = [header for header in headers(patterns, dynamic, rename) if header.runs]
    if not every:
        raise OrbitError("no file holds fields with times", where=f"--{side}", got=", ".join(patterns), allowed="files with a time axis",
                         hint="static fields (orography, land mask) go to --statics")  # fmt: skip
    held = {name: found for name in dynamic if (found := [header for header in every if holds(header, name, rename)])}
    lacking = next((name for name in wanted if name not in held), None)
    if lacking is not None:
        raise OrbitError(f"no {side} file holds '{lacking}' with times", where=f"--{side}", got=", ".join(_keys(every)),
                         allowed=" or ".join(accepted(lacking)), hint=f"say which it is: --rename NAME={lacking}")  # fmt: skip
    held = {name: found for name, found in held.items() if not wanted or name in wanted}
    fields = _fields({name: found[0].file for name, found in held.items()}, rename, accumulated)
    keys = _keys(every)
    known = {field.theirs for field in fields}
    still = {key for name, about in VARIABLES.items() if about.kind == "static" for key in accepted(name)}
    unused = tuple(key for key in keys if key not in known | still)
    if not fields:
        raise Unsaid(f"no field of the {side} files has a name that orbit2 knows", ("rename",), where=f"--{side}", got=", ".join(keys),
                     allowed="names of docs/own_data.md", hint="say which field is which: --rename THEIRS=OURS")  # fmt: skip
    return Side(side, tuple(patterns), tuple(every), fields, unused)


def _keys(every: Sequence[Header]) -> list[str]:
    """All fields by their names in the files."""
    return list(dict.fromkeys(key for header in every for key in header.fields))


def _fields(files: Mapping[str, str], rename: Mapping[str, str], accumulated: str | None) -> tuple[Field, ...]:
    """Variables of the files that hold them first: those that are at the level that they must be at."""
    found: list[Field] = []
    for file in dict.fromkeys(files.values()):
        names = [name for name, first in files.items() if first == file]
        with opened(file, names, rename) as data:
            own = {theirs: ours for theirs, ours in rename.items() if theirs in data.data_vars and ours in names}
            chosen, there = renaming(data, own, file), []
            for name in names:
                try:
                    find(data, name, chosen, file)
                except OrbitError:
                    continue  # a field of that name, of another height
                there.append(name)
            if not there:
                continue
            inputs = read_inputs(data, there, file, Reading(own, accumulated), native=True)
            inputs.gaps = True  # a first field may be missing
            for name, values in zip(there, inputs.frame(0), strict=True):
                theirs, about = inputs.named[name]
                finite = values[np.isfinite(values)]
                ends = (float(finite.min()), float(finite.max())) if finite.size else (float("nan"), float("nan"))
                found.append(Field(name, theirs, str(about.get("units", "?")), *ends))
    return tuple(found)


def day_start(found: Sequence[Header]) -> float | None:
    """When days begin by the files' time bounds, hours after 00:00 UTC of the date of their stamps; None where no bounds say."""
    header = next((one for one in found if one.begins is not None and one.runs), None)
    if header is None or header.begins is None:
        return None
    stamp = (header.runs[0][0] % DAY) / 3600
    whole = header.names == "end" and stamp == header.begins  # a day later
    return header.begins - 24 if whole or stamp < header.begins else header.begins


def lines(side: Side) -> list[str]:
    """For people."""
    files = {header.file for header in side.headers}
    seconds = np.unique(np.concatenate([header.seconds for header in side.headers]))
    calendar = side.headers[0].calendar
    begins = day_start(side.headers)
    told = [f"{side.side}: {number(len(files), 'file')}, {side.headers[0].about}", f"  {span(seconds, calendar)}"]
    told += [f"  days begin {begins:+g} h from 00:00 UTC of their date, by the files' time bounds"] if begins is not None else []
    told += [f"  {field.name:<28} {f'{field.theirs} ({field.units})':<24} {field.least:.4g} to {field.greatest:.4g} "
             f"{variable(field.name).units} at its first time" for field in side.fields]  # fmt: skip
    if side.unused:
        told.append(f"  not used: {', '.join(side.unused)} (no name that orbit2 knows: --rename, or `variables:` in the YAML)")
    return told


def span(seconds: np.ndarray, calendar: str) -> str:
    """Times in words: first, last, how many, how far apart, gaps, calendar."""
    if len(seconds) < 2:
        return f"{len(seconds)} time"
    apart = np.diff(seconds)
    step = int(np.median(apart))
    monthly = step >= 28 * DAY
    first, last = clocks.stamps(clocks.from_seconds(seconds[[0, -1]], calendar=calendar))
    every = "monthly" if monthly or step == MONTH else "daily" if step == DAY else f"every {step / 3600:g} h"
    holes = np.flatnonzero(apart > (31 * DAY if monthly else step))
    gaps = "no gaps"
    if len(holes):
        longest = int(holes[apart[holes].argmax()])
        after, before = clocks.stamps(clocks.from_seconds(seconds[[longest, longest + 1]], calendar=calendar))
        size = 16 if step < DAY else 10
        gaps = f"{len(holes)} gap{'s, the longest' if len(holes) > 1 else ''} from {after[:size]} to {before[:size]}"
    return f"{first[:16]} to {last[:16]}, {len(seconds):,} times, {every}, {gaps}; calendar {calendar}"
