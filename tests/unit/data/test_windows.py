"""Any box, moved by any phase shift: labels, coarse cells, truth and statics stay over each other, and the box alone is scored."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.data.dataset import CPU, Pairs
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.grid import Grid, global_grid

NAMES = ("10m_u_component_of_wind", "10m_v_component_of_wind")  # whose values are longitude / 10 and latitude / 10
FACTOR = 3


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PairStore]:
    """The globe, and a box of it, on cells that are wider than high."""
    folder = tmp_path_factory.mktemp("windows")
    globe = global_grid(10.0)
    wide = Grid(globe.lat_edges, np.linspace(0, 360, 19))
    made = {}
    for name, coarse in (("globe", wide), ("box", wide.crop(slice(4, 15), slice(3, 13)))):
        fine = coarse.refine(FACTOR)
        fields = [
            np.stack([np.broadcast_to(grid.lon / 10, grid.shape), np.broadcast_to(grid.lat[:, None] / 10, grid.shape)])[None]
            for grid in (coarse, fine)
        ]
        static = np.broadcast_to(fine.lat[:, None], (1, *fine.shape)).astype(np.float32)
        own = SideSpec(coarse, NAMES, ("latitude",), np.zeros((1, *coarse.shape), np.float32))
        initialise(folder / name, own, SideSpec(fine, NAMES, ("latitude",), static), np.array(["2026-01-01"], dtype="datetime64[s]"))
        write_part(folder / name, 0, *(f.astype(np.float32) for f in fields))
        finalise(folder / name)
        made[name] = PairStore(folder / name)
    return made


@settings(max_examples=80, deadline=None)
@given(
    store=st.sampled_from(["globe", "box"]),
    south=st.integers(-45, 30), height=st.integers(10, 60), west=st.integers(0, 350), width=st.integers(40, 160),
    rows=st.integers(0, FACTOR - 1), columns=st.integers(0, FACTOR - 1),
)  # fmt: skip
def test_everything_lies_where_its_labels_say(
    stores: dict[str, PairStore], store: str, south: int, height: int, west: int, width: int, rows: int, columns: int
) -> None:
    region = (south, min(south + height, 90), west, (west + width - 1) % 360 + 1)
    normaliser = Normaliser(dict.fromkeys((*NAMES, "latitude"), (0.0, 1.0)))
    try:
        pairs = Pairs(stores[store], ("2026-01-01", "2026-01-01"), normaliser, NAMES, region)
    except OrbitError:
        return  # a box beside the grid
    raw = pairs.packed([0], pairs.whole.moved((rows, columns), stores[store].grid("coarse"))).to(CPU)
    height_, width_ = raw.coarse.shape[-2:]
    told_lat, told_lon = raw.geometry.lat[0], raw.geometry.lon[0]
    assert raw.fine.shape[-2:] == raw.weights.shape[-2:] == raw.statics.shape[-2:] == (FACTOR * height_, FACTOR * width_)
    assert (len(told_lat), len(told_lon)) == (height_, width_)
    lon, lat = 10 * raw.fine[0, 0].double(), 10 * raw.fine[0, 1].double()
    assert torch.allclose(raw.statics[0, 0].double(), lat, atol=0.05)  # within what is stored
    middle = FACTOR // 2
    assert torch.allclose(lat[middle::FACTOR, 0], told_lat.double(), atol=0.05)
    apart = (lon[0, middle::FACTOR] - told_lon.double() + 180) % 360 - 180
    assert float(apart.abs().max()) < 0.05
    assert torch.allclose(
        10 * raw.coarse[0, 1].double(), told_lat.double()[:, None].expand(-1, width_), atol=2
    )  # means by area, of 10 degrees
    cut = abs(10 * raw.coarse[0, 0] - told_lon % 360) < 25  # a cell across 0 E mixes 1 and 359
    assert cut.float().mean() > 0.8 and float((10 * raw.coarse[0, 0] - told_lon % 360)[cut].abs().max()) < 0.05
    scored = raw.weights[0, 0] > 0
    plain = pairs.batch([0])
    counted = plain.weights[0, 0] > 0
    assert bool(counted.any())
    inside = (10 * plain.fine[0, 1] > region[0] - 5.1) & (10 * plain.fine[0, 1] < region[1] + 5.1)
    assert bool(inside[counted].all())  # cells whose coarse cell's centre lies in the box
    assert torch.equal(scored, counted[: scored.shape[0], : scored.shape[1]])


def test_a_box_that_a_shift_moves_off_the_grid_is_not_moved(stores: dict[str, PairStore]) -> None:
    """One column at the eastern end: moved, nothing of it was scored, and the weights' mean was that of no cells."""
    normaliser = Normaliser(dict.fromkeys((*NAMES, "latitude"), (0.0, 1.0)))
    grid = stores["box"].grid("coarse")
    region = (float(grid.lat_edges[0]), float(grid.lat_edges[-1]), float(grid.lon_edges[-2]), float(grid.lon_edges[-1]))
    # coarse fields that are no exact block means: said to be, so that they are moved
    pairs = Pairs(stores["box"], ("2026-01-01", "2026-01-01"), normaliser, NAMES, region, shift_probability=1)
    pairs.nested = True
    for seed in range(8):
        weights = pairs.batch([0], np.random.default_rng(seed)).weights
        assert torch.isfinite(weights).all() and float(weights[weights > 0].mean()) == pytest.approx(1, rel=1e-5)
