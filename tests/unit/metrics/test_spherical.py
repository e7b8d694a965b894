"""Spherical harmonics against scipy's functions and pyshtools: powers that are known exactly (oracle 8)."""

import numpy as np
import pytest
from scipy.special import sph_harm_y

from orbit2.errors import OrbitError
from orbit2.grid import Grid, global_grid, uniform
from orbit2.metrics import spherical


def harmonic(grid, degree, order):
    theta, phi = np.radians(90 - grid.lat)[:, None], np.radians(grid.lon)[None]
    return (np.sqrt(2) if order else 1) * sph_harm_y(degree, order, theta, phi).real


def test_powers_of_two_harmonics_are_one_and_four():  # oracle 8
    grid = global_grid(0.75)
    power = 4 * np.pi * spherical.power(harmonic(grid, 20, 7) + 2 * harmonic(grid, 100, 0))
    assert power[20] == pytest.approx(1, abs=1e-10) and power[100] == pytest.approx(4, abs=1e-10)
    assert power.sum() == pytest.approx(5, abs=1e-10)


def test_degrees_up_to_the_number_of_rows_are_exact():
    grid = global_grid(3.0)
    field = harmonic(grid, 59, 31) + 3 * harmonic(grid, 1, 1) + 5
    power = spherical.power(field)
    assert power[[0, 1, 59]] == pytest.approx([25, 9 / (4 * np.pi), 1 / (4 * np.pi)], rel=1e-9)
    assert spherical.power(np.roll(field, 13, axis=1)) == pytest.approx(power, abs=1e-12)  # T4
    assert spherical.power(field[::-1]) == pytest.approx(power, abs=1e-12)
    several = spherical.power(np.stack([field, 2 * field, harmonic(grid, 7, 0)]))
    assert several[:2] == pytest.approx(np.stack([power, 4 * power]), abs=1e-12)
    assert several[2, 7] == pytest.approx(1 / (4 * np.pi), rel=1e-9)


def test_power_is_that_of_pyshtools():
    pyshtools = pytest.importorskip("pyshtools", reason="pyshtools is optional")
    grid = global_grid(4.0)
    coefficients = pyshtools.SHCoeffs.from_random(np.ones(20) / (2 * np.arange(20) + 1), seed=1)
    lat, lon = np.meshgrid(grid.lat, grid.lon, indexing="ij")
    field = coefficients.expand(lat=lat, lon=lon)
    assert spherical.power(field)[:20] == pytest.approx(coefficients.spectrum(), rel=1e-9)


def test_only_a_whole_globe_of_even_rows_has_harmonics():
    assert spherical.block(global_grid(2.0)) == 1 and spherical.block(global_grid(0.0625)) == 4
    assert spherical.block(global_grid(0.1)) == 3  # 1800 rows: 600
    assert spherical.block(uniform(24, 50, 230, 290, 26, 60)) is None
    edges = np.append(np.insert(np.arange(-89.5, 90), 0, -90.0), 90.0)
    assert spherical.block(Grid(edges, np.arange(0, 361.0))) is None  # rows on the poles
    assert spherical.wavelength_km(720)[-1] == pytest.approx(55.6, abs=0.1)
    with pytest.raises(OrbitError, match="missing"):
        spherical.power(np.where(np.arange(36)[:, None] == 3, np.nan, np.ones((36, 72))))
