"""The whole report of a run on a map projection: maps on its own axes with the coast, regions, dates, animation; no axis of latitudes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from orbit2 import diagnose, evaluate
from orbit2.config import slices
from orbit2.config.load import from_mapping
from orbit2.data.pairs import PairStore
from orbit2.files import write_json
from orbit2.grid import ProjectedGrid, uniform
from orbit2.metrics import table
from orbit2.report import run
from orbit2.report.figures import mapped, maps, moving
from orbit2.report.inputs import read
from tests.data import scored as make
from tests.data.map_grids import lambert, plate_carree, rotated
from tests.unit.report.conftest import fabricate_model

TIMES = np.datetime64("2026-03-25T00", "s") + np.array([0, 4, 24, 28, 48, 52, 56, 60], dtype="timedelta64[h]")


def fabricate(root: Path, grid: ProjectedGrid) -> Path:
    """A run of one model on `grid`, scored by the real stages; returns the report's slice."""
    split = {"train": {"start": "2026-03-25T00:00", "end": "2026-03-25T05:00"},
             "validation": {"start": "2026-03-26T00:00", "end": "2026-03-26T05:00"},
             "test": {"start": "2026-03-27T00:00", "end": "2026-03-27T23:00"}}  # fmt: skip
    names = list(make.VARIABLES)
    config = from_mapping({
        "label": "tiny",
        "datasets": {"week": {"source": "sample", "inputs": names, "outputs": names, "coarse_grid": "global_15", "fine_grid": "global_3.75",
                              "split": split}},
        "models": {"reslim": {"datasets": ["week"], "architecture": {"embed_dim": 16, "depth": 1, "heads": 2}, "train": {"steps": 60}}},
        "downscale": {"test": {"model": "reslim", "dataset": "week", "tile": 4, "halo": 2}},
        "report": {"title": "On a map", "frame": 1},
    })  # fmt: skip
    data, folder = root / slices.dataset_folder(config, "week"), root / slices.run_folder(config)
    store = make.make_store(data / "pairs.zarr", samples=len(TIMES), times=TIMES, coarse_grid=grid)
    write_json(data / "statistics.json", {"provenance": {"inputs": {}}})
    make.make_prediction(folder / "downscale/test.zarr", store, at=slice(4, 8), field=between)
    fabricate_model(root / slices.model_folder(config, "reslim") / "model", config, "reslim", 60)
    write_json(data / "config.json", slices.dataset(config, "week"))
    evaluate.fit(config=data / "config.json", store=store.path, out=data / "baselines.nc")
    for stage, entry in (("evaluate", evaluate.run), ("diagnose", diagnose.run)):
        told = folder / "config" / f"{stage}_test.json"
        write_json(told, getattr(slices, stage)(config, "test"))
        entry(config=told, prediction=folder / "downscale/test.zarr", store=store.path, out=folder / stage / "test",
              fits=data / "baselines.nc")  # fmt: skip
    for stage, name in (("evaluate", "metrics"), ("diagnose", "regions")):
        table.merge([folder / stage / "test" / f"{name}.parquet"], folder / stage / "metrics.parquet")
    write_json(root / "resources/sample/v1/manifest.json", {"files": [{"file": "week.zip", "sha256": "0123abcd" * 8, "attribution": "-"}]})
    write_json(folder / "config/report.json", slices.report(config))
    return folder / "config/report.json"


def between(store: PairStore, side: str, index: int, name: str) -> np.ndarray:
    """Nearer to the truth than an interpolation is."""
    return 0.7 * make.bicubic(store, side, index, name) + 0.3 * make.perfect(store, side, index, name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(root, the report's folder)."""
    root = tmp_path_factory.mktemp("map")
    told = fabricate(root, lambert())
    run(config=told, out=root / "results/tiny/report", root=root)
    return root, root / "results/tiny/report"


@pytest.mark.slow
def test_the_report_has_its_maps(made: tuple[Path, Path]) -> None:
    _, out = made
    html = (out / "index.html").read_text(encoding="utf-8")
    figures = {path.stem for path in (out / "figures").glob("*.png")}
    assert {"errors_test", "regions", "regions_key", "seam_map_test", "seams_test", "zoom_2m_temperature"} <= figures
    assert "spherical harmonics" in html and "radial spectra of the whole domain are given instead" in html


@pytest.mark.slow
def test_a_month_is_animated_on_the_map_s_axes(made: tuple[Path, Path]) -> None:
    root, _ = made
    task = read(root / "results/tiny/config/report.json", root).tasks["test"]
    assert isinstance(task.grid, ProjectedGrid)
    first, second = list(moving.pictures(task, "2m_temperature", [0, 1], [0, 1, 2, 3], None))
    assert first.shape == second.shape and (first != second).any()


def test_maps_draw_each_cell_where_it_is() -> None:
    """Of the same cells as latitudes and longitudes and as a plate carree, points, cuts and proportions agree; the coast lies on both."""
    grid = uniform(30, 54, 0, 36, 12, 18)
    other = plate_carree(grid)
    field = np.random.default_rng(0).normal(size=grid.shape)
    lon, lat = np.meshgrid(np.linspace(1, 35, 40), np.linspace(31, 53, 30))
    assert np.array_equal(maps.in_cells(field, maps.cells_at(grid, lon, lat)), maps.in_cells(field, maps.cells_at(other, lon, lat)))
    box = (36.0, 46.0, 10.0, 20.0)
    assert np.array_equal(maps.cut(field, grid, box)[0], maps.cut(field, other, box)[0])
    assert maps.overlaps(other, box) and not maps.overlaps(other, (-40.0, -30.0, 10.0, 20.0))
    south, north, west, east = maps.extent(other)
    assert (south, north, west, east) == pytest.approx((30, 54, 0, 36), abs=0.02)
    metres = other.x_edges[1] / grid.lon_edges[1]
    rome = np.array([12.25, 41.75]) * metres
    assert min(np.hypot(*(line - rome).T).min() for line in mapped.coastline(other)) < 0.5 * metres


def test_meridians_and_parallels_are_named_where_they_meet_the_frame() -> None:
    grid = rotated()
    ax = Figure().add_subplot()
    mapped.draw(ax, np.zeros(grid.shape), grid, colormaps["viridis"], Normalize(0, 1))
    for place, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True):
        lon, _ = grid.lon_lat(np.array([place]), grid.y_edges[:1])
        assert label.get_text() == maps.degrees(round(float(lon[0])), "E", "W")
        assert float(lon[0]) == pytest.approx(round(float(lon[0])), abs=0.05)
    assert len(ax.get_xticks()) >= 3 and len(ax.get_yticks()) >= 2
