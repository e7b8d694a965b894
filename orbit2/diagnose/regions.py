"""The 58 IPCC AR6 reference regions, from polygons that ship with orbit2. Never uses the network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapefile
import shapely
from shapely.geometry import shape

from orbit2.grid import EARTH_RADIUS_KM, AnyGrid, Grid
from orbit2.metrics.binning import Bins

if TYPE_CHECKING:
    import regionmask

POLYGONS = Path(__file__).parent / "data" / "IPCC-WGI-reference-regions-v4.zip"
ATTRIBUTION = "IPCC WGI reference regions v4, Iturbide et al. (2020), CC BY 4.0"
LAND, OCEAN, BOTH = "Land", "Ocean", "Land-Ocean"
LAND_FRACTION = 0.5
Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Regions:
    """Names, kinds (Land, Ocean, Land-Ocean), exact polygon areas (km2 on the 6371 km sphere) and the polygons' `shapes`."""

    abbreviations: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    area_km2: Array
    shapes: tuple[shapely.Geometry, ...]

    @cached_property
    def polygons(self) -> regionmask.Regions:
        """For masks."""
        import regionmask  # brings geopandas, cartopy and rasterio: a second, which who needs no mask need not wait

        return regionmask.Regions(self.shapes, names=self.names, abbrevs=self.abbreviations, name="AR6", source=ATTRIBUTION, overlap=False)

    def on(self, grid: AnyGrid) -> IntArray:
        """Region of each cell centre, [H, W]: a position in `abbreviations`, -1 for none."""
        places = (grid.lon, grid.lat) if isinstance(grid, Grid) else (grid.lon2d % 360.0, grid.lat2d)
        ids = np.asarray(self.polygons.mask(*places).values, dtype=np.float64)
        return np.where(np.isfinite(ids), ids, -1).astype(np.int16)


@cache
def ar6() -> Regions:
    """The vendored AR6 regions (Iturbide et al. 2020, ESSD 12:2959, version 4): 43 land, 3 land-ocean, 12 ocean."""
    with shapefile.Reader(str(POLYGONS)) as file:  # geopandas takes a second to import, and does more than is needed
        records = file.records()
        shapes = tuple(shape(each.__geo_interface__) for each in file.shapes())
    return Regions(
        tuple(str(each["Acronym"]) for each in records), tuple(readable(str(each["Name"])) for each in records),
        tuple(str(each["Type"]) for each in records), np.array([_area_km2(polygon) for polygon in shapes]), shapes,
    )  # fmt: skip


def readable(name: str) -> str:
    """`N.W.North-America` -> `N. W. North America`, `Equatorial.Pacific-Ocean` -> `Equatorial Pacific Ocean`."""
    spaced = re.sub(r"(?<=[a-z])\.", " ", name).replace(".", ". ").replace("-", " ")
    return spaced.replace("&", " and ").replace("/", " and ")


def _area_km2(polygon: shapely.Geometry) -> float:
    """Area on the sphere: the polygon in (longitude, sin latitude) is an equal-area map."""
    equal = shapely.transform(polygon, lambda c: EARTH_RADIUS_KM * np.stack([np.radians(c[:, 0]), np.sin(np.radians(c[:, 1]))], axis=1))
    return float(equal.area)


def scored_bins(regions: Regions, ids: IntArray, land: npt.NDArray[np.bool_]) -> Bins:
    """The cells that count for each region: land of land regions, sea of ocean regions, all of the three land-ocean ones."""
    kinds = np.array([*regions.kinds, ""])  # position -1 picks the empty kind
    keep = np.where(land, np.isin(kinds, (LAND, BOTH))[ids], np.isin(kinds, (OCEAN, BOTH))[ids])
    return Bins(regions.abbreviations, np.where(keep, ids, np.int16(-1)))
