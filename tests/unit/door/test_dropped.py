"""Files that were opened and never closed: nobody closes them while their fields are read, and what was unpacked for them stays."""

import gc
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.door.opening import opened

NAMES = ("2m_temperature",)


def field(path: Path, hours: int = 48) -> Path:
    values = np.arange(hours * 18 * 36, dtype=np.float32).reshape(hours, 18, 36)
    time = np.datetime64("2026-01-01", "ns") + np.arange(hours) * np.timedelta64(1, "h")
    xr.Dataset({"2m_temperature": (("time", "lat", "lon"), values, {"units": "K"})},
               coords={"time": time, "lat": np.linspace(-85, 85, 18), "lon": np.arange(36) * 10.0}).to_netcdf(
                   path, engine="h5netcdf", encoding={"2m_temperature": {"chunksizes": (1, 18, 36)}})  # fmt: skip
    return path


def lazily(path: Path) -> xr.DataArray:
    """A field of what was opened; all else of it is dropped."""
    return opened(str(path), NAMES).__enter__()["2m_temperature"]


class Dropped:
    """Holds what nobody else holds in a circle, for the garbage collector to find."""

    def __init__(self, held: Any) -> None:
        self.held, self.itself = held, self


def test_nothing_is_closed_by_the_garbage_collector_while_it_is_read(tmp_path: Path) -> None:
    path, failed, done = field(tmp_path / "a.nc"), list[Exception](), threading.Event()
    expected = np.arange(48 * 18 * 36, dtype=np.float32).reshape(48, 18, 36)

    def read() -> None:
        try:
            for _ in range(5):
                manager = opened(str(path), NAMES)
                array = manager.__enter__()["2m_temperature"]
                Dropped(manager)
                del manager
                for hour in range(0, 48, 2):
                    assert np.array_equal(array[hour].values, expected[hour])
        except Exception as error:
            failed.append(error)
        done.set()

    threading.Thread(target=read).start()
    while not done.is_set():
        gc.collect()
    assert not failed


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_what_was_unpacked_stays_until_it_is_closed(tmp_path: Path, kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive:
        archive.write(field(tmp_path / "a.nc"), "a.nc")
    array = lazily(tmp_path / "a.zip")
    gc.collect()
    assert float(array[3].values[0, 0]) == 3 * 18 * 36
    with opened(str(tmp_path / "a.zip"), NAMES) as data:
        assert data.sizes["time"] == 48
        unpacked = len(list(tmp_path.glob("orbit2-*")))
    assert len(list(tmp_path.glob("orbit2-*"))) == max(unpacked - 1, 0)


def test_what_was_never_closed_goes_with_the_process(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(field(tmp_path / "a.nc", 2), "a.nc")
    work = (f"from orbit2.door.opening import opened\nfrom pathlib import Path\n"
            f"data = opened({str(tmp_path / 'a.zip')!r}, {NAMES!r}).__enter__()\n"
            f"print(len(list(Path({str(tmp_path)!r}).glob('orbit2-*'))))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", work], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
                          env={**os.environ, "TMPDIR": str(tmp_path)})  # fmt: skip
    assert done.stdout.strip() == "1" and not list(tmp_path.glob("orbit2-*"))
