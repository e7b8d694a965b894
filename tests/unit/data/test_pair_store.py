"""The PairStore: written part by part, refused until finalised, readable by xarray, missing stays missing, gaps are left out."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from orbit2.data import packing, pairs, shards, store_layout
from orbit2.data.pairs import PairStore, SideSpec
from orbit2.data.shards import open_shards
from orbit2.errors import OrbitError
from orbit2.grid import named
from tests.data.tiny_training import Tiny

TIMES = np.datetime64("2026-03-25T00", "s") + np.arange(6) * np.timedelta64(7 * 3600, "s")
RNG = np.random.default_rng(0)
COARSE = np.stack([RNG.uniform(200, 320, (6, 3, 6)), RNG.gamma(0.3, 20, (6, 3, 6))], 1).astype(np.float32)
FINE = RNG.gamma(0.3, 20, (6, 1, 6, 12)).astype(np.float32)
KELVIN, LOGARITHM = 200 / 65534 / 2 + 3.1e-5, 7.2e-5  # half a step of 150..350 K and float32 rounding; of ln(1 + x) up to 10,000


def spec(grid: str, variables: tuple[str, ...], static: float = 1.0) -> SideSpec:
    cells = named(grid)
    return SideSpec(cells, variables, ("orography",), np.full((1, *cells.shape), static, dtype=np.float32))


INPUTS = spec("global_60", ("2m_temperature", "precipitation_rate"))
OUTPUTS = spec("global_30", ("precipitation_rate",))


def begin(path: Path, coarse: SideSpec = INPUTS, fine: SideSpec = OUTPUTS, shard: int = 2) -> Path:
    pairs.initialise(path, coarse, fine, TIMES, shard=shard)
    return path


def whole(path: Path, coarse: np.ndarray = COARSE, fine: np.ndarray = FINE) -> PairStore:
    begin(path)
    pairs.write_part(path, 0, coarse, fine)
    pairs.finalise(path)
    return PairStore(path)


def test_round_trip_within_the_stated_error_and_missing_stays_missing(tmp_path: Path) -> None:
    path, fine = begin(tmp_path / "s.zarr"), FINE.copy()
    fine[3, 0, 2] = np.nan
    fine[4, 0, :, 1] = 0
    for start in (4, 0, 2):  # any order
        pairs.write_part(path, start, COARSE[start : start + 2], fine[start : start + 2])
    pairs.finalise(path)
    store = PairStore(path)
    np.testing.assert_array_equal(store.times, TIMES)
    for index in range(6):
        coarse, found = store.read("coarse", index), store.read("fine", index)
        assert coarse.dtype == found.dtype == np.float32
        assert np.abs(coarse[0] - COARSE[index, 0]).max() <= KELVIN
        assert (np.abs(coarse[1] - COARSE[index, 1]) / (1 + COARSE[index, 1])).max() <= LOGARITHM
        np.testing.assert_array_equal(np.isnan(found), np.isnan(fine[index]))
        assert np.nanmax(np.abs(found - fine[index]) / (1 + fine[index])) <= LOGARITHM
    assert np.all(store.read("fine", 4)[0, :, 1] == 0)
    assert store.grid("fine").same_as(named("global_30")) and store.refinement == 2


def test_the_direct_reader_gives_what_zarr_gives(tmp_path: Path) -> None:
    fine = FINE.copy()
    fine[2:4] = np.nan  # a shard that zarr does not even write
    store = whole(tmp_path / "s.zarr", fine=fine)
    for side in pairs.SIDES:
        stored = zarr.open_array(str(store.path / side / "fields"), mode="r")
        direct = open_shards(store.path / side / "fields")
        assert direct is not None and stored.shards == (2, *stored.shape[1:]) and stored.chunks == (1, *stored.shape[1:])
        for index in (5, 0, 3, 2, 1, 4, -1):
            np.testing.assert_array_equal(store.read_packed(side, index), np.asarray(stored[index]))
        buffer = np.empty(stored.shape[1:], dtype=np.int16)
        assert store.read_packed(side, 1, buffer) is buffer
        np.testing.assert_array_equal(buffer, np.asarray(stored[1]))
    with pytest.raises(IndexError):
        store.read_packed("fine", 6)


def test_where_files_cannot_be_mapped_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = whole(tmp_path / "s.zarr")
    expected = [store.read_packed("fine", i) for i in range(6)]
    monkeypatch.setattr(shards, "_POPULATE_READ", 12345)  # what an older kernel says to advice it does not know
    assert shards._map(os.open(store.path / "fine/fields/c/0/0/0/0", os.O_RDONLY), 0, 64) is None
    for i in range(6):
        np.testing.assert_array_equal(store.read_packed("fine", i), expected[i])


def test_a_store_laid_out_otherwise_is_read_by_zarr(tmp_path: Path) -> None:
    store = whole(tmp_path / "s.zarr")
    codes, values = (np.stack([read("fine", i) for i in range(6)]) for read in (store.read_packed, store.read))
    group = zarr.open_group(str(store.path / "fine"), mode="r+")
    group.create_array("fields", data=codes, chunks=(2, 1, 3, 12), overwrite=True, fill_value=packing.MISSING)
    again = PairStore(store.path)
    assert open_shards(store.path / "fine" / "fields") is None
    for index in range(6):
        np.testing.assert_array_equal(again.read_packed("fine", index), codes[index])
        np.testing.assert_array_equal(again.read("fine", index), values[index])


def test_a_digest_is_known_before_writing_and_before_finalising(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    fine = FINE.copy()
    fine[4] = np.nan
    expected = {"coarse": packing.digest(COARSE[2:], INPUTS.variables), "fine": packing.digest(fine[2:], OUTPUTS.variables)}
    assert pairs.write_part(path, 2, COARSE[2:], fine[2:]) == expected
    assert {side: pairs.digest(path, side, 2, 4) for side in pairs.SIDES} == expected
    with pytest.raises(OrbitError, match="digest of samples never written"):
        pairs.digest(path, "fine", 0, 2)
    pairs.write_part(path, 0, COARSE[:2], FINE[:2])
    pairs.finalise(path)
    assert PairStore(path).digest("fine", 2, 4) == expected["fine"] != PairStore(path).digest("fine", 1, 4)


def test_unwritten_samples_are_missing_not_zero_and_are_gaps(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    pairs.write_part(path, 0, COARSE[:2], FINE[:2])
    assert list(pairs.written(path)) == [True, True, False, False, False, False]
    pairs.finalise(path)
    store = PairStore(path)
    assert np.isnan(store.read("coarse", 5)).all() and list(store.indices("2026-01-01", "2026-12-31")) == [0, 1]


def test_samples_with_all_inputs_or_all_outputs_missing_are_recorded_gaps(tmp_path: Path) -> None:
    coarse, fine = COARSE.copy(), FINE.copy()
    coarse[1, 0] = np.nan  # one input of two: still usable
    coarse[2] = np.nan
    fine[4] = np.nan
    fine[5, 0, 0, :9] = np.nan
    store = whole(tmp_path / "s.zarr", coarse, fine)
    assert list(store.usable) == [True, True, False, True, False, True]
    assert list(store.indices("2026-03-25", "2026-03-31")) == [0, 1, 3, 5]
    np.testing.assert_array_equal(store.gaps("2026-03-25", "2026-03-31"), TIMES[[2, 4]])
    assert store.gaps("2026-03-25T00:00", "2026-03-25T12:00").size == 0
    assert list(store.missing("coarse")[1]) == [1, 0] and store.missing("fine")[5] == np.float32(9 / 72)


@pytest.mark.parametrize("side", ["coarse", "fine"])
def test_a_side_may_have_no_variables(tmp_path: Path, side: str) -> None:
    path = tmp_path / "s.zarr"
    coarse = spec("global_60", ()) if side == "coarse" else INPUTS
    fine = spec("global_30", ()) if side == "fine" else OUTPUTS
    begin(path, coarse, fine)
    values = (COARSE[:, :0], FINE) if side == "coarse" else (COARSE, FINE[:, :0])
    pairs.write_part(path, 0, *values)
    pairs.finalise(path)
    store = PairStore(path)
    shape = (0, 3, 6) if side == "coarse" else (0, 6, 12)
    assert store.read(side, 3).shape == store.read_packed(side, 3).shape == shape  # type: ignore[arg-type]
    assert store.usable.all() and store.static_values("coarse").shape == (1, 3, 6) and not store.dataset(side).data_vars  # type: ignore[arg-type]
    with pytest.raises(OrbitError, match="variables on one side at least"):
        begin(tmp_path / "none.zarr", spec("global_60", ()), spec("global_30", ()))


def test_readers_refuse_an_unfinished_missing_or_older_store(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    with pytest.raises(OrbitError, match="not finalised"):
        PairStore(path)
    with pytest.raises(OrbitError, match="not found"):
        PairStore(tmp_path / "none.zarr")
    pairs.finalise(path)
    zarr.open_group(str(path), mode="r+").attrs["orbit2_store"] = "pairs-1"
    with pytest.raises(OrbitError, match="another layout"):
        PairStore(path)


def test_a_finalised_store_is_written_again_only_after_reopening(tmp_path: Path) -> None:
    store = whole(tmp_path / "s.zarr")
    with pytest.raises(OrbitError, match="is finalised"):
        pairs.write_part(store.path, 0, COARSE[:2], FINE[:2])
    pairs.reopen(store.path)
    with pytest.raises(OrbitError, match="not finalised"):
        PairStore(store.path)
    pairs.write_part(store.path, 0, COARSE[2:4], FINE[:2])
    pairs.finalise(store.path, {"note": "again"})
    again = PairStore(store.path)
    np.testing.assert_array_equal(again.read("coarse", 0), store.read("coarse", 2))
    assert again.attributes["note"] == "again" and again.usable.all()


def test_no_shard_has_two_writers_and_shapes_are_checked(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr", shard=4)
    for start, count, message in ((1, 2, "begin at a shard"), (0, 3, "end at a shard"), (4, 3, "end at a shard"), (8, 4, "end at a shard")):
        values = np.resize(COARSE, (count, 2, 3, 6)), np.resize(FINE, (count, 1, 6, 12))
        with pytest.raises(OrbitError, match=message):
            pairs.write_part(path, start, *values)
    with pytest.raises(OrbitError, match="wrong shape"):
        pairs.write_part(path, 0, COARSE[:4, :1], FINE[:4])
    with pytest.raises(OrbitError, match="wrong shape"):
        pairs.write_part(path, 0, COARSE[:4], FINE[:3])
    pairs.write_part(path, 4, COARSE[4:], FINE[4:])  # the last shard is short


def test_a_value_out_of_range_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path, fine = begin(tmp_path / "s.zarr"), FINE.copy()
    fine[3, 0, 2, 2] = 20000
    with pytest.raises(OrbitError, match=r"precipitation_rate: value outside.*'20000 mm day-1'.*0 to 10000"):
        pairs.write_part(path, 0, COARSE, fine)
    assert not pairs.written(path).any() and not list(path.glob("*/fields/c/**/*"))


@pytest.mark.parametrize("finished", [False, True])
def test_beginning_again_never_deletes_what_was_written(tmp_path: Path, finished: bool) -> None:
    path = tmp_path / "s.zarr"
    begin(path)
    pairs.write_part(path, 0, COARSE, FINE)
    if finished:
        pairs.finalise(path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    begin(path)
    rain, other = ("precipitation_rate",), TIMES + np.timedelta64(1, "h")
    for make, says in (
        (lambda: begin(path, fine=spec("global_30", rain, static=2.0)), "fine static field orography: up to 1 apart"),
        (lambda: begin(path, fine=spec("global_30", ("2m_temperature",))), "fine variables: precipitation_rate, not 2m_temperature"),
        (lambda: begin(path, spec("global_30", rain), spec("global_15", rain)), "coarse grid: 3x6 cells.*not 6x12 cells"),
        (lambda: pairs.initialise(path, INPUTS, OUTPUTS, other, shard=2), "times: 6 from 2026-03-25T00 to .*not 6 from 2026-03-25T01"),
    ):
        with pytest.raises(OrbitError, match=says) as error:
            make()
        assert "it is kept: move it away" in str(error.value) and "\n" not in str(error.value)
    if finished:
        begin(path, shard=3)  # how it is cut is the machine's affair
    else:
        with pytest.raises(OrbitError, match="samples_per_shard: 2, not 3"):
            begin(path, shard=3)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_another_range_or_codec_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.zarr"
    whole(path)
    with monkeypatch.context() as patch:
        patch.setattr(store_layout, "CODEC", {**store_layout.CODEC, "cname": "zstd"})
        with pytest.raises(OrbitError, match=r"codec: .*lz4hc.*not .*zstd"):
            begin(path)
    file = path / "coarse" / "zarr.json"
    file.write_text(file.read_text().replace("350", "351"))
    stored = json.loads((path / "zarr.json").read_text())
    stored["attributes"]["signature"] = "older"
    (path / "zarr.json").write_text(json.dumps(stored))
    with pytest.raises(OrbitError, match=r"coarse range of 2m_temperature: .*351.*not .*350"):
        begin(path)
    assert PairStore(path).read("fine", 3).shape == (1, 6, 12)


def test_an_empty_store_is_made_anew(tmp_path: Path) -> None:
    path = begin(tmp_path / "s.zarr")
    begin(path, fine=spec("global_30", ("precipitation_rate",), static=2.0))  # other orography, the same names
    assert np.asarray(zarr.open_group(str(path), mode="r")["fine/static"]).max() == 2  # type: ignore[arg-type]
    begin(path, shard=3)
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr" / "thesis.tex").write_text("precious")
    with pytest.raises(OrbitError, match="not a pair store"):
        begin(tmp_path / "s.zarr")
    assert (tmp_path / "s.zarr" / "thesis.tex").read_text() == "precious"


def test_grids_must_nest(tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match="do not nest"):
        begin(tmp_path / "s.zarr", fine=spec("global_45", ("2m_temperature",)))
    assert not (tmp_path / "s.zarr").exists()


def test_indices_are_inclusive_and_a_bare_end_date_is_its_whole_day(tmp_path: Path) -> None:
    store = whole(tmp_path / "s.zarr")
    assert list(store.indices("2026-03-25", "2026-03-25")) == [0, 1, 2, 3]
    assert list(store.indices("2026-03-25T07:00", "2026-03-25T14:00")) == [1, 2]
    with pytest.raises(OrbitError, match="did you mean 'precipitation_rate'"):
        store.variable_index("fine", "precipitation_rat")


def test_xarray_opens_a_group_with_cf_time_bounds_units_and_packing(tmp_path: Path) -> None:
    store = whole(tmp_path / "s.zarr")
    opened = xr.open_zarr(store.path, group="coarse", consolidated=False)
    np.testing.assert_array_equal(opened.time.values.astype("datetime64[s]"), TIMES)
    assert opened.lat_bnds.values[0, 0] == -90 and opened.lon_bnds.values[-1, 1] == 360 and np.all(np.diff(opened.lat) > 0)
    assert opened["fields"].dtype == np.int16
    by_hand = opened["fields"].isel(variable=0).values * opened["scale_factor"].values[0] + opened["add_offset"].values[0]  # CF
    assert np.abs(by_hand - COARSE[:, 0]).max() <= KELVIN
    attributes = json.loads((store.path / "coarse/zarr.json").read_text())["attributes"]["packing"]["2m_temperature"]
    assert attributes["_FillValue"] == -32768 and attributes["error"] == "0.0016 K" and attributes["transform"] == "x"
    field = store.dataset("fine")["precipitation_rate"]
    assert field.attrs["units"] == "mm day-1" and field.attrs["standard_name"] == "lwe_precipitation_rate" and field.chunks is not None
    assert field.dtype == np.float32
    np.testing.assert_array_equal(field.isel(time=[1, 4]).values, [store.read("fine", i)[0] for i in (1, 4)])


def test_a_store_is_read_with_the_ranges_it_was_written_with(tmp_path: Path) -> None:
    store = whole(tmp_path / "s.zarr")
    file = store.path / "coarse/zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["packing"]["2m_temperature"]["valid_range"] = [100, 400]  # as if the table had said so then
    file.write_text(json.dumps(content))
    expected = 250 + (store.read("coarse", 0)[0] - 250) * 1.5
    np.testing.assert_allclose(PairStore(store.path).read("coarse", 0)[0], expected, atol=1e-4)


def test_42_years_of_hours_open_quickly(tmp_path: Path) -> None:
    times = np.datetime64("1979-01-01T00", "s") + np.arange(367_920) * np.timedelta64(3600, "s")
    path = tmp_path / "s.zarr"
    pairs.initialise(path, INPUTS, OUTPUTS, times)
    pairs.write_part(path, 367_912, np.resize(COARSE, (8, 2, 3, 6)), np.resize(FINE, (8, 1, 6, 12)))
    pairs.finalise(path)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        store = PairStore(path)
        found = store.indices("2020-01-01", "2020-12-31")
        seconds.append(time.perf_counter() - begun)
    assert list(found) == list(range(367_912, 367_920)) and str(store.times[-1]) == "2020-12-20T23:00:00"
    assert min(seconds) < 0.3


def test_static_fields_that_are_gone_are_no_flat_ocean(tiny: Tiny, tmp_path: Path) -> None:
    """A lost chunk of an array reads as its fill value, silently: as a world without mountains where that is zero."""
    path = tmp_path / "pairs.zarr"
    shutil.copytree(tiny.store, path)
    assert PairStore(path).static_values("fine").max() > 0
    shutil.rmtree(path / "fine" / "static" / "c")
    with pytest.raises(OrbitError, match="its fine static fields are gone"):
        PairStore(path).static_values("fine")
