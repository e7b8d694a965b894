"""The Regridder against analysis: constants, conservation, spherical harmonics, block means, symmetries, masks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.errors import OrbitError
from orbit2.grid import Grid, from_centres, global_grid, named, uniform
from orbit2.remap import METHODS, Regridder

ERA5 = from_centres(np.arange(-90, 91.0), np.arange(360.0))  # 181 rows with half cells at the poles


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))


def mean(values: np.ndarray, grid: Grid) -> np.ndarray:
    return (values * grid.area_km2).sum((-2, -1)) / grid.area_km2.sum()


def smooth(grid: Grid) -> np.ndarray:
    """Cell means of sin(latitude)^2 + cos(latitude)^2 cos(2 longitude): exact integrals over each cell, area-weighted."""
    s, lon = np.sin(np.radians(grid.lat_edges)), np.radians(grid.lon_edges)
    width = np.diff(s)
    zonal = np.diff(s**3) / 3 / width
    wave = np.diff(s - s**3 / 3) / width
    return zonal[:, None] + wave[:, None] * (np.diff(np.sin(2 * lon)) / 2 / np.diff(lon))[None]


GRIDS = {"1 degree": named("global_1.0"), "4 degree": named("global_4.0"), "0.7 x 1.1": uniform(-90, 90, 0, 360, 257, 327),
         "from 180 W": uniform(-90, 90, -180, 180, 60, 90), "from 0.3 E": uniform(-90, 90, 0.3, 360.3, 44, 77)}


@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS.keys())
def test_conservative_keeps_constants_and_the_global_mean(target: Grid) -> None:
    regridder = Regridder(ERA5, target)
    assert np.abs(regridder(np.full(ERA5.shape, 273.15)) / 273.15 - 1).max() < 1e-12
    field = 280 + np.random.default_rng(0).normal(size=(3, *ERA5.shape))
    np.testing.assert_allclose(mean(regridder(field), target), mean(field, ERA5), rtol=1e-12)


@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS.keys())
def test_conservative_of_a_second_degree_harmonic(target: Grid) -> None:
    result = Regridder(ERA5, target)(smooth(ERA5))
    assert np.abs(result - smooth(target)).max() < 0.03  # first-order conservative: error of the order of the source spacing
    coarse = named("global_4.0")
    nested = Regridder(named("global_1.0"), coarse)(smooth(named("global_1.0")))
    np.testing.assert_allclose(nested, smooth(coarse), atol=1e-12)  # means of exact cell means are exact


@pytest.mark.parametrize("factor", [2, 4, 15])
def test_nesting_grids_give_block_means_weighted_by_area(factor: int) -> None:
    fine = named("global_1.0")
    coarse = fine.coarsen(factor)
    field = np.random.default_rng(1).normal(size=fine.shape)
    rows, columns = coarse.shape
    shape = (rows, factor, columns, factor)
    expected = (field * fine.area_km2).reshape(shape).sum((1, 3)) / fine.area_km2.reshape(shape).sum((1, 3))
    np.testing.assert_allclose(Regridder(fine, coarse)(field), expected, atol=1e-12)
    np.testing.assert_allclose(Regridder(coarse, fine)(expected), np.repeat(np.repeat(expected, factor, 0), factor, 1), atol=1e-12)


def test_a_pole_row_of_era5_counts_for_half_a_cell() -> None:
    target = named("global_1.0")
    field = np.zeros(ERA5.shape)
    field[-1] = 1.0  # the North Pole's row: the cap above 89.5 N
    cap = np.sin(np.radians([89.0, 89.5, 90.0]))
    np.testing.assert_allclose(Regridder(ERA5, target)(field)[-1], (cap[2] - cap[1]) / (cap[2] - cap[0]), rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_rolling_longitude_or_flipping_the_globe_commutes_with_regridding(method: str) -> None:
    source, target = named("global_4.0"), uniform(-90, 90, 0, 360, 60, 120)
    field = np.random.default_rng(2).normal(size=source.shape)
    once = Regridder(source, target, method)(field)  # type: ignore[arg-type]
    eastward = [Grid(g.lat_edges, g.lon_edges + 120) for g in (source, target)]
    moved = Regridder(*eastward, method)  # type: ignore[arg-type]
    np.testing.assert_allclose(moved(field), once, atol=1e-12)
    begun_elsewhere = Grid(source.lat_edges, source.lon_edges - 180 + 4)  # the same cells, listed from 176 W
    shift = int(180 / 4) - 1
    rolled = Regridder(begun_elsewhere, target, method)(np.roll(field, shift, axis=1))  # type: ignore[arg-type]
    np.testing.assert_allclose(rolled, once, atol=1e-12)
    if method != "nearest":  # ties between two nearest cells have no symmetric answer
        np.testing.assert_allclose(Regridder(source, target, method)(field[::-1])[::-1], once, atol=1e-12)  # type: ignore[arg-type]


def test_bilinear_is_exact_for_linear_fields_and_wraps() -> None:
    source, target = named("global_4.0"), named("global_1.0")
    linear = source.lat[:, None] + np.zeros(source.shape)
    inside = np.abs(target.lat) <= 88
    result = Regridder(source, target, "bilinear")(linear)[inside]
    np.testing.assert_allclose(result, np.broadcast_to(target.lat[inside][:, None], result.shape), atol=1e-12)
    bump = np.zeros(source.shape)
    bump[:, 0], bump[:, -1] = 1.0, 3.0  # centres 2 E and 358 E: half-way lies 0 E
    row = Regridder(source, target, "bilinear")(bump)[90]
    assert row[0] == pytest.approx(1 + 2 * (1.5 / 4)) and row[-1] == pytest.approx(3 - 2 * (1.5 / 4))


def test_nearest_takes_the_cell_the_centre_lies_in() -> None:
    source, target = named("global_4.0"), named("global_1.0")
    field = np.arange(source.shape[0] * source.shape[1], dtype=float).reshape(source.shape)
    np.testing.assert_array_equal(Regridder(source, target, "nearest")(field), np.repeat(np.repeat(field, 4, 0), 4, 1))


def test_missing_cells_leave_the_mean_by_area_and_never_become_zero() -> None:
    fine, coarse = named("global_1.0"), named("global_4.0")
    field = np.full(fine.shape, 5.0)
    field[:, :6] = np.nan  # first coarse column: none valid; second: half of it
    result = Regridder(fine, coarse, min_valid_fraction=0.5)(field)
    assert np.isnan(result[:, 0]).all()
    np.testing.assert_allclose(result[:, 1:], 5.0, rtol=1e-12)
    strict = Regridder(fine, coarse, min_valid_fraction=0.51)(field)
    assert np.isnan(strict[:, :2]).all() and np.isfinite(strict[:, 2:]).all()


def test_bilinear_beside_a_missing_cell_uses_the_rest_or_says_missing() -> None:
    source, target = named("global_4.0"), named("global_1.0")
    field = np.full(source.shape, 7.0)
    field[20, 30] = np.nan
    result = Regridder(source, target, "bilinear")(field)
    assert np.nanmax(np.abs(result - 7)) < 1e-12 and np.isnan(result[81:83, 121:123]).all() and np.isnan(result).sum() < 16


def test_cells_outside_a_regional_source_are_missing() -> None:
    source = named("us_60")
    result = Regridder(source, named("global_1.0"))(np.ones(source.shape))
    assert np.isfinite(result).sum() == source.shape[0] * source.shape[1]
    assert np.isfinite(result[114:140, 235:295]).all()
    west = Grid(source.lat_edges, source.lon_edges - 360)  # the same box written as 125 W to 65 W
    np.testing.assert_array_equal(Regridder(west, named("global_1.0"))(np.ones(source.shape)), result)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 40), st.integers(2, 40), st.floats(-400, 400))
def test_conservation_holds_for_any_pair_of_global_grids(h: int, w: int, h2: int, w2: int, start: float) -> None:
    source, target = uniform(-90, 90, 0, 360, h, w), uniform(-90, 90, start, start + 360, h2, w2)
    field = np.random.default_rng(h * w).normal(size=source.shape)
    result = Regridder(source, target)(field)
    assert abs(mean(result, target) - mean(field, source)) < 1e-9
    assert result.min() >= field.min() - 1e-9 and result.max() <= field.max() + 1e-9


def test_data_arrays_stay_lazy_and_keep_time_and_attributes() -> None:
    target = named("global_4.0")
    values = np.random.default_rng(3).normal(size=(4, *ERA5.shape)).astype(np.float32)
    field = xr.DataArray(values, dims=("time", "lat", "lon"), attrs={"units": "K"},
                         coords={"time": np.arange(4), "lat": ERA5.lat, "lon": ERA5.lon})
    regridder = Regridder(ERA5, target)
    lazy = regridder(field.chunk({"time": 1, "lat": 60}))
    assert lazy.chunks is not None and lazy.dims == ("time", "lat", "lon") and lazy.attrs["units"] == "K" and lazy.dtype == np.float32
    np.testing.assert_array_equal(lazy.lat, target.lat)
    np.testing.assert_array_equal(lazy.values, regridder(values))


def test_weights_come_back_from_disk_and_a_damaged_file_is_rebuilt(tmp_path: Path) -> None:
    source, target = global_grid(3.0), global_grid(5.0)
    field = np.random.default_rng(4).normal(size=source.shape)
    first = Regridder(source, target, cache=tmp_path / "a")(field)
    (file,) = (tmp_path / "a" / "weights").glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    np.testing.assert_array_equal(Regridder(source, target, cache=tmp_path / "b")(field), first)
    assert len(next((tmp_path / "b" / "weights").glob("*.npz")).read_bytes()) > 100


def test_user_mistakes_are_named() -> None:
    with pytest.raises(OrbitError, match=r"unknown regridding method.*'cubic'"):
        Regridder(ERA5, ERA5, "cubic")  # type: ignore[arg-type]
    with pytest.raises(OrbitError, match="min_valid_fraction"):
        Regridder(ERA5, ERA5, min_valid_fraction=0.0)
    with pytest.raises(OrbitError, match="not on the source grid"):
        Regridder(ERA5, ERA5)(np.ones((180, 360)))
    try:
        import xesmf  # noqa: F401
    except Exception:
        with pytest.raises(OrbitError, match="xesmf back end cannot be imported"):
            Regridder(ERA5, ERA5, backend="xesmf")


def test_xesmf_agrees_with_the_built_in_weights() -> None:
    pytest.importorskip("xesmf", reason="xesmf needs ESMF, which conda installs and pip does not", exc_type=ImportError)
    source, target = named("global_4.0"), named("global_1.0").coarsen(6)
    field = 280 + np.random.default_rng(5).normal(size=source.shape)
    np.testing.assert_allclose(Regridder(source, target, backend="xesmf")(field), Regridder(source, target)(field), rtol=1e-6)


@pytest.mark.skipif(shutil.which("cdo") is None, reason="CDO is not installed")
def test_cdo_remapcon_agrees(tmp_path: Path) -> None:
    source, target = named("global_1.0"), named("global_4.0")
    field = np.random.default_rng(6).normal(size=source.shape)
    coords = {"lat": ("lat", source.lat, {"units": "degrees_north"}), "lon": ("lon", source.lon, {"units": "degrees_east"})}
    xr.Dataset({"x": (("lat", "lon"), field)}, coords=coords).to_netcdf(tmp_path / "in.nc")
    (tmp_path / "grid").write_text("gridtype=lonlat\nxsize=90\nysize=45\nxfirst=2\nxinc=4\nyfirst=-88\nyinc=4\n")
    command = ["cdo", f"remapcon,{tmp_path / 'grid'}", str(tmp_path / "in.nc"), str(tmp_path / "out.nc")]
    subprocess.run(command, check=True, capture_output=True)
    with xr.open_dataset(tmp_path / "out.nc", engine="netcdf4") as out:
        np.testing.assert_allclose(out.x.values, Regridder(source, target)(field), atol=1e-6)
