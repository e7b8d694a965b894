"""What of a model's error lies in the upper tail: RMSE of max(x, q), q the LEVEL quantile of the truth's training block.

Plain RMSE is least for a mean that is too smooth; where fields are seldom high it hardly tells a model that reaches them from one that
does not. All below q counts as q, in truth and prediction alike: a false extreme costs as much as a missed one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from orbit2.data.dataset import Pairs

LEVEL = 0.99
SAMPLES = 64  # of a training block, at most
CELLS = 2**16  # of a sample, drawn at random, always the same


def thresholds(datasets: Sequence[Pairs]) -> Tensor:
    """The area-weighted LEVEL quantile of each dataset's training truth, in network space [D, C]; NaN for outputs that it lacks."""
    return torch.stack([_of(pairs) for pairs in datasets])


def _of(pairs: Pairs) -> Tensor:
    random, values, areas = np.random.default_rng(0), [], []
    for index in pairs.indices[:: max(1, len(pairs.indices) // SAMPLES)][:SAMPLES]:
        batch = pairs.batch([int(index)])
        fine = batch.fine[0].flatten(1)
        weights = batch.weights.expand(1, 1, *batch.fine.shape[2:]).flatten()
        cells = torch.from_numpy(random.permutation(len(weights))[:CELLS])
        values.append(fine[:, cells])
        areas.append(weights[cells])
    every, weight = torch.cat(values, 1).double(), torch.cat(areas).double()
    return torch.stack([_quantile(row, weight) for row in every]).float()


def _quantile(values: Tensor, weight: Tensor) -> Tensor:
    """The least value that at least LEVEL of the weight is at or below; NaN where there is none."""
    valid = torch.isfinite(values)
    if not bool(valid.any()):
        return torch.tensor(torch.nan, dtype=values.dtype)
    found = np.quantile(values[valid].numpy(), LEVEL, weights=weight[valid].numpy(), method="inverted_cdf")
    return torch.tensor(float(found), dtype=values.dtype)
