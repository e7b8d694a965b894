"""What follows from the user's own files when a configuration is read: their variables, grids and times, spelled out in the dataset's
section, so that stages need no second look. Opens headers only."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orbit2 import times as clocks
from orbit2.config.files import COARSEN, FROM_FILES, SIDE, FilesConfig
from orbit2.config.own_times import Held, counted, found_in, hourly
from orbit2.config.recipes import MADE_OF
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, ProjectedGrid, named, spelled
from orbit2.variables import VARIABLES, variable

if TYPE_CHECKING:
    from orbit2.config.dataset import Split
    from orbit2.door.headers import Header

log = logging.getLogger(__name__)


def resolved(raw: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str], split: Split, frequency: str) -> dict[str, Any]:
    """`raw` (a dataset's section) with grids spelled out, `files.found`, and the calendar where that is not the real one.

    `inputs`: those that come from coarse files; `outputs`: all that come from fine ones. `frequency`: of the samples.
    Raises OrbitError naming what the files do not hold: variables, a grid of their own that serves, times.
    """
    section = FilesConfig.model_validate(raw["files"])
    held = {source: held_in(section, source, names) for source, names in (("coarse_files", inputs), ("files", outputs)) if names}
    own = {SIDE[source]: one_grid(one) for source, one in held.items()}
    coarse, fine = grids_of(raw, own)
    calendar = counted(held, raw.get("calendar"))
    found = found_in(section, held, split.blocks, calendar, frequency)
    told = {} if clocks.real(calendar) else {"calendar": calendar}
    files = {**raw["files"], "found": found.model_dump(mode="json", exclude_none=True)}
    return {**raw, **told, "coarse_grid": coarse, "fine_grid": fine, "files": files}


def held_in(section: FilesConfig, source: str, names: Sequence[str], every: Sequence[Header] | None = None) -> dict[str, Held]:
    """The headers of each variable, or of what it is made of (a day's maximum of hours), among `every` one of the source's files (None:
    looked up). Raises OrbitError for one that no file holds."""
    from orbit2.door.headers import headers
    from orbit2.door.naming import accepted

    side, patterns = SIDE[source], section.patterns(source)
    if not patterns:
        raise OrbitError(f"no {side} files are named", where=f"files.{side}", got="nothing", allowed="paths or patterns",
                         hint=f"they are to hold {', '.join(names)}")  # fmt: skip
    if every is None:
        every = headers(patterns, (*names, *(MADE_OF[name] for name in names if name in MADE_OF)), section.rename)
    found: dict[str, Held] = {}
    for name in names:
        for raw in (name, MADE_OF.get(name, name)):
            own = [header for header in every if header.runs and holds(header, raw, section.rename)]
            found[name] = Held(own if raw == name or hourly(own) else [], raw)
            if own:
                break
        if not found[name].headers:
            held = sorted({key for header in every for key in header.fields})
            raise OrbitError(f"no {side} file holds '{name}' with times", where=f"files.{side}", got=", ".join(held) or "no fields",
                             allowed=" or ".join(accepted(name)), hint=f"say which it is: files.rename: {{NAME: {name}}}")  # fmt: skip
    return found


def holds(header: Header, name: str, rename: Mapping[str, str]) -> bool:
    """Whether a file holds a variable: as the user says, by a usual name, by a standard name that no other variable has."""
    from orbit2.door.naming import accepted

    if any(ours == name and theirs in header.fields for theirs, ours in rename.items()):
        return True
    if any(key in header.fields and key not in rename for key in accepted(name)):
        return True
    standard = variable(name).standard_name
    unique = bool(standard) and sum(v.standard_name == standard for v in VARIABLES.values()) == 1
    return unique and any(about.get("standard_name") == standard for about in header.fields.values())


def one_grid(held: Mapping[str, Held]) -> Header:
    """A header of the one grid of a side's files."""
    first = next(header for each in held.values() for header in each.headers)
    for header in (header for each in held.values() for header in each.headers):
        if not header.beside(first):
            raise OrbitError("the files lie on different grids", where=header.file, got=header.about,
                             allowed=f"{first.about} as in {first.file}", hint="name files of one grid")  # fmt: skip
    return first


def grids_of(raw: Mapping[str, Any], own: Mapping[str, Header]) -> tuple[str, str]:
    """Coarse and fine grid, spelled out where they are the files' own; cut to whole blocks, which is said."""
    asked = {side: str(raw.get(f"{side}_grid", FROM_FILES)) for side in ("coarse", "fine")}
    for side in ("coarse", "fine"):
        if asked[side] == FROM_FILES and side not in own:
            raise OrbitError(f"no files are named whose grid the {side} one could be", where=f"{side}_grid", got=FROM_FILES,
                             allowed=f"a named grid{', or coarsen_<n>' if side == 'coarse' else ''}",
                             hint="name files of that side under `files`, or a grid")  # fmt: skip
    fine: AnyGrid = own["fine"].grid if asked["fine"] == FROM_FILES else named(asked["fine"])
    if asked["fine"] == FROM_FILES:
        even(fine)
    if asked["coarse"].startswith(COARSEN):
        factor = asked["coarse"].removeprefix(COARSEN)
        if not factor.isdecimal() or int(factor) < 2:
            raise OrbitError("not a number of cells", where="coarse_grid", got=asked["coarse"], allowed="coarsen_2, coarsen_4, ...",
                             hint="coarsen_4 makes one coarse cell of 4 x 4 fine ones")  # fmt: skip
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


def even(grid: AnyGrid) -> None:
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
        raise OrbitError("the fine grid does not divide into whole blocks", where="coarse_grid", got=f"{height}x{width} by {factor}",
                         hint="choose a factor that divides both sides, or cut the files to whole blocks")  # fmt: skip
    _say(f"fine grid from files: {height} x {width} cells cut to {rows} x {columns}, whole blocks of {factor}")
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
        first, last = int(run[0]), int(run[-1])
        cut.append((slice(first, last), slice(int(place[first]), int(place[last]))))
    (big_rows, small_rows), (big_columns, small_columns) = cut
    outer, inner = coarse.crop(big_rows, big_columns), fine.crop(small_rows, small_columns)
    if outer.shape != coarse.shape or inner.shape != fine.shape:
        _say(f"grids from files: cut to where both are: {outer.describe()}; {inner.describe()}")
    return (outer if isinstance(outer, Grid) else inner.coarsen(factor)), inner  # of a map: files in single precision are metres apart


@cache
def _say(line: str) -> None:
    """Once: a configuration is read several times."""
    log.info("%s", line)


def _apart(coarse: AnyGrid, fine: AnyGrid) -> OrbitError:
    return OrbitError("the fine files' cells do not fill the coarse files' ones", where="coarse_grid: from_files",
                      got=f"{fine.describe()} in {coarse.describe()}", hint="coarse_grid: coarsen_<n> averages the coarse files to "
                      "blocks of n fine cells")  # fmt: skip
