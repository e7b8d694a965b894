"""Masks whose exact area fraction is known, and fields of every number type and layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orbit2.grid import Grid, from_centres, named, uniform
from orbit2.remap import Regridder

ERA5 = from_centres(np.linspace(-90, 90, 721), np.arange(0, 360, 0.25))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))


def test_a_mask_north_of_a_parallel_is_kept_by_its_exact_area() -> None:
    """ERA5 rows south of 41.125 N are missing; of the target row 41-42 N the part (sin 42 - sin 41.125) / (sin 42 - sin 41) is valid."""
    target = named("us_60")
    field = np.where(ERA5.lat[:, None] > 41.1, np.float32(3.5), np.float32(np.nan)) + np.zeros(ERA5.shape, np.float32)
    s = np.sin(np.radians([41, 41.125, 42]))
    part = (s[2] - s[1]) / (s[2] - s[0])  # 0.87416, not the 7/8 of a flat map
    assert abs(part - 7 / 8) > 5e-4
    row = 41 - 24
    for fraction, kept in ((part - 1e-6, True), (part + 1e-6, False)):
        result = Regridder(ERA5, target, min_valid_fraction=fraction)(field)
        assert np.isfinite(result[row]).all() == kept and np.isnan(result[:row]).all() and np.isfinite(result[row + 1 :]).all()
        assert np.all(result[np.isfinite(result)] == np.float32(3.5))


def test_a_mask_between_meridians_and_over_the_seam() -> None:
    """Missing from 358.875 E to 0.125 E: 1.125 of the 1.40625 degrees west of 0 E and 0.125 of those east of it, at every latitude."""
    field = np.full(ERA5.shape, 9.0)
    field[:, [0, -1, -2, -3, -4]] = np.nan
    target = named("global_1.40625")
    west, east = 1 - 1.125 / 1.40625, 1 - 0.125 / 1.40625  # valid parts of the last and the first column
    cases = ((west - 1e-6, (True, True)), (west + 1e-6, (False, True)), (east - 1e-6, (False, True)), (east + 1e-6, (False, False)))
    for fraction, kept in cases:
        result = Regridder(ERA5, target, min_valid_fraction=fraction)(field)
        assert (np.isfinite(result[:, -1]).all(), np.isfinite(result[:, 0]).all()) == kept
        assert np.isnan(result[:, -1]).all() != kept[0] and np.isfinite(result[:, 1:-1]).all()
    assert np.all(np.abs(result[:, 1:-1] - 9) < 1e-12)


def test_a_polar_cap_of_missing_rows() -> None:
    """Only the pole's own half row (89.875 to 90 N) is valid."""
    field = np.full(ERA5.shape, np.nan)
    field[-1] = 1.0
    s = np.sin(np.radians([89, 89.875, 90]))
    part = (s[2] - s[1]) / (s[2] - s[0])
    assert np.isfinite(Regridder(ERA5, named("global_1.0"), min_valid_fraction=part * 0.999)(field)[-1]).all()
    assert np.isnan(Regridder(ERA5, named("global_1.0"), min_valid_fraction=part * 1.001)(field)).all()


def test_what_is_valid_is_conserved() -> None:
    """Sum of value x valid area is the same on both grids, whatever the mask."""
    source, target = uniform(-90, 90, 0, 360, 90, 150), uniform(-90, 90, 0.7, 360.7, 37, 61)
    rng = np.random.default_rng(0)
    field = rng.gamma(0.5, 4.0, size=source.shape)
    field[rng.random(source.shape) < 0.5] = np.nan
    regridder = Regridder(source, target, min_valid_fraction=1e-8)
    valid = regridder(np.isfinite(field).astype(float))
    assert np.nansum(regridder(field) * valid * target.area_km2) == pytest.approx(np.nansum(field * source.area_km2), rel=1e-12)


@pytest.mark.parametrize("target", [named("global_1.0"), named("us_2.5"), uniform(-90, 90, 0, 360, 113, 211)], ids=["1", "US", "odd"])
def test_float32_constants_are_kept_to_the_bit_and_fields_to_rounding(target: Grid) -> None:
    regridder = Regridder(ERA5, target)
    for value in (273.15, 1e-7, 101325.0, 5.4e5):
        assert np.all(regridder(np.full(ERA5.shape, value, dtype=np.float32)) == np.float32(value))
    field = np.random.default_rng(1).gamma(0.4, 8.0, size=ERA5.shape).astype(np.float32)
    single, double = regridder(field), regridder(field.astype(np.float64))
    assert single.dtype == np.float32 and double.dtype == np.float64
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_layout_byte_order_and_integers_do_not_matter() -> None:
    source, target = named("global_4.0"), named("us_60")
    field = np.random.default_rng(2).integers(0, 100, size=(2, *source.shape))
    regridder = Regridder(source, target)
    expected = regridder(field.astype(np.float64))
    turned = field[:, ::-1, ::-1].astype(float)[:, ::-1, ::-1]  # negative strides
    for other in (field, field.astype(">f4"), field.astype("<i2"), np.asfortranarray(field.astype(float)), turned):
        np.testing.assert_allclose(regridder(other), expected, rtol=1e-6)
    assert regridder(field).dtype == np.float64 and regridder(field.astype('>f4')).dtype == np.dtype('=f4')
    infinite = field.astype(np.float64)
    infinite[0, 30, 60] = np.inf  # no number either: left out like a missing cell
    missing = np.where(np.isinf(infinite), np.nan, infinite)
    np.testing.assert_array_equal(regridder(infinite), regridder(missing))


def test_weights_are_small_and_quick_for_the_largest_pair() -> None:
    """0.0625 to 0.1 degree, what IMERG's own grid asks for: a few weights a cell, no dense matrix of 5760 x 3600."""
    source, target = named("global_0.0625"), named("global_0.1")
    regridder = Regridder(source, target)
    assert np.abs(regridder.coverage - 1).max() < 1e-12
    field = np.broadcast_to(np.sin(np.radians(source.lat_edges[:-1])) + np.sin(np.radians(source.lat_edges[1:])), source.shape[::-1]).T / 2
    exact = (np.sin(np.radians(target.lat_edges[:-1])) + np.sin(np.radians(target.lat_edges[1:]))) / 2  # cell means of sin(latitude)
    assert np.abs(regridder(field.astype(np.float32))[:, 17] - exact).max() < 5e-4
