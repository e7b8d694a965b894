"""`source: files` in the files' own calendar and in months: what a CMIP6 archive holds becomes pairs at dates of its calendar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from orbit2 import times
from orbit2.config.load import CONFIG_ROOT, from_mapping
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.sources.times import plan_times
from tests.data import calendar_archive
from tests.data.own_archive import build, rain, warmth

NAMES = ["2m_temperature", "precipitation_rate"]
DAILY = {"train": {"start": "2000-01-01", "end": "2000-02-30"}, "validation": {"start": "2000-03-08", "end": "2000-03-20"},
         "test": {"start": "2000-04-01", "end": "2000-04-12"}}  # fmt: skip
MONTHLY = {"train": {"start": "2000-01-01", "end": "2001-06-30"}, "validation": {"start": "2001-08-01", "end": "2001-12-30"},
           "test": {"start": "2002-02-01", "end": "2002-12-30"}}  # fmt: skip


def raw(own: str, monthly: bool, **changes: Any) -> dict[str, Any]:
    """The shipped run for a newcomer, of a CMIP6 pair in the calendar `own`; `changes` of its dataset."""
    run = yaml.safe_load((CONFIG_ROOT / "runs/own_data.yaml").read_text(encoding="utf-8"))
    split = {name: dict(block) for name, block in (MONTHLY if monthly else DAILY).items()}
    if own != "360_day" and not monthly:
        split["train"]["end"] = "2000-02-28"
    files = {"coarse": "gcm", "fine": "rcm/*.nc", "day_starts": {"coarse": 0, "fine": 0}, "credit": "a climate model"}
    run["datasets"]["mine"] |= {"files": files, "inputs": NAMES, "outputs": NAMES, "split": split, "samples_per_shard": 64,
                                "samples_per_part": 128, **changes}  # fmt: skip
    return dict(run)


def check(pairs: PairStore, calendar: str, monthly: bool) -> None:
    """The formula in every cell of both sides, at dates of the calendar."""
    assert pairs.calendar == calendar
    for side in ("coarse", "fine"):
        grid = pairs.grid(side)
        for index in (0, 30, 59, len(pairs.times) - 1) if not monthly else (0, 1, 13, len(pairs.times) - 1):
            day = int(calendar_archive.numbers(pairs.times[index : index + 1], monthly)[0])
            warm, wet = pairs.read(side, index)
            np.testing.assert_allclose(warm, warmth(day, grid.lat2d, grid.lon2d), atol=0.01)
            np.testing.assert_allclose(wet, rain(day, grid.lat2d, grid.lon2d), atol=0.02)  # mm/day, by the month's own length


@pytest.mark.parametrize(("calendar", "monthly"), [("noleap", False), ("360_day", False), ("all_leap", True), ("360_day", True)])
def test_a_climate_model_s_files_become_pairs_in_their_calendar(
    calendar: str, monthly: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    calendar_archive.write(Path(), calendar, monthly)
    run = from_mapping(raw(calendar, monthly))
    dataset = run.datasets["mine"]
    assert dataset.counted == calendar and dataset.files is not None and dataset.files.found is not None
    assert dataset.step_hours == (times.MONTH_HOURS if monthly else 24) and dataset.files.found.lacking == ()
    planned = plan_times(dataset)
    assert len(planned) == (102 if not monthly else 36 if calendar == "360_day" else 34)  # 31 days between blocks are a hole
    pairs = build(run)
    assert times.stamps(pairs.times) == times.stamps(planned)
    check(pairs, calendar, monthly)
    if calendar == "360_day" and not monthly:
        assert times.stamp(pairs.times[59]) == "2000-02-30T00:00:00" and len(pairs.indices("2000-01-01", "2000-02-30")) == 60
    assert pairs.cell_methods("2m_temperature") == f"time: mean (interval: {'1 month' if monthly else '24 hours'})"


def test_what_calendars_do_not_have_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    calendar_archive.write(Path(), "noleap")
    calendar_archive.write(Path("other"), "360_day")
    with pytest.raises(OrbitError, match=r"split.train: no dates of the files' calendar, noleap; got '2000-01-01 to 2000-02-30'"):
        from_mapping(raw("noleap", False, split=DAILY))
    with pytest.raises(OrbitError, match=r"count in another calendar; got '360_day'; allowed: noleap, as"):
        from_mapping(raw("noleap", False, calendar="360_day"))
    files = {"coarse": "gcm/*.nc", "fine": "other/rcm/*.nc", "day_starts": {"coarse": 0, "fine": 0}}
    with pytest.raises(OrbitError, match=r"the files count in different calendars; got '360_day'; allowed: noleap as in"):
        from_mapping(raw("noleap", False, files=files))
    files = {"fine": "rcm/*.nc"}
    with pytest.raises(OrbitError, match="era5 counts in the real calendar"):
        from_mapping(raw("noleap", False, files=files, input_sources={"era5": ["2m_temperature"]}, coarse_grid="coarsen_4"))
