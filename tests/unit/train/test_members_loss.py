"""The loss of members against scoringrules, by hand and brute force; where it is least."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.data.transforms import Normaliser
from orbit2.train.losses import Objective, combine
from orbit2.train.losses.ensemble import fair_crps, of_differences, of_log_power
from orbit2.train.losses.spectral import FLOOR, log_power
from tests.data.score_oracle import scoringrules

NOISY = ArchitectureConfig.model_validate({"noise": {"channels": 2}})
NAMES = ("2m_temperature", "precipitation_rate")
MOMENTS = {"2m_temperature": (280.0, 20.0), "precipitation_rate": (0.4, 0.7)}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def objective(**train: Any) -> Objective:
    config = TrainConfig.model_validate({"loss": "crps", "ensemble": 2, "spectral_segment": 8, **train})
    return Objective(config, NAMES, NOISY, Normaliser(MOMENTS))


def test_almost_fair_crps_by_hand() -> None:
    """Lang et al. 2024, equation 4: alpha times the fair score and (1 - alpha) times the usual one."""
    oracle = scoringrules()
    for count in (2, 5):
        x, y = random(count, 40), random(40, seed=1)
        fair, usual = (oracle.crps_ensemble(y.numpy(), x.numpy(), m_axis=0, estimator=name, backend="numpy")
                       for name in ("fair", "nrg"))  # fmt: skip
        for alpha in (0.0, 0.95, 1.0):
            assert np.allclose(fair_crps(x, y, alpha).numpy(), alpha * fair + (1 - alpha) * usual, rtol=1e-10, atol=1e-14)
    pair, truth = torch.tensor([1.0, 4.0]).double(), torch.tensor(2.0).double()
    assert float(fair_crps(pair, truth, 0.95)) == pytest.approx(1.5 - 0.975 * 3 / 2)


@pytest.mark.parametrize("alpha", [0.95, 1.0])
def test_the_score_is_least_where_members_are_spread_like_the_truth(alpha: float) -> None:
    """Of N(0, s^2) members for an N(0, 1) truth: s^2 / (1 + s^2) = (1 - (1 - alpha) / M)^2 / 2; s = 1 where fair."""
    x, y = random(2, 60_000), random(60_000, seed=1)
    spreads = torch.linspace(0.7, 1.3, 31, dtype=torch.float64)
    share = (1 - (1 - alpha) / 2) ** 2 / 2
    found = float(spreads[torch.stack([fair_crps(s * x, y, alpha).mean() for s in spreads]).argmin()])
    assert found == pytest.approx((share / (1 - share)) ** 0.5, abs=0.05)
    shifted = [float(fair_crps(x + shift, y, alpha).mean()) for shift in (-0.1, 0.0, 0.1)]
    assert shifted[1] < min(shifted[0], shifted[2])


@pytest.mark.parametrize("periodic", [False, True])
def test_differences_against_brute_force(periodic: bool) -> None:
    members, truth, weight = random(3, 2, 1, 4, 5), random(2, 1, 4, 5, seed=1), random(2, 1, 4, 5, seed=2).abs()
    second = (random(2, 1, 4, 5, seed=3) > -0.5).double()
    total, count = of_differences(members, truth, weight, second, periodic, 0.95)
    expected, area = 0.0, 0.0
    for b in range(2):
        for i in range(4):
            for j in range(5):
                for k, m in ((i, j + 1), (i + 1, j)):
                    if k == 4 or (m == 5 and not periodic):
                        continue
                    m %= 5
                    x, y = members[:, b, 0, k, m] - members[:, b, 0, i, j], truth[b, 0, k, m] - truth[b, 0, i, j]
                    w = float(weight[b, 0, i, j] * second[b, 0, k, m])
                    pairs = sum(float((x[p] - x[q]).abs()) for p in range(3) for q in range(p))
                    expected += w * (float((x - y).abs().mean()) - (1 - 0.05 / 3) * pairs / 6)
                    area += w
    assert float(total) == pytest.approx(expected, rel=1e-10) and float(count) == pytest.approx(area, rel=1e-12)


def test_log_power_averages_neighbouring_waves_first() -> None:
    """Segments of 64 cells: groups of about 6 of 32 wavenumbers; by hand from NumPy's transform, one segment, no taper on a circle."""
    members, truth, ones = random(2, 1, 1, 8, 64), random(1, 1, 8, 64, seed=1), torch.ones(1, 1, 8, 64, dtype=torch.float64)
    total, count = of_log_power(members, truth, ones, ones[0, 0] > 0, 64, True, 1.0)

    def seen(field: torch.Tensor) -> Any:
        rows = field.numpy() - field.numpy().mean(-1, keepdims=True)
        power = (np.abs(np.fft.rfft(rows)[:, 1:]) ** 2 / 64).mean(0)
        return np.log(np.array([part.mean() for part in np.array_split(power, 5)]) + FLOOR)

    x, y = [seen(members[m, 0, 0]) for m in range(2)], seen(truth[0, 0])
    expected = (np.abs(x[0] - y) + np.abs(x[1] - y)) / 2 - np.abs(x[0] - x[1]) / 2
    assert float(total / count) == pytest.approx(expected.mean(), rel=1e-10)
    assert float(log_power(members[0], truth, ones, ones[0, 0] > 0, 64, True)[0]) > 0


def test_the_rain_term_is_of_roots_of_millimetres() -> None:
    """By hand, in units of the interpolation's error there; other variables have none, and members below dry count as dry."""
    made, (mean, std) = objective(), MOMENTS["precipitation_rate"]
    made.measured((100.0,), torch.tensor([[1.0, 0.25]]))
    members, target, ones = random(2, 1, 2, 6, 16), random(1, 2, 6, 16, seed=1), torch.ones(1, 1, 6, 16, dtype=torch.float64)
    target[:, 1].clamp_(min=-mean / std)
    part = made.terms(members, target, ones, True, km=100.0)

    def root(field: torch.Tensor) -> torch.Tensor:
        return (torch.expm1(field * std + mean).clamp_min(0) + 0.01).sqrt() / 0.25

    expected = fair_crps(root(members[:, 0, 1]), root(target[0, 1]), 0.95).sum()
    assert float(part.prior[2, 1]) == pytest.approx(float(expected), rel=1e-5) and float(part.prior[2, 0]) == 0
    assert part.prior_weight[2].tolist() == [0, 96]
    lower = members.clone()
    lower[:, :, 1] = torch.where(members[:, :, 1] < -mean / std, -9.0, members[:, :, 1])
    again = made.terms(lower, target, ones, True, km=100.0)
    assert torch.allclose(again.data, part.data, rtol=1e-6) and torch.allclose(again.prior, part.prior, rtol=1e-6)


def test_dry_members_still_have_a_gradient() -> None:
    made = objective(spectral_weight=0.0, rain_weight=0.0, difference_weight=0.0)
    members = torch.full((2, 1, 2, 6, 16), -5.0, dtype=torch.float64, requires_grad=True)
    part = made.terms(members, torch.ones(1, 2, 6, 16, dtype=torch.float64), torch.ones(1, 1, 6, 16, dtype=torch.float64), True)
    (gradient,) = torch.autograd.grad(part.data.sum(), members)
    assert torch.allclose(gradient[:, :, 1], 0.05 * gradient[:, :, 0]) and (gradient < 0).all()


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    members, target, ones = random(2, 2, 2, 8, 16), random(2, 2, 8, 16, seed=1), torch.ones(1, 1, 8, 16, dtype=torch.float64)
    made = objective(difference_weight=0.7, spectral_weight=0.2, rain_weight=0.3)
    part, channels = made.terms(members, target, ones, True), torch.tensor([1.0, 3.0], dtype=torch.float64)
    loss, data, prior = combine(part, part.packed(), channels, made.prior_weight)
    means = [(channels / 4 * n / d.clamp_min(1e-12)).sum() for n, d in zip(part.prior, part.prior_weight, strict=True)]
    assert float(prior) == pytest.approx(float(0.7 * means[0] + 0.2 * means[1] + 0.3 * means[2]), rel=1e-12)
    assert float(loss) == pytest.approx(float(data + prior), rel=1e-12)
