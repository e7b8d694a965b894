"""One ERA5 variable along time, from all its pieces: gaps, repetitions, final over preliminary. Reads no field but what it must compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.door.ecmwf import LEXICON
from orbit2.errors import OrbitError
from orbit2.lazy import da
from orbit2.sources.era5_files import FINAL, PRELIMINARY, Array, Piece, Times

HOUR = np.timedelta64(3600, "s")
FIRST_ACCUMULATED = np.datetime64("1940-01-01T07", "s")  # the first forecast starts at 06 UTC


@dataclass(frozen=True)
class Joined:
    """One variable along time, from all its pieces."""

    stamps: Times
    version: npt.NDArray[np.int64]
    lat: Array
    lon: Array
    data: Any


def preliminary(one: Joined) -> list[str]:
    """Months of which no hour is final."""
    months = one.stamps.astype("datetime64[M]")
    return [str(month) for month in np.unique(months) if (one.version[months == month] == PRELIMINARY).all()]


def is_hourly(held: list[Piece]) -> bool:
    """Whether any two stamps are an hour apart."""
    stamps = np.unique(np.concatenate([piece.stamps for piece in held]))
    return len(stamps) < 2 or bool(np.min(np.diff(stamps)) <= HOUR)


def refuse_long_periods(name: str, held: list[Piece]) -> None:
    """Raise OrbitError for amounts whose stamps are a day, a month or so apart: nothing says that they are those of an hour."""
    stamps = np.unique(np.concatenate([piece.stamps for piece in held if piece.amount] or [held[0].stamps[:0]]))
    if len(stamps) > 1 and (apart := np.min(np.diff(stamps))) > 23 * HOUR:
        days = int(apart / (24 * HOUR) + 0.5)
        raise OrbitError("amounts are not hourly: nothing says over which period they are", where=f"{held[0].where}: {name}",
                         got=f"stamps {days} day{'s' if days > 1 else ''} apart" + (" (monthly)" if days >= 28 else ""),
                         allowed="hourly stamps", hint="retrieve hourly ERA5")


def refuse_gaps(name: str, held: list[Piece], first: np.datetime64 | None, last: np.datetime64 | None, paths: list[Path]) -> None:
    """Raise OrbitError listing the hours between `first` and `last` (default: what the files hold) that no piece has."""
    there = np.unique(np.concatenate([piece.stamps for piece in held]))
    begin = there[0] if first is None and len(there) else first
    end = there[-1] if last is None and len(there) else last
    if begin is None or end is None:
        raise OrbitError("files hold no hour", where=", ".join(p.name for p in paths[:4]), got=name,
                         hint="remove the files and retrieve them again")  # fmt: skip
    wanted = np.arange(begin.astype("datetime64[s]"), end.astype("datetime64[s]") + HOUR, HOUR)
    if LEXICON[name].step != "instant":
        wanted = wanted[wanted >= FIRST_ACCUMULATED]
    absent = np.setdiff1d(wanted, there)
    if len(absent):
        raise OrbitError(f"{len(absent)} of {len(wanted)} hours are missing", where=f"{', '.join(p.name for p in paths[:4])}: {name}",
                         got=", ".join(str(t)[:13] for t in absent[:4]) + (" ..." if len(absent) > 4 else ""),
                         hint="ERA5 has no gaps: retrieve the files again; the newest days may not be published yet")


def join(name: str, held: list[Piece]) -> Joined:
    """All pieces of one field along time. A stamp that several hold is taken from final data first, then from the first file."""
    for other in held[1:]:
        same_grid((held[0].lat, held[0].lon), (other.lat, other.lon), f"{held[0].where} and {other.where}")
    stamps = np.concatenate([piece.stamps for piece in held])
    version = np.concatenate([piece.version for piece in held])
    origin = np.repeat(np.arange(len(held)), [len(piece.stamps) for piece in held])
    step = np.concatenate([np.arange(len(piece.stamps)) for piece in held])
    order = np.lexsort((origin, version != FINAL, stamps))
    chosen = order[np.concatenate([[True], stamps[order][1:] != stamps[order][:-1]])] if len(order) else order
    _agree(held, stamps, version, origin, step, chosen)
    if not len(chosen):
        return Joined(stamps, version, held[0].lat, held[0].lon, None)
    breaks = np.flatnonzero((np.diff(origin[chosen]) != 0) | (np.diff(step[chosen]) != 1)) + 1
    runs = [held[origin[run[0]]].data[step[run[0]] : step[run[-1]] + 1] for run in np.split(chosen, breaks)]
    data = runs[0] if len(runs) == 1 else da.concatenate(runs, axis=0)  # type: ignore[no-untyped-call]
    return Joined(stamps[chosen], version[chosen], held[0].lat, held[0].lon, data)


def _agree(
    held: list[Piece], stamps: Times, version: npt.NDArray[np.int64], origin: npt.NDArray[np.int64], step: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
) -> None:
    """Raise OrbitError where two files contradict each other: the first and last common hour of each pair are compared."""
    by_stamp = dict(zip(stamps[chosen].tolist(), chosen.tolist(), strict=True))
    repeated = np.setdiff1d(np.arange(len(stamps)), chosen)
    common: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i in repeated.tolist():
        kept = by_stamp[stamps[i].tolist()]
        if version[i] == version[kept]:
            common.setdefault((int(origin[kept]), int(origin[i])), []).append((kept, i))
    for (one, two), pairs in common.items():
        for kept, i in {pairs[0], pairs[-1]}:
            here, there = (np.asarray(held[o].data[step[at]]) for o, at in ((one, kept), (two, i)))
            if not np.allclose(here, there, rtol=1e-4, atol=1e-3, equal_nan=True):
                raise OrbitError("two files contradict each other", where=f"{held[one].where} and {held[two].where}",
                                 got=f"different values at {stamps[i]}", hint="delete the wrong one and retrieve it again")


def same_grid(one: tuple[Array, Array], other: tuple[Array, Array], where: str) -> None:
    """Raise OrbitError unless latitudes and longitudes agree to 1e-4 degrees."""
    for axis, a, b in zip(("lat", "lon"), one, other, strict=True):
        if len(a) != len(b) or not np.allclose(a, b, atol=1e-4):
            raise OrbitError("fields lie on different grids", where=where, got=f"{len(b)} {axis} values",
                             allowed=f"the same {len(a)}", hint="request one grid and area for all variables")
