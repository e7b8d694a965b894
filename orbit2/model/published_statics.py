"""The static fields that lie beside published weights: arrays without names, units or a grid, which are found out here or asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.data.store_grid import GRID
from orbit2.errors import OrbitError
from orbit2.grid import Grid, named
from orbit2.sources.static import open_static
from orbit2.units import STANDARD_GRAVITY, conversion
from orbit2.variables import variable

OROGRAPHY = "orography"
STATICS = ("land_sea_mask", OROGRAPHY, "lattitude", "landcover")  # as the checkpoints spell them, in the order that they are read in
OURS = {"lattitude": "row_latitude", "landcover": "landcover_class"}
FLAG = "--orography-units"
ALIKE, CORRELATED = 1.5, 0.7  # an altitude is the Earth's, to a factor and a correlation: other averages of it are
Field = npt.NDArray[np.float32]


def read(path: Path, name: str | None, refinement: int, orography_units: str | None = None) -> tuple[xr.Dataset, float]:
    """(the fields on the fine grid, canonical units, every coarse value repeated: averaged back they are what they were; what the
    orography's statistics are to be multiplied by). `name`: of the coarse grid. Raises OrbitError for what does not fit together, and
    where grid or units would have to be guessed."""
    values: dict[str, Field] = {}
    for each in STATICS:
        files = sorted(path.glob(f"{each}*.npy"))
        if len(files) != 1:
            raise OrbitError(f"no single file of {each}", where=path, got=", ".join(f.name for f in files) or "none",
                             allowed=f"{each}*.npy", hint="leave one such file in the folder")  # fmt: skip
        values[each] = np.squeeze(np.load(files[0], allow_pickle=False)).astype(np.float32)
    shapes = {field.shape for field in values.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or not all(np.isfinite(field).all() for field in values.values()):
        raise OrbitError("static fields do not fit together", where=path, got=", ".join(map(str, shapes)), allowed="one shape, no gaps",
                         hint="give fields of one grid without gaps")  # fmt: skip
    grid = _grid(values["lattitude"], name, path)
    factor = metres(values[OROGRAPHY], grid, next(path.glob(f"{OROGRAPHY}*.npy")), orography_units)
    values[OROGRAPHY] *= np.float32(factor)
    fine = grid.refine(refinement)
    repeated = {OURS.get(each, each): np.kron(field, np.ones((refinement, refinement), np.float32)) for each, field in values.items()}
    made = xr.Dataset(
        {each: (fine.dims, field, {"units": variable(each).units}) for each, field in repeated.items()},
        coords={"lat": ("lat", fine.lat, {"units": "degrees_north"}), "lon": ("lon", fine.lon, {"units": "degrees_east"})},
        attrs={
            "source": f"static fields published with the weights ({path.name}), repeated on the fine grid",
            GRID: json.dumps(fine.to_attributes()),
        },
    )
    return made, factor


def metres(field: Field, grid: Grid, file: Path, told: str | None) -> float:
    """What an orography [H, W] without units is to be multiplied by, to be in metres: by the units that were `told`, else the name of its
    `file`, else values that no land has, else the Earth's own altitude on the same cells. Raises OrbitError where none decides."""
    low, high = variable(OROGRAPHY).valid
    if told is not None:
        factor = conversion(told, OROGRAPHY, FLAG).factor
    elif "geopotential" in file.name.lower() or float(np.abs(field).max()) > high:
        factor = 1 / STANDARD_GRAVITY
    else:
        factor = _like_the_earth(field, grid, file)
    if not (low <= float(field.min()) * factor and float(field.max()) * factor <= high):
        raise OrbitError("orography outside its range", where=file, got=f"{field.min() * factor:g} to {field.max() * factor:g} m",
                         allowed=f"{low:g} to {high:g} m", hint=f"say its units with {FLAG}")  # fmt: skip
    return factor


def _like_the_earth(field: Field, grid: Grid, file: Path) -> float:
    """Low land in m2 s-2 has values that mountains have in metres: which of both it is, the altitude that ships with orbit2 says."""
    earth = open_static(grid, (OROGRAPHY,))[0].astype(np.float64).ravel()
    own, weights = field.astype(np.float64).ravel(), grid.area_km2.ravel() / grid.area_km2.sum()
    square = float(weights @ earth**2)
    slope = float(weights @ (own * earth)) / square if square > 0 else 0.0
    deviations = own - weights @ own, earth - weights @ earth
    spreads = [float(np.sqrt(weights @ each**2)) for each in deviations]
    correlation = float(weights @ (deviations[0] * deviations[1])) / (spreads[0] * spreads[1]) if min(spreads) > 0 else 0.0
    for factor in (1.0, 1 / STANDARD_GRAVITY):
        if correlation > CORRELATED and 1 / ALIKE < slope * factor < ALIKE:
            return factor
    raise OrbitError("is the orography in metres, or a geopotential?", where=file,
                     got=f"no units, {own.min():g} to {own.max():g}; {slope:.2g} times the Earth's there, correlation {correlation:.2f}",
                     allowed=f"metres (1 times) or m2 s-2 (9.8 times), correlation above {CORRELATED:g}",
                     hint=f"say it with {FLAG} m, or {FLAG} 'm2 s-2'; is --grid right?")  # fmt: skip


def _grid(latitude: npt.NDArray[np.float32], name: str | None, where: Path) -> Grid:
    """The coarse grid of the static fields. Raises OrbitError where it is neither named nor the nodes of a whole globe."""
    height, width = latitude.shape
    if name is None:
        if latitude[0, 0] > latitude[-1, 0]:
            raise OrbitError("rows go from north to south", where=where, allowed="row 0 in the south",
                             hint="turn the fields over (numpy.flipud), all of them")  # fmt: skip
        if width != 2 * height or abs(latitude[0, 0] + 90) > 1e-3 or abs(latitude[1, 0] - latitude[0, 0] - 180 / height) > 1e-3:
            raise OrbitError("on which grid are the static fields?", where=where, got=f"{height}x{width} from {latitude[0, 0]:g} north",
                             hint="say it with --grid, e.g. cells_24,54,120,235,295,240")  # fmt: skip
        name = f"nodes_{180 / height:.10g}"
    grid = named(name)
    if grid.shape != (height, width):
        raise OrbitError("the static fields have another shape than the grid", where=where, got=f"{height}x{width}",
                         allowed=grid.describe(), hint="name the grid that the fields lie on")  # fmt: skip
    return grid
