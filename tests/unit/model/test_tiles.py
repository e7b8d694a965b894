"""The geometry of tiles: what must hold for every grid, tile size, halo, patch and domain."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.model.tiles import Tiling, divided, of_box, tiles

thoroughly = settings(derandomize=True, deadline=None, max_examples=120, database=None)


@st.composite
def tilings(draw: Any) -> Tiling:
    """Any grid, whole or a box of it, cut any way; small ones too."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 40))
    domain = None
    if draw(st.booleans()):
        starts = [draw(st.integers(0, cells - 1)) for cells in shape]
        domain = tuple(slice(a, draw(st.integers(a + 1, cells))) for a, cells in zip(starts, shape, strict=True))
    edge = st.integers(0, 45)
    size = draw(st.one_of(edge, st.tuples(edge, edge)))
    return tiles(shape, draw(st.booleans()), size, draw(st.integers(0, 12)), draw(st.integers(1, 5)), domain)


@thoroughly
@given(tilings())
def test_cores_cover_the_domain_exactly_once(made: Tiling) -> None:
    count, expected = np.zeros(made.shape, dtype=int), np.zeros(made.shape, dtype=int)
    expected[made.domain] = 1
    for window in made:
        rows, columns = window.rows[window.core_rows], window.columns[window.core_columns]
        count[np.ix_(rows, columns)] += 1
        owned = window.owned()
        assert rows.tolist() == list(range(owned[0].start, owned[0].stop))
        assert columns.tolist() == list(range(owned[1].start, owned[1].stop))
    assert (count == expected).all() and len(list(made)) == len(made) == made.counts[0] * made.counts[1]


@thoroughly
@given(tilings(), st.integers(1, 5))
def test_every_core_is_one_chunk_of_the_output(made: Tiling, factor: int) -> None:
    """Chunks of core x s from the domain's corner: a tile writes one, wholly, and the last of a direction is the smaller one."""
    chunks = []
    for window in made:
        parts = window.owned(factor)
        for part, domain, edge in zip(parts, made.domain, made.core, strict=True):
            start, stop = part.start - domain.start * factor, part.stop - domain.start * factor
            assert start % (edge * factor) == 0
            assert stop == min(start + edge * factor, (domain.stop - domain.start) * factor)
        chunks.append((parts[0].start, parts[1].start))
        inside = window.fine_core(factor)
        assert [p.stop - p.start for p in inside] == [p.stop - p.start for p in parts]
    assert len(set(chunks)) == len(chunks)


@thoroughly
@given(tilings(), st.integers(1, 4))
def test_windows_are_equal_and_without_gaps(made: Tiling, factor: int) -> None:
    height, width = made.shape
    for window in made:
        assert (len(window.rows), len(window.columns)) == made.padded and window.periodic == made[0].periodic
        assert (np.diff(window.rows) == 1).all() and window.rows[0] >= 0 and window.rows[-1] < height
        steps = np.diff(window.columns)
        assert (steps % width == 1 % width).all() and len(set(window.columns.tolist())) == len(window.columns)
        assert made.periodic or (steps == 1).all()
        assert window.columns.min() >= 0 and window.columns.max() < width
        if window.periodic:
            assert made.periodic and window.columns.tolist() == list(range(width))
        rows, columns = window.fine(factor)
        assert (rows // factor == np.repeat(window.rows, factor)).all() and (np.diff(rows) == 1).all()
        assert (columns // factor == np.repeat(window.columns, factor)).all()
        assert (columns % factor == np.tile(np.arange(factor), len(window.columns))).all()


@thoroughly
@given(tilings())
def test_every_core_cell_has_the_halo_or_all_that_the_grid_offers(made: Tiling) -> None:
    for window in made:
        for k, (cells, core) in enumerate(((window.rows, window.core_rows), (window.columns, window.core_columns))):
            owned = window.owned()[k]
            before, after = core.start, len(cells) - core.stop
            assert 0 <= core.start < core.stop <= len(cells)
            if k == 1 and made.periodic:
                assert window.periodic or min(before, after) >= made.halo  # a closed window holds every column
            else:
                assert before >= min(made.halo, owned.start) and after >= min(made.halo, made.shape[k] - owned.stop)


@thoroughly
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 20), st.integers(1, 6))
def test_windows_are_whole_patches_where_the_grid_has_room(cells: int, edge: int, halo: int, patch: int) -> None:
    needed = min(edge, cells) + 2 * halo
    for side in tiles((cells, cells), False, edge, halo, patch).padded:
        assert side == cells if needed + (-needed % patch) > cells else side % patch == 0 and needed <= side < needed + patch


@thoroughly
@given(tilings(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_split_and_stitched_is_the_same_bits(made: Tiling, factor: int, seed: int) -> None:
    shape = 2, made.shape[0] * factor, made.shape[1] * factor
    field = np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)  # NaNs of all kinds too
    stitched, again = np.zeros_like(field), torch.zeros(shape)
    for window in made:
        rows, columns = window.owned(factor)
        stitched[:, rows, columns] = window.take(field, factor)[:, *window.fine_core(factor)]
        again[:, rows, columns] = window.take(torch.from_numpy(field), factor)[:, *window.fine_core(factor)]
    inside = (slice(None), *(slice(part.start * factor, part.stop * factor) for part in made.domain))
    assert stitched[inside].tobytes() == field[inside].tobytes() == again.numpy()[inside].tobytes()
    stitched[inside] = 0
    assert not stitched.any()


def test_halo_wraps_across_the_date_line() -> None:
    window = tiles((12, 24), True, 4, 3)[6]
    assert window.columns.tolist() == [21, 22, 23, 0, 1, 2, 3, 4, 5, 6] and window.core_columns == slice(3, 7)
    assert window.rows.tolist() == list(range(1, 11)) and window.core_rows == slice(3, 7)
    last = tiles((12, 24), True, 5, 2)[4]  # the last core is narrower; its window is not
    assert last.columns.tolist() == [18, 19, 20, 21, 22, 23, 0, 1, 2] and last.core_columns == slice(2, 6)


def test_halo_turns_inward_at_the_poles_and_at_the_sides_of_a_region() -> None:
    south, north = tiles((12, 24), True, 4, 3)[0], tiles((12, 24), True, 4, 3)[17]
    assert south.rows.tolist() == list(range(10)) and south.core_rows == slice(0, 4)
    assert north.rows.tolist() == list(range(2, 12)) and north.core_rows == slice(6, 10)
    east = tiles((12, 24), False, 4, 3)[5]
    assert east.columns.tolist() == list(range(14, 24)) and east.core_columns == slice(6, 10) and not east.periodic


def test_a_window_as_wide_as_the_globe_closes_around_it() -> None:
    for halo, closed in ((7, False), (8, True), (30, True)):
        made = tiles((12, 24), True, 8, halo)
        assert [window.periodic for window in made] == [closed] * len(made)
        assert made.padded[1] == min(8 + 2 * halo, 24)
    assert not tiles((12, 24), False, 8, 30)[0].periodic


def test_zero_is_the_whole_side() -> None:
    for grid in (global_grid(15.0), uniform(0, 40, 10, 70, 11, 17)):
        (window,) = tiles(grid.shape, grid.periodic, 0, 5)
        assert window.rows.tolist() == list(range(grid.shape[0])) and window.columns.tolist() == list(range(grid.shape[1]))
    assert tiles((12, 24), True, (0, 6), 1).counts == (1, 4) and tiles((12, 24), True, (5, 0), 1).counts == (3, 1)


def test_box_is_the_cells_whose_centres_lie_in_it() -> None:
    grid = global_grid(15.0)
    window = of_box(grid, (-30, 30, 330, 352.5), 2)
    assert grid.lat[window.rows[window.core_rows]].tolist() == [-22.5, -7.5, 7.5, 22.5]
    assert grid.lon[window.columns[window.core_columns]].tolist() == [337.5, 352.5]
    assert grid.lon[window.columns].tolist() == [307.5, 322.5, 337.5, 352.5, 7.5, 22.5]  # context across the meridian


@thoroughly
@given(st.integers(1, 200), st.integers(-3, 220))
def test_divided_gives_the_count_or_names_the_nearest_possible(cells: int, count: int) -> None:
    possible = {len(range(0, cells, edge)) for edge in range(1, cells + 1)}
    if count in possible:
        assert len(range(0, cells, divided(cells, count))) == count
        return
    nearest = [max([n for n in possible if n < count], default=None), min([n for n in possible if n > count], default=None)]
    names = " or ".join(str(n) for n in nearest if n is not None)
    with pytest.raises(OrbitError) as raised:
        divided(cells, count)
    assert f"{cells} cells into {count}" in str(raised.value) and f"; allowed: {names}; " in str(raised.value)


@pytest.mark.parametrize(("size", "halo"), [(-1, 0), ((4, -2), 1), (3, -1)])
def test_negative_sizes_are_refused(size: Any, halo: int) -> None:
    with pytest.raises(OrbitError, match="cannot be negative"):
        tiles((12, 24), True, size, halo)


@pytest.mark.parametrize("index", [-1, 18])
def test_there_are_no_other_tiles(index: int) -> None:
    with pytest.raises(IndexError):
        tiles((12, 24), True, 4, 3)[index]
