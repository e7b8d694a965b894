"""Return levels of an ensemble: each member is followed by itself, and their band stands beside the first member's level."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from orbit2.evaluate.climate import ClimateIndices
from orbit2.metrics import registry
from orbit2.metrics.lattice import Lattice
from orbit2.metrics.table import Table

RAIN = "total_precipitation_24hr"


@pytest.mark.parametrize("more", [0, 2])
def test_the_band_is_that_of_all_members(more: int) -> None:
    made = object.__new__(ClimateIndices)
    made.matched = SimpleNamespace(model="net", members=1 + more, region="global", models=lambda name: ("net", "bilinear"))  # type: ignore[assignment]
    made.area, made.lattices, made.more = np.array([[1.0, 3.0]]), {RAIN: Lattice((1, 2), 1)}, more
    levels = np.array([[50.0, 60.0], [40.0, 44.0], [30.0, 30.0], [48.0, 48.0], [20.0, 40.0]])[: 3 + more]  # truth, net, bilinear, members
    table = Table("t", "d", "standard", "r", "a/b", "v")
    made._add(table, RAIN, "rx1day_return_20", levels, "20-year level", 20)
    found = {(row["model"], row["metric"]): row["value"] for row in table.rows}
    assert found["net", "rx1day_return_20"] == 43 and found["(truth)", "rx1day_return_20"] == 57.5
    band = {end: found.get(("net", f"rx1day_return_20_{end}")) for end in ("lowest", "highest")}
    assert band == ({"lowest": 35.0, "highest": 48.0} if more else {"lowest": None, "highest": None})
    assert not registry.unknown(metric for _, metric in found)
