"""docs/tiles.md against the program and the benchmark: what the page shows is what they say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from orbit2.config.load import load
from orbit2.plan import plan, render, sequence
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs/tiles.md"


def test_the_plan_shown_is_the_plan_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows, cores, tokens and extra cells of the page's command; FLOPs and bytes belong to the model, which may change."""
    (command,) = [text for language, text in blocks(PAGE) if language == "bash"]
    words = shlex.split(command)
    assert words[:2] == ["orbit2", "plan"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    monkeypatch.chdir(tmp_path)  # no results: the halo is not measured
    config = load(ROOT / words[2], [value for name, value in options if name == "--set"])
    found = plan(config, model=dict(options)["--model"], device=dict(options)["--device"])
    printed = render(found, config)
    assert found.fits
    shown = next(text for language, text in blocks(PAGE) if language == "text").split("halo for")[0]

    def rows(text: str) -> list[list[str]]:
        found = re.findall(r"^  (?:untiled|\d+x\d+ tiles) +\d.*$", text, flags=re.MULTILINE)
        return [[*line.split()[:-5], line.split()[-3]] for line in found]

    assert len(rows(shown)) == 2 and rows(shown) == rows(printed.split("downscale.quarter_degree")[1])


def test_sequence_lengths_shown() -> None:
    shown = [text for language, text in blocks(PAGE) if language == "text"][-1]
    assert shown.splitlines() == sequence.lines(4, 2, {})[1:5]


def test_the_curve_shown_is_the_curve_measured() -> None:
    measured = json.loads((ROOT / "benchmarks/results/halo_curve.json").read_text(encoding="utf-8"))
    curve = measured["4 degree"]["curve"]
    table = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in PAGE.read_text(encoding="utf-8").splitlines()
             if line.startswith("| ")]  # fmt: skip
    rows = {row[0]: row[1:] for row in table}
    assert rows["halo"] == [str(row["halo"]) for row in curve]
    for label, key in (("difference from untiled, all cells", "all"), ("within a coarse cell of a border", "border"),
                       ("further inside", "inside"), ("RMSE / bicubic RMSE", "rmse")):  # fmt: skip
        assert [float(x) for x in rows[label]] == pytest.approx([row[key] for row in curve], abs=0.00051), label
    assert measured["recommended"] == 4
    words = r"with 2 the difference is ([\d.]+) times as large.*?6 takes off another (\d+) %"
    (said,) = re.findall(words, PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert float(said[0]) == pytest.approx(1 + measured["with_two_less"], abs=0.06)
    assert float(said[1]) == pytest.approx(100 * measured["with_two_more"], abs=0.6)


def test_the_seam_ratios_shown_are_those_measured() -> None:
    rows = json.loads((ROOT / "benchmarks/results/seams.json").read_text(encoding="utf-8"))["rows"]
    measured = {(row["field"], row["direction"]): [row["ratio"][side]["value"] for side in ("halos thrown away", "mixed", "never cut")]
                for row in rows}  # fmt: skip
    shown = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(shown) * 3 == len(measured)
    for field, *cells in shown:
        for direction, cell in zip(("meridians", "parallels", "wrap"), cells, strict=True):
            assert [float(x) for x in cell.replace("*", "").split("/")] == pytest.approx(measured[field, direction], abs=0.00051)
