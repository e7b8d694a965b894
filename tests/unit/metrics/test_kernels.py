"""The compiled loops against plain numpy: missing and infinite cells, float32 fields, values on the edges of bins, any bins."""

import numpy as np
import pytest

from orbit2.baselines.interpolation import block_mean
from orbit2.errors import OrbitError
from orbit2.grid import ProjectedGrid, global_grid
from orbit2.metrics import kernels, structure_kernels
from orbit2.metrics.binning import Bins, Partition, band_bins, domain_bins, region_bins
from orbit2.metrics.statistics import HistogramStatistic, MapStatistic, moments, moments_of
from orbit2.metrics.weighting import area_weights, row_weights, weighted_mean

GRID = global_grid(10.0)  # 18 x 36
WEIGHTS = area_weights(GRID)


@pytest.fixture(params=[np.float64, np.float32])
def fields(request):
    """A prediction and a truth near 1e5 Pa, with missing and infinite cells."""
    generator = np.random.default_rng(0)
    truth = 1e5 + 50 * generator.normal(size=GRID.shape)
    prediction = truth + generator.normal(size=GRID.shape)
    prediction[3, 5:30], truth[7], prediction[9, 3], truth[10, 4] = np.nan, np.nan, np.inf, -np.inf
    return prediction.astype(request.param), truth.astype(request.param)


def regions():
    ids = np.random.default_rng(1).integers(-1, 5, GRID.shape).astype(float)
    return region_bins(ids, [f"r{i}" for i in range(6)])  # the last has no cell


def by_hand(prediction, truth, weights, chosen):
    """Moments of the `chosen` cells in two plain passes."""
    p, o, w = (np.asarray(x[chosen], dtype=np.float64) for x in (prediction, truth, weights))
    mean_p, mean_o = np.average(p, weights=w), np.average(o, weights=w)
    dp, do = p - mean_p, o - mean_o
    return [len(p), w.sum(), mean_p, mean_o, *((w * x).sum() for x in (dp**2, do**2, dp * do, (p - o) ** 2, np.abs(p - o)))]


def values(m):
    return np.stack([getattr(m, name) for name in m.__dataclass_fields__])


@pytest.mark.parametrize("bins", [domain_bins(GRID), band_bins(GRID, [(-60, -30), (-30, 30), (60, 90)]), regions()])
def test_moments_are_those_of_two_plain_passes(fields, bins):
    known = np.isfinite(fields[0]) & np.isfinite(fields[1])
    for weights in (WEIGHTS, row_weights(GRID)):
        found = values(moments(*fields, weights, bins))
        for b in range(len(bins.names)):
            chosen = known & (bins.index == b)
            assert found[:, b] == pytest.approx(by_hand(*fields, WEIGHTS, chosen) if chosen.any() else np.zeros(9), rel=1e-11)


def test_a_row_whose_cells_are_alike_has_one_weight():
    assert row_weights(GRID).shape == (18, 1) and np.array_equal(np.broadcast_to(row_weights(GRID), GRID.shape), WEIGHTS)
    cone = ProjectedGrid(np.arange(6.0) * 1e5, np.arange(8.0) * 1e5, "+proj=lcc +lat_1=43 +lat_2=62 +lat_0=30 +lon_0=10 +datum=WGS84")
    assert row_weights(cone) is area_weights(cone)  # true areas change along rows


def test_one_pass_over_the_pieces_gives_the_moments_of_all_bins(fields):
    several = (domain_bins(GRID), band_bins(GRID, [(-60, -30), (-30, 30)]), regions())
    partition = Partition(several)
    for bins, found in zip(several, moments_of(*fields, WEIGHTS, partition), strict=True):
        assert values(found) == pytest.approx(values(moments(*fields, WEIGHTS, bins)), rel=1e-11)
    for bins, place in zip(several, partition.places, strict=True):
        assert np.array_equal(np.append(place, -1)[partition.pieces.index], bins.index)
    with pytest.raises(OrbitError, match="different grids"):
        Partition((domain_bins(GRID), domain_bins(GRID.refine(2))))


def test_a_field_with_nothing_to_score_weighs_nothing():
    nothing = values(moments(np.full(GRID.shape, np.nan), np.ones(GRID.shape), WEIGHTS, domain_bins(GRID)))
    assert np.array_equal(nothing, np.zeros((9, 1)))
    assert np.isnan(weighted_mean(np.full(GRID.shape, np.nan), WEIGHTS))


def test_pairs_are_counted_as_numpy_counts_them_also_on_edges(fields):
    prediction, truth = (np.asarray(x, dtype=np.float64) - 1e5 for x in fields)
    prediction[0, :6], truth[0, :6] = [-100, -50, 0, 0.1, 50, 100], [100, 50, 0.1, 0, -50, -100]
    for edges in (np.linspace(-100, 100, 9), np.linspace(0, 0.7, 8), np.array([-30.0, -1, 0, 0.1, 40, 50])):  # also unequal
        statistic = HistogramStatistic(edges)
        statistic.update(prediction, truth)
        known = np.isfinite(prediction) & np.isfinite(truth)
        place = [np.clip(np.searchsorted(edges, x[known], side="right") - 1, 0, len(edges) - 2) for x in (truth, prediction)]
        expected = np.zeros_like(statistic.counts)
        np.add.at(expected, tuple(place), 1)
        assert np.array_equal(statistic.counts, expected)


def test_values_are_counted_by_area(fields):
    known = np.isfinite(fields[0])
    edges = np.concatenate([[-np.inf], np.linspace(99_950, 100_050, 65)[1:-1], [np.inf]])
    limits = np.array([99_950.0, 1e5, 100_020.0, 1e6])
    reached = [WEIGHTS[known & (fields[0] >= limit)].sum() for limit in limits]
    for weights in (WEIGHTS, row_weights(GRID)):
        counts = np.zeros(64)
        kernels.count_values(fields[0], weights, 99_950.0, 100_050.0, counts)
        assert counts == pytest.approx(np.histogram(fields[0][known].astype(np.float64), edges, weights=WEIGHTS[known])[0], rel=1e-12)
        assert kernels.area_at_least(fields[0], weights, limits) == pytest.approx([*reached, WEIGHTS[known].sum()], rel=1e-12)


def test_maps_gather_only_what_is_known(fields):
    maps = MapStatistic(GRID.shape)
    for _ in range(2):
        maps.update(*fields)
    error = fields[0].astype(np.float64) - fields[1]
    error[~np.isfinite(error)] = np.nan
    bias, rmse = maps.finalise()
    assert bias == pytest.approx(error, nan_ok=True) and rmse == pytest.approx(np.abs(error), nan_ok=True)
    assert weighted_mean(error, WEIGHTS) == pytest.approx(np.average(error[np.isfinite(error)], weights=WEIGHTS[np.isfinite(error)]))


def test_maps_gather_blocks_of_cells_those_at_the_edge_cut(fields):
    whole, maps = MapStatistic(GRID.shape), MapStatistic(GRID.shape, 5)  # 18 x 36 cells
    for statistic in (whole, maps):
        statistic.update(*fields)
    assert maps.n.shape == (4, 8)
    for one in ("n", "error", "square"):
        cells = np.pad(getattr(whole, one), ((0, 2), (0, 4)))
        assert getattr(maps, one) == pytest.approx(cells.reshape(4, 5, 8, 5).sum((1, 3)), rel=1e-11)


def test_areas_that_reach_a_limit(fields):
    values, known = fields[0], np.isfinite(fields[0])
    for limits in ([], [99_990.0, 100_010.0], [99_990.0, 1e9, 100_010.0], [100_010.0, 99_990.0, 99_980.0, 100_020.0, 0.0]):
        expected = [WEIGHTS[known & (values >= least)].sum() for least in limits] + [WEIGHTS[known].sum()]
        assert kernels.area_at_least(values, WEIGHTS, np.array(limits)) == pytest.approx(expected, rel=1e-12)


def test_means_along_lines_leave_out_what_is_missing(fields):
    values, band = np.where(np.isfinite(fields[1]), fields[1], np.nan), np.array([6, 7, 8])  # row 7 is missing
    by_column, by_row = kernels.line_means(values, band, GRID.lat_weights[band])
    masked = np.ma.masked_invalid(values.astype(np.float64))
    assert by_column == pytest.approx(np.ma.average(masked[band], axis=0, weights=GRID.lat_weights[band]).filled(np.nan), nan_ok=True)
    assert by_row == pytest.approx(masked.mean(axis=1).filled(np.nan), nan_ok=True) and np.isnan(by_row[7])
    assert np.isnan(kernels.line_means(values, np.array([7]), GRID.lat_weights[[7]])[0]).all()


def test_details_are_the_fields_less_their_block_means(fields):
    parts = []
    for values in fields:
        means = block_mean(np.where(np.isfinite(values), values, np.nan).astype(np.float64), GRID.lat_weights, 3)
        parts.append(np.where(np.isfinite(values), values - np.repeat(np.repeat(means, 3, 0), 3, 1), np.nan))
    found = structure_kernels.detail_moments(*fields, GRID.lat_weights[:, None], WEIGHTS, 3)
    assert found == pytest.approx(values_of_details(parts), rel=1e-9, abs=1e-9)


def values_of_details(parts):
    known = np.isfinite(parts[0]) & np.isfinite(parts[1])
    return np.array(by_hand(*parts, WEIGHTS, known))[:, None]


@pytest.mark.parametrize("q", [0.0, 0.3, 0.99, 1.0])
@pytest.mark.parametrize("heavy", [False, True])
def test_a_quantile_by_weight_is_exact(q, heavy):
    generator = np.random.default_rng(2)
    values, weights = np.exp((12 if heavy else 1) * generator.normal(size=500)), generator.uniform(0.1, 1, 500)
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    expected = values[order][min(np.searchsorted(share, q * share[-1]), 499)]
    with_holes = np.insert(values, 7, np.nan)
    assert kernels.quantile_by_weight(with_holes, np.insert(weights, 7, 5.0), q) == expected
    assert kernels.quantile_by_weight(np.zeros(4), np.ones(4), q) == 0
    assert np.isnan(kernels.quantile_by_weight(np.full(4, np.nan), np.ones(4), q))


def test_bins_are_walked_along_stretches_of_cells():
    bins = Bins(("a", "b"), np.array([[0, 0, 1, -1], [-1, -1, -1, -1], [1, 0, 0, 0]]))
    assert bins.runs.tolist() == [[0, 0, 2, 0], [0, 2, 3, 1], [2, 0, 1, 1], [2, 1, 4, 0]]
