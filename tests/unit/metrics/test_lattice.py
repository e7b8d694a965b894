"""Cells that are followed one by one."""

import numpy as np
import pytest

from orbit2.metrics.lattice import MOST_CELLS, Lattice


@pytest.mark.parametrize(
    ("shape", "step"),
    [((48, 96), 1), ((512, 512), 1), ((512, 513), 2), ((720, 1440), 2), ((2880, 5760), 8), ((1, 300_000), 2)],
)
def test_the_finest_lattice_that_is_small_enough(shape, step):
    lattice = Lattice.of(shape)
    assert lattice.step == step
    assert np.prod(lattice.kept) <= MOST_CELLS
    assert lattice.take(np.zeros(shape, dtype=np.float32)).shape == (np.prod(lattice.kept),)


def test_cells_are_a_copy_of_every_kth_row_and_column():
    field = np.arange(7 * 10, dtype=np.float64).reshape(7, 10)
    taken = Lattice((7, 10), 3).take(field)
    np.testing.assert_array_equal(taken, [11, 14, 17, 41, 44, 47])
    field[:] = -1
    assert taken[0] == 11
    assert Lattice((7, 10), 3).method == ", on every 3rd row and column"
    assert Lattice((7, 10), 1).method == ""
