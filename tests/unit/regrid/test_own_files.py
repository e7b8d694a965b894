"""`source: files`: the user's own files become pairs, adopted where they lie, on their own grids and times."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from orbit2.config import slices
from orbit2.config.load import CONFIG_ROOT, from_mapping
from orbit2.data.pairs import PairStore
from orbit2.door import headers as looked
from orbit2.errors import OrbitError
from orbit2.files import read_json
from orbit2.grid import named
from orbit2.sources.times import plan_times
from tests.data import own_archive
from tests.data.own_archive import build, call

LABEL = "config/runs/own_data.yaml"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    own_archive.write(folder / "my_data")
    return folder


@pytest.fixture
def here(archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with the archive, and a cache of its own."""
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    (tmp_path / "my_data").symlink_to(archive / "my_data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def raw(**changes: Any) -> dict[str, Any]:
    """The shipped run for a newcomer; `changes` of its dataset."""
    run = yaml.safe_load((CONFIG_ROOT / "runs/own_data.yaml").read_text(encoding="utf-8"))
    run["datasets"]["mine"] |= changes
    return dict(run)


def files(**changes: Any) -> dict[str, Any]:
    return {"files": {**raw()["datasets"]["mine"]["files"], **changes}}


def check(pairs: PairStore, atol: float = 0.01) -> None:
    """The formula in every cell of both sides."""
    for side in ("coarse", "fine"):
        grid = pairs.grid(side)
        for index in (0, len(pairs.times) // 2, len(pairs.times) - 1):
            day = (pairs.times[index].astype("datetime64[D]") - np.datetime64("2001-01-01")).astype(int)
            got = pairs.read(side, index)
            for name, formula in (("2m_temperature", own_archive.warmth), ("total_precipitation_24hr", own_archive.rain)):
                expected = formula(day, *np.meshgrid((grid.lat_edges[:-1] + grid.lat_edges[1:]) / 2, grid.lon, indexing="ij"))
                np.testing.assert_allclose(got[pairs.variable_index(side, name)], expected, atol=atol)


def test_two_products_become_pairs_on_their_own_grids(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in (here / "my_data").rglob("*.nc")}
    run = from_mapping(raw(samples_per_part=64))
    mine = run.datasets["mine"]
    assert (mine.coarse_grid, mine.fine_grid) == ("cells_40,46,6,5,13,8", "cells_40,46,24,5,13,32") and mine.refinement == 4
    assert mine.sources == ("files", "coarse_files") and mine.step_hours == 24
    pairs = build(run)
    check(pairs)
    assert pairs.times[0] == np.datetime64("2001-01-01") and len(pairs.times) == 151  # noon stamps are dates; short gaps stay in
    orography = pairs.static_values("fine")[pairs.statics("fine").index("orography")]
    lat, lon = np.meshgrid(named(mine.fine_grid).lat, named(mine.fine_grid).lon, indexing="ij")
    np.testing.assert_allclose(orography, 200 * (lat - 39) + 10 * lon, rtol=1e-3)
    assert pairs.attributes["static_source"]["source"].startswith("files ")
    assert pairs.attributes["day"]["coarse_files"] == "24 hours from +0 h after 00:00 UTC of the date"
    assert {path: path.read_bytes() for path in (here / "my_data").rglob("*.nc")} == before, "nothing of the user's is touched"
    listed = read_json(here / "resources/files/v1/manifest.json")["files"]
    assert len(listed) == 5 and all(os.path.isabs(record["file"]) for record in listed)
    assert not list((here / "resources/files").rglob("*.nc")), "nothing is copied"
    capfd.readouterr()
    call("retrieve", "files", "-c", "requests/files.json", "--out", "resources/files/v1")
    assert "complete, nothing to do" in capfd.readouterr().out


def test_files_of_the_truth_alone_are_coarsened(here: Path) -> None:
    given = raw(**files(coarse=[]), coarse_grid="coarsen_8", samples_per_part=160)
    given["models"]["reslim"]["architecture"]["refinement"] = 8
    run = from_mapping(given)
    assert run.datasets["mine"].sources == ("files",) and run.datasets["mine"].refinement == 8
    pairs = build(run)
    assert pairs.grid("fine").shape == (24, 32) and pairs.grid("coarse").shape == (3, 4)  # 26 x 34 cells, cut to whole blocks
    day, coarse, fine = 3, pairs.read("coarse", 3), pairs.read("fine", 3)
    weights = pairs.grid("fine").lat_weights[:8, None] * np.ones(8)
    assert float(coarse[0, 0, 0]) == pytest.approx(float(np.average(fine[0, :8, :8], weights=weights)), abs=0.02) and day


@pytest.mark.parametrize(("changes", "message"), [
    (files(day_starts={}), "two daily products: say when the days of both begin"),
    (files(day_starts={"coarse": 0, "fine": -12}), "the two products' days are not the same; got '0 and -12 h'"),
    (files(rename={}), "no coarse file holds 'total_precipitation_24hr' with times; got 'rr, tas'"),
    (files(fine=["my_data/none/*.nc"]), "my_data/none/.*: no file matches this pattern"),
    (files(fine=["s3://bucket/x.nc"]), "s3://bucket/x.nc: .*not adopted"),
    (files(fine=["my_data/fine/daily_200101.nc"]), "do not hold the train block.*2001-03-31.*allowed: 2001-01-01.* to 2001-01-31"),
    (files(fine=["my_data/fine/*.nc", "my_data/coarse/*.nc"]), "the files lie on different grids"),
    ({**files(), "coarse_grid": "coarsen_1"}, "not a number of cells"),
    ({**files(coarse=[]), "coarse_grid": "from_files"}, "no files are named whose grid the coarse one could be"),
    ({"files": None}, "`files` goes with source: files"),
    ({**files(), "source": "era5"}, "`files` goes with source: files"),
])  # fmt: skip
def test_what_does_not_fit_is_said_when_the_configuration_is_read(here: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OrbitError, match=message) as caught:
        from_mapping(raw(**changes))
    assert "\n" not in str(caught.value)


def test_files_are_looked_through_once_and_changes_are_noticed(here: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = looked._read
    monkeypatch.setattr(looked, "_read", lambda path, *rest: read.append(path.name) or real(path, *rest))  # type: ignore[func-returns-value]
    from_mapping(raw())
    assert len(read) == 7
    from_mapping(raw())
    assert len(read) == 7
    os.utime(archive / "my_data/fine/daily_200103.nc", ns=(1, 10**18))
    from_mapping(raw())
    assert read[7:] == ["daily_200103.nc"]


def test_a_file_that_changed_or_went_is_one_line(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "my_data").unlink()
    own_archive.write(here / "my_data", "2001-01-01", "2001-05-31")
    run = from_mapping(raw(samples_per_part=40))
    check(build(run))
    changed = here / "my_data/fine/daily_200102.nc"
    os.utime(changed, ns=(1, 10**18))  # touched, not changed
    folder = Path(slices.dataset_folder(run, "mine"))
    again = ("regrid", "init", "-c", str(folder / "config.json"), "--resources", "resources", "--store")
    call(*again, "a.zarr")
    changed.write_bytes(changed.read_bytes() + b"x")
    capfd.readouterr()
    call(*again, "b.zarr", code=2)  # the first part needs it
    assert "daily_200102.nc: a file has changed since it was adopted" in capfd.readouterr().err
    last = here / "my_data/fine/daily_200105.nc"
    changed.write_bytes(changed.read_bytes()[:-1])
    last.unlink()
    call(*again, "c.zarr", code=2)
    assert "daily_200105.nc: a file that was adopted is gone" in capfd.readouterr().err


def test_days_that_no_file_has_are_left_out(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    (here / "my_data").unlink()
    own_archive.write(here / "my_data")
    import xarray as xr

    path = here / "my_data/fine/daily_200102.nc"
    with xr.open_dataset(path, engine="h5netcdf") as data:
        kept = data.load().isel(time=[i for i in range(28) if i not in (4, 5, 20)])
    kept.to_netcdf(path, engine="h5netcdf")
    run = from_mapping(raw(samples_per_part=160))
    found = run.datasets["mine"].files
    assert found is not None and found.found is not None
    assert found.found.lacking == (("2001-02-05T00:00:00", "2001-02-06T00:00:00"), ("2001-02-21T00:00:00", "2001-02-21T00:00:00"))
    assert "2 stretches of time within the split are in no file" in caplog.text
    pairs = build(run)
    assert len(pairs.times) == 148
    check(pairs)


def test_days_between_the_blocks_need_not_be_there(here: Path) -> None:
    """Those between blocks that are close are built too, unused, where files have them."""
    (here / "my_data").unlink()
    own_archive.write(here / "my_data")
    import xarray as xr

    path = here / "my_data/fine/daily_200104.nc"  # train ends on 31 March, validation begins on 8 April
    with xr.open_dataset(path, engine="h5netcdf") as data:
        kept = data.load().isel(time=slice(6, None))
    kept.to_netcdf(path, engine="h5netcdf")
    found = from_mapping(raw()).datasets["mine"]
    assert found.files is not None and found.files.found is not None
    assert found.files.found.lacking == (("2001-04-01T00:00:00", "2001-04-06T00:00:00"),)
    times = plan_times(found)
    assert len(times) == 151 - 6 and times[90] == np.datetime64("2001-04-07")
