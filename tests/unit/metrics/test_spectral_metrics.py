"""Spectra against Parseval's theorem, pure waves and known ratios (evaluation.md 1.7, T8)."""

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.metrics import spectra as s

GRID = global_grid(2.0)


def test_zonal_bins_sum_to_the_variance_of_white_noise():
    field = np.random.default_rng(0).normal(size=GRID.shape)
    axis = s.zonal_axis(GRID, 30, 60)
    power = s.zonal_spectrum(field, axis, periodic=True)
    assert power.sum() == pytest.approx(np.average(field[axis.rows].var(axis=1), weights=axis.row_weights), rel=1e-12)


def test_zonal_wave_has_its_wavenumber_wavelength_and_power():
    field = np.cos(np.radians(12 * GRID.lon))[None] * np.ones(GRID.shape)
    axis = s.zonal_axis(GRID, -30, 30)
    power = s.zonal_spectrum(field, axis, periodic=True)
    assert axis.wavenumber[power.argmax()] == 12 and power.max() == pytest.approx(0.5) and power.sum() == pytest.approx(0.5)
    assert 2 * np.pi * 6371 / 12 * 0.86 < axis.wavelength_km[11] < 2 * np.pi * 6371 / 12


def test_windowed_box_rows_keep_their_variance_and_wavelength():
    box = uniform(30, 50, 240, 280, 40, 80)
    axis = s.zonal_axis(box, 30, 50)
    field = np.cos(2 * np.pi * (box.lon - 240) / 5)[None] * np.ones(box.shape) + 0.3 * box.lon  # 72 cycles a circle, on a slope
    power = s.zonal_spectrum(field, axis, periodic=False)
    assert axis.wavenumber[power.argmax()] == 72 and power.sum() == pytest.approx(0.5, rel=0.02)


def test_rows_with_missing_cells_are_left_out():
    field = np.random.default_rng(0).normal(size=GRID.shape)
    axis = s.zonal_axis(GRID, 30, 60)
    holed = field.copy()
    holed[axis.rows[2], 5] = np.nan
    keep = np.delete(np.arange(len(axis.rows)), 2)
    expected = np.average(field[axis.rows[keep]].var(axis=1), weights=axis.row_weights[keep])
    assert s.zonal_spectrum(holed, axis, True).sum() == pytest.approx(expected, rel=1e-12)
    holed[:] = np.nan
    assert np.isnan(s.zonal_spectrum(holed, axis, True)).all()
    assert s.zonal_axis(uniform(24, 50, 230, 290, 26, 60), -30, 0) is None


def test_parseval_in_two_dimensions():  # T8
    field = np.random.default_rng(0).normal(size=(40, 64))
    power, kx, ky = s.power_2d(field, 90.0, 111.0)
    assert power.sum() * (kx[1] - kx[0]) * (ky[1] - ky[0]) == pytest.approx(np.mean(field**2), rel=1e-13)


def test_radial_spectrum_of_white_noise_integrates_to_its_variance_up_to_nyquist():
    dx, dy, totals = 100.0, 100.0, []
    for seed in range(20):
        k, energy = s.radial_spectrum(np.random.default_rng(seed).normal(size=(64, 64)), dx, dy)
        totals.append(np.trapezoid(energy, k))
    assert np.mean(totals) == pytest.approx(np.pi / 4, rel=0.05)  # the disc inside the square of wavenumbers


@pytest.mark.parametrize("direction", ["x", "y"])
def test_radial_bins_are_physical_wavenumbers(direction):
    ny, nx, dx, dy = 60, 120, 80.0, 110.0
    y, x = np.meshgrid(np.arange(ny) * dy, np.arange(nx) * dx, indexing="ij")
    wave = np.cos(2 * np.pi * (x if direction == "x" else y) / 1000.0)
    k, energy = s.radial_spectrum(wave, dx, dy)
    assert 1 / k[energy.argmax()] == pytest.approx(1000, rel=0.1)


def test_box_must_be_complete_and_large_enough():
    field = np.ones((20, 20))
    field[3, 3] = np.nan
    with pytest.raises(OrbitError, match="missing cells"):
        s.radial_spectrum(field, 1.0, 1.0)
    with pytest.raises(OrbitError, match="too small"):
        s.radial_spectrum(np.ones((4, 20)), 1.0, 1.0)


def test_doubled_power_is_three_decibels():  # T8
    truth = np.exp(-np.arange(1, 20) / 3.0)
    assert s.log_spectral_distance(2 * truth, truth) == pytest.approx(3.0103, abs=1e-5)
    assert s.log_spectral_distance(truth, truth) == 0  # T1
