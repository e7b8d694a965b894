"""Neighbours, waves and edges of members: against plain numpy, and of fields whose answers are known."""

import numpy as np
import pytest

from orbit2.metrics import member_areas, member_structure
from orbit2.metrics.binning import Bins
from orbit2.metrics.ensemble import EnsembleStatistic
from orbit2.metrics.member_structure import MEANS, STEPS, RingStatistic, Shape, StructureStatistic
from orbit2.metrics.statistics import PairStatistic

H, W, M = 8, 12, 4


def ensemble(seed=0, shape=(H, W), members=M):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(members, *shape)), generator.normal(size=shape), generator.random(shape) + 0.5


def fair(x, o):
    m = len(x)
    apart = sum(np.abs(x[i] - x[j]) for i in range(m) for j in range(m))
    return np.abs(x - o).mean(axis=0) - apart / (2 * m * (m - 1))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("band", [24, 1 << 18])
def test_scores_of_neighbours_are_those_of_plain_numpy(monkeypatch, closed, band):
    monkeypatch.setattr(member_structure, "BAND", band)  # two rows at a time: the same sums
    x, o, w = ensemble()
    o[3, 5] = np.nan
    x[:, 3, 5] = np.nan
    found = StructureStatistic(Shape(w, closed, 4))
    found.members(x, o, lambda values: values)
    pieces = [[(f[..., 1:, :] - f[..., :-1, :]) for f in (x, o)] + [(w[1:] + w[:-1]) / 2]]
    if closed:
        pieces.append([np.roll(f, -1, axis=-1) - f for f in (x, o)] + [(w + np.roll(w, -1, axis=-1)) / 2])
    else:
        pieces.append([f[..., 1:] - f[..., :-1] for f in (x, o)] + [(w[:, 1:] + w[:, :-1]) / 2])
    total = sum(np.nansum(fair(a, b) * area) for a, b, area in pieces)
    assert found.error(STEPS) == pytest.approx(total / sum(area[np.isfinite(b)].sum() for _, b, area in pieces))
    blocks = [(f * w).reshape(*f.shape[:-2], H // 2, 2, W // 2, 2).sum(axis=(-3, -1)) for f in (x, o)]
    area = w.reshape(H // 2, 2, W // 2, 2).sum(axis=(1, 3))
    scores, known = fair(blocks[0] / area, blocks[1] / area), np.isfinite(blocks[1])
    assert found.error(MEANS) == pytest.approx(np.average(scores[known], weights=area[known]))


def test_a_single_field_has_absolute_errors_and_adds_up_in_any_order():
    x, o, w = ensemble()
    whole, other = (StructureStatistic(Shape(w, True, 4)) for _ in range(2))
    for field in x:
        whole.update(field, o)
    for field in x[::-1]:
        part = StructureStatistic(Shape(w, True, 4))
        part.update(field, o)
        other.add(part.state())
    assert (whole.error(STEPS), whole.edge_ratio()) == (pytest.approx(other.error(STEPS)), pytest.approx(other.edge_ratio()))
    np.testing.assert_allclose(whole.power, other.power)
    steps = [(np.roll(x, -1, axis=-1) - x) - (np.roll(o, -1, axis=-1) - o), (x[:, 1:] - x[:, :-1]) - (o[1:] - o[:-1])]
    areas = [(w + np.roll(w, -1, axis=-1)) / 2, (w[1:] + w[:-1]) / 2]
    expected = sum((np.abs(s).mean(axis=0) * a).sum() for s, a in zip(steps, areas, strict=True)) / sum(a.sum() for a in areas)
    assert whole.error(STEPS) == pytest.approx(expected)


def test_power_ratios_know_short_waves_from_longer_ones():
    shape, at = Shape(np.ones((4, 24)), True, 0), np.arange(24)
    short, middle = (np.broadcast_to(np.sin(2 * np.pi * k * at / 24 + 0.3), (4, 24)) for k in (10, 6))  # 2.4 and 4 cells
    truth, smooth, rough = (StructureStatistic(shape) for _ in range(3))
    truth.update(short + middle)
    smooth.update(0.5 * short + middle)
    rough.update(short + 2 * middle)
    assert [each.power_ratio(truth, band) for each in (smooth, rough) for band in ((2, 3), (3, 6))] == pytest.approx([0.25, 1, 1, 4])


def test_edges_of_coarse_cells_are_seen():
    field = np.kron(np.random.default_rng(0).normal(size=(4, 6)), np.ones((4, 4))) + 0.1 * np.random.default_rng(1).normal(size=(16, 24))
    blocky, noise = StructureStatistic(Shape(np.ones((16, 24)), True, 4)), StructureStatistic(Shape(np.ones((16, 24)), True, 4))
    blocky.update(field)
    noise.update(np.random.default_rng(2).normal(size=(16, 24)))
    assert blocky.edge_ratio() > 5 and noise.edge_ratio() == pytest.approx(1, abs=0.15)
    assert np.isnan(StructureStatistic(Shape(np.ones((16, 24)), True, 0)).edge_ratio())  # not aligned: nobody knows where they are


def test_rings_are_told_from_the_edge_inwards():
    shape = Shape(np.ones((8, 8)), False, 4)
    rings = shape.rings()
    assert rings[:4, :4].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    statistic = RingStatistic(2)
    statistic.update(rings, shape.weights, np.where(rings == 1, 5.0, 1.0), np.ones((8, 8)))
    variance, error = statistic.relative()
    assert variance.tolist() == [0.5, 2.5] and error.tolist() == [1, 1]


def test_areas_are_scored_apart_and_their_days_add_up():
    generator = np.random.default_rng(0)
    bins = Bins(("west", "east"), np.repeat([[0] * 6 + [1] * 6], H, axis=0))
    own, reference = PairStatistic(bins), PairStatistic(bins)
    crps, error, weights = np.zeros(2), np.zeros(2), np.zeros(2)
    for day in ("2020-01-01", "2020-01-01", "2020-01-02"):
        spread = np.where(bins.index == 0, 1.0, 0.2)  # the east is too sure of itself
        o, x, w = generator.normal(size=(H, W)), generator.normal(size=(M, H, W)) * spread, generator.random((H, W))
        cells = EnsembleStatistic(M).update(x, o, w)
        own.put(day, member_areas.sums(cells.reshape(5, -1), w.ravel(), bins.index.ravel(), 2))
        reference.update(day, np.zeros((H, W)), o, w)
        for b in range(2):
            use = bins.index == b
            crps[b] += (fair(x, o) * w)[use].sum()
            error[b] += (np.abs(o) * w)[use].sum()
            weights[b] += w[use].sum()
    assert own.samples() == ["2020-01-01", "2020-01-02"]
    found, pooled = member_areas.found(M, own, reference, 0)
    assert found["crps_fair"][0] == pytest.approx(crps / weights) and found["crps_ratio"][0] == pytest.approx(crps / error)
    west, east = found["spread_skill"][0]
    assert west == pytest.approx(1, abs=0.15) and east < 0.4 and found["rank_outliers"][0][1] > 1.5 and pooled.n.tolist() == [144, 144]


def test_a_calibrated_ensemble_has_a_ratio_of_a_half_root_of_two():
    """Of normal errors E CRPS = sigma / sqrt(pi) of a perfect ensemble, and the MAE of its centre sigma sqrt(2 / pi): 0.707."""
    generator = np.random.default_rng(1)
    shape = (60, 400)
    o, x, w = generator.normal(size=shape), generator.normal(size=(8, *shape)), np.ones(shape)
    bins = Bins(("all",), np.zeros(shape, dtype=np.int16))
    own, reference = PairStatistic(bins), PairStatistic(bins)
    own.put("d", member_areas.sums(EnsembleStatistic(8).update(x, o, w).reshape(5, -1), w.ravel(), bins.index.ravel(), 1))
    reference.update("d", np.zeros(shape), o, w)
    found, _ = member_areas.found(8, own, reference, 0)
    assert [found[name][0][0] for name in ("crps_ratio", "spread_skill", "rank_outliers")] == pytest.approx([2**-0.5, 1, 1], abs=0.02)
