"""Predictions kept rounded or not compressed: what a reader finds beside the exact ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.data.packing import error_bound, greatest_error
from orbit2.downscale import Settings, downscale_file, run
from orbit2.downscale.stored import Rounding, rounding_of
from orbit2.errors import OrbitError
from orbit2.variables import BUILT_IN, variable
from tests.data.small_downscaling import arguments, random_model, task
from tests.data.tiny_training import NAMES, Tiny

DYNAMIC = [name for name, known in BUILT_IN.items() if known.kind != "static"]


def values_of(name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A hundred thousand values of all of a variable's range, dense at its low end too."""
    low, high = variable(name).valid
    random = np.random.default_rng(1)
    near = low + (high - low) * 10.0 ** random.uniform(-9, 0, 50_000)
    return np.concatenate([random.uniform(low, high, 50_000), near]).astype(np.float32)[None, None, :]


@pytest.mark.parametrize("name", DYNAMIC)
def test_no_value_is_off_by_more_than_in_a_pair_store(name: str) -> None:
    values = values_of(name)
    found = rounding_of(name).of(values)
    off = np.abs(found.astype(np.float64) - values)
    assert found.dtype == np.float32 and (off <= greatest_error(values[0], [name])[None]).all()
    assert (rounding_of(name).of(found) == found).all(), "rounded once is rounded for good"
    assert (np.diff(rounding_of(name).of(np.sort(values))) >= 0).all()
    digits = found.reshape(-1).view(np.int32)
    assert np.mean(digits & 0xF == 0) > 0.5, "most of its last digits are zeros, which pack well"


def test_zero_what_is_missing_and_halves() -> None:
    for name in NAMES:
        found = rounding_of(name).of(np.array([0, np.nan, -0.0, 1e30], dtype=np.float32))
        assert found[0] == 0 and np.isnan(found[1]) and found[2] == 0 and np.isfinite(found[3])
    assert Rounding(0.5).of(np.array([0.25, 0.75, 1.26], dtype=np.float32)).tolist() == [0.0, 1.0, 1.5]  # half goes to the even one
    rain = Rounding(0.0, 2).of(np.array([0.125, 0.375, 0.3, 7.0, 2.9, 4.0], dtype=np.float32))
    assert rain.tolist() == [0.0, 0.5, 0.25, 7.0, 3.0, 4.0]  # 1 + x to three bits: steps of a quarter below 1, of 1 from 3 to 7
    odd = np.array([0x7FFFFFFF, -1], dtype=np.int32).view(np.float32)  # what is missing, as others write it
    assert np.isnan(Rounding(0.0, 13).of(odd)).all() and np.isnan(Rounding(0.5).of(odd)).all()


def test_it_is_said_in_words() -> None:
    assert rounding_of("2m_temperature").told("K") == "to multiples of 0.00195312 K: off by at most 0.00098 K"
    assert "0 is exact" in rounding_of("precipitation_rate").told("mm day-1")
    assert rounding_of("mean_sea_level_pressure").step / 2 <= error_bound("mean_sea_level_pressure").absolute
    with pytest.raises(OrbitError, match="nothing_known"):
        rounding_of("nothing_known")


@pytest.fixture(scope="module")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same prediction, kept in each way."""
    folder = tmp_path_factory.mktemp("stored")
    model, outs = random_model(folder / "model"), {}
    for stored in ("exact", "rounded", "plain"):
        outs[stored] = folder / stored / "p.zarr"
        outs[stored].parent.mkdir()
        run(**arguments(tiny, model, task(folder / f"{stored}.json", tile=[6, 8], halo=2, stored=stored), outs[stored]))
    return outs


def size(store: Path) -> int:
    return sum(file.stat().st_size for name in NAMES for file in (store / name / "c").rglob("*") if file.is_file())


def test_a_reader_finds_the_same_fields_in_less_room(made: dict[str, Path]) -> None:
    exact, rounded, plain = (xr.open_zarr(made[stored], consolidated=False).load() for stored in ("exact", "rounded", "plain"))
    xr.testing.assert_equal(plain, exact)
    for name in NAMES:
        assert "rounding" not in exact[name].attrs and "rounding" not in plain[name].attrs
        assert rounded[name].attrs["rounding"] == rounding_of(name).told(variable(name).units)
        assert rounded[name].dtype == np.float32 and {**rounded[name].attrs, "rounding": 0} == {**exact[name].attrs, "rounding": 0}
        assert np.array_equal(rounded[name].values, rounding_of(name).of(exact[name].values), equal_nan=True)
        assert not np.array_equal(rounded[name].values, exact[name].values)
    assert size(made["rounded"]) < 0.8 * size(made["exact"]) < size(made["plain"])


def test_another_way_is_another_prediction(made: dict[str, Path], tiny: Tiny, tmp_path: Path) -> None:
    """An exact one is what it was before there was another."""
    signatures = {stored: xr.open_zarr(path, consolidated=False).attrs["signature"] for stored, path in made.items()}
    assert len(set(signatures.values())) == 3
    with pytest.raises(OrbitError, match="already there"):
        model = random_model(tmp_path / "model")
        out = tmp_path / "p.zarr"
        source = fields(tmp_path / "in.nc")
        downscale_file(input=source, model=model, out=out)
        downscale_file(input=source, model=model, out=out, settings=Settings(stored="rounded"))


def fields(path: Path) -> Path:
    lat, lon = np.linspace(-82.5, 82.5, 12), np.linspace(7.5, 352.5, 24)
    random = np.random.default_rng(0)
    data = {"2m_temperature": 280 + random.standard_normal((1, 12, 24)), "precipitation_rate": random.exponential(2.0, (1, 12, 24))}
    units = {name: {"units": variable(name).units} for name in data}
    xr.Dataset({name: (("time", "lat", "lon"), values.astype(np.float32), units[name]) for name, values in data.items()},
               coords={"time": [np.datetime64("2026-01-01", "ns")], "lat": lat, "lon": lon}).to_netcdf(path)  # fmt: skip
    return path


def test_shares_of_members_are_never_rounded(tmp_path: Path) -> None:
    model, source = random_model(tmp_path / "model", noise={"channels": 1}), fields(tmp_path / "in.nc")
    both = []
    for stored in ("exact", "rounded"):
        out = tmp_path / f"{stored}.zarr"
        settings = Settings(members=3, quantiles=(0.5,), events=("2m_temperature>280",), stored=stored)
        downscale_file(input=source, model=model, out=out, settings=settings)
        both.append(xr.open_zarr(out, consolidated=False).load())
    exact, rounded = both
    (share,) = [name for name in exact if str(name).startswith("probability")]
    assert np.array_equal(exact[share], rounded[share]) and set(np.unique(np.round(3 * rounded[share]))) <= {0.0, 1.0, 2.0, 3.0}
    assert "rounding" not in rounded[share].attrs and "rounding" in rounded["2m_temperature"].attrs
    assert np.array_equal(rounded["2m_temperature"].values, rounding_of("2m_temperature").of(exact["2m_temperature"].values))


def test_netcdf_has_what_the_store_had(tmp_path: Path) -> None:
    model, source = random_model(tmp_path / "model"), fields(tmp_path / "in.nc")
    for out in ("a.zarr", "a.nc"):
        downscale_file(input=source, model=model, out=tmp_path / out, settings=Settings(stored="rounded"))
    with xr.open_dataset(tmp_path / "a.nc") as single, xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as store:
        for name in NAMES:
            assert np.array_equal(single[name], store[name]) and single[name].attrs["rounding"] == store[name].attrs["rounding"]
