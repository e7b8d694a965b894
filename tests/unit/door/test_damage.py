"""Bytes damaged anywhere in a provider's file: one error that names the file, whatever the library underneath raises, and no noise."""

from __future__ import annotations

import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orbit2.config.sources import DaymetConfig, ImergConfig
from orbit2.door.archive import unpack
from orbit2.door.damage import reading
from orbit2.errors import OrbitError
from orbit2.sources import static
from orbit2.sources.daymet import Daymet
from orbit2.sources.era5 import open_era5
from orbit2.sources.imerg import Imerg
from tests.data import daymet_files, imerg_files

RAIN = "total_precipitation_24hr"
DAY = np.datetime64("2020-01-02", "D")


def plane(when: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return 5.0 + 0.1 * lat + 0.01 * lon


def read_imerg(path: Path) -> None:
    Imerg(ImergConfig()).open([path], (RAIN,), DAY, DAY).load()


def read_daymet(path: Path) -> None:
    Daymet(DaymetConfig()).open([path], (RAIN,), DAY, DAY).load()


def make_daymet(path: Path) -> Path:
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-01-05"))
    return daymet_files.write(path, "prcp", days, plane, daymet_files.GRID_X[4000:4040], daymet_files.GRID_Y[5000:5030])


@pytest.mark.parametrize(("make", "read"), [
    (lambda path: imerg_files.daily(path, DAY, plane), read_imerg), (make_daymet, read_daymet)])
def test_whatever_bytes_are_damaged_the_error_names_the_file(
    make: Callable[[Path], Path], read: Callable[[Path], None], tmp_path: Path
) -> None:
    path = make(tmp_path / "provider.nc")
    whole, refused, chance = path.read_bytes(), 0, random.Random(3)
    for trial in range(30):
        content = bytearray(whole)
        begin = chance.randrange(len(content))
        for at in range(begin, min(begin + chance.choice([1, 16, 512]), len(content))):
            content[at] ^= chance.randrange(1, 256)
        path.write_bytes(content[: chance.randrange(len(content))] if trial % 10 == 0 else content)
        try:
            read(path)  # damage where nothing looks is harmless
        except OrbitError as error:
            refused += 1
            assert path.name in str(error) and "\n" not in str(error)
    assert refused > 8


def test_damage_found_while_computing_names_the_file(tmp_path: Path) -> None:
    path = make_daymet(tmp_path / "provider.nc")
    data = Daymet(DaymetConfig()).open([path], (RAIN,), DAY, DAY)
    content = bytearray(path.read_bytes())
    content[len(content) // 4 :] = bytes(len(content) - len(content) // 4)
    with open(path, "r+b") as handle:  # the same file, behind the reader's back
        handle.write(content)
    with pytest.raises(OrbitError, match=r"provider\.nc"):
        data.load()


def test_an_archive_whose_compressed_bytes_are_wrong_is_a_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.nc", random.Random(1).randbytes(3000) * 3)
    whole = path.read_bytes()
    for at in range(40, 400, 20):
        path.write_bytes(whole[:at] + b"\xff" * 30 + whole[at + 30 :])
        with pytest.raises(OrbitError, match=r"x.zip: damaged archive"):
            unpack(path, (".nc",))
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_static_fields_that_cannot_be_read_name_their_file(tmp_path: Path) -> None:
    path = tmp_path / "static.nc"
    whole = static.STATIC.read_bytes()
    path.write_bytes(whole[: len(whole) // 3] + bytes(len(whole) // 3) + whole[2 * (len(whole) // 3) :])
    with pytest.raises(OrbitError, match=r"static\.nc"):
        for name in ("land_sea_mask", "orography"):
            static._read(path, name)


@pytest.mark.parametrize("read", ["Daymet(DaymetConfig()).open([path], ('total_precipitation_24hr',), day, day)",
                                  "open_era5([path], ['2m_temperature'])"])
def test_nothing_but_the_error_is_printed(read: str, tmp_path: Path) -> None:
    (tmp_path / "x.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(4000))
    script = f"""
import numpy as np
from pathlib import Path
from orbit2.config.sources import DaymetConfig
from orbit2.errors import OrbitError
from orbit2.sources.daymet import Daymet
from orbit2.sources.era5 import open_era5
path, day = Path("x.nc"), np.datetime64("2020-01-01")
try:
    {read}
except OrbitError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert "x.nc" in done.stdout and done.stderr == "" and done.returncode == 0
    with pytest.raises(OrbitError, match="cannot be read as ERA5"):
        open_era5([tmp_path / "x.nc"], ["2m_temperature"])


def test_a_lack_of_memory_is_not_called_damage() -> None:
    with pytest.raises(MemoryError), reading("x.nc"):
        raise MemoryError
    with pytest.raises(OrbitError, match=r"x.nc: grid: latitude outside.*; look at it"), reading("x.nc"):
        raise OrbitError("latitude outside the globe", where="grid", hint="look at it")
