"""Large grids are scored in single precision: logarithms of rain in it are the double ones, to its rounding; what is dry stays dry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
