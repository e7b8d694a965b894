"""Windows and spells over the edges of parts: whatever pieces the days come in."""

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.metrics.consecutive import Chain
from orbit2.metrics.spells import Spells

DAYS, CELLS = 60, 40


def chunkings():
    generator = np.random.default_rng(1)
    yield [[day] for day in range(DAYS)]
    yield [[day] for day in generator.permutation(DAYS)]
    yield [list(range(31, DAYS)), list(range(31))]
    for _ in range(5):
        cuts = np.sort(generator.choice(np.arange(1, DAYS), 7, replace=False))
        parts = [list(part) for part in np.split(np.arange(DAYS), cuts)]
        yield [parts[i] for i in generator.permutation(len(parts))]


def longest(wet):
    best = np.zeros(wet.shape[1], dtype=int)
    for cell in range(wet.shape[1]):
        run = 0
        for day in wet[:, cell]:
            run = run + 1 if day else 0
            best[cell] = max(best[cell], run)
    return best


def test_spells_are_the_same_in_any_pieces_and_any_order():
    wet = np.random.default_rng(0).random((DAYS, CELLS)) < 0.7
    wet[:, 0], wet[:, 1], wet[:, 2], wet[:, 3] = True, False, np.arange(DAYS) < 40, np.arange(DAYS) >= 20
    for parts in chunkings():
        whole = Spells()
        for part in parts:
            piece = Spells()
            for day in part:
                piece.update(int(day), wet[day])
            whole.add(piece.state())
        assert len(whole.stretches.pieces) == 1
        np.testing.assert_array_equal(whole.longest(), longest(wet))
    assert whole.longest()[:4].tolist() == [60, 0, 40, 40]


def test_a_missing_day_ends_a_spell():
    spells = Spells()
    for day in (0, 1, 2, 4, 5):
        spells.update(day, np.array([True]))
    assert spells.longest().tolist() == [3]


def test_every_window_is_seen_once():
    fields = np.random.default_rng(0).random((DAYS, 3)).astype(np.float32)
    expected = {(span, day): fields[day - span + 1 : day + 1] for span in (2, 5) for day in range(span - 1, DAYS)}
    for parts in chunkings():
        seen = {}

        def visit(span, day, window, seen=seen):
            assert (span, day) not in seen
            seen[span, day] = np.stack(window)

        whole = Chain((2, 5), visit)
        for part in parts:
            piece = Chain((2, 5), visit)
            for day in part:
                piece.update(int(day), fields[day])
            whole.add(piece.state())
        assert seen.keys() == expected.keys()
        assert all(np.array_equal(seen[key], expected[key]) for key in seen)
        assert whole.covers(0, DAYS - 1)


def test_windows_do_not_bridge_a_gap():
    seen = []
    chain = Chain((2, 3), lambda span, day, window: seen.append((span, day)))
    for day in (0, 1, 3, 4, 5):
        chain.update(day, np.zeros(1, dtype=np.float32))
    assert sorted(seen) == [(2, 1), (2, 4), (2, 5), (3, 5)]
    assert not chain.covers(1, 3)


def test_a_day_counts_once():
    spells = Spells()
    spells.update(3, np.array([True]))
    with pytest.raises(OrbitError, match="counted twice"):
        spells.add(spells.state())
