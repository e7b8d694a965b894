"""How a predictor cuts and draws what it is asked for, and what all times of a window share, kept for the next. Computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2.model.gaps import MissingFlags
from orbit2.model.geometry import Geometry
from orbit2.model.site import Maps

FloatArray = npt.NDArray[np.float32]
TileSize = int | tuple[int, int]


@dataclass(frozen=True)
class HostInputs:
    """Inputs [T, V, h, w] of a window in the host's memory, in canonical units (NaN = missing), and which of them miss something, by time:
    what the reading thread finds out for the one that computes."""

    fields: Tensor
    missing: tuple[tuple[bool, ...], ...]

    @classmethod
    def of(cls, fields: FloatArray | Tensor) -> HostInputs:
        """Looked at."""
        here = torch.from_numpy(fields) if isinstance(fields, np.ndarray) else fields
        return cls(here, tuple(MissingFlags.of(time[None]).coarse for time in here))

    def __getitem__(self, times: slice) -> HostInputs:
        return HostInputs(self.fields[times], self.missing[times])

    def __len__(self) -> int:
        return len(self.missing)

    @property
    def lacks(self) -> tuple[bool, ...]:
        """Which variable misses something at any time."""
        return tuple(map(any, zip(*self.missing, strict=True)))


@dataclass(frozen=True)
class View:
    """What all times of a window share: the names of what is read, statics (normalised) on its coarse and fine cells, place, memory;
    `missing`: of statics, on coarse cells and whether any fine one misses anything."""

    variables: tuple[str, ...]
    names: tuple[str, ...]
    coarse: Tensor
    fine: Tensor
    geometry: Geometry
    maps: Maps | None
    missing: MissingFlags

    @property
    def nbytes(self) -> int:
        """What it takes of the device."""
        maps = () if self.maps is None else (self.maps.offset, self.maps.slope, self.maps.cycle)
        return sum(each.nbytes for each in (self.coarse, self.fine, *maps))


class Views:
    """What all times of a tile share, kept on a GPU: of as many tiles as an eighth of its free memory holds. Elsewhere making it is nothing
    beside the network. The thread that computes keeps, the one that reads looks whether statics are wanted."""

    def __init__(self) -> None:
        self._kept, self._left = dict[int, View](), -1

    def __contains__(self, tile: int) -> bool:
        return tile in self._kept

    def of(self, tile: int, make: Callable[[], View]) -> View:
        if tile in self._kept:
            return self._kept[tile]
        view = make()
        if self._left < 0:
            self._left = room(view.fine.device)
        if (size := view.nbytes) <= self._left:
            self._left -= size
            self._kept[tile] = view
        return view


def room(device: torch.device) -> int:
    """Bytes that views may take."""
    return torch.cuda.mem_get_info(device)[0] // 8 if device.type == "cuda" else 0


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
