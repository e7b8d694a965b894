"""Work items: an exact partition in a fixed order, however they are shared out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.downscale.items import Items, deal, parse_block, share
from orbit2.downscale.store import CHUNK_EDGE, shard_and_chunk, times_of_chunk
from orbit2.errors import OrbitError


@given(times=st.integers(1, 30), time_block=st.integers(1, 12), tiles=st.integers(1, 7), members=st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_items_hold_every_time_tile_and_member_once(times: int, time_block: int, tiles: int, members: int) -> None:
    items = Items(times, time_block, tiles, members)
    count = np.zeros((max(members, 1), times, tiles), dtype=int)
    for i, item in enumerate(items):
        assert item.index == i and item.start % time_block == 0
        count[item.member, item.start : item.start + item.count, item.tile] += 1
    assert (count == 1).all() and i == len(items) - 1
    with pytest.raises(IndexError):
        items[len(items)]


@given(items=st.integers(0, 200), blocks=st.integers(1, 20), world=st.integers(1, 9), finished=st.sets(st.integers(0, 199)))
@settings(deadline=None, max_examples=50)
def test_blocks_and_ranks_do_everything_that_is_left_once(items: int, blocks: int, world: int, finished: set[int]) -> None:
    done = []
    sizes = []
    for block in range(blocks):
        mine = share(items, block, blocks)
        sizes.append(len(mine))
        todo = [i for i in mine if i not in finished]
        shares = [list(deal(todo, rank, world)) for rank in range(world)]
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        done += [i for part in shares for i in part]
    assert sorted(done) == sorted(set(range(items)) - finished) and max(sizes) - min(sizes) <= 1


@given(core=st.integers(1, 3000), count=st.integers(1, 9), last=st.integers(1, 3000))
@settings(deadline=None, max_examples=200)
def test_chunks_divide_shards_and_shards_are_cores(core: int, count: int, last: int) -> None:
    cells = core * (count - 1) + min(last, core)
    shard, chunk = shard_and_chunk(cells, min(core, cells), count)
    assert shard % chunk == 0
    assert shard == core if count > 1 else shard - chunk < cells <= shard
    assert chunk <= CHUNK_EDGE or (count > 1 and chunk == core)


def test_odd_sizes_keep_chunks_of_a_useful_size() -> None:
    assert shard_and_chunk(721 * 4, 721 * 4, 1) == (2885, 577)  # one tile: the shard may reach a cell beyond the pole
    assert shard_and_chunk(43200, 1440, 30) == (1440, 720)
    assert shard_and_chunk(5000, 1439, 4) == (1439, 1439)  # a prime core is one chunk: two writers must not share it


def test_block_in_words() -> None:
    assert parse_block("2/3") == (2, 3)
    for wrong in ("3/3", "1", "-1/3", "a/b", "0/0"):
        with pytest.raises(OrbitError, match="i/n"):
            parse_block(wrong)


def test_small_fields_share_a_chunk_and_large_ones_have_theirs() -> None:
    assert times_of_chunk(64, 72, 144) == 64  # all times of a shard: 2.7 MB
    assert times_of_chunk(64, 180, 360) == 16 and times_of_chunk(30, 180, 360) == 15  # a divisor of the shard
    assert times_of_chunk(8, 720, 720) == 2 and times_of_chunk(8, 721, 1440) == times_of_chunk(1, 72, 144) == 1
