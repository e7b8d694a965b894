"""Members of a zip are read in place: reads in parts are put together, and an archive that was cut is an error, never old memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.door.stored import Member, stored_members


@pytest.fixture
def member(tmp_path: Path) -> Member:
    values = np.random.default_rng(0).random((2, 5, 40, 50)).astype("float32")
    data = xr.Dataset({name: (("time", "lat", "lon"), field) for name, field in zip("ab", values, strict=True)})
    data.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.write(tmp_path / "in.nc", "in.nc")
    (found,) = stored_members(tmp_path / "in.zip", (".nc",))
    return found


def test_reads_that_come_in_parts_are_put_together(member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.preadv

    def short(handle: int, buffers: Sequence[Any], offset: int) -> int:
        return original(handle, [buffers[0][:1000]], offset)

    monkeypatch.setattr(os, "preadv", short)
    expected = xr.load_dataset(tmp_path / "in.nc", engine="h5netcdf")
    with xr.open_dataset(member, engine="h5netcdf") as found:
        xr.testing.assert_identical(found.load(), expected)


def test_an_archive_that_was_cut_since_is_an_error(member: Member) -> None:
    with xr.open_dataset(member, engine="h5netcdf") as found:
        os.truncate(member.archive, member.offset + member.size // 2)
        with pytest.raises(OSError):
            found.load()
