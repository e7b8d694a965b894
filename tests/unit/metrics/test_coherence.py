"""Waves against the spectra they must equal, coherence of known pairs, and the wavelength down to which a field is right."""

import numpy as np
import pytest
from scipy import ndimage, signal

from orbit2.grid import global_grid, uniform
from orbit2.metrics import coherence as c
from orbit2.metrics import resolution as r
from orbit2.metrics import spectra

GRID = global_grid(2.0)


@pytest.mark.parametrize("grid", [GRID, uniform(30, 50, 240, 281, 40, 81), uniform(30, 50, 240, 280, 40, 80)])
def test_waves_have_the_power_of_the_zonal_spectrum(grid):
    field = np.random.default_rng(0).normal(size=grid.shape) + 0.3 * grid.lon
    field[-4, 3] = np.nan
    axis = spectra.zonal_axis(grid, 30, 60)
    waves = c.zonal_waves(field, axis, grid.periodic)
    sums = c.zonal_cross(waves, waves, axis.row_weights)
    assert sums[0] == pytest.approx(spectra.zonal_spectrum(field, axis, grid.periodic), rel=1e-9)
    assert c.coherence(sums) == pytest.approx(1, abs=1e-12)  # T1


def test_waves_have_the_power_of_the_radial_spectrum():
    field = np.random.default_rng(0).normal(size=(40, 64)).cumsum(axis=0)
    rings = c.Rings.of(field.shape, 90.0, 111.0)
    waves = rings.waves(field)
    k, energy = spectra.radial_spectrum(field, 90.0, 111.0)
    assert rings.k == pytest.approx(k, rel=1e-12)
    assert 2 * np.pi * rings.k * rings.cross(waves, waves)[0] == pytest.approx(energy, rel=1e-10)


def test_coherence_is_that_of_scipy_over_independent_stretches():
    """Rows as Welch's segments: scipy's coherence of the same segments, without a window."""
    generator = np.random.default_rng(1)
    truth = generator.normal(size=(30, 180))
    prediction = truth + 2 * generator.normal(size=truth.shape)
    grid = uniform(0, 30, 0, 360, 30, 180)
    axis = spectra.zonal_axis(grid, 0, 30)
    waves = [c.zonal_waves(x, axis, True) for x in (prediction, truth)]
    found = c.coherence(c.zonal_cross(*waves, np.ones(30)))
    _, expected = signal.coherence(prediction.ravel(), truth.ravel(), nperseg=180, noverlap=0, window="boxcar", detrend="constant")
    assert found == pytest.approx(expected[1:], rel=1e-9)


def test_shifted_waves_are_coherent_and_noise_is_not():
    generator = np.random.default_rng(2)
    truth = generator.normal(size=GRID.shape)
    axis = spectra.zonal_axis(GRID, -30, 30)
    of = lambda x: c.zonal_waves(x, axis, True)  # noqa: E731
    assert c.coherence(c.zonal_cross(of(3 * np.roll(truth, 2, axis=1)), of(truth), axis.row_weights)) == pytest.approx(1)
    noise = c.coherence(c.zonal_cross(of(generator.normal(size=GRID.shape)), of(truth), axis.row_weights))
    assert noise.mean() == pytest.approx(1 / len(axis.rows), rel=0.25)
    gap = truth.copy()
    gap[:, 4] = np.nan
    assert np.isnan(c.zonal_cross(of(gap), of(truth), axis.row_weights)).all()


WAVELENGTH = 4000.0 / np.arange(1, 81)


def test_effective_resolution_survives_a_noisy_bin_and_a_recovery_of_noise():
    truth = WAVELENGTH**3
    damped = np.where(WAVELENGTH < 200, 0.2, 1.0) * truth
    plain = r.effective_resolution(WAVELENGTH, damped, truth)
    assert plain == pytest.approx(200, rel=0.15)
    noisy = damped.copy()
    noisy[6] *= 4  # one bin at 571 km
    assert r.effective_resolution(WAVELENGTH, noisy, truth) < 300
    back = np.where(WAVELENGTH < 60, 1.1, damped / truth) * truth  # as much power again, of noise, in the last third of an octave
    assert r.effective_resolution(WAVELENGTH, back, truth) == pytest.approx(plain, rel=0.1)


def test_effective_resolution_at_its_ends():
    truth = WAVELENGTH**3
    assert r.effective_resolution(WAVELENGTH, truth, truth) == 50  # T1: the shortest
    assert r.effective_resolution(WAVELENGTH, 1.9 * truth, truth) == 50
    assert r.effective_resolution(WAVELENGTH, 3 * truth, truth) == 4000  # wrong from the start
    assert r.effective_resolution(WAVELENGTH, np.zeros_like(truth), truth) == 4000
    assert np.isnan(r.effective_resolution(WAVELENGTH[:9], truth[:9], truth[:9]))  # not resolvable here
    assert np.isnan(r.effective_resolution(WAVELENGTH[60:], truth[60:], truth[60:]))  # twenty bins of half an octave
    assert np.isnan(r.effective_resolution(WAVELENGTH, np.full(80, np.nan), truth))


def test_a_smoothed_field_is_coherent_and_an_added_noise_is_what_limits_it():
    generator = np.random.default_rng(3)
    shape = (96, 128)
    rings = c.Rings.of(shape, 10.0, 10.0)
    total = np.zeros((2, 4, len(rings.k)))
    for _ in range(6):
        truth = ndimage.gaussian_filter(generator.normal(size=shape), 1.0)
        smooth = ndimage.gaussian_filter(truth, 2)
        total[0] += rings.cross(rings.waves(smooth), rings.waves(truth))
        total[1] += rings.cross(rings.waves(truth + 0.05 * generator.normal(size=shape)), rings.waves(truth))
    ends = [r.coherent_down_to(1 / rings.k, sums) for sums in total]
    power = [r.effective_resolution(1 / rings.k, sums[0], sums[1]) for sums in total]
    assert ends[0] < 30 < 60 < power[0]  # blurred: in place, but too weak
    # white noise of power s^2 beside the truth's exp(-2 (2 pi k)^2): the coherence is half where both are equal
    spectrum = total[1][1] / 6
    noise = 0.05**2 * 100.0
    expected = 1 / np.interp(noise, spectrum[::-1], rings.k[::-1])
    assert ends[1] == pytest.approx(expected, rel=0.15)
