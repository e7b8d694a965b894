"""Quantile, spectral, CRPS and perceptual losses: oracles, masks, tiles, ranks, autograd."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.train.losses import Objective, Terms, combine, terms
from orbit2.train.losses.ensemble import fair_crps, pinball
from orbit2.train.losses.spectral import FLOOR, log_power

KINDS = ["bayesian_tv", "mse", "mae", "huber", "quantile", "spectral", "crps", "perceptual"]
NOISY = ArchitectureConfig.model_validate({"noise": {"channels": 2}})


def objective(loss: str, **changes: Any) -> Objective:
    torch.manual_seed(3)
    config = TrainConfig.model_validate({"loss": loss, "spectral_segment": 8, "ensemble": 3, "variable_quantiles": {"b": 0.8}, **changes})
    made = Objective(config, ("a", "b"), NOISY if loss == "crps" else ArchitectureConfig())
    if made.encoder is not None:
        made.encoder.double()
    return made


def value(made: Objective, part: Terms, denominators: torch.Tensor | None = None) -> torch.Tensor:
    weights = torch.tensor([1.0, 3.0], dtype=part.data.dtype)
    return combine(part, part.packed() if denominators is None else denominators, weights, made.prior_weight)[0]


def batch(loss: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """prediction, target with holes, weights with a halo of two columns and a row."""
    random, height, width = torch.Generator().manual_seed(0), 10, 16
    shape = (4, 2, height, width)
    prediction = torch.randn(*((3,) if loss == "crps" else ()), *shape, dtype=torch.float64, generator=random)
    target = torch.randn(shape, dtype=torch.float64, generator=random)
    target[0, 0, :5, 3:] = torch.nan
    target[2, 1, 1:] = torch.nan
    target[3, 0, 4, 9] = torch.nan
    weights = torch.rand(1, 1, height, 1, dtype=torch.float64, generator=random).add(0.1).expand(1, 1, height, width).clone()
    weights[..., :2] = 0
    weights[..., -1, :] = 0
    return prediction, target, weights


def test_quantile_loss_is_least_at_the_quantile() -> None:
    truth = torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=20001))
    guesses = torch.linspace(0, 8, 801, dtype=torch.float64)
    for level in (0.1, 0.5, 0.9):
        cost = torch.stack([pinball(g, truth, torch.tensor(level)).mean() for g in guesses])
        assert float(guesses[cost.argmin()]) == pytest.approx(np.quantile(truth.numpy(), level), abs=0.01)


def test_median_loss_is_half_the_absolute_error_and_levels_are_per_variable() -> None:
    prediction, target, weights = batch("quantile")
    half = objective("quantile", variable_quantiles={}).terms(prediction, target, weights, True)
    assert torch.allclose(half.data, terms(prediction, target, weights, True, "mae").data / 2, rtol=1e-14)
    tuned = objective("quantile").terms(prediction, target, weights, True)
    assert torch.equal(tuned.data[0], half.data[0]) and tuned.data[1] != half.data[1]


def test_fair_crps_by_hand_and_against_scoringrules_form() -> None:
    members, truth = torch.tensor([4.0, 1.0, 3.0, 2.0], dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)
    assert float(fair_crps(members, truth)) == pytest.approx(1 / 6, abs=1e-12)  # ecdf form: 0.375
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 7)), random.normal(size=7)
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / (2 * 5 * 4)
    expected = np.abs(x - y).mean(0) - pairs
    assert np.allclose(fair_crps(torch.from_numpy(x), torch.from_numpy(y)).numpy(), expected, rtol=1e-12)


def test_fair_crps_does_not_depend_on_ensemble_size_in_expectation() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.randn(200_000, dtype=torch.float64, generator=random)
    scores = [float(fair_crps(torch.randn(m, 200_000, dtype=torch.float64, generator=random), truth).mean()) for m in (2, 8)]
    assert scores == pytest.approx([np.pi**-0.5] * 2, abs=0.005)  # CRPS of a perfect standard normal forecast


def test_members_that_agree_cost_their_absolute_error() -> None:
    prediction, target, weights = batch("mae")
    same = objective("crps").terms(torch.stack([prediction] * 3), target, weights, True)
    assert torch.allclose(same.data, terms(prediction, target, weights, True, "mae").data, rtol=1e-12)


def test_crps_without_noise_and_noise_without_crps_are_refused() -> None:
    with pytest.raises(OrbitError, match="needs members"):
        Objective(TrainConfig(loss="crps"), ("a",), ArchitectureConfig(dropout=0.1))
    with pytest.raises(OrbitError, match="never sees the members"):
        Objective(TrainConfig(), ("a",), NOISY)


def test_quantile_of_an_unknown_output_is_refused() -> None:
    with pytest.raises(OrbitError, match="2m_temperature"):
        Objective(TrainConfig(loss="quantile", variable_quantiles={"2m_temperatur": 0.9}), ("2m_temperature",), ArchitectureConfig())


def test_log_power_of_a_doubled_field() -> None:
    truth = 1e4 * torch.randn(2, 1, 8, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(truth)
    for periodic in (False, True):
        total, weight = log_power(2 * truth, truth, ones, ones[0, 0] > 0, 16, periodic)
        assert float(total / weight) == pytest.approx(np.log(4) ** 2, rel=1e-6)


def test_log_power_is_blind_to_phase_and_wraps() -> None:
    random = torch.Generator().manual_seed(0)
    truth, other = (torch.randn(1, 1, 8, 32, dtype=torch.float64, generator=random) for _ in range(2))
    ones = torch.ones_like(truth)
    core = ones[0, 0] > 0
    assert float(log_power(truth.roll(5, -1), truth, ones, core, 32, True)[0]) < 1e-20
    assert float(log_power(truth.roll(5, -1), truth, ones, core, 32, False)[0]) > 1e-2
    plain, rolled = (log_power(other.roll(k, -1), truth.roll(k, -1), ones, core, 16, True)[0] for k in (0, 8))
    assert float(rolled) == pytest.approx(float(plain), rel=1e-12)
    assert float(log_power(other.roll(8, -1), truth.roll(8, -1), ones, core, 16, False)[0]) != pytest.approx(float(plain), rel=1e-3)


def test_log_power_against_scipy_periodograms() -> None:
    random = np.random.default_rng(0)
    prediction, truth = random.normal(size=(2, 1, 1, 11, 40))
    area = np.broadcast_to(np.linspace(1, 2, 11)[:, None], (11, 40))
    weight = area.copy()
    weight[3, 20] = weight[9, 39] = 0  # spoil some segments of rows 3 and 9
    total = count = 0.0
    for rows in (range(8), range(8, 11)):
        for start in (0, 8, 16, 24):
            whole = [r for r in rows if weight[r, start : start + 16].all()]
            spectra = []
            for fields in (prediction, truth):
                density = scipy.signal.periodogram(fields[0, 0][whole, start : start + 16], window="hann", detrend="constant")[1]
                density[:, 1:-1] /= 2  # two-sided
                spectra.append(np.log(np.average(density[:, 1:], axis=0, weights=area[whole, 0]) + FLOOR))
            total += area[whole, 0].sum() * ((spectra[0] - spectra[1]) ** 2).mean()
            count += area[whole, 0].sum()
    given = [torch.from_numpy(np.array(a)) for a in (prediction, truth)]
    found = log_power(*given, torch.from_numpy(weight)[None, None], torch.ones(11, 40, dtype=torch.bool), 16, False)
    assert float(found[0]) == pytest.approx(total, rel=1e-10) and float(found[1]) == pytest.approx(count, rel=1e-12)


@pytest.mark.parametrize("loss", KINDS)
@pytest.mark.parametrize("periodic", [False, True])
def test_masked_and_halo_cells_change_nothing(loss: str, periodic: bool) -> None:
    prediction, target, weights = batch(loss)
    dead = ~torch.isfinite(target) | (weights == 0)
    made, scale = objective(loss), torch.tensor([0.5, 2.0], dtype=torch.float64)
    results = []
    for shift in (0.0, 7.0):
        x = (prediction + shift * dead * torch.linspace(1, 2, 16, dtype=torch.float64)).requires_grad_()
        y = target + shift * (weights == 0)
        part = made.terms(x, y, weights, periodic, scale)
        loss_value = value(made, part)
        (gradient,) = torch.autograd.grad(loss_value, x)
        results.append((loss_value.detach(), gradient))
        assert (gradient.masked_select(dead) == 0).all() and (gradient.masked_select(~dead) != 0).any()
        assert bool(torch.isfinite(gradient).all())
    assert torch.equal(results[0][0], results[1][0])
    if loss != "crps":  # the mean of members that moves with them rounds
        assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("loss", KINDS)
def test_ranks_with_unequal_masks_add_up_in_value_and_gradient(loss: str) -> None:
    prediction, target, weights = batch(loss)
    made = objective(loss)
    x = prediction.clone().requires_grad_()
    whole = value(made, made.terms(x, target, weights, True))
    (expected,) = torch.autograd.grad(whole, x)
    x = prediction.clone().requires_grad_()
    parts = [made.terms(x[..., i, :, :, :], target[i], weights, True) for i in (slice(0, 1), slice(1, 4))]
    shared = parts[0].packed() + parts[1].packed()
    added = torch.stack([value(made, part, shared) for part in parts]).sum()
    (found,) = torch.autograd.grad(added, x)
    assert float(added.detach()) == pytest.approx(float(whole.detach()), rel=1e-12)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", ["bayesian_tv", "mse", "mae", "huber", "quantile", "crps"])
def test_tiles_with_halos_and_unequal_masks_add_up_to_the_globe(loss: str) -> None:
    prediction, target, _ = batch(loss)
    weights = torch.rand(1, 1, 10, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).add(0.1).expand(1, 1, 10, 16)
    made = objective(loss, spectral_weight=0.0)  # whose segments lie within one tile
    x = prediction.clone().requires_grad_()
    whole = value(made, made.terms(x, target, weights, True))
    (expected,) = torch.autograd.grad(whole, x)
    x, parts = prediction.clone().requires_grad_(), []
    for rows in ((0, 4), (4, 10)):
        for columns in ((0, 7), (7, 16)):
            r = torch.arange(max(rows[0] - 1, 0), min(rows[1] + 1, 10))
            c = torch.arange(columns[0] - 1, columns[1] + 1)
            core = ((r >= rows[0]) & (r < rows[1]))[:, None] & ((c >= columns[0]) & (c < columns[1]))
            cells = (..., r[:, None], c % 16)
            parts.append(made.terms(x[cells], target[cells], weights[cells] * core, False, context=~core))
    shared = torch.stack([part.packed() for part in parts]).sum(0)
    added = torch.stack([value(made, part, shared) for part in parts]).sum()
    (found,) = torch.autograd.grad(added, x)
    assert float(added.detach()) == pytest.approx(float(whole.detach()), rel=1e-12)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", KINDS)
def test_an_output_without_truth_gets_no_gradient_and_leaves_the_others_their_loss(loss: str) -> None:
    prediction, target, weights = batch(loss)
    made = objective(loss)
    target[:, 1] = torch.nan
    x = prediction.clone().requires_grad_()
    part = made.terms(x, target, weights, True)
    both = value(made, part)
    (gradient,) = torch.autograd.grad(both, x)
    assert (gradient[..., 1, :, :] == 0).all() and (gradient[..., 0, :, :] != 0).any() and torch.isfinite(both)
    alone = combine(part, part.packed(), torch.tensor([1.0, 0.0], dtype=torch.float64), made.prior_weight)[0]
    assert float(both.detach()) == pytest.approx(float(alone.detach()), rel=1e-14)


@pytest.mark.parametrize("loss", KINDS)
@pytest.mark.parametrize("periodic", [False, True])
def test_gradients_against_finite_differences(loss: str, periodic: bool) -> None:
    prediction, target, weights = (x[..., :1, :, :4, :12].clone() for x in batch(loss))
    made, scale = objective(loss, spectral_weight=1.0, perceptual_weight=1.0), torch.tensor([0.5, 2.0], dtype=torch.float64)
    target[:, 1] = 0.3
    target[0, 1, 2, 5] = torch.nan
    assert torch.autograd.gradcheck(lambda x: value(made, made.terms(x, target, weights, periodic, scale)), prediction.requires_grad_())


@pytest.mark.parametrize("loss", KINDS)
def test_area_weights_count(loss: str) -> None:
    target = torch.zeros(1, 2, 16, 16, dtype=torch.float64)
    latitude = torch.deg2rad(torch.linspace(-75, 75, 16, dtype=torch.float64))
    weights = latitude.cos()[None, None, :, None].expand(1, 1, 16, 16)
    costs = []
    for rows in (slice(7, 9), slice(0, 2)):
        prediction = target.clone()
        prediction[..., rows, ::2] = 1.0
        made = objective(loss, tv_weight=0.0)
        part = made.terms(torch.stack([prediction] * 3) if loss == "crps" else prediction, target, weights, True)
        costs.append(float(value(made, part)))
    assert costs[0] > 1.5 * costs[1]


def test_perceptual_wraps_in_longitude() -> None:
    prediction, target, _ = batch("perceptual")
    target, ones, made = torch.nan_to_num(target), torch.ones(1, 1, 10, 1, dtype=torch.float64), objective("perceptual")
    costs = [float(made.terms(prediction.roll(k, -1), target.roll(k, -1), ones, True).prior.sum()) for k in (0, 6)]
    assert costs[1] == pytest.approx(costs[0], rel=1e-12)
    assert float(made.terms(prediction, target, ones, False).prior.sum()) != pytest.approx(costs[0], rel=1e-6)


@pytest.mark.parametrize("loss", ["bayesian_tv", "mse", "mae", "huber"])
def test_old_losses_through_the_objective_are_the_same_bits(loss: str) -> None:
    prediction, target, weights = batch(loss)
    made = objective(loss)
    ours, plain = made.terms(prediction, target, weights, True), terms(prediction, target, weights, True, loss)
    assert torch.equal(ours.data, plain.data) and torch.equal(ours.prior, plain.prior)
    assert made.prior_weight == (0.02 if loss == "bayesian_tv" else 0.0) and made.members == 1


def test_configuration_refuses_crps_without_noise(root: Any) -> None:
    from orbit2.config.load import load

    config = load(root / "config" / "config.yaml").model_dump(mode="json", exclude_unset=True)
    name = next(name for name, model in config["models"].items() if "architecture" in model)
    config["models"][name].setdefault("train", {})["loss"] = "crps"
    with pytest.raises(ValueError, match="loss `crps` needs members"):
        RunConfig.model_validate(config)
