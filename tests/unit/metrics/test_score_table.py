"""The long table keeps its columns, refuses what is not one and merges without repeating a score."""

import numpy as np
import pandas as pd
import pytest

from orbit2.errors import OrbitError
from orbit2.metrics import table as t


def scores(task="test"):
    table = t.Table(task, "era5_week", "standard", "ERA5 1 deg (fine)", "2026-03-30/2026-03-31", "0.1.0+gabc")
    table.add("reslim", "2m_temperature", "physical", "global", "rmse", "pooled", 1.25, n=64800, ci=(1.2, 1.3))
    table.add("bicubic", "2m_temperature", "physical", "global", "rmse", "pooled", np.nan)
    return table


def test_round_trip(tmp_path):
    t.write(scores().frame(), tmp_path / "metrics.parquet")
    frame = t.read(tmp_path / "metrics.parquet")
    assert list(frame.columns) == list(t.COLUMNS) and len(frame) == 2
    row = frame.iloc[0]
    assert (row["value"], row["ci_low"], row["ci_high"], row["n"], row["season"]) == (1.25, 1.2, 1.3, 64800, "all")
    assert np.isnan(frame.iloc[1]["value"]) and np.isnan(frame.iloc[1]["ci_low"])


def test_merge_and_refusal_of_repeats(tmp_path):
    for name in ("a", "b"):
        t.write(scores(name).frame(), tmp_path / f"{name}.parquet")
    t.merge([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "all.parquet")
    assert set(t.read(tmp_path / "all.parquet")["task"]) == {"a", "b"}
    with pytest.raises(OrbitError, match="twice"):
        t.merge([tmp_path / "a.parquet", tmp_path / "a.parquet"], tmp_path / "bad.parquet")
    assert not (tmp_path / "bad.parquet").exists() and not list(tmp_path.glob(".*part"))


def test_what_is_not_a_table_is_refused(tmp_path):
    with pytest.raises(OrbitError, match="not found"):
        t.read(tmp_path / "no.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(OrbitError, match="not a Parquet file"):
        t.read(tmp_path / "text.parquet")
    with pytest.raises(OrbitError, match="missing"):
        t.validate(pd.DataFrame({"model": ["x"]}))
    frame = scores().frame()
    with pytest.raises(OrbitError, match="without a reference"):
        t.validate(frame.assign(reference=""))
    with pytest.raises(OrbitError, match="unknown space"):
        t.validate(frame.assign(space="mm"))
    with pytest.raises(OrbitError, match="no tables"):
        t.merge([], tmp_path / "x.parquet")
