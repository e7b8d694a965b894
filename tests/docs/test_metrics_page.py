"""docs/metrics.md against the register of metrics and the columns of the table."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq

from orbit2.metrics import registry
from orbit2.metrics.table import COLUMNS, MEANING, TYPES, Table, write
from tests.data.scripts import ROOT, script


def test_the_page_is_what_the_register_says() -> None:
    """When this fails: `python docs/metrics.py`."""
    made = script("docs/metrics.py").page()
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == made
    for entry in registry.entries():
        assert f"| `{entry.name}`" in made


def test_the_files_have_the_columns_and_types_of_the_page(tmp_path) -> None:
    table = Table("test", "era5_week", "standard", "ERA5 1 deg (fine)", "2026-03-30/2026-03-31", "0.1.0+gabc")
    table.add("reslim", "2m_temperature", "physical", "global", "rmse", "pooled", 1.25, n=64800)
    write(table.frame(), tmp_path / "metrics.parquet")
    schema = pq.read_schema(tmp_path / "metrics.parquet")
    assert tuple(schema.names) == COLUMNS == tuple(MEANING) == tuple(TYPES)
    names = {"str": {"string", "large_string"}, "float64": {"double"}, "int64": {"int64"}}
    assert all(str(schema.field(name).type) in names[TYPES[name]] for name in COLUMNS)
    assert isinstance(pd.read_parquet(tmp_path / "metrics.parquet").index, pd.RangeIndex)
