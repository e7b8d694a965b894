"""The mirrored Earth is an Earth: wind, pressure, latitude, land and season go together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from orbit2.data.augment import coarsen
from orbit2.data.dataset import Batch, Pairs
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.data.transforms import Normaliser
from orbit2.grid import global_grid
from orbit2.variables import VARIABLES
from tests.data.tiny_training import NAMES as TINY
from tests.data.tiny_training import Tiny

NAMES = ("mean_sea_level_pressure", "10m_u_component_of_wind", "10m_v_component_of_wind")
STATICS = ("land_sea_mask", "orography", "latitude")
OMEGA, DENSITY, METRE = 7.292e-5, 1.2, np.radians(6.371e6)  # rad s-1, kg m-3, m per degree
SEEDS = range(24)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Geostrophic wind of smooth pressure waves in January and in May; land and mountains in the north only."""
    path = tmp_path_factory.mktemp("mirror") / "pairs.zarr"
    coarse_grid = global_grid(15.0)
    grid = coarse_grid.refine(4)
    lat, lon = np.radians(grid.lat)[:, None], np.radians(grid.lon)[None]
    coriolis = 2 * OMEGA * np.sin(lat)
    fields = []
    for phase in (0.3, 1.7):
        waves = [(3, 2, 800.0, phase), (5, 3, 400.0, 2 * phase), (2, 5, 300.0, 1 + phase)]
        pressure = 101_000 + sum(a * np.sin(m * lon + c) * np.cos(n * lat + c) for m, n, a, c in waves)
        east = sum(a * m * np.cos(m * lon + c) * np.cos(n * lat + c) for m, n, a, c in waves) / (6.371e6 * np.cos(lat))
        north = sum(-a * n * np.sin(m * lon + c) * np.sin(n * lat + c) for m, n, a, c in waves) / 6.371e6
        factor = np.where(abs(np.sin(lat)) > 0.2, 1 / (DENSITY * np.where(coriolis == 0, 1, coriolis)), 0.0) * (np.cos(lat) > 0.2)
        fields.append(np.stack([pressure, -north * factor, east * factor]))
    fine = np.clip(np.stack(fields), [[[[80_000]], [[-119]], [[-119]]]], [[[[115_000]], [[119]], [[119]]]]).astype(np.float32)
    land = np.broadcast_to((lat > 0.4) & (lon < 2), grid.shape)
    static = np.stack([land, 2000 * land, np.broadcast_to(grid.lat[:, None], grid.shape)]).astype(np.float32)
    weights = torch.from_numpy(grid.lat_weights).float()
    sides = [coarsen(torch.from_numpy(f), weights, 4).numpy() for f in (fine, static)]
    times = np.array(["2026-01-10T06:00", "2026-05-10T18:00"], dtype="datetime64[s]")
    initialise(path, SideSpec(coarse_grid, NAMES, STATICS, sides[1]), SideSpec(grid, NAMES, STATICS, static), times, shard=2)
    write_part(path, 0, sides[0], fine)
    finalise(path)
    return path


def opened(path: Path) -> Pairs:
    normaliser = Normaliser({n: (101_000.0, 1000.0) if "pressure" in n else (0.0, 10.0) for n in (*NAMES, *STATICS)})
    return Pairs(PairStore(path), ("2026-01-01", "2026-12-31"), normaliser, NAMES, shift_probability=0.5)


def drawn(pairs: Pairs, index: int = 0) -> list[Batch]:
    return [pairs.batch([index], np.random.default_rng(seed)) for seed in SEEDS]


def test_wind_fits_pressure_at_the_latitude_that_the_network_is_told(world: Path) -> None:
    """v = (1 / rho f) dp/dx and u = -(1 / rho f) dp/dy, f with the sign of the told latitude, on both hemispheres, mirrored or not."""
    batches = drawn(opened(world))
    for batch in batches:
        told = batch.geometry.lat[0].repeat_interleave(4)[1:-1]  # within two fine cells
        pressure, u, v = batch.fine[0].double() * torch.tensor([1000.0, 10, 10])[:, None, None]
        dx = (pressure.roll(-1, -1) - pressure.roll(1, -1))[1:-1]
        dy = (pressure[2:] - pressure[:-2]) * torch.sign(told[-1] - told[0])
        for sign in (1, -1):
            rows = (sign * told > 20) & (sign * told < 60)
            across = torch.corrcoef(torch.stack([v[1:-1][rows].flatten(), dx[rows].flatten()]))[0, 1]
            along = torch.corrcoef(torch.stack([u[1:-1][rows].flatten(), -dy[rows].flatten()]))[0, 1]
            assert sign * float(across) > 0.8 and sign * float(along) > 0.8, sign
    assert 2 < sum(bool(b.clock[0, 2] < 0) for b in batches) < len(SEEDS) - 2  # mirrored in about half of the symmetric ones


def test_latitude_land_and_season_move_with_the_weather(world: Path) -> None:
    pairs = opened(world)
    plain = pairs.batch([1])
    seen = 0
    for batch in drawn(pairs, 1):
        latitude = 10 * batch.statics[0, 2, :, 0]
        assert torch.allclose(latitude.view(-1, 4).mean(1), batch.geometry.lat[0], atol=1e-3)
        assert torch.equal(batch.clock[0, 1::2], plain.clock[0, 1::2])  # the hour is the same
        if torch.equal(batch.clock, plain.clock):
            continue
        seen += 1
        assert torch.equal(batch.clock[0, ::2], -plain.clock[0, ::2])  # 10 May is half a year from there
        land = batch.statics[0, 0] > 0
        rows = batch.geometry.lat[0].repeat_interleave(4)[:, None].expand_as(land)
        assert land.any() and bool((rows[land] < 0).all())  # the land, in the north so far, and its mountains
        assert torch.equal(batch.statics[0, 1] > 100, land)
    assert seen > 2


def test_no_mirror_where_nothing_says_that_the_land_moved(tiny: Tiny) -> None:
    """Without a land-sea mask the position alone tells where land is, and a mirrored sample would contradict it."""
    normaliser = Normaliser.from_statistics(json.loads(tiny.statistics.read_text()), 0.25)
    pairs = Pairs(PairStore(tiny.store), ("2026-01-01", "2026-01-01"), normaliser, TINY, shift_probability=0)
    assert pairs.statics == ("orography",)
    assert all(torch.equal(batch.fine, pairs.batch([0]).fine) for batch in drawn(pairs))


def test_what_changes_sign_is_what_points_north() -> None:
    assert {n for n, v in VARIABLES.items() if v.parity == -1} == {"latitude", *(n for n in VARIABLES if "v_component" in n)}
