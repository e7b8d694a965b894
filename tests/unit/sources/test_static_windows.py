"""Static fields of a window are those of the whole grid cut there, also across the date line and at the poles."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.grid import Grid, global_grid, uniform
from orbit2.sources import static
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


@pytest.mark.parametrize("north_first", [False, True])
def test_of_a_large_file_only_the_surroundings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, north_first: bool) -> None:
    grid = global_grid(1.0)
    height = 1000 + 500 * np.sin(np.radians(7 * grid.lon))[None] * np.cos(np.radians(5 * grid.lat))[:, None]
    field = xr.DataArray(height, coords={"lat": grid.lat, "lon": grid.lon}, dims=("lat", "lon"), attrs={"units": "m"}, name="orography")
    (field.sortby("lat", ascending=False) if north_first else field).to_dataset().to_netcdf(tmp_path / "mine.nc")
    fine, coarse = grid.refine(4), global_grid(2.0)
    wholes = {target: open_static(target, ["orography", "slope"], tmp_path / "mine.nc") for target in (fine, coarse)}
    monkeypatch.setattr(static, "LARGE", 0)
    static._axes.cache_clear()
    monkeypatch.setattr(static, "_read", lambda *_: pytest.fail("the whole file was read"))
    for target, whole in wholes.items():
        for rows, columns in (((10, 30), (-12, 9)), ((0, 9), (20, 50)), ((80, 90), (target.shape[1] - 9, target.shape[1] + 9))):
            found = open_window(target, slice(*rows), slice(*columns), ["orography", "slope"], tmp_path / "mine.nc")
            expected = whole[:, slice(*rows)][:, :, np.arange(*columns) % target.shape[1]]
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
