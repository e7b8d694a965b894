"""Which of the retrieved files are read: all days of all variables, one grid, nothing twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.sources.holdings import choose, every

FIRST, LAST = np.datetime64("2020-01-31T01:00"), np.datetime64("2020-02-02T00:00")
USA, TEXAS = (20.0, 55.0, 230.0, 300.0), (25.0, 37.0, 253.0, 267.0)


def month(file: str, number: int, *variables: str, box: tuple[float, ...] | None = None) -> dict[str, Any]:
    last = {1: "01-31T23:00:00", 2: "02-29T23:00:00", 3: "03-31T23:00:00"}[number]
    return {"file": file, "variables": list(variables), "first": f"2020-{number:02d}-01T00:00:00", "last": f"2020-{last}",
            "box": None if box is None else list(box)}


def chosen(
    records: list[dict[str, Any]], *names: str, box: tuple[float, ...] | None = None, gaps: tuple[dict[str, Any], ...] = ()
) -> list[str]:
    return [r["file"] for r in choose(records, gaps, dict.fromkeys(names, (FIRST, LAST)), box, "here")]  # type: ignore[arg-type]


def test_only_files_of_the_window_and_variables() -> None:
    records = [month("a1", 1, "t", "u"), month("a2", 2, "t", "u"), month("a3", 3, "t", "u"), month("b1", 1, "p"), month("b2", 2, "p")]
    assert chosen(records, "t") == ["a1", "a2"] and chosen(records, "u", "p") == ["a1", "b1", "a2", "b2"]


def test_files_that_other_runs_left_are_not_read_twice() -> None:
    records = [month("a1", 1, "t", "u"), month("a2", 2, "t", "u"), month("b1", 1, "t"), month("b2", 2, "t", "p")]
    assert chosen(records, "t", "u") == ["a1", "a2"] and chosen(records, "t") == ["a1", "a2"]
    assert chosen([*records, month("p1", 1, "p")], "t", "p") == ["a1", "p1", "b2"]
    days = [{"file": f"d{d}", "variables": ["t"], "first": f"2020-02-0{d}T00:00:00", "last": f"2020-02-0{d}T23:00:00"} for d in (1, 2)]
    assert chosen([*records, *days], "t", "u") == ["a1", "a2"]  # days within a month that is there
    assert chosen([month("a1", 1, "t"), *days], "t") == ["a1", "d1", "d2"]


def test_half_hours_that_share_a_stamp_all_count() -> None:
    slots = [{"file": f"{d}-{h:02d}", "variables": ["p"], "first": f"2020-{d}T00:00:00", "last": f"2020-{d}T00:00:00"}
             for d in ("02-01", "02-02") for h in range(48)]
    assert len(every(slots, [], ["p"], np.datetime64("2020-02-01"), LAST, "here")) == 96
    with pytest.raises(OrbitError, match=r"here: p is not retrieved for 1 days, the first 2020-01-31"):
        every(slots, [], ["p"], FIRST, LAST, "here")
    gap = {"file": "x", "variables": ["p"], "first": "2020-01-31T00:00:00", "last": "2020-01-31T00:00:00"}
    assert len(every(slots, [gap], ["p"], FIRST, LAST, "here")) == 96


def test_one_grid_the_smallest_that_has_all() -> None:
    globe = [month("g1", 1, "t"), month("g2", 2, "t")]
    usa = [month("u1", 1, "t", box=USA), month("u2", 2, "t", box=USA)]
    texas = [month("x1", 1, "t", box=TEXAS), month("x2", 2, "t", box=TEXAS)]
    assert chosen([*globe, *usa, *texas], "t", box=TEXAS) == ["x1", "x2"]
    assert chosen([*globe, *usa, *texas], "t", box=USA) == ["u1", "u2"]
    assert chosen([*globe, *usa, *texas], "t", box=(21.0, 54.0, -129.0, -61.0)) == ["u1", "u2"]
    assert chosen([*globe, *usa, *texas], "t") == ["g1", "g2"]
    assert chosen([*globe, *usa, texas[0]], "t", box=TEXAS) == ["u1", "u2"]  # never half of one and half of another
    assert chosen([*globe, usa[0], texas[1]], "t", box=TEXAS) == ["g1", "g2"]
    with pytest.raises(OrbitError, match=r"here: no retrieved file holds these variables"):
        chosen([*usa, *texas], "t")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(OrbitError, match=r"here: u is not retrieved for 2 days, the first 2020-02-01; got '2020-01-31T01:00 to 2020-02"):
        chosen([month("a1", 1, "t", "u"), month("a2", 2, "t")], "t", "u")
    gap = month("a2", 2, "u")
    assert chosen([month("a1", 1, "t", "u"), month("a2", 2, "t")], "t", "u", gaps=(gap,)) == ["a1", "a2"]


def test_records_that_say_nothing_are_always_taken() -> None:
    plain = [{"file": "x.nc"}, {"file": "y.nc"}]
    assert chosen(plain, "t") == ["x.nc", "y.nc"] and chosen([*plain, month("a1", 1, "t")], "t") == ["a1", "x.nc", "y.nc"]
