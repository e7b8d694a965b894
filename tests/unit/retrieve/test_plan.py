"""Needs become requests: each file once, in time order, with totals a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.retrieve import plan
from orbit2.sources.source import Facts, Need, Request


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


class Monthly:
    """A source with a file a month, variable and box."""

    name = "monthly"
    facts = Facts("t", "l", None, "a", "d")

    def offers(self) -> tuple[str, ...]:
        return ("a", "b", "c")

    def plan(self, need: Need) -> list[Request]:
        months = np.arange(need.first.astype("datetime64[M]"), need.last.astype("datetime64[M]") + 1)
        return [Request(f"{name}/{month}{'' if need.box is None else '_box'}.nc", "http", {"url": f"http://h/{name}/{month}"}, (name,),
                        month.astype("datetime64[s]"), (month + 1).astype("datetime64[s]") - np.timedelta64(1, "s"), 1_500_000_000,
                        box=need.box, note="costly" if name == "c" else "") for month in months for name in need.variables]

    def check(self, path: Path, request: Request) -> None: ...

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        raise NotImplementedError


def test_overlapping_needs_share_files() -> None:
    needs = [Need(("a",), day("2020-01-01"), day("2020-02-10")), Need(("a", "b"), day("2020-02-01"), day("2020-03-31")),
             Need(("a",), day("2020-02-10"), day("2020-02-20"))]
    files = [r.file for r in plan.requests(Monthly(), needs)]
    assert files == ["a/2020-01.nc", "a/2020-02.nc", "b/2020-02.nc", "a/2020-03.nc", "b/2020-03.nc"]


def test_needs_merge_by_day_and_box_and_the_globe_holds_a_box_of_which_it_has_nearly_all() -> None:
    box, year = (20.0, 30.0, 230.0, 240.0), (day("2019-01-01"), day("2020-12-31"))
    apart = [Need(("a", "b"), *year, box), Need(("a",), day("2020-01-10"), day("2020-01-20"))]
    assert set(plan.merged(apart)) == set(apart), "files of one box are not mixed with the globe's"
    assert plan.merged([Need(("a", "b"), *year, box), Need(("b", "a", "c"), *year)]) == [Need(("a", "b", "c"), *year)]
    wide = (20.0, 60.0, 0.0, 200.0)
    nearly = plan.merged([Need(("a",), day("2019-01-01"), day("2021-01-01"), wide), Need(("a",), *year)])
    assert nearly == [Need(("a",), day("2019-01-01"), day("2021-01-01"))], "a month of the globe is less than two years of the box"
    margin = plan.merged([Need(("a",), day("2019-12-31"), day("2020-01-31"), box), Need(("b",), day("2020-01-01"), day("2020-01-31"), box)])
    assert margin == [Need(("a",), day("2019-12-31"), day("2019-12-31"), box), Need(("a", "b"), day("2020-01-01"), day("2020-01-31"), box)]
    joined = plan.merged([Need(("b", "a"), day("2020-01-01"), day("2020-01-31")), Need(("a", "b"), day("2020-02-01"), day("2020-02-05"))])
    assert [(set(n.variables), n.first, n.last) for n in joined] == [({"a", "b"}, day("2020-01-01"), day("2020-02-05"))]


def test_a_source_that_contradicts_itself_or_leaves_its_folder_is_a_bug() -> None:
    class Two(Monthly):
        def plan(self, need: Need) -> list[Request]:
            return [Request("x.nc", "http", {"url": f"http://h/{n}"}, (n,), need.first, need.last, 1) for n in need.variables]

    class Outside(Monthly):
        def plan(self, need: Need) -> list[Request]:
            return [Request("../x.nc", "http", {}, ("a",), need.first, need.last, 1)]

    need = Need(("a", "b"), day("2020-01-01"), day("2020-01-01"))
    with pytest.raises(ValueError, match=r"two different requests for x.nc"):
        plan.requests(Two(), [need])
    with pytest.raises(ValueError, match=r"not a file below its folder"):
        plan.requests(Outside(), [need])


def test_summary_counts_what_is_left_and_says_each_note_once() -> None:
    requests = plan.requests(Monthly(), [Need(("a", "c"), day("2020-01-01"), day("2021-12-31"))])
    text = plan.summary("monthly", requests, {"a/2020-01.nc": 1_400_000_000, "c/2020-01.nc": 100_000_000}, ["a/2020-02.nc"])
    assert text.splitlines() == [
        "monthly: 48 files, about 72.0 GB (estimate), 2020-01-01 to 2021-12-31, by http", "  complete: 2 of them, 1.5 GB",
        "  to fetch: 46 files, about 69.0 GB (estimate)", "  of these, 1 were missing at the provider before and are asked for again",
        "  note on 23 files, about 34.5 GB (estimate): costly"]
    assert plan.human(17.46e12) == "17.5 TB" and plan.human(999) == "999 B" and plan.human(1_234_567_890_123_456) == "1,234.6 TB"


def test_a_digest_names_what_is_asked_for() -> None:
    one = plan.requests(Monthly(), [Need(("a",), day("2020-01-01"), day("2020-03-31"))])
    two = plan.requests(Monthly(), [Need(("a",), day("2020-01-01"), day("2020-02-29")), Need(("a",), day("2020-03-05"), day("2020-03-06"))])
    other = plan.requests(Monthly(), [Need(("a",), day("2020-01-01"), day("2020-02-29"))])
    assert plan.digest(one) == plan.digest(two) != plan.digest(other) and len(plan.digest(one)) == 16


def test_needs_are_read_from_a_slice() -> None:
    (need,) = plan.needs([{"variables": ["a"], "first": "2020-01-01", "last": "2020-01-02", "box": [20, 30, -120, -100]}], "slice")
    assert need == Need(("a",), day("2020-01-01"), day("2020-01-02"), (20.0, 30.0, -120.0, -100.0))
    (static,) = plan.needs([{"variables": ["z"], "first": None, "last": None, "box": None}], "slice")
    assert static.first == static.last and static.box is None
    for wrong in ({"variables": ["a"], "first": "2020-13-01", "last": "2020-01-02"}, {"first": "2020-01-01", "last": "2020-01-02"},
                  {"variables": ["a"], "first": "2020-01-01", "last": "2020-01-02", "box": [1, 2, 3]}):
        with pytest.raises(OrbitError, match=r"slice: not a need"):
            plan.needs([wrong], "slice")
    with pytest.raises(OrbitError, match=r"ends before it begins; got '2020-01-02 to 2020-01-01'"):
        plan.needs([{"variables": ["a"], "first": "2020-01-02", "last": "2020-01-01"}], "slice")
