"""Chooses which retrieved files answer a question: all variables and days, each from one file, all on one grid. Never opens a file."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from orbit2.errors import OrbitError
from orbit2.sources.manifest import Record, select
from orbit2.sources.source import Box, Window


def choose(
    records: Sequence[Record], gaps: Sequence[Record], wanted: Mapping[str, Window], box: Box | None, where: object,
) -> list[Record]:
    """The records of a manifest to read variables from, each between its two stamps (inclusive), for a box (None: everything).

    Files cut to different boxes are never mixed; the smallest box that has all is taken. Where several files hold the same
    (runs that asked for other variables, or another back end) one of them is. Records that do not say what they hold are always
    taken. Raises OrbitError naming the first day of a variable that neither a file nor a recorded gap covers.
    """
    names = tuple(wanted)
    first, last = min(begin for begin, _ in wanted.values()), max(end for _, end in wanted.values())
    fitting = select(records, names, first, last, box)
    if box is None:
        fitting = [r for r in fitting if r.get("box") is None]
    unsaid = [r for r in fitting if not r.get("variables") or r.get("first") is None]
    groups: dict[tuple[float, ...] | None, list[Record]] = {}
    for record in fitting:
        if record.get("variables") and record.get("first") is not None:
            groups.setdefault(None if record.get("box") is None else tuple(record["box"]), []).append(record)
    lacking: list[tuple[str, np.datetime64, int]] = []
    for area in sorted(groups, key=_size):
        missing = _missing([*groups[area], *gaps], wanted)
        if not missing or unsaid:
            return sorted([*unsaid, *_without_repeats(groups[area], names)], key=lambda r: (str(r.get("first")), str(r["file"])))
        lacking = lacking if lacking and len(lacking) <= len(missing) else missing
    if unsaid:
        return unsaid
    raise _not_there(lacking, names, first, last, where)


def every(
    records: Sequence[Record], gaps: Sequence[Record], names: Sequence[str], first: np.datetime64, last: np.datetime64, where: object
) -> list[Record]:
    """All records of `names` between two stamps, which together must cover every day as for `choose`."""
    fitting = select(records, names, first, last)
    said = [r for r in fitting if r.get("variables") and r.get("first") is not None]
    lacking = _missing([*said, *gaps], dict.fromkeys(names, (first, last)))
    if not fitting or (lacking and len(said) == len(fitting)):
        raise _not_there(lacking if said else [], names, first, last, where)
    return fitting


def _not_there(
    lacking: list[tuple[str, np.datetime64, int]], names: Sequence[str], first: np.datetime64, last: np.datetime64, where: object
) -> OrbitError:
    hint = "run the retrieve stage, or change the periods"
    if not lacking:
        return OrbitError("no retrieved file holds these variables at these times", where=where,
                          got=f"{', '.join(names[:4])}, {first} to {last}", hint=hint)
    name, day, count = lacking[0]
    return OrbitError(f"{name} is not retrieved for {count} days, the first {day}", where=where, got=f"{first} to {last}", hint=hint)


def _size(area: tuple[float, ...] | None) -> float:
    return np.inf if area is None else (area[1] - area[0]) * (area[3] - area[2])


def _missing(records: Iterable[Record], wanted: Mapping[str, Window]) -> list[tuple[str, np.datetime64, int]]:
    """Per variable that days lack: its name, the first such day, their number."""
    begins = {name: int(first.astype("datetime64[D]").astype(np.int64)) for name, (first, _) in wanted.items()}
    held = {name: np.zeros(int(last.astype("datetime64[D]").astype(np.int64)) - begins[name] + 1, dtype=bool)
            for name, (_, last) in wanted.items()}
    for record in records:
        low, high = (int(np.datetime64(record[key][:10], "D").astype(np.int64)) for key in ("first", "last"))
        for name in record["variables"]:
            if name in held and high >= begins[name]:
                held[name][max(0, low - begins[name]) : high - begins[name] + 1] = True
    return [(name, np.datetime64(begins[name] + int(np.argmin(days)), "D"), int((~days).sum()))
            for name, days in held.items() if not days.all()]


def _without_repeats(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """Files whose every wanted variable lies, for their whole span, in one that is kept are left out."""
    wanted = set(names)
    spans: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    kept = []
    for record in sorted(records, key=lambda r: (-len(wanted.intersection(r["variables"])), r["first"], _reversed(r["last"]), r["file"])):
        first, last = record["first"], record["last"]
        own = [name for name in record["variables"] if name in wanted]
        if all(_within(spans[name], first, last) for name in own):
            continue
        kept.append(record)
        for name in own:
            if not _within(spans[name], first, last):
                bisect.insort(spans[name], (first, last))
    return kept


def _reversed(stamp: str) -> int:
    """Sorts later stamps first."""
    return -int(np.datetime64(stamp, "s").astype(np.int64))


def _within(spans: list[tuple[str, str]], first: str, last: str) -> bool:
    """True when one of the spans, sorted and none within another, holds [first, last]."""
    at = bisect.bisect_right(spans, (first, "~")) - 1
    return at >= 0 and spans[at][1] >= last
