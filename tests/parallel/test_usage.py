"""The table of what ranks took: all of them, a line per try, whether it ended or stopped early."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from orbit2.errors import Interrupted
from orbit2.parallel import usage
from orbit2.parallel.launch import ranks
from tests.data.small_ranks import forked_ranks

pytestmark = pytest.mark.parallel
LARGE = 200 * 2**20  # bytes that the second rank takes


def rows(path: Path) -> list[dict[str, str]]:
    head, *lines = path.read_text().splitlines()
    assert head.split("\t") == list(usage.COLUMNS)
    return [dict(zip(usage.COLUMNS, line.split("\t"), strict=True)) for line in lines]


def test_the_memory_of_all_ranks_is_told_try_after_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "train.tsv"
    monkeypatch.setenv(usage.VARIABLE, str(table))

    def act(rank: int, stops: bool) -> None:
        with ranks(device="cpu"):
            held = b"1" * (LARGE * rank)
            if stops and held is not None:
                raise Interrupted("stopped")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert forked_ranks(lambda rank: act(rank, True))[0] == [1, 1]
    assert forked_ranks(lambda rank: act(rank, False))[0] == [0, 0]
    first, second = rows(table)
    for row in (first, second):
        assert row["ranks"] == "2" and 0 < float(row["s"]) < 60 and float(row["cpu_time"]) > 0
        largest, all_ = float(row["largest_rank"]), float(row["max_rss"])
        assert LARGE / 2**20 < largest < before + 2 * LARGE / 2**20 and largest < all_ - 50  # the other rank is there too
    act(0, False)
    assert [row["ranks"] for row in rows(table)] == ["2", "2", "1"]


def test_a_table_of_another_kind_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Snakemake wrote it, with other columns."""
    table = tmp_path / "train.tsv"
    table.write_text("s\th:m:s\n1\t0:00:01\n")
    monkeypatch.setenv(usage.VARIABLE, str(table))
    usage.tell(0, 1)
    assert len(rows(table)) == 1
    monkeypatch.delenv(usage.VARIABLE)
    usage.tell(0, 1)
    assert len(rows(table)) == 1
