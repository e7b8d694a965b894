"""Parts of a task's scores: any order, any division of the days, several processes give the same tables; what does not fit is refused."""

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import xarray as xr

from orbit2 import diagnose, evaluate
from orbit2.config import slices
from orbit2.config.load import load, read_slice, validate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSTICS
from orbit2.errors import OrbitError
from orbit2.evaluate.collectors import COLLECTORS as SCORES
from orbit2.metrics import months, parts, stream
from orbit2.metrics import table as tables
from orbit2.metrics.collector import Settings, gather
from orbit2.metrics.matched import Matched
from tests.data import scored as make

KINDS = (*SCORES, *DIAGNOSTICS)
SETTINGS = {"spectra_boxes": {"box": [0, 60, 200, 300]}, "spectra_bands": [[30, 60]]}
BASELINES = ["bilinear"]


class World:
    """Six samples from 30 March to 1 April, one of them with a hole; the tables of one process that streams them all."""

    def __init__(self, folder):
        self.folder = folder
        self.store = make.make_store(folder / "pairs.zarr", degrees=18.0, samples=6, hole=(slice(15, 20), slice(30, 40)))
        self.prediction = make.make_prediction(folder / "p.zarr", self.store)
        config = {"side": "coarse", "settings": SETTINGS, "baselines": BASELINES}
        self.slices = {stage: make.write_slice(folder / f"{stage}.json", stage, **config) for stage in ("evaluate", "part")}
        self.slices["diagnose"] = make.write_slice(folder / "diagnose.json", "diagnose", baselines=BASELINES)
        self.given = {"prediction": self.prediction, "store": self.store.path}
        self.whole = self.tables(folder / "whole")

    def tables(self, out, **more):
        """The two stages' tables, without their key columns' order."""
        for stage, run in (("evaluate", evaluate.run), ("diagnose", diagnose.run)):
            run(config=self.slices[stage], out=out / stage, **self.given, **more)
        return {"evaluate": tables.read(out / "evaluate/metrics.parquet"), "diagnose": tables.read(out / "diagnose/regions.parquet")}

    def part(self, name, out):
        stream.run(config=self.slices["part"], part=name, out=out, kinds=KINDS, **self.given)

    def pieces(self, folder, division):
        """Parts that hold the samples of `division` (lists of positions), whatever month these are in."""
        slice_ = read_slice(self.slices["part"])
        settings = Settings(validate(EvaluateConfig, slice_["evaluate"], "slice"), DiagnoseConfig())
        for number, positions in enumerate(division):
            matched = Matched(slice_, self.prediction, self.store.path, BASELINES)
            matched.streamed = positions
            collectors = [kind(matched, settings, matched.training) for kind in KINDS]
            gather(matched, collectors)
            parts.write(folder / f"{number}.h5", matched, slice_, settings, collectors)
        return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("parts"))


def assert_same(found, expected):
    key = [*tables.KEY]
    found, expected = (frame.sort_values(key).reset_index(drop=True) for frame in (found, expected))
    assert found[[*key, "n"]].equals(expected[[*key, "n"]])
    for name in ("value", "ci_low", "ci_high"):
        scale = np.maximum(np.abs(expected["value"]), 1.0)  # a mean of near nothing is known to the rounding of what was summed
        same = (np.abs(found[name] - expected[name]) <= 1e-12 * scale) | (found[name] == expected[name]) | (
            found[name].isna() & expected[name].isna())  # fmt: skip
        assert same.all(), found[~same].assign(expected=expected[name][~same])[["model", "metric", "region", name, "expected"]]


@pytest.mark.parametrize("division", [[[4], [0], [5], [3], [1], [2]], [[1, 3, 5], [4, 2, 0]]])
def test_any_order_and_any_division_of_the_days_gives_the_same_tables(world, tmp_path, division):
    found = world.tables(tmp_path / "out", parts=world.pieces(tmp_path / "parts", division))
    for stage in found:
        assert_same(found[stage], world.whole[stage])
    for name in ("evaluate/maps.nc", "evaluate/spectra.nc", "evaluate/density.nc", "diagnose/regions.nc", "diagnose/hovmoller.nc"):
        with xr.open_dataset(tmp_path / "out" / name) as one, xr.open_dataset(world.folder / "whole" / name) as other:
            xr.testing.assert_allclose(one, other, rtol=1e-6)


def test_several_parts_of_one_job_are_the_parts_that_jobs_of_their_own_make(world, tmp_path):
    """Each is whole as soon as it is there: the job that goes on makes the others alone."""
    folder, receipt, names = tmp_path / "parts", tmp_path / "parts/202603to202604.json", ("202603", "202604")
    given = {"config": world.slices["part"], "kinds": KINDS, "receipt": receipt, **world.given}
    stream.run_several(parts={name: folder / f"{name}.h5" for name in names}, **given)
    assert json.loads(receipt.read_text()) | {"code_version": ""} == {"part": "202603to202604", "samples": 6, "code_version": ""}
    for stage, found in world.tables(tmp_path / "out", parts=folder).items():
        assert_same(found, world.whole[stage])
    made = {name: (folder / f"{name}.h5").stat().st_mtime_ns for name in names}
    receipt.unlink()
    (folder / "202604.h5").unlink()
    stream.run_several(parts={name: folder / f"{name}.h5" for name in names}, **given)
    again = {name: (folder / f"{name}.h5").stat().st_mtime_ns for name in names}
    assert again["202603"] == made["202603"] and again["202604"] > made["202604"] and json.loads(receipt.read_text())["samples"] == 6


def test_months_in_two_processes(world, tmp_path):
    """One of them the command that the workflow runs."""
    command = [sys.executable, "-m", "orbit2", "evaluate", "part", "--config", world.slices["part"], "--prediction", world.prediction,
               "--store", world.store.path, "--part", "202604", "--out", tmp_path / "parts/202604.h5"]  # fmt: skip
    other = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    world.part("202603", tmp_path / "parts/202603.h5")
    assert other.wait() == 0, other.communicate()
    found = world.tables(tmp_path / "out", parts=tmp_path / "parts")
    for stage in found:
        assert_same(found[stage], world.whole[stage])


def test_a_year_takes_the_place_of_its_months(world, tmp_path):
    """The same tables; parts of the other cut are gone, so that no day is counted twice. And back again."""
    folder = tmp_path / "parts"
    for cut in (["202603", "202604"], ["2026"], ["202604", "202603"]):
        for part in cut:
            world.part(part, folder / f"{part}.h5")
        assert sorted(path.stem for path in folder.glob("*.h5")) == sorted(cut)
        found = world.tables(tmp_path / "out" / cut[0], parts=folder)
        for stage in found:
            assert_same(found[stage], world.whole[stage])


def test_small_arrays_lie_together_and_parts_of_before_are_read(world, tmp_path):
    """A part of version 2, where every array has a place of its own, makes the same tables beside one of today."""
    folder = world.pieces(tmp_path / "parts", [[0, 1, 2], [3, 4, 5]])
    newer, older = folder / "0.h5", tmp_path / "older.h5"
    with h5py.File(newer, "r") as new, h5py.File(older, "w") as old:
        old.attrs.update({**new.attrs, "orbit2_part": 2})
        kept = 0
        for where in [f"{stage}/{name}" for stage in new for name in new[stage]]:
            stored, group = parts.Stored(new[where]), old.create_group(where)
            for name in stored:
                group.create_dataset(name, data=stored[name])
            kept += len(stored)
            assert {name: stored[name].dtype for name in stored} == {name: array.dtype for name, array in parts.Stored(group).items()}
        apart = []
        new.visititems(lambda name, one: apart.append(name) if isinstance(one, h5py.Dataset) else None)
    assert len(apart) < kept / 3
    older.replace(newer)
    found = world.tables(tmp_path / "out", parts=folder)
    for stage in found:
        assert_same(found[stage], world.whole[stage])


def test_a_month_without_a_scored_time_is_an_empty_part(world, tmp_path):
    for month in ("202602", "202603", "202604on"):
        world.part(month, tmp_path / "parts" / f"{month}.h5")
    assert_same(world.tables(tmp_path / "out", parts=tmp_path / "parts")["evaluate"], world.whole["evaluate"])


def test_parts_that_do_not_make_the_task_are_refused(world, tmp_path):
    folder = world.pieces(tmp_path / "parts", [[0, 1, 2], [3, 4]])
    with pytest.raises(OrbitError, match=r"parts are not those of the task; got '5 times in 2 parts.*2026-04-01T05:00:00"):
        world.tables(tmp_path / "out", parts=folder)
    world.pieces(tmp_path / "more", [[4, 5]])
    shutil.copy(tmp_path / "more/0.h5", folder / "2.h5")
    with pytest.raises(OrbitError, match="two parts have the same time"):
        world.tables(tmp_path / "out", parts=folder)
    (folder / "2.h5").write_bytes(b"half")
    with pytest.raises(OrbitError, match="part cannot be read"):
        world.tables(tmp_path / "out", parts=folder)
    assert not (tmp_path / "out").exists()


def test_a_part_of_other_settings_or_data_is_refused(world, tmp_path):
    folder = world.pieces(tmp_path / "parts", [[0, 1, 2, 3, 4, 5]])
    for change in ({"dataset_hash": "2" * 8}, {"evaluate": {"baselines": BASELINES}}):
        slice_ = {**json.loads(world.slices["evaluate"].read_text()), **change}
        (tmp_path / "slice.json").write_text(json.dumps(slice_))
        with pytest.raises(OrbitError, match="part was made of something else"):
            evaluate.run(config=tmp_path / "slice.json", out=tmp_path / "out", parts=folder, **world.given)
    more = {**json.loads(world.slices["evaluate"].read_text())}
    more["evaluate"]["bootstrap"] = 0  # only matters afterwards
    (tmp_path / "slice.json").write_text(json.dumps(more))
    evaluate.run(config=tmp_path / "slice.json", out=tmp_path / "out", parts=folder, **world.given)


@pytest.mark.parametrize("part", ["026", "20261", "202613", "202603of", "march"])
def test_what_is_no_month_is_refused(world, tmp_path, part):
    with pytest.raises(OrbitError, match="not a part of a task"):
        world.part(part, tmp_path / "p.h5")


def test_parts_of_a_task_are_the_months_of_its_period():
    config = load("config/runs/era5_pretrain.yaml")
    task, section = next(iter(config.downscale.items()))
    period = config.datasets[section.dataset].split.test
    found = months.plan_parts(config, task)
    assert found[0] == f"{period.first.astype('datetime64[M]')}".replace("-", "") and found == sorted(set(found)) and len(found) == 12
    yearly = config.model_copy(update={"downscale": {task: section.model_copy(update={"parts": "year"})}})
    assert months.plan_parts(yearly, task) == [found[0][:4]] and slices.part(yearly, task) == slices.part(config, task)
    fewer = config.model_copy(update={"downscale": {task: section.model_copy(update={"max_samples": 3})}})
    assert months.plan_parts(fewer, task) == [found[0] + "on"]
    assert months.plan_jobs(config, task) == {name: [name] for name in found}
    five = config.model_copy(update={"downscale": {task: section.model_copy(update={"parts_per_job": 5})}})
    assert months.plan_jobs(five, task) == {f"{some[0]}to{some[-1]}": some for some in (found[:5], found[5:10], found[10:])}
    assert slices.part(five, task) == slices.part(config, task)
    assert slices.part(config, task)["evaluate"].keys() == slices.evaluate(config, task)["evaluate"].keys() - {"bootstrap"}


def test_merging_asks_for_memory_by_years_and_variables():
    config = load("config/runs/era5_pretrain.yaml")
    task, section = next(iter(config.downscale.items()))
    longer = config.model_copy(update={"downscale": {task: section.model_copy(update={"split": "train"})}})
    years = len({name[:4] for name in months.plan_parts(longer, task)})
    assert years > 20 and months.merge_memory_mb(config, task) == 4000 and months.merge_threads(config, task) == 1  # one year
    outputs = len(config.models[section.model].outputs or config.datasets[section.dataset].outputs)
    assert months.merge_threads(longer, task) == 2 and months.merge_memory_mb(longer, task) == 1500 + 100 * years * outputs + 1500 > 5500


def test_nothing_grows_by_a_field_a_day(world):
    """What is kept of a sample more: rows of numbers. Longer records have series of cells too, thinned to 256 MB a task."""
    slice_ = read_slice(world.slices["part"])
    settings = Settings(validate(EvaluateConfig, slice_["evaluate"], "slice"), DiagnoseConfig())
    sizes = {}
    for count in (2, 5):
        matched = Matched(slice_, world.prediction, world.store.path, BASELINES)
        matched.streamed = list(range(count))
        collectors = [kind(matched, settings, matched.training) for kind in KINDS]
        gather(matched, collectors)
        sizes[count] = {each.name: sum(array.nbytes for array in each.state().values()) for each in collectors}
    field = 8 * np.prod(world.store.grid("fine").shape)
    growth = {name: (sizes[5][name] - sizes[2][name]) / 3 / field for name in sizes[5]}
    assert max(growth.values()) < 0.5, growth


def test_a_part_whose_receipt_was_lost_is_kept_until_something_is_newer(world, tmp_path):
    """Snakemake deletes the receipts of a group in which one job failed."""
    out, receipt = tmp_path / "202604.h5", tmp_path / "202604.json"

    def made():
        receipt.unlink(missing_ok=True)
        stream.run(config=world.slices["part"], part="202604", out=out, receipt=receipt, kinds=KINDS, **world.given)
        assert json.loads(receipt.read_text())["samples"] == 1
        return out.stat().st_mtime_ns

    first = made()
    assert made() == first
    (world.prediction / "zarr.json").touch()
    assert made() > first
