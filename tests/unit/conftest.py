"""What every unit test checks beside its own."""

from __future__ import annotations

import sys

import pytest

from orbit2.variables import forgetting


@pytest.fixture(autouse=True)
def nothing_declared_by_others():
    """What a test declares (opening a store does) is forgotten after it."""
    with forgetting():
        yield


@pytest.fixture(autouse=True)
def only_documented_metrics(monkeypatch):
    """No test writes a table with a metric that docs/metrics.md does not know."""
    module = sys.modules.get("orbit2.metrics.table")
    if module is None:
        return
    from orbit2.metrics import registry

    write = module.write

    def checked(frame, path):
        for metric, space in set(zip(frame["metric"], frame["space"], strict=True)) if {"metric", "space"} <= set(frame) else ():
            entry = registry.find(metric)
            assert entry is not None, f"{metric} has no entry in orbit2/metrics/entries"
            assert space in entry.spaces, f"the entry of {metric} knows no rows in space {space}"
        write(frame, path)

    monkeypatch.setattr(module, "write", checked)
