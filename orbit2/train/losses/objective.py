"""The loss a model is configured with: its parameters, its ensemble size and its encoder. Never divides; `combine` does, globally."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from orbit2.config.checks import unfit_noise
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.data.dataset import Pairs
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError, one_of
from orbit2.model.compiled import compile_function
from orbit2.model.constraints import leaky
from orbit2.model.reslim import LEAK
from orbit2.model.scale import Scaled
from orbit2.parallel.launch import Ranks
from orbit2.parallel.reduce import total
from orbit2.train.losses import perceptual
from orbit2.train.losses.ensemble import Amounts, fair_crps, is_rain, of_differences, of_log_power, pinball
from orbit2.train.losses.spectral import Core, log_power
from orbit2.train.losses.terms import Scored, Terms, scored, squared, terms


class Objective:
    """A prediction has `members` (1 but for `crps`); `prior_weight` is what `combine` weights the prior, or each of them, with.

    `normaliser`: what the outputs are in their own units, which the members of `crps` are judged in too. Raises OrbitError for `crps`
    without noise (all members would be equal), for noise without `crps`, and for the quantile of an unknown output.
    """

    prior_weight: float | tuple[float, ...]

    def __init__(
        self, config: TrainConfig, outputs: Sequence[str], architecture: ArchitectureConfig, normaliser: Normaliser | None = None
    ) -> None:
        self.config = config
        self.amounts = Amounts.of(outputs, normaliser) if normaliser is not None and config.loss == "crps" else None
        self.rainy = self.amounts is not None and bool(config.rain_weight) and any(is_rain(name) for name in outputs)
        self.simple: Callable[..., Terms] = terms
        self.roots = Scaled()
        self.roots.register_buffer("output_scale", torch.ones(len(outputs)))
        self.members = config.ensemble if config.loss == "crps" else 1
        weights = {"bayesian_tv": config.tv_weight, "spectral": config.spectral_weight, "perceptual": config.perceptual_weight}
        self.prior_weight = weights.get(config.loss, 0.0)
        if config.loss == "crps":
            self.prior_weight = (config.difference_weight, config.spectral_weight, config.rain_weight)
        if (wrong := unfit_noise(config, architecture)) is not None:
            raise OrbitError(wrong, where="train", hint="members need noise in the architecture and loss crps, both or neither")
        for name in config.variable_quantiles:
            if name not in outputs:
                raise OrbitError("not an output of this model", where="train.variable_quantiles", got=name,
                                 allowed=", ".join(outputs), hint=one_of(name, outputs))  # fmt: skip
        self.levels = torch.tensor([config.variable_quantiles.get(name, config.quantile) for name in outputs])[:, None, None]
        self.encoder = perceptual.Encoder().requires_grad_(False) if config.loss == "perceptual" else None

    def prepare(self, datasets: Sequence[Pairs], scale: Tensor, here: Ranks) -> None:
        """Before the first step: train the encoder of `perceptual` on the training truths. The first rank's counts on all."""
        if self.encoder is not None:
            fitted = perceptual.fit(datasets, scale, self.config.perceptual_steps, self.config.seed).to(here.device).state_dict()
            self.restore({name: total(value if here.first else torch.zeros_like(value)) for name, value in fitted.items()}, here)

    def compile(self, shapes: int, backend: Any = "inductor") -> None:
        """Have torch.compile make a few passes of the many of a loss of cells and their neighbours, for so many shapes of batches."""
        self.simple = compile_function(terms, backend, general=True if shapes > 1 else None)

    def to(self, device: torch.device) -> Objective:
        """What it compares with, on `device`: copied once, since a copy in every step would be waited for."""
        self.levels = self.levels.to(device)
        self.roots.to(device)
        if self.amounts is not None:
            self.amounts = self.amounts.to(device)
        return self

    @property
    def seen(self) -> Callable[[Tensor], Tensor] | None:
        """What else the interpolation's typical error is wanted of, for `measured`: roots of rain; None where nothing is."""
        return self.amounts.roots if self.amounts is not None and self.rainy else None

    def measured(self, km: Sequence[float], table: Tensor, datasets: Sequence[str] = ()) -> None:
        """The interpolation's error [K, C] in the roots of rain, at coarse spacings `km` [K] of `datasets` [K]."""
        self.roots.set_scale(km, table, datasets)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs to have the same loss."""
        return {} if self.encoder is None else self.encoder.state_dict()

    def restore(self, state: Mapping[str, Tensor], here: Ranks) -> None:
        if self.encoder is not None:
            self.encoder.load_state_dict(dict(state))
            self.encoder.to(here.device)

    @property
    def by_core(self) -> bool:
        """Whether it asks where cores lie."""
        return self.config.loss == "spectral" or (self.config.loss == "crps" and self.config.spectral_weight > 0)

    def terms(
        self,
        prediction: Tensor,
        target: Tensor,
        weights: Tensor,
        periodic: bool,
        scale: Tensor | None = None,
        context: Tensor | None = None,
        km: float = 0.0,
        dataset: str = "",
        cores: Sequence[tuple[slice, slice]] | None = None,
    ) -> Terms:
        """Sums of one batch, as `losses.terms`; prediction [M, B, C, H, W] for `crps`. Tiles of a batch may have different cores (where
        `weights` are not zero): `cores`, where the caller knows. `km`: the coarse spacing, of `dataset`."""
        loss = self.config.loss
        if loss not in ("quantile", "crps", "spectral", "perceptual"):
            return self.simple(prediction, target, weights, periodic, loss, scale, context)
        if loss == "crps":
            second = ((weights > 0) if context is None else (weights > 0) | context) & torch.isfinite(target)
            return self._members(prediction, target, weights, second, periodic, scale, self.roots.scale_at(km, dataset), cores)
        cells = scored(prediction, target, weights, scale)
        if loss == "quantile":
            return cells.terms(pinball(cells.divided, cells.truth, self.levels.to(cells.truth.dtype)))
        if self.encoder is not None:
            prior = perceptual.feature_distance(self.encoder, cells.divided, cells.truth, cells.weight, periodic)
        else:
            segment = self.config.spectral_segment
            prior = _by_core(cells, weights, cores, lambda p, t, w, core: log_power(p, t, w, core, segment, periodic))
        return cells.terms(squared(cells.divided, cells.truth), prior)

    def _members(
        self, members: Tensor, target: Tensor, weights: Tensor, second: Tensor, periodic: bool, scale: Tensor | None, roots: Tensor,
        cores: Sequence[tuple[slice, slice]] | None,
    ) -> Terms:  # fmt: skip
        """Almost fair CRPS of cells, and as priors of neighbours' differences, of log power and of rain in sqrt(mm), in `roots` [C]."""
        config, alpha, amounts = self.config, self.config.crps_alpha, self.amounts
        if amounts is not None:
            members = leaky(members, LEAK, amounts.least.to(members.dtype))
        cells = scored(members, target, weights, scale)
        data = fair_crps(cells.divided, cells.truth, alpha)
        nothing = torch.zeros_like(cells.weight[0, :, 0, 0]), torch.ones_like(cells.weight[0, :, 0, 0])
        differences = power = rain = nothing
        if config.difference_weight:
            differences = of_differences(cells.divided, cells.truth, cells.weight, second.to(cells.weight), periodic, alpha)
        if config.spectral_weight:
            segment = config.spectral_segment
            power = _by_core(cells, weights, cores, lambda p, t, w, core: of_log_power(p, t, w, core, segment, periodic, alpha))
        if self.rainy and amounts is not None:
            unit = roots[:, None, None]
            truth = torch.where(torch.isfinite(target), target, members.mean(0).detach())
            found = fair_crps(amounts.roots(cells.prediction) / unit, amounts.roots(truth) / unit, alpha)
            area = cells.weight * amounts.rain[:, None, None]
            rain = (area * found).sum((0, 2, 3)), area.sum((0, 2, 3))
        return cells.terms(data, (torch.stack([differences[0], power[0], rain[0]]), torch.stack([differences[1], power[1], rain[1]])))


def _by_core(
    cells: Scored, weights: Tensor, known: Sequence[tuple[slice, slice]] | None,
    loss: Callable[[Tensor, Tensor, Tensor, Core], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sums of loss(prediction, truth, weight, core) over samples that have a core each, or one for all."""
    cores: Sequence[Core] = list((weights > 0)[:, 0].expand(-1, *cells.truth.shape[2:])) if known is None else known
    batch = cells.divided.ndim - 4
    groups = zip(cores, cells.divided.chunk(len(cores), batch), cells.truth.chunk(len(cores)), cells.weight.chunk(len(cores)), strict=True)
    parts = [loss(p, t, w, core) for core, p, t, w in groups]
    return torch.stack([n for n, _ in parts]).sum(0), torch.stack([d for _, d in parts]).sum(0)
