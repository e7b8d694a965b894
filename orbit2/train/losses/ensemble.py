"""Losses that see more than the mean: quantiles of the truth, and the CRPS of an ensemble. Per cell; masks are the caller's."""

from __future__ import annotations

import torch
from torch import Tensor


def pinball(prediction: Tensor, truth: Tensor, level: Tensor) -> Tensor:
    """Pinball loss per cell, least where `prediction` is the `level` quantile of the truth (Koenker & Bassett 1978).

    level [C, 1, 1] in (0, 1); at 0.5 it is half the absolute error.
    """
    error = truth - prediction
    return torch.maximum(level * error, (level - 1) * error)


def fair_crps(members: Tensor, truth: Tensor) -> Tensor:
    """Fair CRPS per cell: mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)) (Ferro 2014). members [M, ...], truth [...].

    sum_{i<j} |x_i - x_j| is a weighted sum of the sorted members, so memory is M fields, not M^2. Zero or negative values are
    possible for single cells: only the expectation has its minimum at the truth's distribution.
    """
    count = members.shape[0]
    rank = torch.arange(count, dtype=members.dtype, device=members.device).view(-1, *[1] * (members.ndim - 1))
    pairs = ((2 * rank - (count - 1)) * members.sort(0).values).sum(0)
    return (members - truth).abs().mean(0) - pairs / (count * (count - 1))
