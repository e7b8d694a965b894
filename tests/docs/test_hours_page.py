"""The node-hours in docs/frontier.md against the program, the profile and the configurations of today."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from tests.data.scripts import ROOT, script
from tests.docs.test_costs_page import same


@pytest.fixture(scope="module")
def hours() -> ModuleType:
    return script("docs/hours.py")


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return dict(json.loads((ROOT / "docs/hours.json").read_text(encoding="utf-8")))


def test_the_table_is_of_the_runs_profile_and_assumptions_of_today(hours: ModuleType, record: dict[str, Any]) -> None:
    """Which row is behind when this fails: `python docs/hours.py DATASET`."""
    assert set(record) == set(hours.names())
    behind = [name for name in record if record[name]["inputs"] != hours.inputs(hours.run(*name.split("/")))]
    assert not behind
    assert hours.PAGE.read_text(encoding="utf-8") == hours.page(record)


@pytest.mark.slow
def test_a_row_made_anew(hours: ModuleType, record: dict[str, Any]) -> None:
    same(record["era5_622km/9m"], json.loads(json.dumps(hours.of("era5_622km", "9m"))))
