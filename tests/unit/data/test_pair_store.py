"""The PairStore: written part by part, refused until finalised, readable by xarray, missing stays missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from orbit2.data import pairs
from orbit2.data.pairs import PairStore, SideSpec
from orbit2.errors import OrbitError
from orbit2.grid import named

TIMES = np.datetime64("2026-03-25T00", "s") + np.arange(6) * np.timedelta64(7 * 3600, "s")
RNG = np.random.default_rng(0)
COARSE = RNG.normal(size=(6, 2, 3, 6)).astype(np.float32)
FINE = RNG.normal(size=(6, 1, 6, 12)).astype(np.float32)


def spec(grid: str, variables: tuple[str, ...]) -> SideSpec:
    cells = named(grid)
    return SideSpec(cells, variables, ("orography",), np.ones((1, *cells.shape), dtype=np.float32))


def begin(path: Path, **changes: int) -> Path:
    pairs.initialise(path, spec("global_60", ("2m_temperature", "precipitation_rate")), spec("global_30", ("precipitation_rate",)), TIMES,
                     **{"shard": 2, **changes})
    return path


def test_round_trip_with_missing_values(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    fine = FINE.copy()
    fine[3, 0, 2] = np.nan
    for start in (4, 0, 2):  # any order
        pairs.write_part(path, start, COARSE[start : start + 2], fine[start : start + 2])
    pairs.finalise(path)
    store = PairStore(path)
    np.testing.assert_array_equal(store.times, TIMES)
    for index in range(6):
        np.testing.assert_array_equal(store.read("coarse", index), COARSE[index])
        np.testing.assert_array_equal(store.read("fine", index), fine[index])
    assert store.grid("fine").same_as(named("global_30")) and store.refinement == 2


def test_unwritten_samples_are_nan_not_zero(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    pairs.write_part(path, 0, COARSE[:2], FINE[:2])
    pairs.finalise(path)
    assert np.isnan(PairStore(path).read("coarse", 5)).all()


def test_readers_refuse_an_unfinished_or_missing_store(tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match="not finalised"):
        PairStore(begin(tmp_path / "s.zarr"))
    with pytest.raises(OrbitError, match="not found"):
        PairStore(tmp_path / "none.zarr")


def test_no_shard_has_two_writers_and_shapes_are_checked(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    with pytest.raises(OrbitError, match="shard boundary"):
        pairs.write_part(path, 1, COARSE[1:3], FINE[1:3])
    with pytest.raises(OrbitError, match="wrong shape"):
        pairs.write_part(path, 0, COARSE[:2, :1], FINE[:2])


def test_beginning_again_keeps_what_is_written_unless_the_geometry_changed(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    pairs.write_part(path, 0, COARSE[:2], FINE[:2])
    begin(path)
    np.testing.assert_array_equal(np.asarray(zarr.open_group(str(path), mode="r")["coarse/fields"][0]), COARSE[0])  # type: ignore[index]
    pairs.initialise(path, spec("global_60", ("2m_temperature",)), spec("global_30", ("precipitation_rate",)), TIMES, shard=2)
    assert zarr.open_group(str(path), mode="r")["coarse/fields"].shape == (6, 1, 3, 6)  # type: ignore[union-attr]


def test_grids_must_nest(tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match="do not nest"):
        pairs.initialise(tmp_path / "s.zarr", spec("global_60", ("2m_temperature",)), spec("global_45", ("2m_temperature",)), TIMES)
    assert not (tmp_path / "s.zarr").exists()


def test_indices_are_inclusive_and_a_bare_end_date_is_its_whole_day(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    pairs.finalise(path)
    store = PairStore(path)
    assert list(store.indices("2026-03-25", "2026-03-25")) == [0, 1, 2, 3]
    assert list(store.indices("2026-03-25T07:00", "2026-03-25T14:00")) == [1, 2]
    with pytest.raises(OrbitError, match="did you mean 'precipitation_rate'"):
        store.variable_index("fine", "precipitation_rat")


def test_xarray_opens_a_group_with_cf_time_bounds_and_units(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    pairs.write_part(path, 0, COARSE[:2], FINE[:2])
    pairs.finalise(path)
    opened = xr.open_zarr(path, group="fine", consolidated=False)
    np.testing.assert_array_equal(opened.time.values.astype("datetime64[s]"), TIMES)
    assert opened.lat_bnds.values[0, 0] == -90 and opened.lon_bnds.values[-1, 1] == 360 and np.all(np.diff(opened.lat) > 0)
    field = PairStore(path).dataset("fine")["precipitation_rate"]
    assert field.attrs["units"] == "mm day-1" and field.attrs["standard_name"] == "lwe_precipitation_rate" and field.chunks is not None
