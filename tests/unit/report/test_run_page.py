"""The run page: hours by stage are sums of the workflow's own records, checks are rows, and every number of the page is traced."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from orbit2.metrics import table
from orbit2.report.inputs import Inputs, read
from orbit2.report.pages import jobs, records
from orbit2.report.pages.assembly import rendered
from orbit2.report.tables import plain
from tests.unit.report.test_traced import Rows, agree, untraced

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
TABLE = re.compile(r'<table data-source="(\w+)">(.*?)</table>', re.S)


@pytest.fixture(scope="module")
def inputs(made: SimpleNamespace) -> Inputs:
    return read(made.slice, made.root)


def test_hours_are_sums_of_the_records(inputs: Inputs, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    told = (("evaluate_test", 3600, 5400, 900), ("evaluate_merge", 1800, 1800, 100), ("downscale_test", 7200, "NA", "-"))
    for name, seconds, cpu, rss in told:
        (logs / f"{name}.tsv").write_text(HEAD + f"{seconds}\t0\t{rss}\t1\t1\t1\t0\t0\t0\t{cpu}\n", encoding="utf-8")
    moved = replace(inputs, folder=tmp_path, models={}, root=tmp_path)
    found = jobs.stages(moved)
    assert list(found) == ["downscale", "evaluate"]
    assert (found["evaluate"].jobs, found["evaluate"].seconds, found["evaluate"].cores, found["evaluate"].memory) == (2, 5400, 7200, 900)
    assert (found["downscale"].cores, found["downscale"].memory) == (0, 0)  # not measured counts as nothing, never as NaN
    (section,) = jobs.sections(moved)
    words = plain(section.blocks[0].text)
    assert "2.00 core hours, no GPU" in words and "0.010 to 0.030 kWh" in words
    (stages,) = section.tables()
    stages.write(tmp_path / "report")
    page = rendered("Run", "report", ["", ""], [section], "records").html
    assert untraced(page) == [] and agree(Rows(inputs.scores, tmp_path), page) == {"beside"}
    assert jobs.sections(replace(moved, folder=tmp_path / "elsewhere")) == []


def test_a_failed_check_is_said(inputs: Inputs, made: SimpleNamespace) -> None:
    section = jobs.checks_section(inputs)
    words = plain(section.blocks[0].text)
    assert words.endswith("for information.") and "failed" not in words
    scores = inputs.scores.copy()
    wet = (scores["metric"] == "quantile_0.001") & (scores["variable"] == "precipitation_rate") & (scores["model"] == "reslim")
    scores.loc[wet, "value"] = -0.5
    bad = jobs.checks_section(replace(inputs, scores=scores))
    assert ", 1 failed" in plain(bad.blocks[0].text)
    assert bad.blocks[1].table is not None
    (row,) = [row for row in bad.blocks[1].table.rows if row[2].text == "failed"]
    assert row[1].text == "no negative precipitation" and row[3].value == -0.5
    assert "Checks" in made.html


def test_site_memory_is_said_and_must_not_have_seen_the_test() -> None:
    factors = {"2m_temperature": {"offset": 1.0, "slope": 0.5, "cycles": 0.0}, "precipitation_rate": {"offset": 0.0, "slope": 0.0}}
    entry = {"period": ["2026-03-25T00:00", "2026-03-29T12:00"], "judged_on": ["2026-03-30T03:00", "2026-03-30T10:00"]}
    entry_of = {"week": {**entry, "factors": factors}}

    def rows(time: str, told: str, split: str = "test") -> list[tuple[str, str, str]]:
        task = SimpleNamespace(name="test", prediction=SimpleNamespace(attrs={"site_memory": told} if told else {}),
                               config=SimpleNamespace(dataset="week", split=split), times=np.array([time], "datetime64[s]"))  # fmt: skip
        return [(row[1].text, row[2].text, plain(row[4].text)) for row in jobs.remembered(task, entry_of)]  # type: ignore[arg-type]

    (first, second) = rows("2026-03-31T01:00", "on: of week")
    assert first == ("site memory", "for information", "on: of week: 2m_temperature 1 offset + 0.5 slope; nothing of precipitation_rate")
    assert second[1] == "passed"
    assert rows("2026-03-30T05:00", "on: of week")[1][1] == "failed"  # of the validation block, which chose the weights
    assert rows("2026-03-26T05:00", "on: of week")[1][1] == "failed"
    assert rows("2026-03-26T05:00", "on: of week", "train")[1][1] == "for information"
    assert rows("2026-03-26T05:00", "off: another grid") == [("site memory", "for information", "off: another grid")]
    assert rows("2026-03-26T05:00", "") == []


def test_every_number_of_a_table_is_a_row_or_a_quotient_of_two(made: SimpleNamespace) -> None:
    """Of the page and of the CSV beside it, without any list of exceptions; tables of cost say themselves that they are records."""
    folder = made.root / "results" / "tiny"
    rows = pd.concat([table.read(folder / stage / "metrics.parquet") for stage in ("evaluate", "diagnose")])
    known = set(rows["value"]) | set(rows["n"].astype(float)) | set(rows["ci_low"]) | set(rows["ci_high"])
    tables = TABLE.findall(made.html)
    assert {kind for kind, _ in tables} == {"scores", "records"} and sum(kind == "scores" for kind, _ in tables) > 12
    values = [float(x) for kind, body in tables if kind == "scores" for x in re.findall(r'data-value="([^"]+)"', body)]
    assert len(values) > 500 and [value for value in values if value not in known] == []
    rmse = rows[rows["metric"] == "rmse"]
    ratios = np.concatenate([np.divide.outer(group["value"].to_numpy(), group["value"].to_numpy()).ravel()
                             for _, group in rmse.groupby(["task", "variable", "space", "region"])])  # fmt: skip
    quotients = [float(x) for kind, body in tables if kind == "scores" for x in re.findall(r'data-quotient="([^"]+)"', body)]
    assert quotients and all(np.isclose(ratios, value, rtol=1e-12).any() for value in quotients)
    for kind, body in tables:
        assert kind == "scores" or "data-quotient" not in body


def test_the_list_of_contents_has_every_figure_and_table(made: SimpleNamespace) -> None:
    listed = list(csv.DictReader(io.StringIO((made.out / "tables" / "contents.csv").read_text(encoding="utf-8"))))
    figures = {row["name"] for row in listed if row["kind"] == "figure"}
    assert figures == {path.stem for path in (made.out / "figures").glob("*.png")}
    parts = {row["part"] for row in listed}
    assert parts == {"Decide", "Science", "Run"} and all(row["caption"] and row["section"] for row in listed if row["kind"] == "figure")
    csvs = {path.stem for path in (made.out / "tables").glob("*.csv")} - {"contents"}
    assert csvs <= {row["name"] for row in listed}


@pytest.mark.parametrize(("label", "line"), [("demo", "orbit2 run demo"), ("mine", "orbit2 run mine.yaml")])
def test_the_command_that_makes_it_again_goes_by_the_name_of_a_run_that_ships(label: str, line: str) -> None:
    assert records.command(SimpleNamespace(label=label)) == line  # type: ignore[arg-type]
