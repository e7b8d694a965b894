"""Whole runs that lack something, in this process, from retrieve to the report: half a globe, no rain, a year, land alone, a region that
training left out. Each must say why what is missing is missing. Marked slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import matplotlib.collections
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from orbit2.config.load import from_mapping
from orbit2.grid import global_grid
from orbit2.report.figures.panels import Panels
from orbit2.sources.synthetic import World
from orbit2.sources.synthetic.world import COLDEST, NAMES, RAIN, WARMEST
from tests.data.own_archive import walk

BOX = (0.0, 45.0, 60.0, 150.0)  # south, north, west, east: left out of training
SPLIT = {"train": ("1996-01-01", "1996-12-31"), "validation": ("1997-01-10", "1997-03-31"), "test": ("1998-01-01", "1999-12-31")}
WORLD = {"source": "synthetic", "coarse_grid": "global_22.5", "fine_grid": "global_7.5"}
SMALL = {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1, "refinement": 3}

pytestmark = pytest.mark.slow


def run(label: str, data: dict[str, Any] | None = None, names: tuple[str, ...] = NAMES, split: Any = None, **model: Any) -> Any:
    """The configuration of one of them: six steps of training, two years of test, unless said otherwise."""
    blocks = {name: {"start": start, "end": end} for name, (start, end) in (SPLIT | (split or {})).items()}
    return from_mapping({
        "label": label, "sources": {"synthetic": {"degrees": 7.5, "bands": 0.5, "waves": 0.4}},
        "datasets": {"mine": {**(data or WORLD), "inputs": list(names), "outputs": list(names), "split": blocks, "statics": [
            "land_sea_mask", "orography"], "samples_per_part": 1464, "samples_per_shard": 366}},
        "models": {"reslim": {"datasets": ["mine"], "architecture": {"kind": "reslim", "conserve": True, **SMALL},
                              "train": {"steps": 6, "batch_size": 4, "validate_every": 3, "validate_samples": 16}, **model}},
        "downscale": {"test": {"model": "reslim", "dataset": "mine", "time_block": 64, "batch": 16}},
        "evaluate": {"every": 60, "bootstrap": 50, "baselines": ["nearest", "conservative", "delta"]},
        "report": {"frame": 200, "zoom": [-40, 0, 100, 160]},
    })  # fmt: skip


def land_files(folder: Path) -> dict[str, Any]:
    """The world at 7.5 degrees as a user's own files, missing at sea; the input is its block means."""
    world = World(global_grid(7.5), bands=0.5)
    days = np.arange(np.datetime64("1996-01-01"), np.datetime64("2000-01-01"))
    sea = world.land < 0.5
    units = {RAIN: "mm", WARMEST: "K", COLDEST: "K"}
    values = {name: (("time", "lat", "lon"), np.where(sea, np.nan, field).astype(np.float32), {"units": units[name]})
              for name, field in world.fields(days).items()}  # fmt: skip
    folder.mkdir()
    xr.Dataset(values, {"time": days.astype("datetime64[ns]"), "lat": ("lat", world.grid.lat, {"units": "degrees_north"}),
                        "lon": ("lon", world.grid.lon, {"units": "degrees_east"})}).to_netcdf(folder / "land.nc", engine="h5netcdf")
    files = {"fine": [str(folder / "land.nc")], "day_starts": {"fine": 0}, "credit": "a world that has no sea"}
    return {"source": "files", "files": files, "coarse_grid": "coarsen_3", "fine_grid": "from_files"}


CASES: dict[str, Callable[[Path], Any]] = {
    "south": lambda _: run("south", WORLD | {"coarse_grid": "global_22.5@-90,0,0,360", "fine_grid": "global_7.5@-90,0,0,360"}),
    "no_rain": lambda _: run("no_rain", names=(WARMEST, COLDEST)),
    "a_year": lambda _: run("a_year", split={"test": ("1998-01-01", "1998-12-31")}),
    "land": lambda folder: run("land", land_files(folder / "land")),
    "left_out": lambda _: run("left_out", leave_out=BOX),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them are run: what retrieve made for one is there for the others."""
    return tmp_path_factory.mktemp("little")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with a line for every axes that was drawn without anything in it."""
    empty: list[str] = []
    render = Panels.render

    def looked_at(self: Panels, count: int | None = None) -> Any:
        for axes in self.figure.axes:
            nothing = not axes.has_data() or not any(_filled(artist) for artist in axes.get_children())
            if axes.axison and axes.get_visible() and nothing:
                empty.append(f"{axes.get_title() or axes.get_xlabel() or axes.get_position()}")
        return render(self, count)

    monkeypatch.setattr(Panels, "render", looked_at)
    return empty


def _filled(artist: Any) -> bool:
    """Whether what is drawn holds a finite number."""
    if isinstance(artist, matplotlib.lines.Line2D):
        return bool(np.isfinite(np.asarray(artist.get_xydata(), dtype=float)).all(axis=-1).any())
    if isinstance(artist, matplotlib.image.AxesImage | matplotlib.collections.QuadMesh):
        values = artist.get_array()
        return values is not None and bool(np.ma.count(np.ma.masked_invalid(values)))
    if not isinstance(artist, matplotlib.collections.Collection | matplotlib.patches.Patch):
        return False
    return artist.axes is None or artist is not artist.axes.patch


@pytest.fixture(params=list(CASES))
def done(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[str]) -> Iterator[SimpleNamespace]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ORBIT2_CACHE", str(folder / "cache"))
    walked = walk(CASES[request.param](folder))
    page = (walked.home / "report/index.html").read_text(encoding="utf-8")
    yield SimpleNamespace(case=request.param, home=walked.home, page=page, empty=drawn)


def test_a_run_that_lacks_something_becomes_a_report_that_says_why(done: SimpleNamespace) -> None:
    assert done.empty == []
    scores = pd.concat(pd.read_parquet(done.home / stage / "metrics.parquet") for stage in ("evaluate", "diagnose"))
    assert scores["value"].notna().all() and len(scores) > 100
    figures = {path.stem for path in (done.home / "report/figures").glob("*.png")}
    assert {"decision_maps", "density"} <= figures
    assert " nan " not in done.page and "None" not in done.page
