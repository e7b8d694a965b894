"""A part of a store is built within the memory that its rule was given, or refused with the least that will do."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from orbit2 import regrid, retrieve
from orbit2.data.pairs import PairStore
from orbit2.sources import manifest
from tests.data.era5_dataset import config_file, relist

HOURS, LAT, LON = 216, np.arange(90.0, -90.1, -0.5), np.arange(0.0, 360.0, 0.5)
CHUNK = (48, 120, 180)  # hours by rows by columns: as in the Climate Data Store's files, many hours are decompressed together
FIELDS = {"t2m": ("K", 280.0), "msl": ("Pa", 101000.0), "tp": ("m", 1e-4)}
NAMES = ["2m_temperature", "mean_sea_level_pressure", "precipitation_rate"]
DECODED = len(FIELDS) * HOURS * len(LAT) * len(LON) * 4 / 2**20  # MB
MEASURE = """
import sys
from orbit2.cli import main
try: main(sys.argv[1:])
finally: print(int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) / 1024)
"""


def provider_file(path: Path) -> None:
    """Constant fields; each chunk is compressed once and written many times."""
    with h5py.File(path, "w") as file:
        axes = {"valid_time": (1577836800 + 3600 * np.arange(HOURS), "seconds since 1970-01-01"),
                "latitude": (LAT, "degrees_north"), "longitude": (LON, "degrees_east")}
        for name, (values, units) in axes.items():
            file[name] = values
            file[name].attrs["units"] = units
            file[name].make_scale(name)
        for name, (units, value) in FIELDS.items():
            field = file.create_dataset(name, (HOURS, len(LAT), len(LON)), "f4", chunks=CHUNK, compression="gzip", compression_opts=1)
            field.attrs["units"] = units
            for i, axis in enumerate(axes):
                field.dims[i].attach_scale(file[axis])
            packed = zlib.compress(np.full(CHUNK, value, "<f4").tobytes(), 1)
            for begin in np.ndindex(*(-(-size // step) for size, step in zip(field.shape, CHUNK, strict=True))):
                field.id.write_direct_chunk(tuple(i * step for i, step in zip(begin, CHUNK, strict=True)), packed)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.slow
def test_a_part_keeps_within_the_memory_that_it_is_given(tmp_path: Path) -> None:
    """The whole process, imports included, on a source larger than that."""
    folder = tmp_path / "resources/era5" / manifest.VERSION
    folder.mkdir(parents=True)
    provider_file(folder / "hours.nc")
    relist(folder)
    retrieve.run(source="static", out=tmp_path / "resources/static" / manifest.VERSION)
    blocks = {"train": ("02T00", "07T23"), "validation": ("08T01", "08T11"), "test": ("08T13", "09T23")}
    split = {name: {"start": f"2020-01-{a}:00", "end": f"2020-01-{b}:00"} for name, (a, b) in blocks.items()}
    config = config_file(tmp_path / "c.json", inputs=NAMES, outputs=NAMES, statics=[], coarse_grid="global_4", fine_grid="global_1",
                         split={**split, "gap_days": 0}, samples_per_part="month", samples_per_shard=24)  # fmt: skip
    store, part = tmp_path / "s.zarr", tmp_path / "000.json"
    regrid.initialise(config=config, resources=tmp_path / "resources", store=store)

    def built(memory: int) -> tuple[subprocess.CompletedProcess[str], float]:
        command = ["regrid", "part", "--config", config, "--resources", tmp_path / "resources", "--store", store, "--part", "000",
                   "--out", part, "--threads", "1", "--memory-mb", memory]  # fmt: skip
        done = subprocess.run([sys.executable, "-c", MEASURE, *map(str, command)], capture_output=True, text=True, check=False, timeout=300)
        return done, float(done.stdout.split()[-1])

    refused, _ = built(250)
    said = re.search(r"error: datasets\.tiny: this part needs more memory.*got '250 MB'; allowed: at least (\d+) MB; --memory-mb",
                     refused.stderr)  # fmt: skip
    assert refused.returncode == 2 and said and not part.exists(), refused.stderr
    least = int(said[1])
    assert 250 < least < 0.9 * DECODED
    done, peak = built(least)
    assert done.returncode == 0 and part.is_file(), done.stderr
    assert 0.6 * least < peak < least, (peak, least)
    regrid.finalise(config=config, store=store, parts=[part], out=tmp_path / "finalised.json")
    np.testing.assert_allclose(PairStore(store).read("fine", 100).mean((1, 2)), (280, 101000, 2.4), rtol=1e-3)
