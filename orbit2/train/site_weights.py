"""How much of a site memory is added back: the three weights of a variable that do best on the validation block, after conservation.

Never looks at a training or test sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from orbit2.data.dataset import Batch
from orbit2.data.transforms import curved, restored
from orbit2.model.site import settled, waves
from orbit2.train.build import Setup

if TYPE_CHECKING:
    from orbit2.train.site import Learned

Item = TypeVar("Item")
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
GAIN = 0.005  # of the mean square error: what helps less on the validation block is left out
TOGETHER = 1 << 20  # cells of the fields that are judged at once: small ones take longer to begin than to make


def judge(
    errors: Tensor, grids: Sequence[tuple[float, float, float]], known: Learned, setup: Setup, batch: Batch, prediction: Tensor, k: int
) -> None:
    """Adds the squared error of one window [1, C, h, w] for every choice of weights to `errors` [choices, C, 2]: in network space and, of
    precipitation (and of all that is seen through a transform), in its units; after conservation."""
    geometry = batch.geometry.one(k)
    coarse, truth, area = batch.coarse[k : k + 1].float(), batch.fine[k], batch.weights[min(k, len(batch.weights) - 1)]
    moments, config = setup.model.output_moments, setup.model.config
    phi = waves(batch.clock[k : k + 1], known.cycles)[0] - known.wave_mean
    for i, name in enumerate(setup.outputs):
        valid = torch.isfinite(truth[i]) & torch.isfinite(prediction[0, i]) & (area[0] > 0)
        if not bool(valid.any()):
            continue
        one = known.each(partial(_channel, i), most=True)
        shares = {w: one.weight(w)[0] for w in WEIGHTS}
        p = torch.nan_to_num(prediction[0, i])
        sloped = one.slope[0] * (p - one.prediction[0])
        first = torch.einsum("k,khw->hw", phi, one.of_residual[0])
        second = one.slope[0] * torch.einsum("k,khw->hw", phi, one.of_prediction[0])
        kinds = WEIGHTS if known.cycles else (0.0,)
        cycles = {(w2, w3): shares[w3] * (first - shares[w2] * second) for w2 in WEIGHTS for w3 in kinds}

        def made(corrections: Sequence[Tensor], i: int = i, name: str = name, p: Tensor = p) -> Tensor:
            """[N, h, w], of N corrections at once."""
            fields = (p + torch.stack(list(corrections))).float()[:, None]
            return settled(fields, coarse, batch.variables, [name], geometry, config.refinement, moments[i : i + 1], config.conserve)[:, 0]

        if not curved(name) and config.conserve != "multiplicative":  # then conservation is linear
            waving = {key: field for key, field in cycles.items() if key[1]}
            keys: list[tuple[float, ...]] = [*((0, w) for w in WEIGHTS[1:]), *((1, w) for w in WEIGHTS[1:]), *((2, *key) for key in waving)]
            added = [torch.zeros_like(sloped), *(shares[w] * one.residual[0] for w in WEIGHTS[1:]),
                     *(shares[w] * sloped for w in WEIGHTS[1:]), *waving.values()]  # fmt: skip
            fields = torch.cat([made(some) for some in _together(added, p)])
            parts = dict(zip(keys, fields[1:] - fields[0], strict=True))
            errors[:, i, 0] += _quadratic(truth[i] - fields[0], parts, grids, torch.where(valid, area[0], 0.0)).cpu()
            continue
        mean, std = moments[i]
        of_truth = restored(truth[i] * std + mean, name) if curved(name) else truth[i]
        for some in _together([(choice, *weights) for choice, weights in enumerate(grids) if weights[1:] in cycles], p):
            which = [choice for choice, *_ in some]
            fields = made([shares[w1] * one.residual[0] + shares[w2] * sloped + cycles[w2, w3] for _, w1, w2, w3 in some])
            errors[which, i, 0] += _square(fields, truth[i], valid, area[0]).cpu()
            if curved(name):
                errors[which, i, 1] += _square(restored(fields * std + mean, name), of_truth, valid, area[0]).cpu()


def _together(what: Sequence[Item], field: Tensor) -> Iterator[Sequence[Item]]:
    """As many at a time as TOGETHER cells allow."""
    count = max(1, TOGETHER // field.numel())
    return (what[at : at + count] for at in range(0, len(what), count))


def _channel(i: int, values: Tensor) -> Tensor:
    return values[i : i + 1]


def _quadratic(
    error: Tensor, parts: Mapping[tuple[float, ...], Tensor], grids: Sequence[tuple[float, float, float]], area: Tensor
) -> Tensor:
    """sum(area x (error - the parts of a choice)^2) for every choice of weights, from the products of all pairs of fields."""
    places = {key: 1 + k for k, key in enumerate(parts)}
    fields = torch.where(area > 0, torch.stack([error, *parts.values()]), 0.0).flatten(1).double()
    products = (fields * area.flatten()) @ fields.T
    found = []
    for w1, w2, w3 in grids:
        chosen = [places[key] for key in ((0, w1), (1, w2), (2, w2, w3)) if key in places]
        signs = torch.tensor([1.0, *(-1.0 for _ in chosen)], dtype=torch.float64, device=products.device)
        found.append(signs @ products[[0, *chosen]][:, [0, *chosen]] @ signs)
    return torch.stack(found)


def _square(made: Tensor, truth: Tensor, valid: Tensor, area: Tensor) -> Tensor:
    """[N] of fields [N, h, w]."""
    return (torch.where(valid, made - truth, 0.0).double() ** 2 * area).sum((1, 2))


def chosen(errors: Tensor, grids: Sequence[tuple[float, float, float]], cycles: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(weights [C, 3], gains [C]): of errors [choices, C, 2] the choice with the lowest, the weakest of equals; none where it gains less
    than GAIN. Of precipitation the mean of both spaces counts, each as a share of its error without memory."""
    none = errors[0].clamp_min(1e-30)
    used = (errors[0] > 0).double()
    score = (errors / none * used).sum(2) / used.sum(1).clamp_min(1)  # [choices, C]
    possible = torch.tensor([not w3 or bool(cycles) for _, _, w3 in grids])
    score = torch.where(possible[:, None] & torch.isfinite(score), score, torch.inf)
    order = torch.tensor(sorted(range(len(grids)), key=lambda i: sum(grids[i])))
    best = order[score[order].argmin(0)]
    gains = 1 - score.gather(0, best[None])[0]
    helps = (used[:, 0] > 0) & (gains >= GAIN)
    factors = torch.tensor(grids, dtype=torch.float64)[best] * helps[:, None]
    return factors, torch.where(helps, gains, 0.0)
