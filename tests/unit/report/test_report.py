"""The finished report of a tiny run: self-contained, escaped, described, and every number traceable."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orbit2.config import slices
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_json
from orbit2.metrics import table
from orbit2.report import run
from orbit2.report.interactive.widgets import script
from orbit2.report.tables import Scores, number

DIGITS = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789")


class Reader(HTMLParser):
    """Collects what a browser would load, image descriptions, headings, anchors and table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.images: list[dict[str, str]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.values: list[tuple[str, float]] = []
        self.scripts = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.scripts += tag == "script"
        self.loads += [found[key] for key in ("src", "srcset", "data", "poster") if key in found]
        self.loads += [found["href"]] if tag == "link" else []
        self.links += [found["href"]] if tag == "a" else []
        self.ids += [found["id"]] if "id" in found else []
        if tag == "img":
            self.images.append(found)
        self.values += [(key, float(found[key])) for key in ("data-value", "data-quotient") if key in found]
        if tag not in ("img", "meta", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"unbalanced </{tag}>"


@pytest.fixture(scope="module")
def page(made: SimpleNamespace) -> Reader:
    reader = Reader()
    reader.feed(made.html)
    assert reader.open == []
    return reader


def test_page_loads_nothing_and_is_small(made: SimpleNamespace, page: Reader) -> None:
    beside = [load for load in page.loads if not load.startswith("data:image/webp;base64,")]
    assert len(beside) < len(page.loads) / 2 and all(re.fullmatch(r"figures/page/\w+\.webp", load) for load in beside)
    assert all((made.out / load).stat().st_size > 500 for load in beside)
    assert "@import" not in made.html and "url(" not in made.html
    assert len(made.html.encode()) < 10_000_000


def test_hostile_title_is_text(made: SimpleNamespace, page: Reader) -> None:
    code = str(script())
    assert made.html.count(f"<script>{code}</script>") == 1 and page.scripts == made.html.lower().count("<script") == 6  # and data of five
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in made.html and "default-src 'none'" in made.html  # a browser runs nothing else
    heading = re.search(r"<h1>(.*?)</h1>", made.html)
    assert heading is not None
    assert html.unescape(heading[1]) == '<script>alert("x")</script> & "quoted"'


def test_every_picture_is_described_and_has_a_size(page: Reader) -> None:
    assert len(page.images) > 40
    for image in page.images:
        assert len(image["alt"]) > 15
        assert int(image["width"]) > 100 and int(image["height"]) > (40 if image["alt"].startswith("Colour bar") else 100)
    assert len({image["alt"] for image in page.images}) > 0.95 * len(page.images)


def test_contents_lead_to_every_section(made: SimpleNamespace, page: Reader) -> None:
    anchors = [link[1:] for link in page.links if link.startswith("#") and link != "#main"]
    assert anchors == re.findall(r'<section id="([^"]+)">', made.html)
    assert len(page.ids) == len(set(page.ids))
    assert anchors == [
        "decision",
        "results",
        "maps",
        "spectra",
        "scatter",
        "patterns",
        "regions",
        "hovmoller",
        "regional-conus",
        "zero-shot-finer",
        "training",
        "cost",
        "checks",
        "provenance",
        "limits",
        "glossary",
    ]


def test_every_table_number_is_a_row_of_the_scores_or_of_a_json_file(made: SimpleNamespace, page: Reader) -> None:
    folder = made.root / "results" / "tiny"
    rows = pd.concat([table.read(folder / stage / "metrics.parquet") for stage in ("evaluate", "diagnose")])
    known = set(rows["value"]) | set(rows["n"].astype(float)) | {123_457.0, 12.5, 8.5, 60.0, 20.0, 4.0, 1.0, 0.125, 0.9}
    rmse = set(rows[rows["metric"] == "rmse"]["value"])
    plain = [value for kind, value in page.values if kind == "data-value"]
    assert len(plain) > 300
    assert [value for value in plain if value not in known] == []
    quotients = [value for kind, value in page.values if kind == "data-quotient"]
    ratios = np.divide.outer(sorted(rmse), sorted(rmse)).ravel()
    assert len(quotients) == 11  # four variables of the main task (precipitation twice), two of the regional one also beside its parent
    assert all(np.isclose(ratios, value, rtol=1e-12).any() for value in quotients)


def test_every_number_on_the_map_of_regions_is_a_row(made: SimpleNamespace) -> None:
    rows = table.read(made.root / "results/tiny/diagnose/metrics.parquet")
    own = rows[(rows["model"] == "reslim") & (rows["task"] == "test")].set_index(["region", "metric"])["value"]
    told = json.loads(re.findall(r'data-widget="regions".*?<script type="application/json">(.*?)</script>', made.html, re.DOTALL)[0])
    assert len(told) == 3 * 5  # skill, RMSE and bias of four variables, rain in two spaces
    metrics = ["rmse_skill_vs_best_baseline"] * 5 + ["rmse"] * 5 + ["bias"] * 5
    for metric, score in zip(metrics, told.values(), strict=True):
        assert len(score["regions"]) > 40
        for code, shown in score["regions"].items():
            assert shown["value"] in set(own.loc[[(code, metric)]]), (code, metric)
            assert (f"{shown['value']:+.2f}".replace("-", "−") if "skill" in metric else number(shown["value"])) in shown["text"]


def test_shown_text_is_the_rounded_value(made: SimpleNamespace) -> None:
    for value, text in re.findall(r'data-value="([^"]+)">([^<]+)', made.html):
        if text.startswith("≈ 0"):  # on the decision page, below a hundredth of its tolerance
            assert abs(float(value)) < max(made.config.report.tolerance.values()) / 100
            continue
        if text == "dry":
            assert 0 <= float(value) < 0.1
            continue
        shown = float(text.translate(DIGITS).replace(" × 10", "e").replace(",", "").replace("+", ""))
        assert shown == pytest.approx(float(value), rel=0.06, abs=0.0051 if text[0] in "+−" else 0)


def test_reading_names_the_true_gain(made: SimpleNamespace) -> None:
    scores = Scores(table.read(made.root / "results/tiny/evaluate/metrics.parquet"), "test")
    own, best = scores.value("reslim", "2m_temperature", "rmse"), scores.best("reslim", "2m_temperature", "rmse", "physical")
    assert own is not None and best is not None
    assert f"{100 * (own / best[1] - 1):+.1f}</span> %".replace("-", "−") in made.html
    assert "reslim has a lower RMSE than every baseline for" in made.html and "too short for a confidence interval" in made.html


def test_files_beside_the_page(made: SimpleNamespace) -> None:
    pictures = {p.stem for p in (made.out / "figures").glob("*.png")}
    assert {
        "skill",
        "map_2m_temperature",
        "zoom_precipitation_rate",
        "spectra_radial",
        "density",
        "decision_maps",
        "coherence_america",
        "errors_test",
        "distributions_test",
        "taylor_test",
        "fractions_test",
        "training_reslim",
        "regions",
        "hovmoller_2m_temperature",
        "regional_conus_2m_temperature",
        "zero_shot_finer_map_2m_temperature",
    } <= pictures
    names = re.findall(r"<code>((?:figures|tables)/[^<]+)</code>", made.html)
    for name in names:
        assert (made.out / name).stat().st_size > 0 and f'<a href="{name}">' in made.html
    assert len(names) > 40
    assert sorted(p.name for p in made.out.parent.iterdir() if p.name.endswith((".part", ".old"))) == []
    assert min(Image.open(made.out / "figures" / "map_2m_temperature.png").size) > 1000


def test_the_top_says_what_the_input_is_and_rests_on(made: SimpleNamespace) -> None:
    """Before any number: the input is the truth's own average; beside every large number: what it rests on."""
    top = made.html[: made.html.index('<section id="results">')]
    assert "The coarse input is an area average of the truth itself (4 × 4 cells)" in top
    tiles = re.findall(r'<div class="tile">(.*?)</div></div>', made.html)
    assert len(tiles) == 5 and all("too short for a confidence interval" in tile for tile in tiles)  # precipitation twice


def test_fine_tuning_is_judged_beside_the_parent(made: SimpleNamespace) -> None:
    section = made.html[made.html.index('<section id="regional-conus">') : made.html.index('<section id="zero-shot-finer">')]
    assert "on the same cells it has a lower RMSE than its parent reslim for both variables" in section
    assert "parent reslim" in section and "model / parent" in section


def test_rain_is_shown_in_both_spaces_everywhere(made: SimpleNamespace) -> None:
    sections = dict(re.findall(r'<section id="([^"]+)">(.*?)</section>', made.html, flags=re.DOTALL))
    counts = re.search(r"beats the best baseline: .*?precipitation \(([^)]*mm/day[^)]*\)[^)]*)\)", sections["regions"])
    assert counts is not None and "mm/day" in counts[1] and "ln(1 + mm/day" in counts[1]
    for section in ("results", "spectra", "regions"):
        assert "mm/day" in sections[section] and "ln(1 + mm/day)" in sections[section], section


def test_print_shows_all_and_hides_the_endless(made: SimpleNamespace) -> None:
    style = made.html[made.html.index("@media print") : made.html.index("</style>")]
    assert "details::details-content" in style and "details.long,details.code{display:none}" in style
    assert "light-dark(" in made.html and "tr[hidden]{display:table-row}" in style  # a filter never takes rows from the print


def test_csv_holds_the_unrounded_scores(made: SimpleNamespace) -> None:
    frame = pd.read_csv(made.out / "tables" / "headline.csv")
    scores = Scores(table.read(made.root / "results/tiny/evaluate/metrics.parquet"), "test")
    assert frame["reslim"][0] == scores.value("reslim", "2m_temperature", "rmse")
    assert "1:50m outline, right to a few kilometres" in made.html
    zoomed = pd.read_csv(made.out / "tables" / "zoom_2m_temperature.csv")
    assert list(zoomed.columns) == ["lat", "lon", "truth (K)", "bicubic (K)", "reslim (K)"]
    assert zoomed["lat"].between(28, 50).all() and ((zoomed["lon"] > 350) | (zoomed["lon"] < 22)).all()
    regions = pd.read_csv(made.out / "tables" / "regions_table.csv", keep_default_na=False)
    assert len(regions) == 58 and (regions["cells"] == "n/a").any()


def test_page_never_names_the_machine(made: SimpleNamespace) -> None:
    assert str(made.root) not in made.html
    assert "results/tiny/config/report.json" in made.html


def copy_of(made: SimpleNamespace, tmp_path: Path) -> Path:
    root = tmp_path / "run"
    shutil.copytree(made.root, root, ignore=shutil.ignore_patterns("report"))
    return root


def report(root: Path, made: SimpleNamespace) -> str:
    out = root / "results/tiny/report"
    run(config=root / made.slice.relative_to(made.root), out=out, root=root)
    return (out / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow  # a second whole report
def test_optional_inputs_may_be_missing(made: SimpleNamespace, tmp_path: Path) -> None:
    """Without diagnose, curves and the other tasks the page still stands and says what it lacks."""
    root = copy_of(made, tmp_path)
    raw = read_json(root / made.slice.relative_to(made.root))
    for task in ("conus", "finer"):
        del raw["run"]["downscale"][task]
    write_json(root / made.slice.relative_to(made.root), raw)
    shutil.rmtree(root / "results/tiny/diagnose")
    for curve in root.glob("results/models/*/model/metrics.jsonl"):
        curve.unlink()
    page = report(root, made)
    assert "run the diagnose stage" in page and "No training curve was kept for reslim" in page
    assert "regional-conus" not in page and "zero-shot" not in page


@pytest.mark.parametrize(
    ("victim", "stage"),
    [("evaluate/metrics.parquet", "evaluate"), ("downscale/test.zarr", "downscale"), ("evaluate/test/spectra.nc", "evaluate")],
)
def test_missing_file_is_named_with_its_stage(made: SimpleNamespace, tmp_path: Path, victim: str, stage: str) -> None:
    root = copy_of(made, tmp_path)
    path = root / "results/tiny" / victim
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(OrbitError, match=rf"{re.escape(str(path))}.*run the {stage}"):
        report(root, made)
    assert not (root / "results/tiny/report").exists()


def test_missing_model_and_foreign_slice(made: SimpleNamespace, tmp_path: Path) -> None:
    root = copy_of(made, tmp_path)
    shutil.rmtree(root / slices.model_folder(made.config, "conus") / "model")
    with pytest.raises(OrbitError, match="run the finetune stage"):
        report(root, made)
    write_json(tmp_path / "other.json", {"label": "x"})
    with pytest.raises(OrbitError, match="not the report's slice"):
        run(config=tmp_path / "other.json", out=tmp_path / "out", root=root)


def test_damaged_netcdf_is_named(made: SimpleNamespace, tmp_path: Path) -> None:
    root = copy_of(made, tmp_path)
    (root / "results/tiny/evaluate/test/density.nc").write_bytes(b"not a file")
    with pytest.raises(OrbitError, match=r"density\.nc: not a readable NetCDF file"):
        report(root, made)


def test_checksums_of_provider_files_are_printed(made: SimpleNamespace) -> None:
    assert "0123abcd" * 8 in made.html and "sample/v1/week.zip" in made.html
    assert "Thanks to &lt;b&gt;someone&lt;/b&gt;." in made.html
    assert json.dumps("zoom") in html.unescape(made.html)  # the whole configuration is there
