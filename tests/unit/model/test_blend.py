"""Blended tiles: weights that sum to one everywhere, sources that lie where they say, borders without steps."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orbit2.errors import OrbitError
from orbit2.model.blend import blend, neighbours, parts
from orbit2.model.tiles import Tiling, tiles
from tests.unit.model.test_tiles import thoroughly

FACTOR = 2


@st.composite
def blended(draw: st.DrawFn) -> Tiling:
    """Any grid, whole or a box of it, cut into several tiles with halos."""
    shape = draw(st.integers(2, 24)), draw(st.integers(2, 30))
    domain = None
    if draw(st.booleans()):
        starts = [draw(st.integers(0, cells - 1)) for cells in shape]
        domain = tuple(slice(a, draw(st.integers(a + 1, cells))) for a, cells in zip(starts, shape, strict=True))
    halo = draw(st.integers(1, 8))
    size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    made = tiles(shape, draw(st.booleans()), size, halo, draw(st.integers(1, 3)), domain, blend=draw(st.integers(1, halo)))
    assume(len(made) > 1)
    return made


def kept(made: Tiling, values: np.ndarray, index: int) -> np.ndarray:
    """What would be kept of a tile's window if its prediction were `values` [..., sH, sW]."""
    rows, columns = (slice(part.start * FACTOR, part.stop * FACTOR) for part in made.kept(index))
    return made[index].take(values, FACTOR)[..., rows, columns]


def stitched(made: Tiling, values: list[np.ndarray], grain: int) -> np.ndarray:
    """The domain's field, when tile i predicts `values[i]` [sH, sW] wherever it is asked."""
    out = np.full([cells * FACTOR for cells in made.shape], np.nan, dtype=np.float32)
    for i, window in enumerate(made):
        out[window.owned(FACTOR)] = blend(made, i, FACTOR, grain, lambda tile: kept(made, values[tile], tile))
    return out[tuple(slice(part.start * FACTOR, part.stop * FACTOR) for part in made.domain)]


@thoroughly
@given(blended(), st.sampled_from([1, FACTOR]))
def test_tiles_that_agree_are_left_alone_bit_for_bit(made: Tiling, grain: int) -> None:
    """Whatever the cut: sources lie where the core's cells are, or this would not hold."""
    values = np.random.default_rng(1).normal(size=[cells * FACTOR for cells in made.shape]).astype(np.float32)
    part = values[tuple(slice(p.start * FACTOR, p.stop * FACTOR) for p in made.domain)]
    np.testing.assert_array_equal(stitched(made, [values] * len(made), grain), part)


@thoroughly
@given(blended(), st.sampled_from([1, FACTOR]))
def test_each_tile_counts_near_itself_and_all_weights_sum_to_one(made: Tiling, grain: int) -> None:
    """The weight of a tile is what comes out when it alone predicts 1: positive, at most 1, and 1 beyond `blend` of every border."""
    shape, total = [cells * FACTOR for cells in made.shape], 0.0
    none, one = np.zeros(shape, dtype=np.float32), np.ones(shape, dtype=np.float32)
    for i in range(min(len(made), 12)):
        field = stitched(made, [one if i == j else none for j in range(len(made))], grain)
        assert field.min() >= 0 and field.max() <= 1
        owned = made[i].owned(FACTOR)
        rows, columns = (slice(p.start - d.start * FACTOR, p.stop - d.start * FACTOR) for p, d in zip(owned, made.domain, strict=True))
        assert (field[rows, columns] > 0.2).all(), "in its own core: a quarter at a crossing of borders, or more"
        margin = made.blend * FACTOR
        assert (field[rows, columns][margin:-margin, margin:-margin] == 1).all()
        total = total + field
    if len(made) <= 12:
        np.testing.assert_allclose(total, 1, rtol=3e-7)


@thoroughly
@given(blended())
def test_being_a_neighbour_is_mutual(made: Tiling) -> None:
    found = [neighbours(made, i) for i in range(len(made))]
    for i, beside in enumerate(found):
        assert i not in beside and len(beside) <= 8
        assert all(i in found[j] for j in beside)


def test_a_step_between_two_tiles_becomes_a_ramp() -> None:
    """Two tiles around the globe, 0 and 1: across each of the two borders the mixture climbs in equal steps, through 1/2."""
    made = tiles((4, 16), True, (0, 8), 2)
    assert made.blend == 0, "the default of the geometry: halos are thrown away"
    made = tiles((4, 16), True, (0, 8), 2, blend=2)
    field = stitched(made, [np.zeros((8, 32), np.float32), np.ones((8, 32), np.float32)], FACTOR)
    ramp = (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(field[0, 12:20], ramp, rtol=1e-6)
    np.testing.assert_allclose(np.roll(field[0], 4)[:8], ramp[::-1], rtol=1e-6)
    assert (field[:, 4:12] == 0).all() and (field[:, 20:28] == 1).all() and (field == field[0]).all()
    coarse = stitched(made, [np.zeros((8, 32), np.float32), np.ones((8, 32), np.float32)], 1)
    np.testing.assert_allclose(coarse[0, 12:20], np.repeat([1, 3, 5, 7], 2) / 8, rtol=1e-6)


def test_weights_constant_in_a_cell_keep_block_means() -> None:
    made, rng = tiles((12, 18), True, (5, 6), 3, blend=3), np.random.default_rng(2)
    means = rng.normal(size=(12, 18))
    values = []
    for _ in range(len(made)):
        noise = rng.normal(size=(12, FACTOR, 18, FACTOR))
        values.append((means[:, None, :, None] + noise - noise.mean((1, 3), keepdims=True)).reshape(24, 36).astype(np.float32))
    blocks = stitched(made, values, 1).reshape(12, FACTOR, 18, FACTOR).mean((1, 3))
    np.testing.assert_allclose(blocks, means, atol=1e-6)
    assert np.abs(stitched(made, values, FACTOR).reshape(12, FACTOR, 18, FACTOR).mean((1, 3)) - means).max() > 0.01


def test_missing_where_the_owner_says_so_and_nowhere_else() -> None:
    made = tiles((8, 8), False, 4, 2, blend=2)
    values = [np.full((16, 16), i, dtype=np.float32) for i in range(4)]
    values[0][7, 3], values[3][7, 7] = np.nan, np.nan
    field = stitched(made, values, FACTOR)
    assert np.isnan(field[7, 3]) and np.isfinite(field).sum() == field.size - 1
    without = stitched(made, [*values[:3], values[0]], FACTOR)
    assert field[7, 7] == without[7, 7], "tile 3, missing there, counts as the owner"


def test_a_narrow_last_tile_mixes_as_far_as_it_has_room() -> None:
    """Cores of 5, 5 and 1 of 11 columns: 2 cells between the equal ones, 1 at the narrow one's border."""
    made = tiles((4, 11), False, (0, 5), 2, blend=2)
    widths = [{part.place[1].stop - part.place[1].start for part in parts(made, i, 1, 1)} for i in range(3)]
    assert widths == [{2}, {1, 2}, {1}]


def test_a_blend_beyond_the_halo_is_refused() -> None:
    with pytest.raises(OrbitError, match="beyond their halo"):
        tiles((12, 24), True, 4, 2, blend=3)
    assert tiles((12, 24), True, 4, 7, blend=None).blend == 3
    assert tiles((12, 24), True, 0, 7, blend=None).blend == 0, "one tile has no neighbour"
