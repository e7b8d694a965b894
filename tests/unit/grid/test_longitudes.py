"""Longitudes in any convention and turn: one order, one grid, one window, a model's box across 0 E."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit2.downscale import load_model
from orbit2.errors import OrbitError
from orbit2.grid import from_centres, global_grid, named, uniform
from orbit2.longitudes import columns, eastward, follow, placed, signed, width
from tests.data.small_downscaling import random_model

STEPS = (0.1, 0.25, 1.0, 1.40625, 2.5, 7.5, 30.0)


def conventions(lon: np.ndarray, turns: np.ndarray) -> list[np.ndarray]:
    """The same meridians written from 0, from -180, and in turns of their own."""
    return [np.mod(lon, 360), signed(lon), lon + 360.0 * turns]


@given(st.sampled_from(STEPS), st.integers(-400, 400), st.integers(2, 300), st.integers(0, 299), st.booleans(), st.integers(0, 2**32))
def test_every_writing_of_a_regular_axis_gives_the_same_grid(
    step: float, west: int, count: int, roll: int, reverse: bool, seed: int
) -> None:
    count = min(count, round(360 / step))
    if 0.6 * 360 < count * step < 360 - 0.5 * step:  # nearly closed circles: the gap must still be wider than a step
        count = round(0.6 * 360 / step)
    lon = west * step + step * np.arange(count)
    turns = np.random.default_rng(seed).integers(-2, 3, count)
    want = None
    for written in conventions(lon, turns):
        mixed = np.roll(written[::-1] if reverse else written, roll)
        order, found = eastward(mixed)
        assert len(order) == count and np.all(np.diff(found) > 0) and 0 <= found[0] < 360
        np.testing.assert_allclose(np.mod(mixed[order] - found + 180, 360), 180, atol=2e-6)
        grid = from_centres([0.0, step], found)
        want = want or grid
        assert grid.digest == want.digest and grid.periodic == (abs(count * step - 360) < 1e-6)
    if not want.periodic:  # one piece from its western side, not from a seam
        assert follow(lon[0], found[0]) == pytest.approx(found[0], abs=2e-6) and found[-1] - found[0] == pytest.approx((count - 1) * step)


def test_a_box_across_greenwich_is_one_piece_and_a_globe_begins_at_zero() -> None:
    for lon in (np.arange(-20.0, 41, 4), np.r_[np.arange(0.0, 41, 4), np.arange(340.0, 360, 4)], np.arange(340.0, 401, 4)):
        assert eastward(lon)[1].tolist() == np.arange(340.0, 401, 4).tolist()
    for lon in (np.arange(-180.0, 180, 30), np.arange(-180.0, 181, 30), np.arange(0.0, 361, 30)):  # the first meridian once or twice
        assert eastward(lon)[1].tolist() == np.arange(0.0, 360, 30).tolist()
    single = (np.arange(-180, 180, 0.1) + 0.05).astype(np.float32)  # rounded coordinates are no gap
    assert eastward(single)[1][0] == pytest.approx(0.05, abs=1e-4) and len(eastward(single)[1]) == 3600
    with pytest.raises(OrbitError, match="1-D and finite"):
        eastward([0.0, np.nan])


def test_widths_and_turns() -> None:
    assert width(350, 20) == 30 and width(-10, 20) == 30 and width(0, 360) == 360 and width(-180, 180) == 360
    assert placed(-10, 30, 0) == pytest.approx((350, 390)) and placed(-10, 30, -180) == pytest.approx((-10, 30))
    assert placed(0, 30, 1e-9)[0] == pytest.approx(0, abs=1e-8)  # an edge's rounding is no turn


@pytest.mark.parametrize("box", [(30, 60, -10, 30), (30, 60, 350, 30), (30, 60, 350, 390), (30, 60, -370, -330)])
def test_windows_wrap_on_the_globe(box: tuple[float, ...]) -> None:
    grid = global_grid(1.0)
    rows, found = grid.window(box)
    part = grid.crop(rows, found)
    assert (part.lon_edges[0], part.lon_edges[-1]) == (350, 390) and np.all(np.diff(part.lon_edges) == 1) and not part.periodic
    values = np.broadcast_to(grid.lon, grid.shape)
    np.testing.assert_array_equal(values[np.ix_(*grid.cells(rows, found))][0], np.mod(part.lon, 360))
    assert part.window(box) == (slice(0, 30), slice(0, 40)) and part.holds(box) and not part.holds((30, 60, -11, 30))


def test_windows_of_regions_and_whole_circles() -> None:
    globe, europe = global_grid(1.0), uniform(30, 60, -20, 40, 30, 60)
    assert globe.window((-90, 90, -180, 180)) == globe.window((-90, 90, 0, 360)) == (slice(0, 180), slice(0, 360))
    assert europe.window((0, 90, -180, 180))[1] == slice(0, 60) and europe.window((30, 60, 340, 0))[1] == slice(0, 20)
    assert europe.window((30, 60, 300, 0))[1] == slice(0, 20)  # begins west of the grid
    with pytest.raises(OrbitError, match="outside the grid"):
        europe.window((30, 60, 100, 120))
    with pytest.raises(OrbitError, match="two pieces"):
        columns(europe.lon, europe.lon_edges, 30, 0)


def test_a_model_of_a_box_across_the_seam_predicts_as_on_a_globe_that_begins_elsewhere(tmp_path: Path) -> None:
    downscaler = load_model(random_model(tmp_path / "model", (-40.0, 40.0, -60.0, 75.0)))
    grid, turned = global_grid(15.0), uniform(-90, 90, -180, 180, 12, 24)
    random = np.random.default_rng(1)
    coarse, static = random.normal(280, 5, (2, 12, 24)).astype(np.float32), random.normal(300, 9, (1, 48, 96)).astype(np.float32)
    coarse[1] = np.abs(coarse[1] - 280)
    time = np.datetime64("2026-01-01T00:00:00", "s")
    moved = np.roll(coarse, 12, -1), np.roll(static, 48, -1)
    for tile in (0, (0, 4)):
        here = downscaler.predict(coarse, ("2m_temperature", "precipitation_rate"), static, grid, time, tile, halo=2)
        there = downscaler.predict(moved[0], ("2m_temperature", "precipitation_rate"), moved[1], turned, time, tile, halo=2)
        assert here.shape == (2, 24, 36)
        np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-4)
    fine = downscaler.fine_grid(grid)
    assert (fine.lon_edges[0], fine.lon_edges[-1]) == (300, 435) and fine.shape == (24, 36)


def test_named_parts_cross_the_seam_in_any_turn() -> None:
    for name in ("global_1.0@30,60,-10,30", "global_1.0@30,60,350,30", "global_1.0@30,60,350,390"):
        assert named(name).same_as(uniform(30, 60, 350, 390, 30, 40))
