"""KGE against the `scores` package, and where it has no meaning."""

import numpy as np
import pytest
import scores.continuous
import xarray as xr

from orbit2.metrics.binning import Bins
from orbit2.metrics.kge import kge
from orbit2.metrics.statistics import moments


def of(p, o, w=None):
    return kge(moments(p, o, np.ones_like(o) if w is None else w, Bins(("all",), np.zeros(o.shape, dtype=np.int64))))[0]


def test_kge_is_that_of_the_scores_package_up_to_the_form_of_its_variability():
    generator = np.random.default_rng(0)
    o = generator.gamma(2, 3, (40, 50))
    p = o * 1.2 + generator.normal(0, 1, o.shape)
    r, alpha, beta = np.corrcoef(p.ravel(), o.ravel())[0, 1], p.std() / o.std(), p.mean() / o.mean()
    assert of(p, o) == pytest.approx(1 - np.sqrt((r - 1) ** 2 + (alpha / beta - 1) ** 2 + (beta - 1) ** 2), rel=1e-12)
    same_mean = p * (o.mean() / p.mean())  # beta 1: the forms of 2009 (scores) and 2012 agree
    expected = scores.continuous.kge(xr.DataArray(same_mean, dims=("y", "x")), xr.DataArray(o, dims=("y", "x")))
    assert of(same_mean, o) == pytest.approx(float(expected), rel=1e-12)


def test_kge_of_a_perfect_and_of_a_meaningless_pair():
    o = np.random.default_rng(0).gamma(2, 3, (20, 20))
    assert of(o, o) == pytest.approx(1, abs=1e-12)  # T1
    assert np.isnan(of(o, np.zeros_like(o))) and np.isnan(of(-o, -o))
