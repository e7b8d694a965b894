"""`source: files` on maps and rotated poles: pairs on the files' own cells, winds to east and north, a grid without axes averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from orbit2.baselines.interpolation import block_mean
from orbit2.config.load import CONFIG_ROOT, from_mapping
from orbit2.config.needs import box
from orbit2.data.pairs import PairStore, Side
from orbit2.door.opening import opened
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, ProjectedGrid, named
from tests.data import map_archive, own_archive
from tests.data.own_archive import build

WINDS = ["10m_u_component_of_wind", "10m_v_component_of_wind"]
NAMES = ["2m_temperature", "precipitation_rate", *WINDS]
D01, D02 = "wrf/wrfout_d01_*.nc", "wrf/wrfout_d02_*.nc"
PRCP = {"PRCP": "precipitation_rate"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    map_archive.write_wrf(folder / "wrf")
    map_archive.write_cordex(folder)
    map_archive.write_curvilinear(folder / "curvilinear.nc")
    return folder


@pytest.fixture
def here(archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    for each in archive.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def raw(files: dict[str, Any], names: list[str] = NAMES, factor: int = 4, **changes: Any) -> dict[str, Any]:
    run = yaml.safe_load((CONFIG_ROOT / "runs/own_data.yaml").read_text(encoding="utf-8"))
    run["datasets"]["mine"] |= {"inputs": names, "outputs": names, "split": map_archive.SPLIT, "samples_per_part": 64,
                                "samples_per_shard": 64, "files": files, "statics": ["orography", "slope"], "fine_grid": "from_files",
                                **changes}  # fmt: skip
    run["models"]["reslim"]["architecture"]["refinement"] = factor
    return dict(run)


def expected(name: str, day: int, grid: AnyGrid) -> Any:
    lat, lon = grid.lat2d, (grid.lon2d + 180) % 360 - 180
    if name in WINDS:
        return map_archive.wind(day, lat, lon)[WINDS.index(name)]
    return (own_archive.warmth if name == "2m_temperature" else own_archive.rain)(day, lat, lon)


def check(pairs: PairStore, side: Side, atol: float) -> None:
    """The formulas at the centres of all cells of a side, on the first and the last day and one between."""
    for index in (0, 17, len(pairs.times) - 1):
        day, got = int(map_archive.numbers(pairs.times[index : index + 1])[0]), pairs.read(side, index)
        for name in pairs.variables(side):
            field = got[pairs.variable_index(side, name)]
            np.testing.assert_allclose(field, expected(name, day, pairs.grid(side)), atol=atol, err_msg=name)


def test_nested_wrf_domains_become_pairs_on_their_map(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """d01 and d02 as they are, cut to where both are; the wind along the map turned; the height from a wrfout too."""
    caplog.set_level("INFO")
    run = from_mapping(raw({"coarse": D01, "fine": D02, "statics": "wrf/wrfout_d02_2001-01.nc", "rename": PRCP,
                            "day_starts": {"coarse": 0, "fine": 0}}, factor=3, coarse_grid="from_files"))  # fmt: skip
    mine = run.datasets["mine"]
    fine = named(mine.fine_grid)
    assert isinstance(fine, ProjectedGrid) and fine.shape == (27, 33) and mine.refinement == 3
    np.testing.assert_allclose(fine.x_edges, map_archive.INNER.x_edges, atol=5)  # of coordinates in single precision
    assert "cut to where both are" in caplog.text
    pairs = build(run)
    assert pairs.grid("coarse").shape == (9, 11) and len(pairs.times) == 46
    check(pairs, "fine", 5e-3)
    check(pairs, "coarse", 5e-3)
    height, slope = (pairs.static_values("fine")[pairs.statics("fine").index(name)] for name in ("orography", "slope"))
    np.testing.assert_allclose(height, map_archive.height(fine.lat2d, (fine.lon2d + 180) % 360 - 180), rtol=1e-4)
    np.testing.assert_allclose(slope, 200 / 111_195, rtol=0.03)  # 200 m a degree north, 10 m a degree east
    stored = pairs.dataset("fine")["2m_temperature"]
    assert stored.dims == ("time", "y", "x") and stored.attrs["grid_mapping"] == "crs"


def test_blocks_of_one_wrf_domain_are_means_by_true_area(here: Path) -> None:
    pairs = build(from_mapping(raw({"fine": D02, "rename": PRCP}, coarse_grid="coarsen_4")))
    assert pairs.grid("fine").shape == (24, 32) and pairs.grid("coarse").shape == (6, 8)  # of 27 x 33
    for index in (0, 20):
        means = block_mean(pairs.read("fine", index).astype(np.float64), pairs.grid("fine").area_km2, 4)
        np.testing.assert_allclose(pairs.read("coarse", index), means, rtol=0, atol=4e-3)  # as stores round


def test_a_reanalysis_of_latitudes_is_averaged_to_blocks_of_a_rotated_model(here: Path) -> None:
    """CORDEX's layout, a file a variable, rotated axes in single precision; noon stamps with bounds; the model's own height."""
    run = from_mapping(raw({"coarse": "era.nc", "fine": "cordex/*.nc", "statics": "fixed.nc", "day_starts": {"coarse": 0, "fine": 0}},
                           coarse_grid="coarsen_4"))  # fmt: skip
    fine = named(run.datasets["mine"].fine_grid)
    assert isinstance(fine, ProjectedGrid) and fine.rotated
    assert fine.same_as(map_archive.rotated_grid().crop(slice(0, 20), slice(0, 24)))  # exact, though rlat is in single precision
    pairs = build(run)
    check(pairs, "fine", 2e-3)
    check(pairs, "coarse", 0.06)  # cells of half a degree in blocks of one: not the centre's value to the last digit
    np.testing.assert_allclose(pairs.static_values("fine")[0], map_archive.height(fine.lat2d, (fine.lon2d + 180) % 360 - 180), rtol=1e-5)


def test_a_grid_without_axes_needs_a_named_one(here: Path) -> None:
    files = {"fine": "curvilinear.nc"}
    with pytest.raises(OrbitError, match=r"curvilinear grid, which has no axes.*22x25 curvilinear.*name the grid to average to") as caught:
        from_mapping(raw(files, NAMES[:2], coarse_grid="coarsen_4"))
    assert "\n" not in str(caught.value)
    run = from_mapping(raw(files, NAMES[:2], factor=2, fine_grid="global_0.5@42,44,7,11", coarse_grid="coarsen_2"))
    pairs = build(run)
    assert pairs.grid("fine").shape == (4, 8) and isinstance(pairs.grid("fine"), Grid)
    check(pairs, "fine", 0.03)


@pytest.mark.parametrize("coarse", ["curvilinear.nc", "gaussian.nc"])
def test_coarse_files_may_lie_on_any_grid(here: Path, coarse: str) -> None:
    """2-D coordinates, and rows of uneven spacing, averaged to blocks of a rotated model."""
    if coarse == "gaussian.nc":
        rows = 43 + 8 * np.sin(np.linspace(-0.7, 0.7, 24))[::-1]
        map_archive.reanalysis(map_archive.days(), rows).to_netcdf(coarse, engine="h5netcdf")
    pairs = build(from_mapping(raw({"coarse": coarse, "fine": "cordex/*.nc", "day_starts": {"coarse": 0, "fine": 0}}, NAMES[:2],
                                   coarse_grid="coarsen_4")))  # fmt: skip
    check(pairs, "coarse", 0.06)


def test_files_on_a_map_are_averaged_to_a_named_grid_in_one_step(here: Path) -> None:
    run = from_mapping(raw({"fine": D02, "rename": PRCP}, factor=2, fine_grid="global_0.5@42,44,7,11",
                           coarse_grid="global_1@42,44,7,11"))  # fmt: skip
    pairs = build(run)
    check(pairs, "fine", 0.06)
    check(pairs, "coarse", 0.1)


@pytest.mark.parametrize(("files", "coarse", "message"), [
    ({"coarse": "era.nc", "fine": D02}, "from_files", "the fine files' cells do not fill the coarse files' ones.*coarsen_<n>"),
    ({"coarse": "cordex/*.nc", "fine": D02}, "from_files", "the fine files' cells do not fill"),
    ({"fine": ["wrf/wrfout_d02_2001-01.nc", "wrf/wrfout_d01_2001-02.nc"], "rename": PRCP}, "coarsen_3", "the files lie on different grids"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(here: Path, files: dict[str, Any], coarse: str, message: str) -> None:
    with pytest.raises(OrbitError, match=message) as caught:
        from_mapping(raw({**files, "day_starts": {"coarse": 0, "fine": 0}}, NAMES[:1], 3, coarse_grid=coarse))
    assert "\n" not in str(caught.value)


def test_a_provider_is_asked_for_a_box_round_the_map(here: Path) -> None:
    """ERA5 as the input of a WRF domain: the box of latitudes and longitudes around its outline, and a degree more."""
    run = raw({"fine": D02, "rename": PRCP}, NAMES[:1], 3, coarse_grid="coarsen_3", input_sources={"era5": NAMES[:1]})
    run["datasets"]["mine"]["frequency"] = "daily"
    south, north, west, east = box(from_mapping(run).datasets["mine"]) or (0, 0, 0, 0)
    lon, lat = map_archive.INNER.boundary
    assert south <= lat.min() - 1 < south + 1 and north - 1 < lat.max() + 1 <= north
    signed = (lon + 180) % 360 - 180
    assert (west + 180) % 360 - 180 <= signed.min() - 1 and (east + 180) % 360 - 180 >= signed.max() + 1
    assert east - west < np.ptp(signed) + 4


def test_wrf_times_and_coordinates_of_several_files_are_put_together(here: Path) -> None:
    with opened(D02, ("10m_u_component_of_wind",), {}) as data:
        assert data["Times"].dtype.kind == "M" and len(data["Times"]) == 46
        assert data["XLAT"].dims == ("south_north", "west_east") and {"COSALPHA", "V10"} <= set(data.variables)


def test_grib_on_a_lambert_map_becomes_pairs_there(here: Path) -> None:
    """HRRR's layout: temperatures and winds along the map, hour by hour; the input is the truth's own block means."""
    map_archive.write_hrrr(Path("hrrr"))
    names = ["2m_temperature", *WINDS]
    split = {part: {"start": f"2001-01-{day}T00:00", "end": f"2001-01-{day}T11:00"}
             for part, day in (("train", "01"), ("validation", "02"), ("test", "03"))}  # fmt: skip
    run = from_mapping(raw({"fine": "hrrr/*.grib2"}, names, coarse_grid="coarsen_4", split={**split, "gap_days": 0.5},
                           statics=["orography"]))  # fmt: skip
    fine = named(run.datasets["mine"].fine_grid)
    assert isinstance(fine, ProjectedGrid) and fine.shape == (8, 12) and run.datasets["mine"].step_hours == 1
    assert np.median(np.diff(fine.x_edges)) == pytest.approx(3000, abs=0.1)
    pairs = build(run)
    assert len(pairs.times) == 36
    for index in (0, 35):
        hour = float((pairs.times[index] - np.datetime64("2001-01-01T00:00")) / np.timedelta64(1, "h"))
        got, lat, lon = pairs.read("fine", index), fine.lat2d, (fine.lon2d + 180) % 360 - 180
        for name, field in zip(names, map_archive.hrrr_fields(hour, lat, lon), strict=True):
            np.testing.assert_allclose(got[pairs.variable_index("fine", name)], field, atol=0.02, err_msg=name)
        means = block_mean(got.astype(np.float64), fine.area_km2, 4)
        np.testing.assert_allclose(pairs.read("coarse", index), means, rtol=0, atol=4e-3)
