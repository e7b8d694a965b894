"""A small pair store whose parts any process can write: the same fields for a sample wherever they are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orbit2.data import pairs
from orbit2.grid import named

SAMPLES, SHARD = 22, 4  # the last shard is short
TIMES = np.datetime64("2020-01-01T00", "s") + np.arange(SAMPLES) * np.timedelta64(3600, "s")


def fields(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = [np.random.default_rng([7, i]) for i in range(start, start + count)]
    coarse = np.stack([r.uniform(230, 310, (2, 9, 18)) for r in random]).astype(np.float32)
    fine = np.stack([r.gamma(0.3, 9, (1, 36, 72)) for r in random]).astype(np.float32)
    fine[:, 0, 3, 5] = np.nan
    return coarse, fine


def begin(path: Path) -> None:
    sides = []
    for grid, names in (("global_20", ("2m_temperature_min", "2m_temperature_max")), ("global_5", ("total_precipitation_24hr",))):
        cells = named(grid)
        sides.append(pairs.SideSpec(cells, names, ("orography",), np.zeros((1, *cells.shape), np.float32)))
    pairs.initialise(path, *sides, TIMES, shard=SHARD)


def write(path: Path, start: int) -> dict[pairs.Side, str]:
    """Write the shard that begins at `start`."""
    return pairs.write_part(path, start, *fields(start, min(SHARD, SAMPLES - start)))
