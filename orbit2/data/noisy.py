"""Noise for a batch's members, by place and sample: the same on any number of ranks, for any tiles and parts of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from orbit2.data.batch import Packed
from orbit2.model.noise import white


@dataclass(frozen=True)
class Noise:
    """`members` draws of `channels` fields for every sample, of a seed."""

    channels: int
    members: int
    seed: int = 0

    def added(self, packed: Packed, keys: Sequence[str]) -> Packed:
        """`packed` with its noise; `keys` say of each sample or tile whose noise it gets. Rows and columns are the view's own."""
        view = packed.view
        whole = np.arange(view.shape[0]), np.arange(view.shape[1])
        places = [whole] * len(packed) if packed.windows is None else [(window.rows, window.columns) for window in packed.windows]
        drawn = [
            torch.stack([white(self.seed, member, key, rows, columns, self.channels, view.factor) for member in range(self.members)])
            for key, (rows, columns) in zip(keys, places, strict=True)
        ]
        return replace(packed, noise=torch.stack(drawn))
