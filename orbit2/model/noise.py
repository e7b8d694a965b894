"""White noise by place: what member m of seed n gets at a time in a cell of the fine grid. The same whatever window, order or process asks.

A Philox stream (Salmon et al. 2011) for each coarse row and block of 64 coarse columns of the WHOLE grid, so that a window cuts its noise
out of the globe's. NumPy guarantees the bits of the generator, not of `standard_normal`: normal numbers are made of them here, by Box &
Muller (1958) in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2 import times as clocks

BLOCK = 64  # coarse columns of a stream
Index = npt.NDArray[np.int64]


def white(
    seed: int,
    member: int,
    time: str,
    rows: Sequence[int] | Index,
    columns: Sequence[int] | Index,
    channels: int,
    refinement: int,
    hours: float = 0.0,
    calendar: str = "standard",
) -> Tensor:
    """Independent N(0, 1) [K, s h, s w], float32, of coarse `rows` [h] and `columns` [w] of the grid (any order, any twice).

    `time`: the stamp of a sample; `hours` T > 0 makes times nearer than that alike, z(t) = cos(a) z_k + sin(a) z_(k+1) with
    k = floor(t / T), a = pi/2 frac(t / T): N(0, 1) at every t, and any time can be read alone; then `time` is a date of `calendar`.
    """
    if not hours:
        return _fields(f"{seed}/{member}/{time}", rows, columns, channels, refinement)
    elapsed = int(clocks.seconds(np.atleast_1d(clocks.begin(time, calendar)))[0])
    k, rest = divmod(elapsed, 3600.0 * hours)
    angle = math.pi / 2 * rest / (3600.0 * hours)
    first, second = (f"{seed}/{member}/{hours:g} h/{int(k) + i}" for i in (0, 1))
    made = math.cos(angle) * _fields(first, rows, columns, channels, refinement)
    return made if not rest else made + math.sin(angle) * _fields(second, rows, columns, channels, refinement)


def _fields(name: str, rows: Sequence[int] | Index, columns: Sequence[int] | Index, channels: int, refinement: int) -> Tensor:
    """[K, s h, s w] of the streams called `name`."""
    down, across = np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
    count = channels * refinement**2
    raws = count + count % 2  # of a column: whole pairs
    key = int.from_bytes(sha256(name.encode()).digest()[:8], "little")
    owner, place = np.divmod(across, BLOCK)
    blocks = {int(block): (np.flatnonzero(owner == block), place[owner == block]) for block in np.unique(owner)}
    own = {int(row): k for k, row in enumerate(np.unique(down))}
    drawn = np.empty((len(own), len(across), raws), dtype=np.uint64)
    for row, k in own.items():
        for block, (where, taken) in blocks.items():
            stream = np.random.Philox(key=np.array([key, row << 32 | block], dtype=np.uint64))
            drawn[k, where] = np.asarray(stream.random_raw((int(taken.max()) + 1) * raws)).reshape(-1, raws)[taken]
    cells = torch.from_numpy(normal(drawn)[..., :count])[[own[int(row)] for row in down]]  # [h, w, K s^2]
    cells = cells.view(len(down), len(across), channels, refinement, refinement)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, len(down) * refinement, len(across) * refinement)


def normal(raw: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """N(0, 1) [..., 2 n] of as many random 64-bit integers, pair by pair: r cos and r sin of an angle, r^2 = -2 ln u, u in (0, 1]."""
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(1.0 - unit[..., 0::2]))  # 1 - u: never the logarithm of 0
    angle = 2.0 * np.pi * unit[..., 1::2]
    made = np.empty(raw.shape, dtype=np.float32)
    made[..., 0::2], made[..., 1::2] = radius * np.cos(angle), radius * np.sin(angle)
    return made
