"""Static fields of a window are those of the whole grid cut there, also across the date line and at the poles."""

import numpy as np
import pytest

from orbit2.grid import Grid, global_grid, uniform
from orbit2.sources.static import open_static, open_window

NAMES = ("orography", "land_sea_mask", "slope", "latitude")


@pytest.mark.parametrize(
    ("grid", "windows"),
    [
        (global_grid(0.5), [((0, 30), (0, 40)), ((330, 360), (690, 720)), ((100, 140), (-15, 20)), ((100, 140), (700, 735)),
                            ((3, 9), (0, 720)), ((3, 9), (5, 724)), ((0, 360), (700, 720))]),
        (global_grid(0.125), [((700, 760), (-15, 20)), ((0, 10), (2870, 2890))]),
        (uniform(24, 50, 235, 295, 104, 240), [((0, 40), (0, 30)), ((60, 104), (200, 240)), ((20, 30), (0, 240))]),
    ],
)  # fmt: skip
def test_window_is_the_whole_cut(grid: Grid, windows: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    whole = open_static(grid, NAMES)
    for rows, columns in windows:
        found = open_window(grid, slice(*rows), slice(*columns), NAMES)
        expected = whole[:, slice(*rows)][:, :, np.arange(*columns) % grid.shape[1]]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
