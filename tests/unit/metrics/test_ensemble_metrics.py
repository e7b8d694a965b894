"""Scores of an ensemble: oracles, another library, and what a perfect ensemble must give (T12)."""

import numpy as np
import pytest

from orbit2.metrics import ensemble
from orbit2.metrics.ensemble import EnsembleStatistic
from orbit2.metrics.fields import Field
from tests.data.score_oracle import scoringrules


def scored(members, truth, weights=None, **options):
    """`members` [M, C], `truth` [C] as one row of cells."""
    statistic = EnsembleStatistic(len(members), **options)
    statistic.update(members[:, None], truth[None], np.ones((1, len(truth))) if weights is None else weights)
    return statistic


def test_crps_of_the_oracle():
    x, y = np.array([[4.0], [2], [3], [1]]), np.array([2.5])
    scores = scored(x, y).scores()
    assert (scores["crps_ecdf"], scores["crps_fair"]) == (pytest.approx(0.375), pytest.approx(1 / 6))
    assert scored(x[3:], y).scores()["crps_ecdf"] == pytest.approx(1.5)  # of one member: the absolute error


def test_scores_agree_with_scoringrules():
    oracle = scoringrules()
    generator = np.random.default_rng(0)
    x, y = generator.gamma(0.5, 4, (7, 300)), generator.gamma(0.5, 4, 300)
    for name, estimator in (("crps_ecdf", "nrg"), ("crps_fair", "fair")):
        expected = oracle.crps_ensemble(y, x, m_axis=0, estimator=estimator, backend="numpy")
        assert scored(x, y).scores()[name] == pytest.approx(expected.mean(), rel=1e-12)
    tiles, truth = generator.gamma(0.5, 4, (3, 6, 64)), generator.gamma(0.5, 4, (3, 64))
    expected = oracle.es_ensemble(truth, tiles, estimator="fair", backend="numpy")
    np.testing.assert_allclose(ensemble.energy_score(tiles, truth), expected, rtol=1e-10)
    expected = oracle.vs_ensemble(truth, tiles, p=0.5, estimator="nrg", backend="numpy") / 64**2
    np.testing.assert_allclose(ensemble.variogram_score(tiles, truth), expected, rtol=1e-10)


def test_energy_and_variogram_scores():
    members, truth = np.array([[[0.0, 0], [2, 0]]]), np.array([[1.0, 0]])
    assert ensemble.energy_score(members, truth)[0] == pytest.approx(0.0)  # 1 - 2 / 2; over M^2 pairs it is 0.5
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(3, 5, 6)), generator.normal(size=(3, 6))
    root = lambda z: np.sqrt(np.abs(z[..., :, None] - z[..., None, :]))  # noqa: E731
    expected = ((root(y) - root(x).mean(axis=1)) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(ensemble.variogram_score(x, y), expected, rtol=1e-12)


def test_a_perfect_ensemble_has_the_spread_of_its_error_and_flat_ranks():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(11, 120_000)) + generator.normal(0, 3, 120_000)
    found = scored(values[1:], values[0])
    scores = found.scores()
    assert scores["spread_skill"] == pytest.approx(1, abs=0.01)
    assert scores["ensemble_spread"] / scores["ensemble_mean_rmse"] == pytest.approx(np.sqrt(10 / 11), abs=0.01)  # without (M + 1) / M
    np.testing.assert_allclose(found.rank_shares(), 1 / 11, rtol=0.03)
    assert scores["rank_outliers"] == pytest.approx(1, abs=0.03)
    assert scores["crps_fair"] == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)  # E|X - X'| / 2 of a standard normal


def calibrated(cells=60_000, members=9):
    """Rain [1 + M, C] of one distribution in every cell: chances of none between a little and nearly all, and much drizzle."""
    generator = np.random.default_rng(0)
    chance = generator.beta(2, 1, cells)
    return np.where(generator.random((members + 1, cells)) < chance, 0.0, generator.gamma(0.3, 4, (members + 1, cells)))


def drawn(members, truth, dry, seed=0):
    """Ranks with ties drawn at random, cells where all are dry left out: counts [M + 1]."""
    generator = np.random.default_rng(seed)
    x, y = np.where(members < dry, 0, members), np.where(truth < dry, 0, truth)
    ranks = (x < y).sum(axis=0) + generator.integers(0, (x == y).sum(axis=0) + 1)
    return np.bincount(ranks[(x > 0).any(axis=0) | (y > 0)], minlength=len(members) + 1)


@pytest.mark.parametrize("dry", [-np.inf, 1e-12, 0.1])
def test_ranks_of_a_calibrated_ensemble_with_many_dry_cells_are_flat_within_sampling(dry):
    values = calibrated()
    statistic = scored(values[1:], values[0], dry=dry)
    expected = statistic.ranks.sum() / 10
    assert ((statistic.ranks - expected) ** 2 / expected).sum() < 21.7  # chi-square, 9 degrees of freedom: 1 % of draws; ties vary less
    assert statistic.scores()["rank_outliers"] == pytest.approx(1, abs=0.02)
    below = np.bincount((values[1:] < values[0]).sum(axis=0), minlength=10)  # a rule without ties: most of the truth is the lowest
    assert below[0] > 5 * below[1]


def test_shared_ties_are_the_mean_of_ties_drawn_at_random():
    values = calibrated(4000)
    statistic = scored(values[1:], values[0], dry=0.1)
    draws = np.array([drawn(values[1:], values[0], 0.1, seed) for seed in range(200)])
    assert draws[0].sum() == pytest.approx(statistic.ranks.sum())
    np.testing.assert_allclose(draws.mean(axis=0), statistic.ranks, atol=4 * draws.std(axis=0).max() / np.sqrt(200))


def test_drizzle_that_is_none_is_a_tie_and_no_outlier():
    """Members of a block that was predicted dry share its input's drizzle, equal to the last digit: the truth's own is beyond them all."""
    generator = np.random.default_rng(0)
    members, truth = np.full((9, 3000), 0.01), generator.uniform(0, 0.09, 3000)
    assert scored(members, truth).scores()["rank_outliers"] == pytest.approx(5)
    assert scored(members, truth, dry=0.1).rank_shares() is None
    wet = np.concatenate([members, generator.gamma(1, 3, (1, 3000)) + 0.1])[1:]  # one member rains: the truth is tied with the others
    np.testing.assert_allclose(scored(wet, truth, dry=0.1).rank_shares(), [1 / 9] * 9 + [0])


def test_dry_cells_of_all_have_no_rank():
    dry = np.zeros((9, 50))
    assert scored(dry, dry[0], dry=0.1).rank_shares() is None and np.allclose(scored(dry, dry[0]).rank_shares(), 0.1)
    assert Field("precipitation_rate", "log1p").dry == np.log1p(0.1) and Field("2m_temperature", "physical").dry == -np.inf


def test_ranks_of_a_biased_ensemble_are_not_flat():
    generator = np.random.default_rng(0)
    found = scored(generator.normal(size=(4, 5000)) + 5, generator.normal(size=5000))
    assert found.rank_shares()[0] > 0.95
    assert found.scores()["rank_deviation"] == pytest.approx(1.6, abs=0.1)
    one = scored(np.array([[3.0], [1], [2]]), np.array([2.5]), np.array([[7.0]]))
    assert one.ranks.tolist() == [0, 0, 7, 0]


def test_brier_and_reliability():
    """Of 4 members 1, 2 and 4 foresee the event in three cells; it comes in the last two."""
    x = np.array([[12.0, 12, 12], [0, 12, 12], [0, 0, 12], [0, 0, 12]])
    found = scored(x, np.array([0.0, 20, 20]), limits={"10": 10.0})
    scores = found.scores()
    assert scores["brier_10"] == pytest.approx((0.25**2 + 0.5**2) / 3)
    assert scores["brier_fair_10"] == pytest.approx((0.25**2 - 0.25 * 0.75 / 3 + 0.5**2 - 0.5 * 0.5 / 3) / 3)
    assert scores["brier_skill_10"] == pytest.approx(1 - scores["brier_10"] / (2 / 3 * 1 / 3))
    assert scores["reliability_10"] == pytest.approx((0.25**2 + 0.5**2) / 3)
    np.testing.assert_array_equal(found.forecast[0], [0, 1, 1, 0, 1])  # cells by the number of members that foresee it


def test_pieces_in_any_order_are_one_ensemble():
    generator = np.random.default_rng(3)
    truth, x = generator.gamma(0.5, 4, (6, 20, 40)), generator.gamma(0.5, 4, (6, 5, 20, 40))
    truth[2, 4, 5] = np.nan
    weights = generator.random((20, 40)) + 0.5
    whole, merged = (EnsembleStatistic(5, {"1": 1.0, "5": 5.0}, dry=0.1) for _ in range(2))
    for members, y in zip(x, truth, strict=True):
        whole.update(members, y, weights)
    for day in generator.permutation(6):
        piece = EnsembleStatistic(5, {"1": 1.0, "5": 5.0}, dry=0.1)
        piece.update(x[day], truth[day], weights)
        merged.add(piece.state())
    assert merged.scores() == pytest.approx(whole.scores(), rel=1e-12)
    assert (merged.n, merged.vectors[0]) == (6 * 800 - 1, 6 * 2 - 1)  # the tile with the missing cell is left out


def test_one_member_has_no_spread():
    scores = scored(np.ones((1, 30)), np.zeros(30), limits={"1": 1.0}).scores()
    assert scores["crps_ecdf"] == 1.0
    assert not {"crps_fair", "spread_skill", "energy_score", "brier_fair_1"} & set(scores)


def test_error_follows_spread_in_a_perfect_ensemble_and_not_in_one_of_a_single_width():
    """Days are sure or unsure; the same members in another order of cells have the right spread on average and say nothing."""
    generator = np.random.default_rng(3)
    width = np.exp(generator.normal(scale=0.8, size=(200, 300)))
    members, truth = (width * generator.normal(size=(*extra, *width.shape)) for extra in ((12,), ()))
    right, wrong = EnsembleStatistic(12), EnsembleStatistic(12)
    right.update(members, truth, np.ones(width.shape))
    wrong.update(members[..., ::-1, ::-1], truth, np.ones(width.shape))
    area, spread, error = right.spread_curve()
    assert len(area) == 10 and area.sum() == pytest.approx(1) and (np.diff(spread) > 0).all()
    middle = slice(2, 8)  # the outer groups were chosen by a spread that chance made low or high
    assert np.allclose(spread[middle] / error[middle], 1, atol=0.15) and error[-1] > 3 * error[0]
    flat = wrong.spread_curve()
    own = np.sqrt(flat[2] ** 2 - flat[1] ** 2 / 13)  # less the error of the mean of 12 members itself
    assert np.sqrt(flat[0] @ flat[1] ** 2) == pytest.approx(np.sqrt(area @ spread**2)) and own.max() < 1.2 * own.min()


def test_the_spread_curve_is_of_its_own_cells():
    members = np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 4.0]])[:, None]
    truth, weights = np.array([[1.0, 3.0, 2.0]]), np.array([[5.0, 3.0, 2.0]])
    statistic = EnsembleStatistic(2, {"1": 1.0})
    statistic.update(members, truth, weights)
    area, spread, error = statistic.spread_curve()
    assert np.allclose(area, [0.5, 0.3, 0.2]) and np.allclose(spread, np.sqrt(1.5 * np.array([0, 2, 8]))) and np.allclose(error, [1, 2, 0])
    share, whole, frequency = statistic.reliability_curve(0)
    assert np.allclose(share, [0, 0.5, 1]) and np.allclose(whole, [0.5, 0.5, 0])
    assert np.allclose(frequency[:2], 1) and np.isnan(frequency[2])


def test_a_reliable_ensemble_lies_on_the_diagonal():
    generator = np.random.default_rng(4)
    chance = generator.uniform(size=(300, 300))
    members, truth = (generator.uniform(size=(*extra, 300, 300)) < chance for extra in ((5,), ()))
    statistic = EnsembleStatistic(5, {"1": 1.0})
    statistic.update(members.astype(float), truth.astype(float), np.ones(truth.shape))
    share, area, frequency = statistic.reliability_curve(0)
    k = np.arange(6)  # of chances that are equally likely: k of 5 members leave (k + 1) / 7
    assert np.allclose(area, 1 / 6, atol=0.01) and np.allclose(frequency, (k + 1) / 7, atol=0.02) and share[-1] == 1
