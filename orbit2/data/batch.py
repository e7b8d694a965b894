"""A batch: packed, as the loader hands it on, and ready, as the model takes it. What all samples share is with its `ground`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from orbit2.data.view import Box, View
from orbit2.model.gaps import MissingFlags
from orbit2.model.geometry import Geometry
from orbit2.model.tiles import Window
from orbit2.model.to_device import to_device

if TYPE_CHECKING:
    from orbit2.data.ground import Ground

Core = tuple[slice, slice]


@dataclass
class Batch:
    """Normalised tensors: coarse [B, V, H, W], fine [B, C, sH, sW] (NaN = missing), statics [B, S, sH, sW],
    weights [B or 1, 1, sH, sW] (cell area, zero in the halo, mean 1 over the sample's core), clock [B, 4].

    On tiles B counts windows, `samples` names each window's, and `context` (bool, like weights) marks halo cells that other
    tiles of the sample own. `noise` [B, M, K, sH, sW] of M members, for a model that has them (see `noisy`). What the host knows, so
    that no device is asked: `missing`, what may be, and `cores`, rows and columns where `weights` [B or 1] are not zero.
    """

    coarse: Tensor
    fine: Tensor
    statics: Tensor
    weights: Tensor
    clock: Tensor
    geometry: Geometry
    variables: tuple[str, ...]
    samples: list[str]
    context: Tensor | None = None
    noise: Tensor | None = None
    missing: MissingFlags | None = None
    cores: tuple[Core, ...] | None = None

    def to(self, device: torch.device) -> Batch:
        """On `device`: as it is where it is there already."""
        moved: dict[str, Any] = {name: to_device(getattr(self, name), device) for name in ("coarse", "fine", "statics", "weights", "clock")}
        context, noise = (None if each is None else to_device(each, device) for each in (self.context, self.noise))
        return replace(self, **moved, geometry=self.geometry.to(device), context=context, noise=noise)


@dataclass
class Packed:
    """The same batch as a store's int16 codes, half of the bytes and none of the work: `to` a device makes it a Batch there.

    coarse [B, V, H, W] (None: to be made from `fine`), fine [B, K, sH, sW], whose channels are the store's variables `channels`;
    `gaps` says of each channel (coarse, fine) whether anything is missing; on tiles `windows` [B] of the `view`.
    Not `counted`: all weights are zero. `took`: seconds that making it took (see orbit2.timing), with one part of a step for all of it.
    """

    coarse: Tensor | None
    fine: Tensor
    channels: tuple[int, ...]
    gaps: tuple[tuple[bool, ...], tuple[bool, ...]]
    clock: Tensor
    samples: list[str]
    view: View
    ground: Ground
    windows: Sequence[Window] | None = None
    counted: bool = True
    noise: Tensor | None = None
    took: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def boxes(self) -> list[Box]:
        """The store's coarse cells of each sample or tile."""
        return [self.view.under(window) for window in self.windows] if self.windows else [self.view.under(None)] * len(self)

    def to(self, device: torch.device) -> Batch:
        """Unpacked and normalised on `device`; from pinned memory the host does not wait for the copies."""
        return self.ground.ready(self, device)

    def pin_memory(self) -> Packed:
        """In page-locked memory, which a GPU copies from by itself: what a DataLoader with `pin_memory` calls."""
        coarse, noise = (None if each is None else each.pin_memory() for each in (self.coarse, self.noise))
        return replace(self, coarse=coarse, fine=self.fine.pin_memory(), clock=self.clock.pin_memory(), noise=noise)

    def part(self, first: int, last: int) -> Packed:
        """Some of its samples or tiles; memory is shared."""
        cut = slice(first, last)
        coarse, noise = (None if each is None else each[cut] for each in (self.coarse, self.noise))
        return replace(self, coarse=coarse, fine=self.fine[cut], clock=self.clock[cut], samples=self.samples[cut], noise=noise,
                       windows=None if self.windows is None else self.windows[cut])  # fmt: skip
