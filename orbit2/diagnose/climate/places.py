"""Where the monsoon domains and their sections lie on the blocks that days are kept of. Never reads a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2 import longitudes
from orbit2.climate.domains import Domain
from orbit2.climate.sections import LEAST_ROWS, Sector, sector
from orbit2.diagnose.kept.blocks import Blocks
from orbit2.diagnose.regions import LAND_FRACTION, ar6
from orbit2.diagnose.shares import ar6_shares, box_share
from orbit2.grid import AnyGrid, Grid

Array = npt.NDArray[np.float64]
SPACING = 0.25  # degrees: the finest rows of a section
LEAST_CELLS = 5  # of a domain: fewer have no pattern
LEAST_COVER = 0.5  # of a domain's area that must lie on the grid


@dataclass(frozen=True)
class Place:
    """A domain on the blocks: `region` in the table, `told` in the `method` of rows, `weights` [cells] km2 of its scored part, and its
    section's rows (None: outside the grid, or not asked for)."""

    domain: Domain
    region: str
    told: str
    weights: Array
    sector: Sector | None = None


def places(domains: Sequence[Domain], grid: AnyGrid, step: int, land: Array) -> tuple[list[Place], dict[str, str]]:
    """The domains that `grid` (of the scored cells, land fraction `land`) holds, on its blocks of `step` x `step` cells; and of the others
    why they are left out."""
    blocks = Blocks(grid, step)
    area = blocks.coarse.area_km2.ravel()
    lat, lon = blocks.coarse.lat2d.ravel(), blocks.coarse.lon2d.ravel()
    spacing = max(SPACING, blocks.coarse.resolution)
    found, left_out = [], {}
    for domain in domains:
        inside = _inside(domain, grid)
        whole = _area_km2(domain)
        covered = float((grid.area_km2 * inside).sum()) / whole
        scored = inside * (land >= LAND_FRACTION) if domain.land else inside
        weights = blocks.means(scored)[0].ravel() * area
        if covered < LEAST_COVER:
            left_out[domain.name] = f"{covered:.0%} of its area lies on the grid, at least {LEAST_COVER:.0%} are needed"
        elif (weights > 0).sum() < LEAST_CELLS:
            left_out[domain.name] = f"{int((weights > 0).sum())} cells on the grid, at least {LEAST_CELLS} are needed"
        else:
            rows = sector(lat, lon, domain.sector, spacing) if domain.sector is not None and _holds(grid, domain.sector) else None
            rows = rows if rows is not None and len(rows.latitude) >= LEAST_ROWS else None
            found.append(Place(domain, f"monsoon:{domain.name}", domain.told, weights, rows))
    return found, left_out


def _inside(domain: Domain, grid: AnyGrid) -> Array:
    """Share of each cell [H, W] in the domain."""
    if domain.box is not None:
        return box_share(domain.box, grid).astype(np.float64)
    shares, regions = ar6_shares(grid), ar6()
    return np.asarray(np.clip(sum(shares.field(regions.abbreviations.index(name)) for name in domain.regions), 0.0, 1.0))


def _area_km2(domain: Domain) -> float:
    if domain.box is None:
        regions = ar6()
        return float(sum(regions.area_km2[regions.abbreviations.index(name)] for name in domain.regions))
    south, north, west, east = domain.box
    return float(Grid(np.array([south, north]), np.array([west, west + longitudes.width(west, east)])).area_km2[0, 0])


def _holds(grid: AnyGrid, box: tuple[float, float, float, float]) -> bool:
    """Whether the grid has the whole box, to within a cell."""
    south, north, west, east = box
    margin = grid.resolution
    return grid.holds((south + margin, north - margin, west + margin, east - margin))
