"""Intervals of scores of mean spectra: groups of waves, many spectra at once, and whether the interval holds the true score."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.metrics import curves, resolution, spectra
from orbit2.metrics.curves import LSD, RESOLUTION, Groups
from orbit2.metrics.statistics import SeriesStatistic

WAVES = np.arange(1, 181)
WAVELENGTH = 40000.0 / WAVES
SLOPE = WAVES**-3.0


def stamps(days):
    return [str(day) for day in np.datetime64("2001-01-01") + np.arange(days)]


def series(days, power, generator, memory=0.6):
    """Spectra whose waves are chi-square about `power`, and whose energy as a whole lasts for days."""
    whole = np.zeros(days)
    for day in range(1, days):
        whole[day] = memory * whole[day - 1] + generator.normal(0, 0.2)
    each = power * np.exp(whole)[:, None] * generator.chisquare(4, (days, len(power))) / 4
    return each


def statistic(values, groups=None):
    made = SeriesStatistic()
    for stamp, row in zip(stamps(len(values)), values, strict=True):
        made.update(stamp, row if groups is None else groups.sums(row))
    return made


def test_groups_lie_within_quarter_octaves_and_hold_every_wave_once():
    groups = Groups.of(WAVELENGTH)
    assert groups.waves.sum() == len(WAVES) and len(groups.waves) < 70
    power = np.random.default_rng(0).random((3, len(WAVES)))
    np.testing.assert_allclose(groups.sums(power).sum(axis=1), power.sum(axis=1))
    octave = [np.floor(np.log2(WAVELENGTH[0] / WAVELENGTH[groups.place == g]) * 4 + 1e-9) for g in range(len(groups.waves))]
    assert all(np.ptp(each) == 0 for each in octave)


def test_a_resolution_of_groups_is_that_of_their_waves():
    groups, generator = Groups.of(WAVELENGTH), np.random.default_rng(1)
    flat = WAVES**-2.0  # no wave is below the floor
    for limit in (20.0, 60.0, 1e9):
        p = flat / (1 + (WAVES / limit) ** 4) * generator.uniform(0.8, 1.2, len(WAVES))
        found = resolution.resolutions(groups.wavelength_km, groups.sums(p), groups.sums(flat), groups.waves)
        whole = resolution.effective_resolution(WAVELENGTH, p, flat)
        assert found == pytest.approx(whole, rel=1e-9 if limit < 1e9 else 0.03)  # the shortest group's mean is longer than its last wave


def test_many_monotone_fits_at_once_are_those_of_scipy():
    generator = np.random.default_rng(2)
    values, weights = generator.normal(size=(20, 31)), generator.integers(1, 9, 31).astype(float)
    for row, fit in zip(values, resolution._monotone_rows(values, weights), strict=True):
        np.testing.assert_allclose(fit, resolution._monotone(row, weights), atol=1e-12)


def test_few_days_draws_or_no_truth_have_no_interval():
    generator, groups = np.random.default_rng(3), Groups.of(WAVELENGTH)
    long, short = (statistic(series(days, SLOPE, generator), groups) for days in (90, 50))
    assert curves.intervals(short, short, groups, 100) == {} == curves.intervals(long, long, groups, 0)
    assert curves.intervals(long, None, groups, 9) == {}
    assert curves.ends({}, LSD, 1.0) is None


def test_intervals_hold_what_endless_records_would_say():
    """Of 20 records of 120 days, with too little power at short waves: 95 % should, and 18 at least do (38 and 36 of 40, once)."""
    groups, generator, held = Groups.of(WAVELENGTH), np.random.default_rng(4), {LSD: 0, RESOLUTION: 0}
    blurred = SLOPE / (1 + (WAVES / 60.0) ** 2)
    true = {LSD: spectra.log_spectral_distance(blurred, SLOPE), RESOLUTION: resolution.effective_resolution(WAVELENGTH, blurred, SLOPE)}
    for number in range(20):
        p, o = series(120, blurred, generator), series(120, SLOPE, generator)
        found = curves.intervals(statistic(p, groups), statistic(o, groups), groups, 200)
        assert number or found == curves.intervals(statistic(p), statistic(o), groups, 200, whole=True)
        values = {LSD: spectra.log_spectral_distance(p.mean(0), o.mean(0)),
                  RESOLUTION: resolution.effective_resolution(WAVELENGTH, p.mean(0), o.mean(0))}  # fmt: skip
        for name in held:
            low, high = curves.ends(found, name, values[name])
            assert low < values[name] < high
            held[name] += low <= true[name] <= high
    assert min(held.values()) >= 18
