"""kill -9 in the middle of `orbit2 map-climate`: nothing half-written is taken for the result, and the same command makes the same bytes
(of NetCDF the same attributes and fields: HDF5 lays them down in the order in which they come)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import netCDF4
import pytest
import xarray as xr

from orbit2.downscale import map_climate
from orbit2.downscale.map_climate import run
from tests.data.small_downscaling import exit_code, forked
from tests.unit.downscale.test_map_climate import place as archive

__all__ = ["archive"]


class Noon(datetime):
    """The history says when a file was made: always the same here."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime(2001, 1, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.slow  # half a minute: `make test-slow`


@pytest.fixture(scope="module")
def make(archive: Path) -> Callable[[Path], object]:
    with xr.open_dataset(archive / "gcm.nc", decode_times=False) as data:
        few = data.isel(time=slice(12, 72)).load()  # five years
    few.to_netcdf(archive / "few.nc")
    given = {"input": archive / "few.nc", "model": archive / "model", "store": archive / "pairs.zarr"}
    return lambda out: run(**given, period=("1991-01-01", "1995-12-31"), out=out)  # type: ignore[arg-type]


def files(place: Path) -> dict[str, bytes]:
    if place.is_dir():
        return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
    with netCDF4.Dataset(place) as data:
        data.set_auto_maskandscale(False)
        about = {name: data.getncattr(name) for name in sorted(data.ncattrs())}
        fields = {name: str(field).encode() + field[:].tobytes() for name, field in data.variables.items()}
        return {"attributes": str(about).encode(), **fields}


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies(act: Callable[..., Any], number: int) -> Callable[..., Any]:
    """`act`, whose call of this number kills the process instead."""
    calls = iter(range(1, 1000))
    return lambda *given, **options: die() if next(calls) == number else act(*given, **options)


@pytest.fixture(scope="module")
def whole(make: Callable[[Path], object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict[str, bytes]]]:
    """The undisturbed result's bytes, by suffix; all tests work by blocks of 21 samples and windows of one row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_climate, "datetime", Noon)
        patch.setattr(map_climate, "BLOCK_BYTES", 1024)
        patch.setattr(map_climate, "WINDOW_BYTES", 8 * map_climate.COPIES * 300 * 3)

        def made(suffix: str) -> dict[str, bytes]:
            place = tmp_path_factory.mktemp("whole") / f"mapped.{suffix}"
            make(place)
            return files(place)

        yield cache(made)


@pytest.mark.parametrize(("moment", "suffix"), [("mapping", "zarr"), ("writing", "zarr"), ("ending", "nc")])
def test_killed_then_done_again_is_the_undisturbed_result(
    make: Callable[[Path], object], whole: Callable[[str], dict[str, bytes]], moment: str, suffix: str, tmp_path: Path
) -> None:
    out = tmp_path / f"mapped.{suffix}"

    def killed() -> None:
        if moment == "ending":
            os.rename = os.replace = die
        else:
            name = {"mapping": "mapped", "writing": "as_dataset"}[moment]
            setattr(map_climate, name, dies(getattr(map_climate, name), 2))
        make(out)

    assert exit_code(forked(killed)) == -signal.SIGKILL
    assert not out.exists() and any(out.parent.iterdir()), "it had begun, and nothing half-written has the name of the result"
    make(out)
    assert files(out) == whole(suffix)
    assert [path.name for path in out.parent.iterdir()] == [out.name], "what the killed one left is gone"
