"""Whole runs that lack something, in this process, from retrieve to the report: half a globe, no rain, a year, land alone, a region that
training left out (three years of test: the hottest and the wettest beside the others). Each must say why what is missing is missing.
Marked slow."""

from __future__ import annotations

import html
import re
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
from orbit2.files import read_json
from orbit2.grid import global_grid
from orbit2.metrics import table
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
    "left_out": lambda _: run("left_out", split={"test": ("1998-01-01", "2000-12-31")}, leave_out=BOX),
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


NORTHERN = {"NWN", "NEU", "MED", "SAH", "WAF", "SAS", "EAS", "ARO", "NPO", "NAO"}  # regions that lie north of the equator
OCEANS = {"ARO", "NPO", "EPO", "SPO", "NAO", "EAO", "SAO", "ARS", "BOB", "EIO", "SIO", "SOO"}


def reasons(done: SimpleNamespace) -> dict[str, tuple[str, str]]:
    """What was not computed -> (what there is, why), as the diagnose stage tells the report."""
    told = read_json(done.home / "diagnose/test/notes.json")["notes"]
    return {str(note["diagnostic"]): (str(note["has"]), str(note["status"])) for note in told}


def sections(done: SimpleNamespace) -> dict[str, str]:
    return dict(re.findall(r'<section id="([^"]+)">(.*?)</section>', done.page, re.DOTALL))


def south(done: SimpleNamespace, scores: pd.DataFrame, figures: set[str]) -> None:
    """No number of the north; its monsoon domains are named with how little of them is there."""
    assert not NORTHERN & set(scores["region"]) and {"SAM", "NAU", "SOO"} <= set(scores["region"])
    why = reasons(done)
    for domain in ("west_africa", "south_asia", "east_asia", "north_america"):
        assert why[f"monsoon domain {domain}"][0].startswith("0% of its area lies on the grid")
        assert f"section_{domain}_test" not in figures
    assert "monsoon:south_america" in set(scores["region"])
    assert why["tropical waves of 20 to 100 days by longitude"][0].startswith("latitudes -86")
    assert not {row for row in scores["region"] if re.fullmatch(r"\d+N-\d+N|EQ-\d+N", row)}


def no_rain(done: SimpleNamespace, scores: pd.DataFrame, figures: set[str]) -> None:
    """Neither rows nor figures nor sections of rain, and why."""
    assert set(scores["variable"]) <= {WARMEST, COLDEST, "(any)"} and set(scores["space"]) == {"physical"}
    of_rain = ("season", "section", "climate_matrix", "fractions")
    assert not {name for name in figures if "precipitation" in name or name.startswith(of_rain)}
    assert {"seasons", "waves"}.isdisjoint(sections(done))
    why = reasons(done)
    assert "no day of precipitation" in why["monsoon onset and withdrawal"][0]
    assert why["days of the threshold heavy_rain_20mm (heavy_rain)"][1] == "not computed: no such variable"
    decision = sections(done)["decision"]
    assert "Not judged here: season timing, heavy rain and drought." in decision and "heavy rain is" not in decision


def a_year(done: SimpleNamespace, scores: pd.DataFrame, figures: set[str]) -> None:
    """One year has indices and a section of its own, but no dates of seasons, no return level, no interval of years."""
    metrics = set(scores["metric"])
    assert "rx1day" in metrics and not {m for m in metrics if re.search(r"onset|withdrawal|_return_|interannual|_trend", m)}
    assert "season_dates_test" not in figures
    why = reasons(done)
    assert why["monsoon onset and withdrawal"] == ("365 days of precipitation, 1 complete years", "not computed: the record is too short")
    assert why["return levels (GEV of annual maxima)"][1] == "not computed: the record is too short"
    assert "Not judged here: season timing." in sections(done)["decision"]


def land(done: SimpleNamespace, scores: pd.DataFrame, figures: set[str]) -> None:
    """No ocean was scored, nothing of rows round the globe is drawn, since each has a gap, and a part of the area is named as scored."""
    assert not OCEANS & set(scores["region"]) and {"SAH", "EAS"} <= set(scores["region"])
    assert not {name for name in figures if name.startswith(("spectra", "coherence"))}
    assert "There is no spectrum" in sections(done)["spectra"]
    scored = scores[(scores["metric"] == "valid_fraction") & (scores["region"] == "global")]["value"]
    assert len(scored) and scored.between(0.2, 0.4).all()


def left_out(done: SimpleNamespace, scores: pd.DataFrame, figures: set[str]) -> None:
    """The box that training left out is scored beside the rest, on its own page, and judged by nobody on the page to decide from."""
    rows = scores[scores["region"].isin(["left_out:box", "left_out:rest"])]
    assert set(rows["region"]) == {"left_out:box", "left_out:rest"} and {"rmse", "bias"} <= set(rows["metric"])
    told = sections(done)["decision"].replace("left_out.yaml", "")  # the run, by its file
    assert "left-out" in sections(done) and "left_out" not in told
    assert {name for name in figures if name.startswith("left_out")}
    years = scores[scores["region"].isin(["years:highest", "years:others"]) & (scores["metric"] == "rmse")]  # three whole ones
    assert set(years["region"]) == {"years:highest", "years:others"} and set(years["variable"]) == set(NAMES)
    assert {"reslim", "nearest", "conservative", "delta"} <= set(years["model"]) and (years["value"] > 0).all()
    assert "years" in sections(done) and {name for name in figures if name.startswith("extreme_years")}
    assert reasons(done)["change from the first half of the years to the second"][1] == "not computed: the record is too short"
    trained = next(done.home.parent.glob("models/reslim-*/model/config.json"))
    assert read_json(trained)["steps"] == 6


MEANT: dict[str, Callable[[SimpleNamespace, pd.DataFrame, set[str]], None]] = {
    "south": south, "no_rain": no_rain, "a_year": a_year, "land": land, "left_out": left_out}


def judged(done: SimpleNamespace) -> None:
    """What all of them share, then what each lacks."""
    frames = [table.read(done.home / stage / "metrics.parquet") for stage in ("evaluate", "diagnose")]
    scores = pd.concat(frames)
    assert scores["value"].notna().all() and len(scores) > 100
    figures = {path.stem for path in (done.home / "report/figures").glob("*.png")}
    assert {"decision_maps", "density"} <= figures
    words = re.sub(r"<[^>]*>", " ", re.sub(r"<(script|style)\b.*?</\1>", "", done.page, flags=re.DOTALL))
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", words)
    assert all(f"{words[:1].upper()}{words[1:]}" in html.unescape(sections(done)["limits"]) for words in reasons(done))
    MEANT[done.case](done, scores, figures)


def test_a_run_that_lacks_something_becomes_a_report_that_says_why(done: SimpleNamespace) -> None:
    assert done.empty == []
    judged(done)
