"""Regions of the user's own: their files, exact shares of cells, and their scores from kept days against the fields themselves."""

import json
import zipfile
from types import SimpleNamespace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from orbit2.diagnose import areas, own_regions, polygons
from orbit2.diagnose.kept import TRUTH
from orbit2.diagnose.kept.days import KeptDays, at_hand
from orbit2.diagnose.regions import ar6
from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.metrics import registry
from orbit2.metrics.table import Table

RAIN = "total_precipitation_24hr"
MODELS = ("reslim", "bilinear", "nearest")


def geojson(path, **shapes):
    features = [{"type": "Feature", "properties": {"code": 7, "Name": name.strip("_")}, "geometry": shapely.geometry.mapping(shape)}
                for name, shape in shapes.items()]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def kept(grid, fields, step=1, share=None, numbers=None):
    """KeptDays of `fields` (model -> [T, H, W]); with a step, of blocks: means and squared errors are given apart."""
    state = {"about/calendar": np.array(b"standard"), "about/samples_a_day": np.array(1), "about/step": np.array(step),
             "about/lat_edges": grid.lat_edges, "about/lon_edges": grid.lon_edges, "about/land_fraction": np.ones(grid.shape),
             "about/land_fraction_of_cells": np.ones(grid.shape)}  # fmt: skip
    days = len(fields[TRUTH])
    state |= {f"{RAIN}/days": np.arange(60000, 60000 + days) if numbers is None else numbers, f"{RAIN}/samples": np.ones(days, dtype=int)}
    state |= {f"{RAIN}/{model}/values": field.astype(np.float32) for model, field in fields.items()}
    return KeptDays([at_hand(state)])


def matched(models=MODELS, members=0):
    told = {"model": models[0], "models": lambda name: models, "baselines": lambda name: models[1:], "region": "global"}
    return SimpleNamespace(**told, members=members)


def table():
    return Table("test", "data", "standard", "truth", "2020/2021", "1")


def frame(made, space="physical"):
    rows = pd.DataFrame(made.rows)
    return rows[rows["space"] == space].set_index(["model", "region", "metric"]).sort_index()


def weather(grid, days=80, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.gamma(0.5, 8.0, (days, *grid.shape))
    return {TRUTH: truth, **{model: np.maximum(truth + generator.normal(0.3, 1.0 + i, truth.shape), 0) for i, model in enumerate(MODELS)}}


def test_shares_of_cells_are_exact_in_any_turn_and_over_the_date_line():
    grid = global_grid(10.0)
    box = shapely.box(-25.0, 12.0, -15.0, 20.0)  # half of two cells, cut in latitude
    found = polygons.fractions(box, grid)
    (i, j), south = np.argwhere(found > 0)[0], np.sin(np.radians([10.0, 12.0, 20.0]))
    expected = (south[2] - south[1]) / (south[2] - south[0]) / 2
    assert (int(i), int(j)) == (10, 33)
    np.testing.assert_allclose(found[found > 0], [expected, expected], rtol=1e-4)
    np.testing.assert_array_equal(found, polygons.fractions(shapely.box(335.0, 12.0, 345.0, 20.0), grid))
    across = polygons.fractions(shapely.box(170.0, -10.0, 190.0, 10.0), uniform(-90, 90, -180, 180, 18, 36))
    assert across.sum() == pytest.approx(4.0, rel=1e-4)
    assert set(np.argwhere(across > 0)[:, 1]) == {0, 35}


def test_a_polygon_has_its_area_on_blocks_larger_than_its_details():
    grid = global_grid(2.0)
    regions = ar6()
    for name in ("SAM", "SAS", "MED", "EPO"):
        r = regions.abbreviations.index(name)
        shape = regions.polygons[r].polygon
        assert (polygons.fractions(shape, grid) * grid.area_km2).sum() == pytest.approx(regions.area_km2[r], rel=1e-3)


def test_files_of_any_kind_and_reference_system(tmp_path):
    west, east = shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)
    plain = polygons.read(geojson(tmp_path / "a.geojson", Danube=west, Rhine=east), "basins")
    assert plain.names == ("basins:Danube", "basins:Rhine")
    frame = geopandas.GeoDataFrame({"NAME": ["Danube", "Rhine", "Danube"]}, geometry=[west, east, shapely.box(0, 10, 10, 20)], crs=4326)
    (tmp_path / "shapes").mkdir()
    frame.to_crs(3857).to_file(tmp_path / "shapes" / "b.shp")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for path in (tmp_path / "shapes").iterdir():
            archive.write(path, path.name)
    for path in (tmp_path / "shapes" / "b.shp", tmp_path / "b.zip"):
        found = polygons.read(path, "basins")
        assert found.names == ("basins:Danube", "basins:Rhine")  # two features of one name are one region
        np.testing.assert_allclose(shapely.bounds(found.shapes[0]), [0, 0, 10, 20], atol=1e-6)
        assert found.area_km2[1] == pytest.approx(plain.area_km2[1], rel=1e-6)
    numbered = geopandas.GeoDataFrame({"remark": ["x", "x"]}, geometry=[west, east], crs=4326)
    numbered.to_file(tmp_path / "c.geojson")
    assert polygons.read(tmp_path / "c.geojson", "own").names == ("own:1", "own:2")


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_what_is_no_file_of_regions_is_refused(tmp_path):
    with pytest.raises(OrbitError, match="not found"):
        polygons.read(tmp_path / "none.geojson", "basins")
    (tmp_path / "text.geojson").write_text("not a map")
    with pytest.raises(OrbitError, match="cannot be read"):
        polygons.read(tmp_path / "text.geojson", "basins")
    with pytest.raises(OrbitError, match="holds no polygon"):
        polygons.read(geojson(tmp_path / "points.geojson", a=shapely.Point(1, 2)), "basins")
    metres = geopandas.GeoDataFrame({"name": ["a"]}, geometry=[shapely.box(0, 0, 5e5, 5e5)])
    metres.to_file(tmp_path / "metres.shp")
    with pytest.raises(OrbitError, match="beyond the globe"):
        polygons.read(tmp_path / "metres.shp", "basins")


def test_scores_of_a_region_are_those_of_its_cells(tmp_path):
    grid = global_grid(10.0)
    fields = weather(grid)
    for model in fields:
        fields[model][:, 9, 5] = np.nan
    path = geojson(tmp_path / "a.geojson", box=shapely.box(40, -10, 80, 20), half=shapely.box(40, 0, 45, 10))
    days = kept(grid, fields)
    made = table()
    own_regions.rows(made, days, areas.own(days, {"basins": str(path)}), matched(), draws=100)
    found = frame(made)
    cells = np.s_[:, 8:11, 4:8]
    weights = np.broadcast_to(grid.area_km2[8:11, 4:8], fields[TRUTH][cells].shape)
    truth = fields[TRUTH][cells]
    known = np.isfinite(truth)
    for model in MODELS:
        p = fields[model][cells].astype(np.float32)[known]
        o, w = truth.astype(np.float32)[known], weights[known]
        row = found.loc[model, "basins:box"]
        np.testing.assert_allclose(row.value["rmse"], np.sqrt(np.average((p - o) ** 2, weights=w)), rtol=1e-5)
        np.testing.assert_allclose(row.value["bias"], np.average(p - o, weights=w), rtol=1e-4)
        np.testing.assert_allclose(row.value["mae"], np.average(np.abs(p - o), weights=w), rtol=1e-5)
        logs = frame(made, "log1p").loc[model, "basins:box"]
        gap = np.log1p(p) - np.log1p(o)
        np.testing.assert_allclose(logs.value["rmse"], np.sqrt(np.average(gap**2, weights=w)), rtol=1e-5)
        np.testing.assert_allclose(logs.value[["mae", "bias"]], [np.average(np.abs(gap), weights=w), np.average(gap, weights=w)], rtol=1e-4)
        anomalies = [x - np.average(x, weights=w) for x in (p, o)]
        r = (w * anomalies[0] * anomalies[1]).sum() / np.sqrt((w * anomalies[0] ** 2).sum() * (w * anomalies[1] ** 2).sum())
        np.testing.assert_allclose(row.value["pearson_r"], r, rtol=1e-5)
        means = [np.nansum(np.where(known, x * weights, 0), axis=(1, 2)) / (weights * known).sum(axis=(1, 2))
                 for x in (fields[model][cells], truth)]  # fmt: skip
        np.testing.assert_allclose(row.value["daily_mean_r"], np.corrcoef(*means)[0, 1], rtol=1e-5)
        np.testing.assert_allclose(row.value["daily_mean_rmse"], np.sqrt(np.mean((means[0] - means[1]) ** 2)), rtol=1e-4)
    model = found.loc["reslim"]
    logs = frame(made, "log1p").loc["reslim"]
    for of, region, metric in ((model, "basins:box", "rmse"), (model, "basins:box", "mae"), (model, "basins:box", "daily_mean_r"),
                               (model, "basins:half", "rmse_difference_vs_best_baseline"), (logs, "basins:box", "rmse"),
                               (logs, "basins:half", "rmse_skill_vs_best_baseline")):  # fmt: skip
        row = of.loc[region, metric]
        assert row.ci_low < row.value < row.ci_high
    assert "bilinear" in model.loc["basins:box", "rmse_skill_vs_best_baseline"].method
    assert model.loc["basins:half", "rmse"].value == pytest.approx(
        np.sqrt(((fields["reslim"] - fields[TRUTH])[:, 9, 4] ** 2).mean()), rel=1e-5)  # half of one cell
    assert not registry.unknown({row["metric"] for row in made.rows})


def test_a_region_without_a_scored_cell_has_no_row(tmp_path):
    grid = global_grid(30.0)
    fields = weather(grid, days=3)
    for model in fields:
        fields[model][:, 3:] = np.nan
    days = kept(grid, fields)
    path = geojson(tmp_path / "a.geojson", north=shapely.box(0, 30, 30, 60), south=shapely.box(0, -60, 30, -30))
    made = table()
    own_regions.rows(made, days, areas.own(days, {"own": str(path)}), matched(), draws=100)
    assert set(frame(made).index.get_level_values("region")) == {"own:south"}


def test_ar6_regions_and_the_domain_are_given_by_land_and_sea():
    grid = global_grid(5.0)
    days = kept(grid, weather(grid, days=1))
    found = areas.given(days, "global")
    assert found.names[0] == "global"
    assert found.weights[0].sum() == pytest.approx(4 * np.pi * 6371.0**2, rel=1e-5)
    assert "SAS" in found.names and "EPO" not in found.names  # all is land here
    blocks = areas.given(kept(grid, weather(grid, days=1), step=8), "global")  # by the share of each block in the polygon
    r, whole = ar6().abbreviations.index("SAS"), dict(zip(blocks.names, blocks.weights.sum(axis=(1, 2)), strict=True))
    assert whole["SAS"] == pytest.approx(ar6().area_km2[r], rel=1e-3)


def test_beside_blocks_the_cells_that_are_kept_tell_of_mae_and_logarithms_but_not_of_one_member(tmp_path):
    """Of larger blocks `values` are single cells: their MAE is that of a sample, and says so. Those of a member are no ensemble's."""
    grid = global_grid(10.0)
    days = kept(grid, weather(grid, days=4), step=8)
    path = geojson(tmp_path / "a.geojson", box=shapely.box(0, -60, 120, 60))
    for members in (0, 4):
        made = table()
        own_regions.rows(made, days, areas.own(days, {"basins": str(path)}), matched(members=members), draws=0)
        rows = pd.DataFrame(made.rows)
        mae = rows[rows["metric"] == "mae"]
        assert "rmse" in set(rows["metric"]) and (len(mae) > 0) == ("log1p" in set(rows["space"])) == (members == 0)
        assert mae["method"].str.contains("one cell in each block of 8 x 8").all()


def test_outlines_are_those_of_the_regions_that_were_scored(tmp_path):
    wavy = shapely.Point(10, 0).buffer(5, quad_segs=2000)
    path = geojson(tmp_path / "a.geojson", round=wavy, other=shapely.box(40, 0, 45, 10))
    found = areas.outlines({"basins": str(path)}, {"basins:round"})
    drawn = shapely.from_wkt(found["basins:round"])
    assert set(found) == {"basins:round"} and shapely.get_num_coordinates(drawn) < 300 and drawn.area == pytest.approx(wavy.area, rel=2e-3)
