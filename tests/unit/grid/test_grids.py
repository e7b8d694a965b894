"""Grids: centres, edges, areas, nesting and windows against geometry on the sphere."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.grid import EARTH_RADIUS_KM, Grid, from_centres, named, uniform


@pytest.mark.parametrize("name", ["global_0.25", "global_1.0", "global_4.0"])
def test_areas_of_a_global_grid_sum_to_the_sphere(name: str) -> None:
    grid = named(name)
    assert grid.area_km2.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS_KM**2, rel=1e-12) and grid.periodic
    assert grid.lon_edges[0] == 0 and grid.lat_edges[0] == -90 and np.all(np.abs(grid.lat) < 90)


def test_era5_rows_at_the_poles_are_half_cells_centred_on_the_pole() -> None:
    grid = from_centres(np.linspace(-90, 90, 721), np.arange(0, 360, 0.25))
    assert grid.shape == (721, 1440) and grid.periodic
    assert grid.lat[0] == -90 and grid.lat[-1] == 90 and grid.lat[1] == -89.75
    assert grid.lat_edges[1] - grid.lat_edges[0] == pytest.approx(0.125)
    assert grid.area_km2.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS_KM**2, rel=1e-12)


def test_float32_centres_give_the_same_grid_as_exact_ones() -> None:
    exact = named("global_0.25")
    rebuilt = from_centres(exact.lat.astype(np.float32), exact.lon.astype(np.float32))
    np.testing.assert_allclose(rebuilt.lat_edges, exact.lat_edges, atol=1e-4)
    assert rebuilt.periodic and rebuilt.lat_edges[0] == -90 and rebuilt.lat_edges[-1] == 90


def test_paper_boxes_have_the_published_shapes() -> None:
    assert named("us_15").shape == (104, 240) and named("us_60").shape == (26, 60)
    assert (named("us_15").lat_edges[0], named("us_15").lon_edges[0]) == (24, 235)


def test_refine_coarsen_and_nest_are_inverse() -> None:
    coarse, fine = named("global_4.0"), named("global_1.0")
    assert fine.nests_in(coarse) == 4 and coarse.refine(4).same_as(fine) and fine.coarsen(4).same_as(coarse)
    assert coarse.refine(4).digest == fine.digest
    with pytest.raises(OrbitError, match="do not nest"):
        named("global_1.5").nests_in(coarse)
    with pytest.raises(OrbitError, match="whole blocks"):
        fine.coarsen(7)


def test_window_holds_the_centres_inside_the_box() -> None:
    grid = named("global_1.0")
    rows, columns = grid.window((24, 50, -125, -66))
    box = grid.crop(rows, columns)
    assert box.lat_edges[0] == 24 and box.lat_edges[-1] == 50 and box.lon_edges[0] == 235 and box.lon_edges[-1] == 294 and not box.periodic
    with pytest.raises(OrbitError, match="outside the grid"):
        box.window((-10, 0, 100, 120))


@pytest.mark.parametrize(("lat", "lon", "message"), [
    ([0.0, 10, 5], [0.0, 1, 2], "latitude must be finite and ascending"),
    ([0.0, 10, 95], [0.0, 1, 2], "outside the globe"),
    ([-95.0, 10, 20], [0.0, 1, 2], "outside the globe"),
    ([0.0, np.nan, 5], [0.0, 1, 2], "finite"),
    ([0.0], [0.0, 1, 2], "at least two cells"),
    ([0.0, 1], [0.0, 300, 600], "more than 360"),
])
def test_impossible_coordinates_are_refused(lat: list[float], lon: list[float], message: str) -> None:
    with pytest.raises(OrbitError, match=message):
        from_centres(np.array(lat), np.array(lon))


@pytest.mark.parametrize("name", ["global_7", "us_7", "mars_1", "global_", "global_0", "us_0.0", "global_1.2.3"])
def test_unknown_or_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(OrbitError):
        named(name)


def test_digest_tells_grids_apart_and_ignores_rounding() -> None:
    grid = uniform(-90, 90, 0, 360, 45, 90)
    assert grid.digest == Grid(grid.lat_edges + 1e-10 * np.sin(np.arange(46)), grid.lon_edges).digest
    assert grid.digest != uniform(-90, 90, 1, 361, 45, 90).digest
