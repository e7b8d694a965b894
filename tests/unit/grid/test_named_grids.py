"""The paper's grids by name: shapes, edges exact to the last bit, parts of grids, PRISM's own cells; projected grids."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.grid import ProjectedGrid, named, projected

DAYMET = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +datum=WGS84 +units=m"
PRISM_ORIGIN = (Fraction(24) - Fraction(1, 48), Fraction(235) - Fraction(1, 48))


@pytest.mark.parametrize(("name", "shape", "origin", "step"), [
    ("us_15", (104, 240), (24, 235), Fraction(1, 4)), ("us_10", (156, 360), (24, 235), Fraction(1, 6)),
    ("us_3.75", (416, 960), (24, 235), Fraction(1, 16)), ("us_2.5", (624, 1440), (24, 235), Fraction(1, 24)),
    ("us_0.625", (2496, 5760), (24, 235), Fraction(1, 96)),
    ("prism_10", (156, 360), PRISM_ORIGIN, Fraction(1, 6)), ("prism_2.5", (624, 1440), PRISM_ORIGIN, Fraction(1, 24)),
    ("prism_0.5", (3120, 7200), PRISM_ORIGIN, Fraction(1, 120)),
    ("global_5.625", (32, 64), (-90, 0), Fraction(45, 8)), ("global_1.40625", (128, 256), (-90, 0), Fraction(45, 32)),
    ("global_1.0", (180, 360), (-90, 0), Fraction(1)), ("global_0.25", (720, 1440), (-90, 0), Fraction(1, 4)),
    ("global_0.0625", (2880, 5760), (-90, 0), Fraction(1, 16)), ("global_0.1", (1800, 3600), (-90, 0), Fraction(1, 10)),
])
def test_every_edge_is_the_nearest_double_to_its_exact_value(name: str, shape: tuple[int, int], origin: tuple, step: Fraction) -> None:
    grid = named(name)
    assert grid.shape == shape and grid.periodic == name.startswith("global")
    for edges, first in ((grid.lat_edges, origin[0]), (grid.lon_edges, origin[1])):
        assert edges.tolist() == [float(first + k * step) for k in range(len(edges))]


def test_prism_cells_are_centred_on_whole_24ths_and_120ths() -> None:
    """PRISM's own headers: 4 km ULXMAP -125, ULYMAP 49.916666 (centres), cell 1/24; 800 m ULXMAP -125.016666, cell 1/120."""
    km4, m800, coarse = named("prism_2.5"), named("prism_0.5"), named("prism_10")
    np.testing.assert_allclose(km4.lat * 24, np.round(km4.lat * 24), atol=1e-9)
    np.testing.assert_allclose(m800.lon * 120, np.round(m800.lon * 120), atol=1e-9)
    assert km4.lon[0] == 235 == -125 + 360 and np.isclose(km4.lat, 49 + 11 / 12).any()
    assert np.isclose(m800.lon[0], 360 - 125 - 1 / 60)
    assert (km4.nests_in(coarse), m800.nests_in(km4), m800.nests_in(coarse)) == (4, 5, 20)
    with pytest.raises(OrbitError, match="do not nest"):
        km4.nests_in(named("us_10"))


@pytest.mark.parametrize(("fine", "coarse", "factor"), [
    ("us_2.5", "us_10", 4), ("us_3.75", "us_15", 4), ("us_0.625", "us_2.5", 4), ("us_3.75@36,40,255,262", "us_15@36,40,255,262", 4),
    ("prism_2.5@36,40,255,262", "prism_10@36,40,255,262", 4), ("global_1.40625", "global_5.625", 4), ("global_0.0625", "global_0.25", 4),
    ("global_0.25@-10,10,-20,30", "global_1.0@-10,10,340,30", 4),
])
def test_the_papers_pairs_nest_also_in_parts(fine: str, coarse: str, factor: int) -> None:
    assert named(fine).nests_in(named(coarse)) == factor and named(coarse).refine(factor).digest == named(fine).digest


def test_parts_hold_exactly_the_cells_of_their_box() -> None:
    part, whole = named("us_15@36,40,255,262"), named("us_15")
    assert part.shape == (16, 28) and (part.lat_edges[0], part.lat_edges[-1], part.lon_edges[0], part.lon_edges[-1]) == (36, 40, 255, 262)
    assert set(part.lat_edges) <= set(whole.lat_edges) and set(part.lon_edges) <= set(whole.lon_edges)
    assert named("us_15@36,40,-105,-98").digest == part.digest
    seam = named("global_1.0@-5,5,-20,30")
    assert seam.lon_edges[0] == 340 and seam.lon_edges[-1] == 390 and seam.shape == (10, 50)
    assert named("global_1.0@-90,90,0,360").digest == named("global_1.0").digest
    prism = named("prism_10@36,40,255,262")  # the box before the move: one suffix for both kinds of US grid
    assert prism.shape == (24, 42) and prism.lat_edges[0] == 36 - 1 / 48 and prism.lon_edges[-1] == 262 - 1 / 48
    thirds = named("us_10@36.1667,36.5,255.3333,256")  # written in decimals, snapped to the edge
    assert thirds.shape == (2, 4) and thirds.lat_edges[0] == float(Fraction(36) + Fraction(1, 6))


@pytest.mark.parametrize(("name", "message"), [
    ("us_15@36.1,40,255,262", r"us_15@36.1,40,255,262: the box's south side is not on a cell edge; got '36.1'; allowed: 35.75, 36, 36.25"),
    ("prism_10@36,40.05,255,262", r"north side.*allowed: 39.83333, 40, 40.16667"),
    ("us_15@36,40,-104.9,262", r"west side.*'-104.9'; allowed: -105.25, -105, -104.75"),
    ("us_15@36,40,255,300", r"east side"), ("us_15@10,40,255,262", r"south side"), ("us_15@40,36,255,262", "south < north"),
    ("us_15@36,40,262,255", "west < east|east side"), ("us_15@36,40", "four numbers"), ("us_15@a,b,c,d", "four numbers"),
    ("us_15@", "four numbers"), ("us_15@nan,40,255,262", "south side"),
    ("prism_7", "does not divide"), ("prism_0", "unknown grid"),
    ("prism", "prism_<arc minutes>"), ("us_15 @36,40,255,262", "unknown grid"),
])
def test_impossible_names_and_boxes_are_refused(name: str, message: str) -> None:
    with pytest.raises(OrbitError, match=message):
        named(name)


def test_projected_points_agree_with_proj() -> None:
    """The numbers are those of `gdaltransform -s_srs DAYMET -t_srs "+proj=longlat +datum=WGS84"` (GDAL, not pyproj)."""
    grid = projected(np.arange(-710_000.0, -286_000, 1000), np.arange(1_783_000.0, 2_180_000, 1000), DAYMET)
    assert grid.shape == (424, 397) and grid.x_edges[0] == 1_782_500 and grid.y_edges[-1] == -286_500
    lon, lat = grid.lon_lat([1_783_000.0, 2_179_000.0], [-287_000.0, -710_000.0])
    np.testing.assert_allclose(lon, [-78.6852314483801, -75.6402481719611], atol=1e-8)
    np.testing.assert_allclose(lat, [37.6348462511512, 32.8202166057191], atol=1e-8)


def test_projected_grids_know_themselves() -> None:
    grid = projected([0.0, 1000, 2000], [500.0, 1500], DAYMET)
    assert grid.shape == (3, 2) and "3x2 cells of 1 km" in grid.describe()
    part = grid.crop(slice(1, 3), slice(0, 1))
    np.testing.assert_array_equal(part.y_edges, [500, 1500, 2500])
    np.testing.assert_array_equal(part.x_edges, [0, 1000])
    again = projected([1e-6, 1000, 2000], [500.0, 1500], DAYMET)
    elsewhere = projected([0.0, 1000, 2000], [500.0, 1500], DAYMET.replace("-100", "-95"))
    assert grid.digest == again.digest and len({grid.digest, part.digest, elsewhere.digest}) == 3


@pytest.mark.parametrize(("y", "crs", "message"), [
    ([2000.0, 1000, 0], DAYMET, "y must be finite and ascending"), ([0.0], DAYMET, "at least two cells"),
    ([0.0, np.nan, 2], DAYMET, "finite"), ([0.0, 1, 2], "EPSG:4326", "map projection in metres"),
    ([0.0, 1, 2], "+proj=lcc +lat_1=25 +lat_2=60 +units=us-ft", "map projection in metres"),
    ([0.0, 1, 2], "no such system", "cannot be read"),
])
def test_impossible_projected_grids_are_refused(y: list[float], crs: str, message: str) -> None:
    with pytest.raises(OrbitError, match=message):
        projected(np.array(y), np.array([0.0, 1000, 2000]), crs)
    with pytest.raises(OrbitError, match="strictly increasing"):
        ProjectedGrid(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0]), DAYMET)
