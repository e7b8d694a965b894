"""Intervals of SSIM and fractions skill: from the samples' own values, as wide as theory has them for independent days."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2 import times
from orbit2.metrics import sampled

DAYS = 400
SAMPLES = [times.stamp(np.datetime64("2001-01-01T00:00:00") + np.timedelta64(day, "D")) for day in range(DAYS)]


def test_the_mean_of_independent_days_has_its_standard_error():
    values = np.random.default_rng(0).normal(0.8, 0.05, (DAYS, 2))
    values[::7, 1] = np.nan
    found = sampled.of_means(SAMPLES, values, 1000)
    for b in range(2):
        low, high = sampled.ends(found, b)
        known = values[np.isfinite(values[:, b]), b]
        assert found.value[b] == pytest.approx(known.mean(), rel=1e-12) and low < known.mean() < high
        assert high - low == pytest.approx(2 * 1.96 * known.std(ddof=1) / np.sqrt(len(known)), rel=0.2)


def test_skill_is_of_sums_and_days_without_an_event_take_nothing_away():
    generator = np.random.default_rng(1)
    sizes = generator.gamma(2.0, 1.0, DAYS) * (generator.random(DAYS) < 0.5)
    errors = sizes * generator.uniform(0.2, 0.4, DAYS)
    found = sampled.of_skill(SAMPLES, errors, sizes, 1000)
    low, high = sampled.ends(found)
    assert found.value[0] == pytest.approx(1 - errors.sum() / sizes.sum(), rel=1e-12) and low < found.value[0] < high < low + 0.05
    wet = sizes > 0
    assert sampled.ends(sampled.of_skill([SAMPLES[i] for i in np.flatnonzero(wet)], errors[wet], sizes[wet], 1000)) == pytest.approx(
        (low, high), abs=0.01)  # fmt: skip
    assert sampled.ends(sampled.of_skill(SAMPLES, np.zeros(DAYS), np.zeros(DAYS), 1000)) is None


def test_a_short_record_and_no_draws_have_none():
    values = np.random.default_rng(2).normal(size=30)
    assert sampled.ends(sampled.of_means(SAMPLES[:30], values, 1000)) is None
    assert sampled.of_means(SAMPLES, np.ones(DAYS), 0) is None
