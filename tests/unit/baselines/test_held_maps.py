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


def test_rows_of_a_large_map_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(held, "LARGE", 1)
    values = np.random.default_rng(0).normal(size=(150, 30)).astype(np.float32)
    maps = held.Held()
    found = maps.rows("residual", 0, lambda: values)
    assert isinstance(found, held.Packed)
    for first, last in ((0, 8), (60, 68), (0, 150), (120, 160), (63, 64), (64, 65), (10, 10)):
        assert np.array_equal(found[first:last], values[first:last])
    maps.close()
    assert np.array_equal(found[8:16], values[8:16])
