"""`regrid`: pairs from one source field, built part by part, complete or refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import zarr

from orbit2 import regrid, retrieve
from orbit2.cli import main
from orbit2.data.packing import greatest_error
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.grid import from_centres, named
from orbit2.sources import manifest
from orbit2.sources.times import plan_times
from tests.data.era5_dataset import NAMES, build, config_file, dataset, provider_files, relist
from tests.data.era5_files import LAT, LON, cds2024, values

TORN = """
    import os, signal, sys
    import zarr
    from pathlib import Path
    from orbit2.data import store_layout as pairs
    from tests.data.era5_dataset import build
    whole = pairs.write_part
    def torn(path, start, coarse, fine):
        if start == 4:  # killed inside the second part: half of it is on disk
            half = zarr.open_group(str(path), mode="r+")
            half["coarse/fields"][start : start + len(coarse)] = coarse
            half["fine/fields"][start : start + 1] = fine[:1] * 0 - 999
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(path, start, coarse, fine)
    pairs.write_part = torn
    build(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resources")
    provider_files(folder)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, resources: Path) -> Path:
    return build(tmp_path_factory.mktemp("built"), resources)


def test_coarse_is_the_area_mean_of_fine_and_both_keep_the_global_mean(store: Path) -> None:
    pairs = PairStore(store)
    coarse, fine = pairs.grid("coarse"), pairs.grid("fine")
    source = from_centres(LAT[::-1], LON)
    area = fine.area_km2.reshape(3, 2, 6, 2)
    for index in (0, 5, 11):
        low, high = pairs.read("coarse", index).astype(float), pairs.read("fine", index).astype(float)
        for i, name in enumerate(("t2m", "tp")):
            packed = float(greatest_error(high[i : i + 1], (NAMES[0], NAMES[2])[i : i + 1]).max())
            block = (high[i].reshape(3, 2, 6, 2) * area).sum((1, 3)) / area.sum((1, 3))
            np.testing.assert_allclose(low[(0, 2)[i]], block, atol=2 * packed)
            original = values(name, 12)[index, ::-1].astype(float) * (24000 if name == "tp" else 1)
            means = [(f * g.area_km2).sum() / g.area_km2.sum() for f, g in ((original, source), (high[i], fine), (low[(0, 2)[i]], coarse))]
            np.testing.assert_allclose(means, means[0], rtol=1e-6, atol=packed)


def test_store_keeps_times_variables_units_and_statics(store: Path) -> None:
    pairs = PairStore(store)
    assert pairs.variables("coarse") == tuple(NAMES) and pairs.variables("fine") == (NAMES[0], NAMES[2]) and pairs.refinement == 2
    np.testing.assert_array_equal(pairs.times, np.datetime64("2020-01-01T00", "s") + np.arange(12) * np.timedelta64(3600, "s"))
    assert len(pairs.indices("2020-01-01T09:00", "2020-01-01T11:00")) == 3
    assert pairs.static_values("fine").shape == (3, 6, 12) and pairs.grid("fine").same_as(named("global_30"))
    assert pairs.dataset("fine")["precipitation_rate"].attrs["units"] == "mm day-1"
    assert "12 samples" in regrid.inspect(store) and "10m_v_component_of_wind [m s-1]" in regrid.inspect(store)


def test_parts_follow_from_the_configuration_alone() -> None:
    parts = regrid.plan_parts(dataset(samples_per_part=8))
    assert [(p.id, p.start, p.count) for p in parts] == [("000", 0, 8), ("001", 8, 4)]
    assert parts == regrid.plan_parts(dataset(samples_per_part=8))


def test_parts_by_month_begin_with_the_month_where_shards_allow() -> None:
    split = {"train": {"start": "2019-12-02", "end": "2020-02-20"}, "validation": {"start": "2020-02-23", "end": "2020-02-28"},
             "test": {"start": "2020-03-02", "end": "2020-03-31"}, "gap_days": 0}
    for shard, exact in ((24, True), (8, True), (50, False)):
        section = dataset(split=split, samples_per_part="month", samples_per_shard=shard)
        times, parts = plan_times(section), regrid.plan_parts(section)
        assert [p.start for p in parts] == np.cumsum([0, *(p.count for p in parts)])[:-1].tolist() and len(parts) == 4
        assert sum(p.count for p in parts) == len(times) and all(p.start % shard == 0 for p in parts)
        begins = [times[p.start] for p in parts[1:]]
        months = np.array(begins).astype("datetime64[M]").astype("datetime64[s]")
        late = (np.array(begins) - months) / np.timedelta64(1, "h")
        assert (late == 0).all() if exact else ((late >= 0) & (late < shard)).all()


def test_a_part_with_a_good_checksum_is_not_built_again(resources: Path, tmp_path: Path) -> None:
    store = build(tmp_path, resources)
    part = tmp_path / "parts" / "001.json"
    config, before = tmp_path / "config.json", part.stat().st_mtime_ns

    def again() -> None:
        regrid.build_part(config=config, resources=resources, store=store, part="001", out=part)

    again()
    assert part.stat().st_mtime_ns == before and PairStore(store).read("fine", 5)[0].mean() > 200
    array = zarr.open_group(str(store), mode="r+")["fine/fields"]
    array[5] = 0.0  # type: ignore[index]
    with pytest.raises(OrbitError, match=r"do not match what is in the store.*001"):
        regrid.finalise(config=config, store=store, parts=sorted((tmp_path / "parts").glob("*.json")), out=tmp_path / "again.json")
    again()
    assert part.stat().st_mtime_ns != before
    with pytest.raises(OrbitError, match="not finalised"):  # a store with a rebuilt part waits for finalise
        PairStore(store)
    regrid.finalise(config=config, store=store, parts=sorted((tmp_path / "parts").glob("*.json")), out=tmp_path / "again.json")
    assert PairStore(store).read("fine", 5)[0].mean() > 200


def test_a_part_whose_receipt_was_deleted_is_not_built_again_until_the_store_is_complete(
    resources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Snakemake deletes the receipts of all jobs of a group of which one fails, also of those that were done."""
    build(tmp_path / "whole", resources)
    config, store, own = config_file(tmp_path / "config.json"), tmp_path / "pairs.zarr", tmp_path / "resources"
    shutil.copytree(resources, own)
    part, finalised = tmp_path / "parts" / "001.json", tmp_path / "finalised.json"

    def again(number: str = "001") -> bool:
        """Whether the part was built."""
        caplog.clear()
        regrid.build_part(config=config, resources=own, store=store, part=number, out=tmp_path / "parts" / f"{number}.json")
        return "nothing to do" not in caplog.text

    with caplog.at_level("INFO"):
        regrid.initialise(config=config, resources=own, store=store)
        assert again("000") and again() and again("002")
        said = part.read_text()
        part.unlink()
        assert not again() and part.read_text() == said
        part.unlink()  # a sample that changed meanwhile: the record does not match it
        array = zarr.open_group(str(store), mode="r+")["fine/fields"]
        array[5] = 0.0  # type: ignore[index]
        assert again() and json.loads(part.read_text())["blocks"] == json.loads(said)["blocks"]
        part.unlink()  # provider files that were fetched anew
        cds2024(own / "era5" / manifest.VERSION / "hours.nc", ("t2m", "v10", "tp"), times=13)
        relist(own / "era5" / manifest.VERSION)
        assert again() and not again()
        regrid.finalise(config=config, store=store, parts=tmp_path / "parts", out=finalised)
        assert not (tmp_path / "parts" / ".built").exists()
        part.unlink()
        assert again()
        regrid.finalise(config=config, store=store, parts=tmp_path / "parts", out=finalised)
    for side in ("coarse", "fine"):
        for index in range(12):
            np.testing.assert_array_equal(PairStore(store).read(side, index), PairStore(tmp_path / "whole/pairs.zarr").read(side, index))


def test_killed_inside_a_part_then_run_again_gives_the_same_store(store: Path, resources: Path, tmp_path: Path, root: Path) -> None:
    script = tmp_path / "torn.py"
    script.write_text(textwrap.dedent(TORN))
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, str(script), str(tmp_path / "d"), str(resources)], cwd=root, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert [p.name for p in sorted((tmp_path / "d" / "parts").glob("*.json"))] == ["000.json"]
    with pytest.raises(OrbitError, match="not finalised"):
        PairStore(tmp_path / "d" / "pairs.zarr")
    first = (tmp_path / "d" / "parts" / "000.json").stat().st_mtime_ns
    rebuilt = build(tmp_path / "d", resources)
    assert (tmp_path / "d" / "parts" / "000.json").stat().st_mtime_ns == first
    for side in ("coarse", "fine"):
        for index in range(12):
            np.testing.assert_array_equal(PairStore(rebuilt).read(side, index), PairStore(store).read(side, index))


def test_finalise_needs_every_part(resources: Path, tmp_path: Path) -> None:
    build(tmp_path, resources)
    parts = sorted((tmp_path / "parts").glob("*.json"))
    with pytest.raises(OrbitError, match=r"parts are missing.*'002'"):
        regrid.finalise(config=tmp_path / "config.json", store=tmp_path / "pairs.zarr", parts=parts[:2], out=tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()
    saved = json.loads((tmp_path / "finalised.json").read_text())
    assert saved["samples"] == 12 and set(saved["parts"]) == {"000", "001", "002"} and saved["provenance"]["stage"] == "regrid"


def test_mistakes_are_named_before_anything_is_written(resources: Path, tmp_path: Path) -> None:
    def begin(**changes: object) -> None:
        regrid.initialise(config=config_file(tmp_path / "c.json", **changes), resources=resources, store=tmp_path / "s.zarr")

    with pytest.raises(OrbitError, match=r"mean_sea_level_pressure.*the files hold: t2m, tp, v10"):
        begin(inputs=["2m_temperature", "mean_sea_level_pressure"])
    late = {"train": {"start": "2020-01-01", "end": "2020-01-01"}, "validation": {"start": "2020-01-02", "end": "2020-01-02"},
            "test": {"start": "2020-01-03", "end": "2020-01-03"}, "gap_days": 0}
    with pytest.raises(OrbitError, match=r"4 of 4 hours are missing; got '2020-01-03T20"):
        begin(split=late)
    with pytest.raises(OrbitError, match="run the retrieve stage"):
        begin(source="prism", inputs=["2m_temperature_min"], outputs=["2m_temperature_min"], split=late)
    with pytest.raises(OrbitError, match="run the retrieve stage first"):
        regrid.initialise(config=config_file(tmp_path / "c.json"), resources=tmp_path / "none", store=tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()
    config = config_file(tmp_path / "c.json")
    with pytest.raises(OrbitError, match="was not initialised"):
        regrid.build_part(config=config, resources=resources, store=tmp_path / "s.zarr", part="000", out=tmp_path / "0.json")
    begin()
    with pytest.raises(OrbitError, match="unknown part"):
        regrid.build_part(config=config, resources=resources, store=tmp_path / "s.zarr", part="009", out=tmp_path / "0.json")
    other = config_file(tmp_path / "other.json", min_valid_fraction=0.9)
    with pytest.raises(OrbitError, match="another configuration"):
        regrid.initialise(config=other, resources=resources, store=tmp_path / "s.zarr")


def test_values_that_are_no_weather_stop_the_build(tmp_path: Path) -> None:
    path = provider_files(tmp_path / "r")
    with netCDF4.Dataset(path, "a") as file:
        file["t2m"][:] = file["t2m"][:] - 273.15  # degrees Celsius labelled K
    relist(path.parent)
    with pytest.raises(OrbitError, match=r"2m_temperature: values outside the physical range: wrong units\?"):
        build(tmp_path / "d", tmp_path / "r")
    assert not list((tmp_path / "d" / "parts").glob("*.json"))


def test_missing_source_cells_are_nan_in_the_store_and_never_zero(tmp_path: Path) -> None:
    path = provider_files(tmp_path / "r")
    with netCDF4.Dataset(path, "a") as file:
        file["t2m"][3, :, :3] = np.nan
    relist(path.parent)
    pairs = PairStore(build(tmp_path / "d", tmp_path / "r"))
    field = pairs.read("fine", 3)[0]
    assert np.isnan(field).any() and np.isfinite(field).any() and np.nanmin(field) > 200
    assert np.isfinite(pairs.read("fine", 2)).all()
    missing = json.loads((tmp_path / "d" / "parts" / "000.json").read_text())["missing"]["fine"]["2m_temperature"]
    assert missing == pytest.approx(np.isnan(field).mean() / 4, abs=1e-6)  # one of the part's four samples


def test_finalise_takes_the_folder_of_parts_and_refuses_what_is_stale_or_alien_there(resources: Path, tmp_path: Path) -> None:
    build(tmp_path, resources)
    parts, config, store = tmp_path / "parts", tmp_path / "config.json", tmp_path / "pairs.zarr"

    def finalise() -> None:
        regrid.finalise(config=config, store=store, parts=parts, out=tmp_path / "again.json")

    regrid.initialise(config=config, resources=resources, store=tmp_path / "new.zarr", out=parts / "init.json")
    assert json.loads((parts / "init.json").read_text())["samples_per_part"] == 4  # later changes of the configuration do not touch it
    finalise()
    again, first = (json.loads((tmp_path / name).read_text()) for name in ("again.json", "finalised.json"))
    assert again["parts"] == first["parts"] and again["samples"] == 12
    (parts / "003.json").write_text((parts / "002.json").read_text())
    with pytest.raises(OrbitError, match=r"no part of this store.*'003'.*delete them"):
        finalise()
    (parts / "003.json").unlink()
    (parts / "002.json").write_text((parts / "001.json").read_text())
    with pytest.raises(OrbitError, match=r"do not match what is in the store.*'002'"):
        finalise()


def test_a_hole_between_periods_is_neither_needed_nor_built_and_a_shard_may_reach_over_it(tmp_path: Path) -> None:
    folder = tmp_path / "resources/era5" / manifest.VERSION
    folder.mkdir(parents=True)
    retrieve.run(source="static", out=tmp_path / "resources/static" / manifest.VERSION)
    entries = []
    for short, name, start, hours, since in (  # the moment has no day before, what is taken over 24 hours has
            ("t2m", "2m_temperature", "2020-01-02T00", 13, 24), ("tp", "precipitation_rate", "2020-01-01T00", 37, 0),
            ("t2m", "2m_temperature", "2020-06-02T00", 27, 224), ("tp", "precipitation_rate", "2020-06-01T00", 51, 200)):
        path = cds2024(folder / f"{short}_{start}.nc", (short,), times=hours, start=start, since=since)
        first = np.datetime64(start, "s")
        entries.append(manifest.entry(path, origin="made", licence="none", doi=None, attribution="", variables=(name,), first=first,
                                      last=first + np.timedelta64(hours - 1, "h")))
    manifest.write(folder, "era5", entries)
    changes: dict[str, Any] = {
        "inputs": ["2m_temperature", "total_precipitation_24hr"], "outputs": ["2m_temperature"], "samples_per_part": 20,
        "samples_per_shard": 10, "split": {"train": {"start": "2020-01-02T00:00", "end": "2020-01-02T12:00"},
                                           "validation": {"start": "2020-06-02T00:00", "end": "2020-06-02T00:00"},
                                           "test": {"start": "2020-06-03T00:00", "end": "2020-06-03T02:00"}, "gap_days": 0}}
    pairs = PairStore(build(tmp_path, tmp_path / "resources", **changes))
    june = np.datetime64("2020-06-02T00", "s")
    assert len(pairs.times) == 13 + 27 and pairs.times[12:14].tolist() == [
        np.datetime64("2020-01-02T12", "s").item(), june.item()]
    weights = pairs.grid("coarse").lat_weights
    warm, rain = (np.array([np.average(pairs.read("coarse", i)[v].mean(-1), weights=weights) for i in range(40)]) for v in (0, 1))
    steps = np.concatenate([np.arange(24, 37), np.arange(224, 251)])  # hours since the files' own beginning
    np.testing.assert_allclose(warm - warm[0], 0.1 * (steps - 24), atol=0.01)
    np.testing.assert_allclose(rain - rain[0], 24000 * 1e-7 * (steps - 24), atol=0.01)  # mean of the 24 hours before, block by block


def test_a_grid_finer_than_the_files_is_refused_or_said(resources: Path, tmp_path: Path) -> None:
    """The files have 30 degrees: what they are cut into below that repeats."""
    finer = {"coarse_grid": "global_30", "fine_grid": "global_15"}
    config = config_file(tmp_path / "c.json", **finer)
    with pytest.raises(OrbitError, match=r"datasets.tiny.fine_grid: the fine grid is finer than era5's own files.*15 degrees against 30"):
        regrid.initialise(config=config, resources=resources, store=tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()
    store = PairStore(build(tmp_path, resources, **finer, finer_than_source=True))
    assert store.attributes["finer_than_source"] == {"fine: era5": "15 degrees against 30"}
    assert "cells of 30 degrees" in store.attributes["native_grids"]["era5"]


def test_files_of_another_place_are_refused(tmp_path: Path) -> None:
    path = provider_files(tmp_path / "r")
    with netCDF4.Dataset(path, "a") as file:  # the same cells, squeezed into a fifth of the globe
        file["longitude"][:] = np.asarray(file["longitude"][:]) / 5
    relist(path.parent)
    with pytest.raises(OrbitError, match=r"most of the coarse grid lies outside era5's files; got '80% outside"):
        regrid.initialise(config=config_file(tmp_path / "c.json"), resources=tmp_path / "r", store=tmp_path / "s.zarr")


def test_the_other_back_end_is_reachable_from_the_configuration(
    resources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xesmf", None)  # type: ignore[arg-type]  # as where it is not installed
    config = config_file(tmp_path / "c.json", regrid_backend="xesmf")
    with pytest.raises(SystemExit) as stop:
        main(["regrid", "init", "--config", str(config), "--resources", str(resources), "--store", str(tmp_path / "s.zarr"),
              "--out", str(tmp_path / "i.json")])  # fmt: skip
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and "xesmf back end cannot be imported" in printed and printed.count("\n") == 1
    assert not (tmp_path / "s.zarr").exists()
