"""Cells that are followed one by one."""

import numpy as np
import pytest

from orbit2.metrics.lattice import MOST_CELLS, Lattice


@pytest.mark.parametrize(
    ("shape", "step"),
    [((48, 96), 1), ((256, 256), 1), ((256, 257), 2), ((720, 1440), 4), ((2880, 5760), 16), ((1, 100_000), 2)],
)
def test_the_finest_lattice_that_is_small_enough(shape, step):
    lattice = Lattice.of(shape)
    assert lattice.step == step
    assert np.prod(lattice.kept) <= MOST_CELLS
    assert lattice.take(np.zeros(shape, dtype=np.float32)).shape == (np.prod(lattice.kept),)


def test_cells_are_a_copy_of_every_kth_row_and_column():
    field = np.arange(7 * 10, dtype=np.float64).reshape(7, 10)
    taken = Lattice((7, 10), 3).take(field)
    np.testing.assert_array_equal(taken, [0, 3, 6, 9, 30, 33, 36, 39, 60, 63, 66, 69])
    field[:] = -1
    assert taken[1] == 3
    assert Lattice((7, 10), 3).method == ", on every 3rd row and column"
    assert Lattice((7, 10), 1).method == ""
