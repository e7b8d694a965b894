"""How wide a halo should be: measured on the training period's residual (truth - interpolation). Never reads another period."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2.areas import relative_areas
from orbit2.config.network import ArchitectureConfig
from orbit2.data.pairs import PairStore
from orbit2.data.training import evenly, samples_within
from orbit2.grid import AnyGrid, Grid
from orbit2.plan.reach import INTERPOLATION, attends, reach, token_side
from orbit2.variables import transform_of

Array = npt.NDArray[np.float64]
SAMPLES = 16  # spread evenly over the training period
FOLDS = 2  # e-foldings: at that distance a residual explains exp(-2)^2 = 2 % of another's variance


@dataclass(frozen=True)
class Scale:
    """e-folding distance of one variable's residual in coarse cells: infinite where it never falls so far, NaN without variance."""

    variable: str
    zonal: float
    meridional: float


def longest(scales: Sequence[Scale]) -> float:
    """The longest known distance in either direction, coarse cells; 0 where none is known."""
    return max((x for scale in scales for x in (scale.zonal, scale.meridional) if not math.isnan(x)), default=0.0)


def measure(
    store: PairStore, period: tuple[str, str], outputs: Sequence[str], method: str, region: Sequence[float] | None = None
) -> list[Scale]:
    """Scales of those `outputs` that are inputs of `store` too, over at most SAMPLES samples of `period`, in `region` when given.

    `method` is the model's interpolation. Precipitation as ln(1 + mm), which is what the network predicts. Raises OrbitError for a
    period without samples.
    """
    from orbit2.metrics.correlation import lengths  # plans without a store need none of it

    known = set(store.variables("coarse")) & set(store.variables("fine"))
    names = [name for name in outputs if name in known]
    chosen = evenly(samples_within(store, *period), SAMPLES)
    coarse, factor = store.grid("coarse"), store.refinement
    box = coarse.window(region) if region is not None else (slice(0, coarse.shape[0]), slice(0, coarse.shape[1]))
    part = coarse.crop(*box)
    found = lengths(_residuals(store, chosen, names, method, box), relative_areas(part.refine(factor)), part.periodic)
    return [Scale(name, zonal / factor, meridional / factor) for name, (zonal, meridional) in zip(names, found, strict=True)]


def _residuals(
    store: PairStore, indices: npt.NDArray[np.int64], names: Sequence[str], method: str, box: tuple[slice, slice]
) -> Iterator[Array]:
    """Truth - interpolation [C, sH, sW] of each sample, in the space that the network predicts."""
    from orbit2.baselines import interpolate
    from orbit2.metrics.fields import fields_of

    factor = store.refinement
    rows, columns = (slice(part.start * factor, part.stop * factor) for part in box)
    spaces = [fields_of([name])[-1] for name in names]  # precipitation: ln(1 + x) comes last
    positions = [[store.variables("coarse").index(n) for n in names], [store.variables("fine").index(n) for n in names]]
    for index in indices:
        read = store.read("coarse", int(index))[positions[0]], store.read("fine", int(index))[positions[1]]
        coarse, fine = (np.stack([s.of(f) for s, f in zip(spaces, side.astype(np.float64), strict=True)]) for side in read)
        residual = fine - interpolate(coarse, store.grid("coarse"), factor, method)
        yield residual[:, rows][:, :, store.grid("fine").cells(rows, columns)[1]]


def recommended(scales: Sequence[Scale], config: ArchitectureConfig) -> int | None:
    """Halo in coarse cells: the interpolation's reach plus FOLDS times the longest e-folding distance, no more than a network without
    attention reads, in whole tokens. None where a residual is correlated throughout the domain."""
    wanted = INTERPOLATION + FOLDS * longest(scales)
    if not attends(config):
        wanted = min(wanted, reach(config))
    if not math.isfinite(wanted):
        return None
    side = token_side(config)
    return math.ceil(wanted / side) * side


def lines(scales: Sequence[Scale], config: ArchitectureConfig, grid: AnyGrid) -> list[str]:
    """The scales in cells of `grid` (coarse, measured on) and in km (zonal ones at its mean circumference), and what follows from them."""
    east = grid.km * float(np.average(np.cos(np.radians(grid.lat)), weights=grid.lat_weights)) if isinstance(grid, Grid) else grid.km
    table = [f"  {'residual falls to 1/e at':<34}{'zonal':>14}{'meridional':>14}{'zonal':>12}{'meridional':>14}"]
    for scale in scales:
        name = f"ln(1 + {scale.variable})" if transform_of(scale.variable) == "log1p" else scale.variable
        table.append(f"  {name:<34}{scale.zonal:>8.2f} cells{scale.meridional:>8.2f} cells"
                     f"{scale.zonal * east:>9,.0f} km{scale.meridional * grid.km:>11,.0f} km")  # fmt: skip
    beyond = "attention reads the whole tile" if attends(config) else "nothing reads further"
    table.append(f"  convolutions and interpolation read up to {reach(config)} cells to each side; {beyond}")
    cells = recommended(scales, config)
    if cells is None:
        return [*table, "  recommended halo: none is wide enough, a residual is correlated throughout the domain"]
    rule = f"{INTERPOLATION} (interpolation) + {FOLDS} x {longest(scales):.2f} (longest of these), in whole tokens of {token_side(config)}"
    return [*table, f"  recommended halo: {cells} coarse cells = {rule}"]
