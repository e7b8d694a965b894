"""Probabilities by region: the scores of the whole where there is one region, sums in any order, nothing of what hardly ever came."""

import numpy as np
import pytest

from orbit2.metrics.ensemble import EnsembleStatistic
from orbit2.metrics.member_events import LEAST_TIMES, EventStatistic

M, SHAPE = 5, (12, 10)


def world(days=LEAST_TIMES + 2, east=1.0):
    """A reliable ensemble: rain or none by a chance that all know; the eastern half of columns has `east` times the chance."""
    generator = np.random.default_rng(1)
    chance = generator.uniform(size=(days, *SHAPE)) * np.where(np.arange(SHAPE[1]) < 5, 1.0, east)
    rain = generator.uniform(size=(M + 1, days, *SHAPE)) < chance
    return 20.0 * rain[1:].swapaxes(0, 1), 20.0 * rain[0]


def gathered(members, truth, place=None, weights=None):
    made = EventStatistic(M, 10.0, 2)
    cells = np.arange(truth[0].size)
    place = np.zeros(len(cells), dtype=np.int64) if place is None else place
    for x, y in zip(members, truth, strict=True):
        made.update(x, y, cells, np.ones(len(cells)) if weights is None else weights, place)
    return made


def test_one_region_is_the_whole():
    members, truth = world()
    weights = np.random.default_rng(2).uniform(0.5, 1.5, SHAPE)
    whole = EnsembleStatistic(M, {"10": 10.0})
    for x, y in zip(members, truth, strict=True):
        whole.update(x, y, weights)
    found = gathered(members, truth, weights=weights.ravel()).scores(0)
    assert found.pop("event_samples") == len(truth)
    assert found == pytest.approx(whole.event(0), rel=1e-12) and found["reliability"] < 0.03


def test_regions_are_their_own_cells_in_any_order_and_a_gap_counts_nowhere():
    members, truth = world()
    truth[3, 4, 5] = np.nan
    members[3, :, 4, 5] = np.nan
    columns = np.broadcast_to(np.arange(SHAPE[1]), SHAPE).ravel()
    place = np.where(columns < 5, 0, np.where(columns < 9, 1, -1))
    made, merged = gathered(members, truth, place), EventStatistic(M, 10.0, 2)
    for day in np.random.default_rng(0).permutation(len(truth)):
        merged.add(gathered(members[day : day + 1], truth[day : day + 1], place).state())
    assert made.forecast.sum(axis=1).tolist() == [len(truth) * 60, len(truth) * 48 - 1]
    assert all(made.scores(r) == pytest.approx(merged.scores(r)) for r in (0, 1))
    one = gathered(members[..., :5], truth[..., :5])
    assert one.scores(0) == pytest.approx(made.scores(0))


def test_what_hardly_ever_came_has_no_score():
    members, truth = world(east=0.0)
    place = np.where(np.broadcast_to(np.arange(SHAPE[1]), SHAPE).ravel() < 5, 0, 1)
    made = gathered(members, truth, place)
    assert made.known(0) and not made.known(1)
    assert made.scores(1) == {"event_samples": 0.0} and "brier_skill" in made.scores(0)
    short = gathered(members[: LEAST_TIMES - 1], truth[: LEAST_TIMES - 1], place)
    assert set(short.scores(0)) == {"event_samples"}
    assert EventStatistic(M, 10.0, 2).scores(0) == {}
