"""FSS: the oracle of a displaced pixel, brute force, the `scores` package, missing cells, the seam, days without rain."""

import numpy as np
import pytest
import scores.spatial
import xarray as xr

from orbit2.metrics.fss import FractionsSkill, window_sums


def plain(shape):
    return np.ones(shape)


def test_a_wet_pixel_two_cells_off():  # oracle 4
    truth, prediction = np.zeros((21, 21)), np.zeros((21, 21))
    truth[10, 10], prediction[10, 12] = 9, 9
    skill = FractionsSkill(periodic=False, windows=(1, 3, 5), thresholds=(1.0,), shares=())
    skill.update(prediction, truth, plain(truth.shape))
    assert skill.values()[0] == pytest.approx([0, 1 / 3, 0.6], abs=1e-12)
    target, scale = skill.useful()
    assert target[0] == pytest.approx(0.5 + 1 / 441 / 2) and scale[0] == 5


def test_windows_equal_the_scores_package():
    generator = np.random.default_rng(0)
    p, o = generator.random((2, 30, 44)) < 0.3
    inside = np.zeros(p.shape, dtype=bool)
    inside[2:-2, 2:-2] = True  # `scores` keeps the cells whose whole window lies inside
    weights = inside.astype(float)
    difference, size = window_sums(p, o, np.ones_like(p), weights, False, (5,))[0]
    arrays = [xr.DataArray(x.astype(float), dims=("y", "x")) for x in (p, o)]
    expected = scores.spatial.fss_2d(*arrays, event_threshold=0.5, window_size=(5, 5), spatial_dims=("y", "x"))
    assert 1 - difference / size == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_missing_cells_are_no_part_of_a_fraction(periodic):
    generator = np.random.default_rng(1)
    p, o = generator.random((2, 12, 16)) < 0.4
    known, weights, half = generator.random((12, 16)) < 0.8, generator.uniform(0.5, 1, (12, 16)), 3
    difference = size = 0.0
    for i in range(12):
        for j in range(16):
            rows = np.arange(max(i - half, 0), min(i + half + 1, 12))
            columns = np.arange(j - half, j + half + 1)
            columns = columns % 16 if periodic else columns[(columns >= 0) & (columns < 16)]
            cells = np.ix_(rows, columns)
            if known[i, j]:
                f, g = (x[cells][known[cells]].mean() for x in (p, o))
                difference, size = difference + weights[i, j] * (f - g) ** 2, size + weights[i, j] * (f * f + g * g)
    assert window_sums(p, o, known, weights, periodic, (7,))[0] == pytest.approx([difference, size], rel=1e-10)


def test_a_periodic_field_has_no_seam():
    generator = np.random.default_rng(2)
    p, o = generator.gamma(0.4, 6, (2, 40, 60))
    values = []
    for roll in (0, 17):
        skill = FractionsSkill(periodic=True)
        skill.update(np.roll(p, roll, 1), np.roll(o, roll, 1), plain(p.shape))
        values.append(skill.values())
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_numerators_are_added_before_they_are_divided():
    """Of a wet and a dry day the score is the wet day's, where a mean of daily scores would be NaN; any order, any parts."""
    generator = np.random.default_rng(3)
    days = [generator.gamma(0.4, 6, (2, 40, 60)), np.zeros((2, 40, 60)), generator.gamma(0.3, 6, (2, 40, 60))]
    whole, first, second = (FractionsSkill(periodic=False) for _ in range(3))
    for p, o in days:
        whole.update(p, o, plain(p.shape))
    wet = FractionsSkill(periodic=False)
    wet.update(*days[0], plain((40, 60)))
    with_dry = FractionsSkill(periodic=False)
    with_dry.update(*days[0], plain((40, 60)))
    with_dry.update(*days[1], plain((40, 60)))
    assert with_dry.values() == pytest.approx(wet.values(), abs=1e-12)
    second.update(*days[2], plain((40, 60)))
    second.update(*days[0], plain((40, 60)))
    first.update(*days[1], plain((40, 60)))
    second.add(first.state())
    assert second.values() == pytest.approx(whole.values(), abs=1e-12)


def test_perfect_scaled_and_empty_fields():
    o = np.random.default_rng(4).gamma(0.4, 6, (40, 60))
    perfect, doubled, nothing = (FractionsSkill(periodic=False) for _ in range(3))
    perfect.update(o, o, plain(o.shape))
    assert (perfect.values() == 1).all() and (perfect.useful()[1] == 1).all()  # T1
    doubled.update(2 * o, o, plain(o.shape))
    assert (doubled.values()[:4, 0] < 1).all() and (doubled.values()[4:] == 1).all()  # quantiles of each field: free of bias
    nothing.update(np.full(o.shape, np.nan), o, plain(o.shape))
    assert np.isnan(nothing.values()).all() and np.isnan(nothing.useful()[1]).all()
