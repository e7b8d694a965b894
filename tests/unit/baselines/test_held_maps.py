"""Maps that samples want again: unchanged, read once, the newest edition only."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.baselines import held


@pytest.mark.parametrize("large", [False, True])
def test_a_map_comes_back_unchanged_and_is_read_once(large, monkeypatch):
    monkeypatch.setattr(held, "LARGE", 1 if large else 1 << 30)
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 40, 50)).astype(np.float32)
    first[3, 4] = np.nan
    reads = []

    def read(values):
        reads.append(values)
        return values

    maps = held.Held()
    for _ in range(2):
        found = maps.get("residual", 1, lambda: read(first))
        assert found.dtype == np.float32 and np.array_equal(found, first, equal_nan=True)
    assert len(reads) == 1
    assert np.array_equal(maps.get("residual", 2, lambda: read(second)), second)
    assert np.array_equal(maps.get("residual", 1, lambda: read(first)), first, equal_nan=True) and len(reads) == 3
    codes = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for _ in range(2):
        assert np.array_equal(maps.get("codes", 0, lambda: np.moveaxis(codes, 0, -1)), np.moveaxis(codes, 0, -1))
