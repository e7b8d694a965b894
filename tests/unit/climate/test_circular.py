"""Dates on a circle: the oracle of the specification, and what plain means get wrong."""

import numpy as np
import pytest

from orbit2.climate import circular


def test_the_short_way_round_the_year():
    assert circular.difference(360, 5) == -10
    assert circular.difference(5, 360) == 10
    assert circular.difference([200, 10, 182.5], [190, 20, 0]).tolist() == [10, -10, -182.5]
    assert circular.difference(355, 5, length=360) == -10


def test_means_cross_the_new_year_and_leave_out_what_is_missing():
    assert circular.mean([360, 5, np.nan]) == 0
    assert circular.mean([350, 20]) == pytest.approx(2.5)
    assert circular.mean([10, 20], weights=[3, 1]) == pytest.approx(12.49, abs=0.02)
    assert circular.mean([[10, np.nan], [20, np.nan]], axis=0)[0] == pytest.approx(15)
    assert np.isnan(circular.mean([[10, np.nan], [20, np.nan]], axis=0)[1])
    assert np.isnan(circular.mean([0, 182.5]))  # opposite days have no mean


def test_concentration_is_one_of_equal_days_and_zero_of_opposite_ones():
    assert circular.concentration([40, 40, 40]) == pytest.approx(1)
    assert circular.concentration([0, 182.5]) == pytest.approx(0, abs=1e-12)
