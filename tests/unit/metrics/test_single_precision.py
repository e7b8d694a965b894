"""ln(1 + x) and its inverse are NumPy's; in single precision, which large grids are scored in, to its rounding; what is dry stays dry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orbit2.logarithms import expm1, log1p
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


def test_logarithms_and_their_inverse_are_numpys() -> None:
    rain: Any = np.concatenate([np.logspace(-300, 300, 601), RAIN.ravel(), [np.inf, -np.inf, -3.0, 0.41, 0.42]])
    with np.errstate(invalid="ignore"):
        expected = np.log1p(np.maximum(rain, 0.0))
    np.testing.assert_allclose(log1p(rain), expected, rtol=1e-15)
    few: Any = rain[(rain > 1e-30) & (rain < 1e30)].astype(np.float32)
    np.testing.assert_allclose(log1p(few), np.log1p(few.astype(np.float64)), rtol=3e-7)
    x: Any = np.concatenate([np.logspace(-300, 2.8, 601), -np.logspace(-300, 2.8, 601), [0.0, np.nan]])
    np.testing.assert_allclose(expm1(x), np.expm1(x), rtol=2e-15)
    for function, given in ((log1p, rain), (expm1, x)):
        kept: Any = given.copy()
        np.testing.assert_array_equal(function(kept, kept), function(given))  # in place
        apart: Any = np.empty((len(given), 2))[:, 0]
        np.testing.assert_array_equal(function(given, apart), function(given))
        np.testing.assert_array_equal(apart, function(given))
        single: Any = np.empty(len(given), dtype=np.float32)
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(function(given, single), function(given).astype(np.float32), rtol=1e-6)
