"""What kept days are summed over: the domain, the AR6 regions and regions of the user's own, as weights of blocks of cells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely

from orbit2 import longitudes
from orbit2.diagnose import polygons
from orbit2.diagnose.kept import KeptDays
from orbit2.diagnose.regions import LAND_FRACTION, ar6
from orbit2.diagnose.shares import ar6_shares

Array = npt.NDArray[np.float64]
LEFT_OUT = ("left_out:box", "left_out:rest")
MOST_POINTS = 40_000  # of all outlines together


@dataclass(frozen=True, eq=False)
class Areas:
    """`names` [R] and `weights` [R, H, W], km2 of each block that count."""

    names: tuple[str, ...]
    weights: npt.NDArray[np.float32]

    def __add__(self, other: Areas) -> Areas:
        return Areas(self.names + other.names, np.concatenate([self.weights, other.weights]))

    def some(self) -> Areas:
        """Those that have a block."""
        use = np.flatnonzero(self.weights.any(axis=(1, 2)))
        return Areas(tuple(self.names[r] for r in use), self.weights[use])

    def rows(self, days: KeptDays) -> Iterator[tuple[slice, npt.NDArray[np.bool_], Array]]:
        """Stretches of rows of blocks that fit into memory with all their days, the blocks of them [h, W] that any area has, and the
        areas' weights there [R, those]."""
        for stretch in days.stretches():
            part = self.weights[:, stretch]
            used = np.asarray(part.any(axis=0))
            if used.any():
                yield stretch, used, part[:, used].astype(np.float64)


def own(days: KeptDays, files: Mapping[str, str]) -> Areas:
    """Regions of the user's files, each block with the share of it that lies in the polygon. Raises OrbitError as `polygons.read`."""
    sets = [polygons.read(Path(path), label) for label, path in files.items()]
    names = tuple(name for one in sets for name in one.names)
    area = days.grid.area_km2
    weights = [polygons.fractions(shape, days.grid) * area for one in sets for shape in one.shapes]
    return Areas(names, np.array(weights, dtype=np.float32).reshape(len(names), *days.grid.shape))


def outlines(files: Mapping[str, str], some: Collection[str]) -> dict[str, str]:
    """Name -> polygon (WKT, degrees) of the user's regions of `some` names, for maps: coarser where they have very many points."""
    shapes = {name: shape for label, path in files.items() for name, shape in _named(polygons.read(Path(path), label)) if name in some}
    tolerance = 0.01
    drawn = shapes
    while drawn and tolerance < 1:
        drawn = {name: shapely.simplify(shape, tolerance) for name, shape in shapes.items()}
        if sum(shapely.get_num_coordinates(shape) for shape in drawn.values()) < MOST_POINTS:
            break
        tolerance *= 2
    return {name: shapely.to_wkt(shape, rounding_precision=3) for name, shape in drawn.items()}


def _named(one: polygons.Polygons) -> Iterator[tuple[str, shapely.Geometry]]:
    return zip(one.names, one.shapes, strict=True)


def left_out(days: KeptDays, box: tuple[float, float, float, float]) -> Areas:
    """LEFT_OUT: the box that training left out, and all the rest, by the cells whose days are kept."""
    inside, area = longitudes.in_box(days.grid.lat2d, days.grid.lon2d, box), days.grid.area_km2
    return Areas(LEFT_OUT, np.array([np.where(inside, area, 0.0), np.where(inside, 0.0, area)], dtype=np.float32))


def given(days: KeptDays, region: str) -> Areas:
    """The whole domain (`region`: its name) and the AR6 regions: land of land regions, sea of ocean regions, by the cells whose days are
    kept. Blocks of cells (or cells) count by the share of them that lies in each polygon, as in the scores of regions."""
    regions, area = ar6(), days.grid.area_km2
    land = days.land_fraction_of_cells.to_numpy() >= LAND_FRACTION
    shares = ar6_shares(days.grid).scored(land, regions.kinds)
    weights = [shares.field(r) * area for r in range(shares.count)]
    return Areas((region, *regions.abbreviations), np.array([area, *weights], dtype=np.float32)).some()
