"""SAL of rain objects that are moved, scaled and spread, and beside pysteps where that is installed."""

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.metrics.sal import sal


def blob(y, x, size=4.0, peak=10.0, shape=(60, 80)):
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    return peak * np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * size**2))


FLAT = np.ones((60, 80))


def test_a_perfect_and_a_doubled_field():
    rain = blob(20, 20) + blob(40, 60, 3)
    assert sal(rain, rain, FLAT, 1, 1) == pytest.approx([0, 0, 0], abs=1e-12)  # T1
    assert sal(2 * rain, rain, FLAT, 1, 1)[:2] == pytest.approx([0, 2 / 3], abs=0.02)  # amplitude alone
    assert sal(2 * rain, rain, FLAT, 1, 1)[2] < 0.01


def test_a_displaced_field_is_wrong_in_location_alone():
    found = sal(blob(30, 50), blob(30, 30), FLAT, 2.0, 1.0)
    assert found == pytest.approx([0, 0, 40 / np.hypot(60, 160)], abs=1e-3)


def test_what_is_too_flat_has_a_positive_structure():
    wide = blob(30, 40, 8, 10 / 4)
    found = sal(wide, blob(30, 40, 4, 10), FLAT, 1, 1)
    assert found[0] > 0.9 and abs(found[1]) < 0.01 and found[2] < 1e-3
    assert sal(blob(30, 40, 4, 10), wide, FLAT, 1, 1)[0] == pytest.approx(-found[0])


def test_objects_apart_are_told_from_objects_together():
    """The same centre of mass: only how far the objects lie from it differs, and counts twice."""
    found = sal(blob(30, 20, 3) + blob(30, 60, 3), blob(30, 30, 3) + blob(30, 50, 3), FLAT, 1, 1)
    assert found[2] == pytest.approx(2 * 10 / 100, abs=2e-3)


def test_no_rain_has_no_score_and_missing_cells_count_in_neither():
    rain = blob(20, 30)
    assert np.isnan(sal(np.zeros_like(rain), rain, FLAT, 1, 1)).all()
    holed = np.where(np.arange(80)[None] < 40, rain, np.nan)
    assert sal(holed, rain, FLAT, 1, 1) == pytest.approx([0, 0, 0], abs=1e-12)
    with pytest.raises(OrbitError, match="not negative"):
        sal(rain - 1, rain, FLAT, 1, 1)


def test_amplitude_and_location_equal_pysteps():
    scores = pytest.importorskip("pysteps.verification.salscores", reason="pysteps is optional")
    generator = np.random.default_rng(0)
    p, o = (sum(blob(*generator.uniform(10, 50, 2), generator.uniform(2, 5)) for _ in range(4)) for _ in range(2))
    found = sal(p, o, FLAT, 1, 1)
    assert found[1] == pytest.approx(scores.sal_amplitude(p, o), rel=1e-12)
    one = blob(30, 50), blob(30, 30, 6)  # an object each: nothing is scattered, L is its first part
    assert sal(*one, FLAT, 1, 1)[2] == pytest.approx(scores._sal_l1_param(*one), rel=1e-3)
