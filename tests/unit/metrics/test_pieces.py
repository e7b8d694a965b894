"""Moments of pieces, made those of what they make up: as plain numpy has them, whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from orbit2.evaluate.conservation import NUMBERS, POWERS, conservation_row
from orbit2.metrics import pieces
from orbit2.metrics.predictions import Frames, frame
from orbit2.metrics.statistics import Moments

RNG = np.random.default_rng(3)


def plain(p, o, w):
    """[9] of some cells."""
    known = np.isfinite(p) & np.isfinite(o)
    p, o, w = p[known], o[known], w[known]
    if not w.sum() > 0:
        return np.zeros(9)
    mean_p, mean_o = (w * p).sum() / w.sum(), (w * o).sum() / w.sum()
    dp, do = p - mean_p, o - mean_o
    return np.array([len(p), w.sum(), mean_p, mean_o, (w * dp * dp).sum(), (w * do * do).sum(), (w * dp * do).sum(),
                     (w * (p - o) ** 2).sum(), (w * abs(p - o)).sum()])  # fmt: skip


def cells(n):
    p, o = 1e5 + RNG.normal(size=n), 1e5 + RNG.normal(size=n)
    p[::7], o[3::11] = np.nan, np.nan
    return p, o, RNG.uniform(0.5, 2, n)


def test_two_sets_of_cells_are_joined_as_if_they_were_one():
    p, o, w = cells(60)
    one, other, nothing = (np.stack([plain(*(x[part] for x in (p, o, w)))], axis=1) for part in (slice(20), slice(20, 60), slice(0)))
    both = pieces.joined(one, other)
    np.testing.assert_allclose(both[:, 0], plain(p, o, w), rtol=1e-9)
    np.testing.assert_allclose(both, (Moments(*one) + Moments(*other)).stacked(), rtol=1e-13)
    assert np.array_equal(pieces.joined(nothing, one), one) and np.array_equal(pieces.joined(nothing, nothing), nothing)


def test_cells_count_in_each_region_by_their_share():
    p, o, w = cells(40)
    cell = RNG.integers(0, 40, 90)
    share, region = RNG.uniform(0.1, 1, 90), RNG.integers(0, 4, 90)
    found = pieces.shared(p, o, w, cell, share, region, 5)  # nothing lies in the last region
    for r in range(5):
        here = region == r
        np.testing.assert_allclose(found[:, r], plain(p[cell[here]], o[cell[here]], w[cell[here]] * share[here]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("missing", [0, 5, 24])
def test_a_row_of_conservation_is_what_numpy_makes_of_the_residual(missing):
    means, given, weights = RNG.uniform(0, 20, (4, 6)), RNG.uniform(0, 20, (4, 6)), RNG.uniform(0.5, 1.5, (4, 6))
    means.flat[4:], given.flat[:missing] = given.flat[4:] + RNG.normal(0, 0.02, 20), np.nan
    row = conservation_row(means, given, weights)
    assert row.shape == (NUMBERS + len(POWERS),)
    known = np.isfinite(given)
    if not known.any():
        assert np.isnan(row).all()
        return
    rho, x, w = (means - given)[known], given[known], weights[known] / weights[known].sum()
    expected = [w @ abs(rho), w @ x, w @ rho**2, w @ (abs(rho) > np.maximum(0.01 * x, 0.1)), w @ rho, known.sum()]
    np.testing.assert_allclose(row[[0, 1, 2, 4, 5, 6]], expected, rtol=1e-12)
    np.testing.assert_allclose(row[NUMBERS:], [w @ (abs(rho) <= 10.0**power) for power in POWERS], rtol=1e-12)
    order = np.argsort(abs(rho))
    assert row[3] == abs(rho)[order][np.searchsorted(np.cumsum(w[order]), 0.99 - 1e-12)]


def test_fields_that_are_read_together_are_those_that_are_read_alone(tmp_path):
    values = RNG.normal(size=(23, 4, 5)).astype(np.float32)
    values[4, 1] = np.nan
    made = xr.Dataset({"a": (("time", "lat", "lon"), values), "m": (("time", "member", "lat", "lon"), np.stack([values, values + 1], 1))})
    made["b"] = made["a"] * 2
    encoding = {"a": {"chunks": (8, 4, 5)}, "b": {"chunks": (1, 4, 5), "shards": (8, 4, 5)}, "m": {"chunks": (8, 2, 4, 5)}}
    made.to_zarr(tmp_path / "p.zarr", encoding=encoding, consolidated=False, zarr_format=3)
    opened = xr.open_zarr(tmp_path / "p.zarr", consolidated=False, chunks=None)
    frames = Frames(opened)
    assert (frames._together["a"], frames._together["b"], frames._together["m"]) == (8, 8, 1)
    for name in ("a", "b", "m"):
        for at in (0, 7, 8, 4, 22, 3):
            np.testing.assert_array_equal(frames.field(name, at), frame(opened, name, at))
