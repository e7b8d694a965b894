"""Two protocols side by side: a number of one never stands for the other; where rain is useful, or nowhere."""

from __future__ import annotations

import pandas as pd

from orbit2.metrics import table
from orbit2.report.pages import protocols
from orbit2.report.tables import Scores

RAIN = "total_precipitation_24hr"


def scores(*rows: tuple[str, str, str, str, float]) -> Scores:
    built = {name: table.Table("t", "d", name, "truth", "2020-01-01T00:00/2020-12-31T00:00", "v") for name in ("standard", "orbit2_paper")}
    for protocol, model, space, metric, value in rows:
        built[protocol].add(model, RAIN, space, "global", metric, "m", value)
    return Scores(pd.concat([one.frame() for one in built.values() if one.rows]), "t")


def test_the_papers_columns_have_the_standard_ones_beneath() -> None:
    rows = [("orbit2_paper", "net", "log1p", "paper_rmse", 0.135), ("orbit2_paper", "net", "log1p", "paper_pearson_r", 0.979),
            ("standard", "net", "log1p", "rmse", 0.154), ("standard", "net", "log1p", "r2_cod", 0.95),
            ("standard", "net", "physical", "rmse", 3.0)]  # fmt: skip
    found = protocols.paper_table(scores(*rows), "net", [RAIN], "t")
    assert found is not None
    physical, logs = found.rows
    assert [cell.value for cell in logs[1:4]] == [0.979, 0.135, None] and [cell.note for cell in logs[1:3]] == ["0.9500", "0.154"]
    assert all(cell.value is None for cell in physical[1:])  # nothing of `standard` takes the place of what is not there
    assert protocols.paper_table(scores(*rows[2:]), "net", [RAIN], "t") is None


def test_rain_is_useful_somewhere_or_nowhere() -> None:
    rows = [("standard", "net", "physical", "fss_useful_km_1mm", 83.0), ("standard", "conservative", "physical", "fss_useful_km_1mm", 139),
            ("standard", "conservative", "physical", "fss_useful_km_10mm", 250.0)]  # fmt: skip
    found = protocols.rain_table(scores(*rows), "net", [RAIN, "2m_temperature"], "t")
    assert found is not None and len(found.rows) == 1
    cells = found.rows[0][1:]
    assert [cell.value for cell in cells] == [83.0, None, None] and [cell.text for cell in cells[1:]] == ["nowhere", "nowhere"]
    assert [cell.note for cell in cells] == ["conservative 139", "conservative 250", "conservative nowhere"]
    assert protocols.rain_table(scores(("standard", "net", "physical", "rmse", 1.0)), "net", [RAIN], "t") is None
