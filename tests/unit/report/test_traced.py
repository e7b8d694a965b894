"""Numbers in sentences: each is read from the rows that stand at its place, and no sentence that judges has a number without rows."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orbit2.metrics import table
from orbit2.report.interactive.widgets import environment
from orbit2.report.tables import Row, plain, traced
from orbit2.report.tables.traced import HOW

TOLD = re.compile(r'<span data-how="([a-z]+)" data-rows="([^"]*)">([^<]*)</span>')
PAIRED = ("higher", "lower", "both", "pairs", "ratio", "change", "gain", "products", "weighted")
KEY = ["task", "model", "variable", "space", "region", "metric", "season"]
NAMED = re.compile(  # digits that are no scores: names of variables, units and levels, thresholds, places, what an event is
    r"\b2 m (maximum |minimum )?temperature|\b10 m|95 %|99\.9 %|ln\(1 ?\+ ?(mm/day|x|rain)\)|at least [\d.]+ mm/day|below 0 in every|"
    r"[\d.]+°|1 would be all real, 0 all invented|less than 0\.95|4 × 4|relative to [\d.]+|\d+ to 100 days along", re.IGNORECASE)
PAGES = ("decision", "sure", "training", "stages", "cost", "checks", "provenance", "limits")  # to decide from, how sure, the run's
CAPTION = re.compile(  # of captions: scales of outlines, what a score, a shade or a line means, how something was reckoned
    r"1:\d+m outline|the band 0\.5–2|1 is (all real|perfect|right)|below 1 too smooth|\b0 is (invented|perfect)|\(128 over the range\)|"
    r"\((\d+ mm/day|top \d+ %)\)|\(1 at best\)|Table IV|orbit2_paper|\bAR6\b|\bORBIT-2\b|\bSHA-256\b|0\.5 \+ f/2|none of up to \d+ cells|"
    r"in fewer than 10 bins or 2 octaves|from 1 mm on|\d+ to 100 days|201-day|180 days|100 × the|a season has 60 days|"
    r"wavenumbers 1 to 3|every \d+(th)? (point|cells)", re.IGNORECASE)
SAID = re.compile(  # of those: what a threshold, an area or a formula is, dates, versions, digests, what the configuration states
    r"\d{4}-\d\d-\d\d( \d\d:\d\d( UTC)?)?|Tolerances, as the configuration states them.*?\. Available|0 to 1\b|95 of 100 cases|hash \w{8}|"
    r"SHA-256 of .*|\d+\.\d+\.\d+(\+\w+)*|0\.1 % quantile|(at least|less than|≥) (the training )?[\d.]+ (mm|°C|%|days)|"
    r"once in \d+ years|[\d.]+ deg \(fine\)|\d+ to \d+ W for|"
    r"M = |1/M|2/\(M \+ 1\)|\(M [+−] 1\)|multiple of 1/|0\.71 is what|\(1 is right|0 or below|\d+[–-]\d+ (%|cells)|of \d to \d|"
    r"\borbit2\b|\bERA5\b|\brx[15]day\b|2 [×x] 2|outliers 1,|is 1 when|below 1 the|are 1 where|within 20°|above 0 (give|and)|"
    r"docs/uncertainty|regions v4\b|Iturbide et al\. \(2020\), CC BY 4\.0|Natural Earth, 1:\d+m|1:\d+m in boxes", re.IGNORECASE)


class Rows:
    """Tables of scores by key, and the folder that the run lies in."""

    def __init__(self, frame: pd.DataFrame, folder: Path) -> None:
        frame = frame[frame["protocol"] == "standard"]
        self.rows: dict[tuple[str, ...], list[dict[str, object]]] = {}
        columns = ["value", "ci_low", "ci_high", "date_range"]
        for key, row in zip(frame[KEY].astype(str).itertuples(index=False), frame[columns].to_dict("records"), strict=True):
            self.rows.setdefault(tuple(key), []).append(row)
        self.folder = folder

    @classmethod
    def of(cls, made: SimpleNamespace) -> Rows:
        folder = made.root / "results" / "tiny"
        return cls(pd.concat([table.read(folder / stage / "metrics.parquet") for stage in ("evaluate", "diagnose")]), folder)

    def column(self, key: list[str], name: str) -> object:
        found = {row[name] for row in self.rows[tuple(key[:7])]}
        assert len(found) == 1, key  # a row that exists, and only one
        return found.pop()

    def beside(self, file: str, where: dict[str, str], column: str, times: float) -> float:
        """A cell of a table beside the page, or how many rows it has."""
        found = pd.read_csv(self.folder / file, keep_default_na=False, dtype=str)
        for name, word in where.items():
            found = found[found[name] == word]
        return times * found[column].astype(float).sum() if column else len(found)

    def expected(self, how: str, keys: list[Any]) -> float:
        """What stands there, from the rows' own values."""
        if how == "beside":
            return sum(self.beside(*key) for key in keys)
        if how == "span":
            first, _, last = str(self.column(keys[0], "date_range")).partition("/")
            hours = (np.datetime64(last, "m") - np.datetime64(first, "m")) / np.timedelta64(60, "m")
            return float(hours if hours < 48 else hours / 24)
        values = [float(self.column(key, key[7])) for key in keys]  # type: ignore[arg-type]
        pairs = list(zip(values[::2], values[1::2], strict=how in PAIRED))
        match how:
            case "rows":
                return len(values)
            case "pairs":
                return len(pairs)
            case "positive":
                return sum(value > 0 for value in values)
            case "both":
                return sum(a > 0 and b > 0 for a, b in pairs)
            case "higher":
                return sum(a > b for a, b in pairs)
            case "lower":
                return sum(a < b for a, b in pairs)
            case "ratio":
                return pairs[0][0] / pairs[0][1]
            case "change":
                return 100 * (pairs[0][0] / pairs[0][1] - 1)
            case "gain":
                return 100 * (1 - pairs[0][0] / pairs[0][1])
            case "percent":
                return 100 * values[0]
            case "sum":
                return 100 * sum(values)
            case "products":
                return 100 * sum(a * b for a, b in pairs)
            case "weighted":
                return 100 * sum(a * b for a, b in pairs) / sum(a for a, _ in pairs)
            case "foreseen":
                parts = [(value, float(key[5].rpartition("_")[2])) for key, value in zip(keys[:-1], values, strict=False)]
                return 100 * sum(a * k for a, k in parts) / sum(a for a, _ in parts) / values[-1]
            case "share":
                return 100 / values[0]
            case "outside":
                return 200 / (values[0] + 1)
            case "inside":
                return 100 * (values[0] - 1) / (values[0] + 1)
            case _:
                return values[0]


def shown_as(text: str) -> tuple[float, float]:
    """The number of a text, and half of its last digit."""
    digits = text.replace(",", "").replace("−", "-").replace("+", "")
    if "×" in digits:
        mantissa, _, power = digits.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")).partition(" × 10")
        return float(mantissa) * 10.0 ** int(power), 0.5 * 10.0 ** (int(power) - len(mantissa.partition(".")[2]))
    return float(digits), 0.5 * 10.0 ** -len(digits.partition(".")[2])


def agree(rows: Rows, page: str) -> set[str]:
    """Every traced number of a page is what its rows give; the ways in which they do."""
    ways = set()
    for how, keys, text in TOLD.findall(page):
        ways.add(how)
        if how == "told":
            assert len(html.unescape(text)) > 0 and json.loads(html.unescape(keys))[0][0]
            continue
        told, half = shown_as(html.unescape(text))
        assert rows.expected(how, json.loads(html.unescape(keys))) == pytest.approx(told, abs=half * 1.001 + 1e-12), (how, keys, text)
    return ways


def untraced(page: str, ids: Sequence[str] = PAGES) -> list[str]:
    """What of these sections, figures and tables of records aside, has a number that no row stands behind."""
    found = []
    for section in (one for id_ in ids for one in re.findall(rf'<section id="{id_}">(.*?)</section>', page, re.DOTALL)):
        for aside in (r'<table data-source="records">.*?</table>', r"<figure.*?</figure>", r"<div[^>]* data-widget=.*?</script>",
                      r"<pre.*?</pre>", r'<p class="files">.*?</p>', r'<table[^>]*>(?=<thead><tr><th[^>]*>File).*?</table>'):  # fmt: skip
            section = re.sub(aside, "", section, flags=re.DOTALL)
        section = re.sub(r'<td[^>]* data-(?:value|quotient)="[^"]*">[^<]*', "", TOLD.sub("", section))
        words = [SAID.sub("", NAMED.sub("", html.unescape(text))) for text in re.split(r"<[^>]*>", section)]
        found += [text.strip() for text in words if re.search(r"\d", text)]
    return found


def captions(page: str) -> list[str]:
    """Words of the captions of figures and tables, and of the titles of both, anywhere on the page, that have a number without rows."""
    found = []
    for words in re.findall(r'<figcaption>(.*?)</figcaption>|<p class="note" id="cap-[^"]*">(.*?)</p>', page, re.DOTALL):
        told = html.unescape(re.sub(r"<[^>]*>", " ", TOLD.sub("", "".join(words))))
        rest = CAPTION.sub("", SAID.sub("", NAMED.sub("", told)))
        found += [told] if re.search(r"\d", rest) else []
    return found


def test_no_caption_has_a_number_without_rows(made: SimpleNamespace) -> None:
    assert captions(made.html) == []


@pytest.mark.parametrize("words", ["<figcaption><b>Title</b>Smallest useful scale of reslim: {} km (1 mm/day).</figcaption>",
                                   '<p class="note" id="cap-x">RMSE over {} frames, in K.</p>'])  # fmt: skip
def test_a_number_without_rows_is_found_in_a_caption(words: str) -> None:
    assert len(captions(words.format("417"))) == 1
    behind = traced("417", Row("t", "m", "v", "physical", "global", "fss_useful_km_1mm"))
    assert captions(words.format(environment().from_string("{{ words }}").render(words=behind))) == []


def test_every_number_of_a_sentence_is_what_its_own_rows_give(made: SimpleNamespace) -> None:
    ways = agree(Rows.of(made), made.html)
    assert len(TOLD.findall(made.html)) > 500 and ways >= {
        "value", "change", "gain", "rows", "positive", "both", "higher", "ratio", "percent", "span", "beside", "told"}  # fmt: skip


def test_no_number_of_the_pages_to_decide_from_and_of_the_run_lacks_its_rows(made: SimpleNamespace) -> None:
    assert untraced(made.html) == []


@pytest.mark.parametrize("where", ["<p>It rains {} mm.</p>", "<ul><li>in {} of 12 regions</li></ul>", "<td>±<small>today {}</small></td>",
                                   "<dl><dd>{} kWh</dd></dl>"])  # fmt: skip
def test_a_number_without_rows_is_found(where: str) -> None:
    """The test above can fail: in a paragraph, a list, a table's small print, among the facts."""
    row = traced("3.7", Row("t", "m", "v", "physical", "global", "rmse"))
    for id_ in PAGES:
        page = f'<section id="{id_}">{{}}</section>'
        assert len(untraced(page.format(where.format("3.7")))) == 1
        behind = environment().from_string("{{ words }}").render(words=row)
        assert untraced(page.format(where.format(behind).replace(" of 12", ""))) == []


def test_a_number_of_another_place_is_found(made: SimpleNamespace) -> None:
    """The test above can fail: no sentence's number is its neighbour's."""
    rows, values = Rows.of(made), [(json.loads(html.unescape(keys)), text) for how, keys, text in TOLD.findall(made.html) if how == "value"]
    other = {tuple(keys[0]): shown_as(text) for keys, text in values}
    wrong = [abs(rows.expected("value", [list(key)]) - told) > half for key in other for at, (told, half) in other.items()
             if at[1:] != key[1:]]  # fmt: skip
    assert np.mean(wrong) > 0.9


def sentences(page: str) -> list[str]:
    """What judges: readings, the large numbers with what is under them, extremes."""
    found = re.findall(r'<p class="reading">(.*?)</p>', page, re.DOTALL)
    for tile in re.findall(r'<div class="tile">(.*?)</div></div>', page, re.DOTALL):
        found += re.findall(r'<b class="\w+">(.*?)</b>|<div class="n(?: rests)?">(.*?)$', tile, re.DOTALL)[0][:1]
        found += re.findall(r'<div class="n(?: rests)?">(.*?)(?:</div>|$)', tile, re.DOTALL)
    return [*found, *re.findall(r"<p[^>]*>([^<]*the 99\.9 % quantile is .*?)</p>", page, re.DOTALL)]


def test_no_sentence_that_judges_has_a_number_without_rows(made: SimpleNamespace) -> None:
    found = sentences(made.html)
    assert len(found) > 20
    for words in found:
        rest = NAMED.sub("", html.unescape(TOLD.sub("", words)))
        assert not re.search(r"\d", rest), rest


def test_counts_of_the_decision_page_are_those_of_its_table(made: SimpleNamespace) -> None:
    """`use it in 3 of 44, with care in 40, not in 1`: of the rows of the CSV beside the page."""
    judged = pd.read_csv(made.out / "tables/decision_maps.csv", keep_default_na=False)
    columns = judged[judged["kind"].isin(["", "Regions"])].groupby(["use", "variable", "of"], sort=False)
    section = made.html[made.html.index('<section id="decision">') : made.html.index('<section id="results">')]
    points = [html.unescape(TOLD.sub(r"\3", point)) for point in re.findall(r"<li>(.*?)</li>", section)]
    counts = [tuple(int(n) for n in found[0]) for point in points
              if (found := re.findall(r"use it in (\d+) of (\d+), with care in (\d+), not in (\d+)", point))]  # fmt: skip
    expected = []
    for _, rows in columns:
        levels = rows[~rows["region"].isin(["global", "domain"])]["level"]
        expected.append(((levels == "use").sum(), len(levels), (levels == "with care").sum(), (levels == "not").sum()))
    assert len(counts) > 2 and counts == [one for one in expected if one[1]]


def test_marks_are_plain_words_elsewhere_and_escaped_on_the_page(made: SimpleNamespace) -> None:
    row = Row("t", "<net>", "2m_temperature", "physical", "global", "rmse")
    words = f"It is {traced('1.50', row)} K & more."
    assert plain(words) == "It is 1.50 K & more." and set(HOW) > {"value", "gain"}
    made_of = environment().from_string("{{ words }}").render(words=words)
    ((how, keys, shown),) = TOLD.findall(made_of)
    assert (how, json.loads(html.unescape(keys)), shown) == ("value", [row.key()], "1.50")
    assert "&amp; more" in made_of and "<net>" not in made_of
    written = [made.html, *(path.read_text(encoding="utf-8") for path in (made.out / "tables").glob("*.csv"))]
    assert not any(re.search("[\ue000-\ue002]", text) for text in written)
