"""Large grids are scored in single precision: logarithms of rain in it are the double ones, to its rounding, and what is dry stays dry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orbit2.baselines.corrections import corrected
from orbit2.metrics.fields import Field

RAIN = np.array([[0.0, 1e-6, 0.05, 0.1, 3.0], [40.0, 299.0, np.nan, 0.0, -1e-9]])


def test_the_logarithm_of_single_precision_is_that_of_double() -> None:
    field = Field("precipitation_rate", "log1p")
    kept: Any = RAIN.astype(np.float32)
    single, double = field.of(kept), field.of(RAIN)
    assert single.dtype == np.float32 and double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=2e-7, atol=1e-7)
    assert single[0, 0] == 0 and single[1, 4] == 0 and np.isnan(single[1, 2])
    np.testing.assert_array_equal(kept, RAIN.astype(np.float32))  # the caller's field is its own
    assert float(field.of(np.array(0.1))) == pytest.approx(np.log1p(0.1), rel=1e-15)


@pytest.mark.parametrize("sloped", [False, True])
def test_a_correction_of_the_logarithm_kept_in_single_precision_is_that_of_double(sloped: bool) -> None:
    random = np.random.default_rng(0)
    base = np.maximum(random.gamma(0.3, 8.0, (40, 30)) - 0.5, 0.0)
    base[3, 4] = np.nan
    residual = random.normal(0, 0.2, base.shape).astype(np.float32)
    residual[5] = np.nan
    slope, mean = (values.astype(np.float32)[:None if sloped else 0] for values in (random.normal(0, 0.1, base.shape), np.log1p(base)))
    double, single = np.empty(base.shape), np.empty(base.shape, np.float32)
    for result in (double, single):
        corrected(result, base, residual, slope, np.nan_to_num(mean), True, 0.0, 300.0)
    np.testing.assert_allclose(single, double, rtol=1e-6, atol=3e-7)
    assert (single[double == 0] == 0).all() and np.isnan(single[3, 4]) and (double == 0).any()
