"""docs/model.md against the benchmark that it quotes."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.blocks import ROOT


def test_the_effect_of_precision_shown_is_that_measured() -> None:
    rows = json.loads((ROOT / "benchmarks/results/precision.json").read_text(encoding="utf-8"))["rows"]
    section = (ROOT / "docs/model.md").read_text(encoding="utf-8").split("## Precision of predictions")[1].split("\n## ")[0]
    shown = re.findall(r"^\| [^|]*\) \| (.+?) \| (.+?) % \| (.+?) \| (.+?) \|$", section, flags=re.MULTILINE)
    assert len(shown) == len(rows) == 5
    for cells, row in zip(shown, rows, strict=True):
        measured = (row["rmse_fp32"], 100 * row["change"], row["rms_difference"], row["largest_difference"])
        for cell, value in zip(cells, measured, strict=True):
            half = 0.51 * 10.0 ** -len(cell.partition(".")[2])  # of the last place shown
            assert float(cell) == pytest.approx(value, abs=half), row["variable"]


def test_the_ablation_of_constraint_layers_shown_is_that_measured() -> None:
    record = json.loads((ROOT / "benchmarks/results/constraints.json").read_text(encoding="utf-8"))
    section = (ROOT / "docs/model.md").read_text(encoding="utf-8").split("## Constraint layers")[1].split("\n## ")[0]
    assert record["holds"] and f"{record['steps']} steps" in section
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.count("|") == 7]
    rows = {cells[0]: cells[1:] for cells in lines}
    wanted = {"temperature": ("ratio", "2m_temperature"), "rain, ln(1 + mm/day)": ("ratio", "precipitation_rate"),
              "rain: RMSE over `conservative`'s, mm/day": ("rain", "rmse_mm_over_conservative"),
              "rain above 20 mm/day, of the truth's": ("rain", "heavy_share")}  # fmt: skip
    for label, (group, key) in wanted.items():
        for shown, run in zip(rows[label], record["runs"], strict=True):
            assert float(shown) == pytest.approx(run[group][key], abs=0.51 * 10.0 ** -len(shown.partition(".")[2])), label


def test_the_table_of_kinds_shown_is_that_measured() -> None:
    record = json.loads((ROOT / "benchmarks/results/skill_models.json").read_text(encoding="utf-8"))
    section = (ROOT / "docs/model.md").read_text(encoding="utf-8").split("## Learned baselines")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.count("|") == 6]
    kinds, rows = lines[0][1:], {cells[0]: cells[1:] for cells in lines[2:]}
    means = {kind: [run["ratio"] for run in record["runs"] if run["kind"] == kind] for kind in kinds}
    labels = {"2 m temperature": "2m_temperature", "10 m wind, eastward": "10m_u_component_of_wind",
              "10 m wind, northward": "10m_v_component_of_wind", "mean sea level pressure": "mean_sea_level_pressure",
              "precipitation": "precipitation_rate"}  # fmt: skip
    assert set(labels.values()) == set(record["runs"][0]["ratio"])
    for label, name in labels.items():
        for shown, kind in zip(rows[label], kinds, strict=True):
            assert float(shown) == pytest.approx(sum(one[name] for one in means[kind]) / len(means[kind]), abs=5.1e-4), (name, kind)
    assert [float(shown) for shown in rows["mean"]] == pytest.approx([record["means"][kind] for kind in kinds], abs=5.1e-4)
    assert [int(shown) for shown in rows["steps in that time"]] == [record["facts"][kind]["steps"] for kind in kinds]
    assert record["holds"] and min(record["means"].values()) == record["means"]["reslim"]


def test_what_site_memory_is_worth_is_that_measured() -> None:
    record = json.loads((ROOT / "benchmarks/results/site_memory.json").read_text(encoding="utf-8"))
    section = (ROOT / "docs/model.md").read_text(encoding="utf-8").split("\n## Site memory")[1].split("\n## ")[0]
    names = {"temperature (K)": "2m_temperature", "eastward wind (m/s)": "10m_u_component_of_wind",
             "northward wind (m/s)": "10m_v_component_of_wind", "pressure (Pa)": "mean_sea_level_pressure",
             "rain, ln(1 + mm/day)": "precipitation_rate, ln(1 + x)", "rain (mm/day)": "precipitation_rate"}  # fmt: skip
    shown = re.findall(r"^\| (.+?) \| ([\d.]+ [\d. ]+) \| ([\d. ]+) \| (?:([\d.]+) `(\w+)`.*)?\|$", section, flags=re.MULTILINE)
    assert record["holds"] and len(shown) == len(names) + 1
    for label, without, within, least, best in shown:
        for who, cells in (("no memory", without), ("with memory", within)):
            for cell, seed in zip(cells.split(), ("0", "1", "2"), strict=True):
                one = record["seeds"][seed]
                value = one["rmse"][names[label]][who] if label in names else one["ratio"][who]
                assert float(cell) == pytest.approx(value, abs=0.51 * 10.0 ** -len(cell.partition(".")[2])), (label, seed)
        if label in names:
            baselines = {who: value for who, value in record["seeds"]["0"]["rmse"][names[label]].items() if "memory" not in who}
            assert min(baselines.values()) == pytest.approx(float(least), abs=0.51 * 10.0 ** -len(least.partition(".")[2]))
            assert min(baselines, key=lambda who: baselines[who]).startswith(best)
            assert all(float(cell) < float(least) for cell in within.split())
