"""How a predictor cuts and draws what it is asked for, and what all times of a window share. Plain records."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from orbit2.model.geometry import Geometry
from orbit2.model.site import Maps

TileSize = int | tuple[int, int]


@dataclass(frozen=True)
class View:
    """What all times of a window share: the names of what is read, statics (normalised) on its coarse and fine cells, place, memory;
    `statics_missing`: whether a fine static field misses anything."""

    variables: tuple[str, ...]
    names: tuple[str, ...]
    coarse: Tensor
    fine: Tensor
    geometry: Geometry
    maps: Maps | None
    statics_missing: bool


@dataclass(frozen=True)
class Cut:
    """How `Downscaler.downscale` cuts its frames, and what it draws."""

    tile: TileSize
    halo: int
    blend: int | None
    trim: int
    members: int
    seed: int
    quantiles: tuple[float, ...]
    events: tuple[str, ...]
    lazy: bool = False
    progress: bool | None = False
