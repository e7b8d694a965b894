"""docs/costs.md against the program: every key of the JSON is named, and the tables are what plan says today."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

import pytest

from orbit2.config.load import load
from orbit2.plan import records
from tests.data.scripts import ROOT, script

PAGE = ROOT / "docs/costs.md"
REMADE = "demo_conv"  # the quickest


@pytest.fixture(scope="module")
def costs() -> ModuleType:
    return script("docs/costs.py")


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return dict(json.loads((ROOT / "docs/costs.json").read_text(encoding="utf-8")))


def test_every_key_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text(encoding="utf-8").split("## Keys of the JSON")[1]))
    kinds = [kind for kind in vars(records).values() if isinstance(kind, type) and is_dataclass(kind)]
    keys = {one.name for kind in kinds for one in fields(kind)}
    assert len(kinds) > 6 and keys <= named, keys - named


def test_the_tables_are_of_the_runs_sheets_and_assumptions_of_today(costs: ModuleType, record: dict[str, Any]) -> None:
    """Which run is behind when this fails: `make costs`, or `python docs/costs.py RUN`."""
    assert list(record) == list(costs.runs())
    behind = [name for name, path in costs.runs().items() if record[name]["inputs"] != costs.inputs(load(path))]
    assert not behind
    assert PAGE.read_text(encoding="utf-8") == costs.page(record)


def same(told: Any, today: Any, where: str = "") -> None:
    """Numbers within 1 %: another torch may take an operator apart otherwise."""
    if isinstance(told, dict):
        assert sorted(told) == sorted(today), where
        for key, value in told.items():
            same(value, today[key], f"{where}.{key}")
    else:
        assert today == (pytest.approx(told, rel=0.01) if isinstance(told, float | int) else told), where


def test_a_run_made_anew(costs: ModuleType, record: dict[str, Any]) -> None:
    same(record[REMADE], json.loads(json.dumps(costs.of_run(costs.runs()[REMADE]))))


@pytest.mark.slow
def test_every_run_made_anew(costs: ModuleType, record: dict[str, Any]) -> None:
    for name, path in costs.runs().items():
        same(record[name], json.loads(json.dumps(costs.of_run(path))), name)
