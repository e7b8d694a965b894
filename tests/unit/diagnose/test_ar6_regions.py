"""The vendored AR6 regions: counts, areas, offline use, land and sea cells (evaluation.md 5, T10)."""

import hashlib
import socket

import geopandas
import numpy as np
import pytest

from orbit2.data.pairs import SideSpec, finalise, initialise
from orbit2.diagnose import regions as r
from orbit2.diagnose.shares import ar6_shares
from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.metrics.predictions import land_fraction
from tests.data import scored as make


def test_counts_offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    r.ar6.cache_clear()
    kinds = r.ar6().kinds
    assert len(kinds) == 58
    assert sum(k in (r.LAND, r.BOTH) for k in kinds) == 46 and sum(k in (r.OCEAN, r.BOTH) for k in kinds) == 15
    both = [a for a, k in zip(r.ar6().abbreviations, kinds, strict=True) if k == r.BOTH]
    assert sorted(both) == ["CAR", "MED", "SEA"]


def test_names_read_as_words():
    names = dict(zip(r.ar6().abbreviations, r.ar6().names, strict=True))
    shown = [names[key] for key in ("EPO", "NWN", "WCE", "GIC", "SAM")]
    assert shown == ["Equatorial Pacific Ocean", "N. W. North America", "West and Central Europe", "Greenland and Iceland",
                     "South American Monsoon"]  # fmt: skip
    assert not any("  " in name or ". " in name.split(" ")[0] for name in names.values())


def test_vendored_file_is_the_published_one():
    digest = hashlib.sha256(r.POLYGONS.read_bytes()).hexdigest()
    assert digest == "c83881a18e74912385ad578282de721cc8e866b62cbbc75446e52e7041c81cff"
    assert "CC BY 4.0" in (r.POLYGONS.parent / "README.md").read_text() and "Iturbide" in r.ATTRIBUTION


def test_polygons_are_those_that_geopandas_reads():
    frame = geopandas.read_file(f"zip://{r.POLYGONS}")
    assert tuple(frame["Acronym"]) == r.ar6().abbreviations and tuple(frame["Type"]) == r.ar6().kinds
    assert all(one.equals(other) for one, other in zip(r.ar6().shapes, frame.geometry, strict=True))


def test_areas():
    regions = r.ar6()
    area = dict(zip(regions.abbreviations, regions.area_km2, strict=True))
    assert area["SAM"] == pytest.approx(2.997e6, rel=1e-3) and area["SAS"] == pytest.approx(5.2795e6, rel=1e-3)
    assert regions.area_km2.sum() == pytest.approx(4 * np.pi * 6371.0**2, rel=2e-4)  # they tile the globe
    grid = global_grid(0.5)
    ids = regions.on(grid)
    sam = grid.area_km2[ids == regions.abbreviations.index("SAM")].sum()
    assert sam == pytest.approx(2.997e6, rel=1e-3)


@pytest.mark.parametrize(("lat", "lon", "name"), [(52.5, 13.4, "WCE"), (-3.1, 300.0, "NSA"), (39.7, 245.0, "WNA"), (0.0, 180.5, "EPO"),
                                                  (-75.0, 90.0, "EAN"), (28.6, 77.2, "SAS"), (-33.9, 151.2, "EAU")])
def test_places_lie_in_their_regions(lat, lon, name):
    west = float(np.floor(lon))
    grid = uniform(np.floor(lat) - 1, np.floor(lat) + 2, west - 1, west + 2, 3, 3)
    assert r.ar6().abbreviations[r.ar6().on(grid)[1, 1]] == name


def test_global_grid_has_every_region_and_hardly_an_unassigned_cell():
    ids = r.ar6().on(global_grid(1.0))
    assert set(np.unique(ids)) - {-1} == set(range(58)) and (ids < 0).mean() < 1e-4


def test_land_regions_use_land_and_ocean_regions_sea():
    regions, grid = r.ar6(), global_grid(2.0)
    land = np.broadcast_to((grid.lon < 140)[None], grid.shape)
    bins = r.scored_bins(regions, regions.on(grid), land)
    kind = np.array(regions.kinds)
    inside = bins.index >= 0
    assert land[inside & (kind[bins.index] == r.LAND)].all() and not land[inside & (kind[bins.index] == r.OCEAN)].any()
    car = regions.abbreviations.index("CAR")
    assert (bins.index == car).sum() == (regions.on(grid) == car).sum() > 0  # all cells, here all sea


def test_a_store_without_land_mask_is_refused(tmp_path):
    grid = global_grid(30.0)
    specs = [SideSpec(g, ("2m_temperature",), ("orography",), np.zeros((1, *g.shape), np.float32)) for g in (grid, grid.refine(2))]
    initialise(tmp_path / "p.zarr", *specs, np.array(["2026-01-01"], dtype="datetime64[s]"))
    finalise(tmp_path / "p.zarr")
    with pytest.raises(OrbitError, match="land_sea_mask"):
        land_fraction(make.PairStore(tmp_path / "p.zarr"), "fine")


def test_shares_of_the_same_cells_are_worked_out_once_and_of_others_anew():
    first, same, moved = (ar6_shares(uniform(30, 60, west, west + 60, 6, 12)) for west in (240, 240, 241))
    assert same is first and not np.array_equal(moved.total(np.ones((6, 12))), first.total(np.ones((6, 12))))
