"""The model of a configuration, by its kind. Never loads weights (see folder.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from orbit2.config.network import ArchitectureConfig
from orbit2.model.conv import PlainConv
from orbit2.model.published import Published
from orbit2.model.reslim import Reslim
from orbit2.model.unet import UNet
from orbit2.model.upsampled import Upsampled
from orbit2.model.vit import UpsampledViT

# What is trained, saved and applied. Both have: config, inputs, outputs, statics, scale(geometry), output_moments,
# residual.interpolation_of(coarse, names, periodic), missing(coarse, names, periodic, gaps) and
# forward(coarse, statics, geometry, variables, clock, gaps) -> [B, C, sH, sW];
# gaps(coarse, names) and gaps_from(missing, names) say what is missing.
Downscaling: TypeAlias = Reslim | Upsampled | Published

KINDS: dict[str, type[Reslim] | type[Upsampled] | type[Published]] = {
    "reslim": Reslim, "vit": UpsampledViT, "unet": UNet, "conv": PlainConv, "orbit2": Published,
}  # fmt: skip
TITLES = {"reslim": "Reslim", "vit": "Upsample-first ViT", "unet": "U-Net", "conv": "Plain convolution",
          "orbit2": "Published ORBIT-2"}  # fmt: skip


def build(architecture: ArchitectureConfig, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str]) -> Downscaling:
    """An untrained model. `inputs` (dynamic, then static) and `statics` (fine) are the vocabularies, `outputs` what it predicts."""
    return KINDS[architecture.kind](architecture, inputs, outputs, statics)
