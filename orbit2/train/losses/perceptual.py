"""A small encoder that learned, on the training truths, to tell weather from noise; its features are compared. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.data.dataset import Pairs
from orbit2.model.decoder import SphereConv

WIDTHS = (16, 32)  # features at full and at half resolution
CROP = 48  # fine cells
CROPS = 4  # a step and sample
LEARNING_RATE = 3e-3
PROBES = 8  # last steps over which the size of the features is measured


class Encoder(nn.Module):
    """One field and its validity [B, 2, H, W] -> features [B, 16, H, W] and [B, 32, H/2, W/2]; the same for every variable.

    `spread1`, `spread2`: RMS change of each feature under white noise as large as the interpolation's error.
    """

    spread1: Tensor
    spread2: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.fine = SphereConv(2, WIDTHS[0]), SphereConv(WIDTHS[0], WIDTHS[0])
        self.coarse = SphereConv(WIDTHS[0], WIDTHS[1])
        for i, width in enumerate(WIDTHS, 1):
            self.register_buffer(f"spread{i}", torch.ones(width))

    def forward(self, fields: Tensor, periodic: bool) -> tuple[Tensor, Tensor]:
        first = self.fine(F.gelu(self.enter(fields, periodic)), periodic)
        pooled = F.avg_pool2d(F.gelu(first), 2, ceil_mode=True)
        return first, self.coarse(pooled, periodic)


class Denoiser(nn.Module):
    """The encoder and a head that guesses the noise [B, 1, H, W]: what the encoder is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = SphereConv(sum(WIDTHS), 1)

    def forward(self, fields: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        first, second = self.encoder(fields, False)
        wide = F.interpolate(second, scale_factor=2.0, mode="nearest")[..., : first.shape[-2], : first.shape[-1]]
        guess: Tensor = self.head(F.gelu(torch.cat([first, wide], 1)))
        return guess, (first, second)


def feature_distance(encoder: Encoder, prediction: Tensor, truth: Tensor, weight: Tensor, periodic: bool) -> tuple[Tensor, Tensor]:
    """Numerator and denominator [C] of the mean square difference of features, each in units of its spread.

    prediction, truth, weight [B, C, H, W] in units of the interpolation's error; weight 0 where masked. Each variable is
    encoded by itself, about the truth's mean. Masked cells are 0 in both fields, so they can change nothing; features count
    by the area of the valid cells they stand over. Features of one sample and tile only.
    """
    valid = weight > 0
    count = valid.sum((2, 3), keepdim=True).clamp_min(1)
    mean = torch.where(valid, truth, 0.0).sum((2, 3), keepdim=True) / count
    mask = valid.to(truth.dtype).flatten(0, 1)[:, None]
    pair = [encoder(torch.cat([torch.where(valid, f - mean, 0.0).flatten(0, 1)[:, None], mask], 1), periodic) for f in (prediction, truth)]
    total = weight.new_zeros(weight.shape[1])
    areas = (weight, 4 * F.avg_pool2d(weight, 2, ceil_mode=True))
    for area, spread, ours, theirs in zip(areas, (encoder.spread1, encoder.spread2), *pair, strict=True):
        square = (((ours - theirs) / spread[:, None, None]) ** 2).mean(1).unflatten(0, weight.shape[:2])
        total = total + (area * square).sum((0, 2, 3)) / len(WIDTHS)
    return total, weight.sum((0, 2, 3))


def fit(datasets: Sequence[Pairs], scale: Tensor, steps: int, seed: int) -> Encoder:
    """The encoder of `denoiser`, frozen."""
    return denoiser(datasets, scale, steps, seed).encoder.requires_grad_(False)


def denoiser(datasets: Sequence[Pairs], scale: Tensor, steps: int, seed: int) -> Denoiser:
    """Train a network to find the noise added to training truths, in `steps` steps; float32 on the CPU.

    `scale` [C], or [D, C] for each dataset its own: the interpolation's error, in whose units noise of spread 1 is added. The
    result depends on the data, `steps` and `seed` alone; the global random state is left as it was.
    """
    choose = np.random.default_rng((seed, 4))
    scale = scale.detach().cpu()[..., None, None]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = Denoiser()
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        squares = [torch.zeros(width) for width in WIDTHS]
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
            clean, mask = crops(datasets, scale, choose)
            noise = torch.randn(clean.shape) * mask
            guess, noisy = network(torch.cat([clean + noise, mask], 1))
            loss = (mask * (guess - noise) ** 2).sum() / mask.sum().clamp_min(1)
            if step >= steps - PROBES:
                with torch.no_grad():
                    still = network.encoder(torch.cat([clean, mask], 1), False)
                    squares = [s + ((a - b) ** 2).mean((0, 2, 3)) for s, a, b in zip(squares, noisy, still, strict=True)]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    for buffer, square in zip((network.encoder.spread1, network.encoder.spread2), squares, strict=True):
        buffer.copy_((square / min(PROBES, steps)).sqrt().clamp_min(1e-3))
    return network


def crops(datasets: Sequence[Pairs], scale: Tensor, choose: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(fields, validity) [n, 1, h, w] of one training sample: every output it has, at a few random places, about its mean."""
    which = int(choose.integers(len(datasets)))
    pairs = datasets[which]
    truth = pairs.batch([int(choose.choice(pairs.indices))]).fine[0] / (scale if scale.ndim == 3 else scale[which])
    found = []
    for _ in range(CROPS):
        rows, columns = (int(choose.integers(max(size - CROP, 0) + 1)) for size in truth.shape[1:])
        found.append(truth[:, rows : rows + CROP, columns : columns + CROP])
    fields = torch.cat(found)[:, None]
    valid = torch.isfinite(fields)
    mean = torch.where(valid, fields, 0.0).sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp_min(1)
    return torch.where(valid, fields - mean, 0.0), valid.float()
