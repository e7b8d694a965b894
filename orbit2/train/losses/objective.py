"""The loss a model is configured with: its parameters, its ensemble size and its encoder. Never divides; `combine` does, globally."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.data.dataset import Pairs
from orbit2.errors import OrbitError, did_you_mean
from orbit2.parallel.launch import Ranks
from orbit2.parallel.reduce import total
from orbit2.train.losses import perceptual
from orbit2.train.losses.ensemble import fair_crps, pinball
from orbit2.train.losses.spectral import log_power
from orbit2.train.losses.terms import Terms, scored, squared, terms


class Objective:
    """`members` forward passes make a prediction (1 but for `crps`); `prior_weight` is what `combine` weights the prior with.

    Raises OrbitError for `crps` without dropout (all members would be equal) and for the quantile of an unknown output.
    """

    def __init__(self, config: TrainConfig, outputs: Sequence[str], architecture: ArchitectureConfig) -> None:
        self.config = config
        self.members = config.ensemble if config.loss == "crps" else 1
        weights = {"bayesian_tv": config.tv_weight, "spectral": config.spectral_weight, "perceptual": config.perceptual_weight}
        self.prior_weight = weights.get(config.loss, 0.0)
        if config.loss == "crps" and not (architecture.dropout or architecture.drop_path):
            raise OrbitError("loss `crps` draws its members by dropout, and this architecture has none",
                             hint="set architecture.dropout or architecture.drop_path above 0")  # fmt: skip
        for name in config.variable_quantiles:
            if name not in outputs:
                raise OrbitError("not an output of this model", where="train.variable_quantiles", got=name,
                                 allowed=", ".join(outputs), hint=did_you_mean(name, outputs))  # fmt: skip
        self.levels = torch.tensor([config.variable_quantiles.get(name, config.quantile) for name in outputs])[:, None, None]
        self.encoder = perceptual.Encoder().requires_grad_(False) if config.loss == "perceptual" else None

    def prepare(self, datasets: Sequence[Pairs], scale: Tensor, here: Ranks) -> None:
        """Before the first step: train the encoder of `perceptual` on the training truths. The first rank's counts on all."""
        if self.encoder is not None:
            fitted = perceptual.fit(datasets, scale, self.config.perceptual_steps, self.config.seed).to(here.device).state_dict()
            self.restore({name: total(value if here.first else torch.zeros_like(value)) for name, value in fitted.items()}, here)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs to have the same loss."""
        return {} if self.encoder is None else self.encoder.state_dict()

    def restore(self, state: Mapping[str, Tensor], here: Ranks) -> None:
        if self.encoder is not None:
            self.encoder.load_state_dict(dict(state))
            self.encoder.to(here.device)

    def terms(
        self,
        prediction: Tensor,
        target: Tensor,
        weights: Tensor,
        periodic: bool,
        scale: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Terms:
        """Sums of one batch, as `losses.terms`; prediction [M, B, C, H, W] for `crps`. Tiles of a batch may have different cores."""
        loss = self.config.loss
        if loss not in ("quantile", "crps", "spectral", "perceptual"):
            return terms(prediction, target, weights, periodic, loss, scale, context)
        cells = scored(prediction, target, weights, scale)
        if loss == "quantile":
            return cells.terms(pinball(cells.divided, cells.truth, self.levels.to(cells.truth)))
        if loss == "crps":
            return cells.terms(fair_crps(cells.divided, cells.truth))
        if self.encoder is not None:
            prior = perceptual.feature_distance(self.encoder, cells.divided, cells.truth, cells.weight, periodic)
        else:
            cores = (weights > 0)[:, 0].expand(-1, *target.shape[2:])  # one for all samples, or each its own
            groups = zip(cores, *(f.chunk(len(cores)) for f in (cells.divided, cells.truth, cells.weight)), strict=True)
            parts = [log_power(p, t, w, core, self.config.spectral_segment, periodic) for core, p, t, w in groups]
            prior = (torch.stack([n for n, _ in parts]).sum(0), torch.stack([d for _, d in parts]).sum(0))
        return cells.terms(squared(cells.divided, cells.truth), prior)
