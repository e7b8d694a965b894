"""How far from a cell a network reads: what a halo has to hold. Never looks at data."""

from __future__ import annotations

import math

from orbit2.config.network import ArchitectureConfig
from orbit2.model.residual import REACH

INTERPOLATION = REACH


def attends(config: ArchitectureConfig) -> bool:
    """Whether attention reads every cell of a tile, so that no halo makes it equal to the untiled field."""
    return config.kind in ("reslim", "vit", "orbit2") and config.depth > 0


def reach(config: ArchitectureConfig) -> int:
    """Coarse cells to each side that interpolation and convolutions read for one fine cell, at most; attention is left out."""
    s, p = config.refinement, config.patch
    if config.kind == "conv":
        return INTERPOLATION + math.ceil((config.layers + 1) / s)
    if config.kind == "unet":
        lowest = 1 << config.levels
        blocks = sum(5 << level for level in range(config.levels))  # two convolutions down, one merging and two up
        return INTERPOLATION + math.ceil((2 + blocks + 2 * lowest + lowest - 1) / s)
    if config.kind == "orbit2":
        return max(INTERPOLATION, p)  # besides attention: its layout reads tokens of other rows, as no halo makes equal
    decoder = (config.decoder_depth + 1) * p  # whole tokens; at a token's edge the last convolution looks into the next one
    if config.kind == "vit":
        return INTERPOLATION + math.ceil(decoder / s)
    residual = 2 * config.residual_blocks + 2 if config.residual_width else 0
    return max(INTERPOLATION, residual, decoder)


def token_side(config: ArchitectureConfig) -> int:
    """Coarse cells that a window should begin on a multiple of, for its tokens to lie as in the whole field."""
    if config.kind in ("reslim", "orbit2"):
        return config.patch
    if config.kind == "conv":
        return 1
    side = config.patch if config.kind == "vit" else 1 << config.levels
    return side // math.gcd(side, config.refinement)
