"""The decision page: levels follow from rows alone, chance and both spaces of rain count, and nothing is said without rows."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from orbit2.metrics import table
from orbit2.metrics.table import TRUTH, Table
from orbit2.report.figures import lamps
from orbit2.report.inputs import read
from orbit2.report.pages import ablation, decision, verdict
from orbit2.report.style import look
from orbit2.report.tables import Scores, amount, distribution_table, plain, uses

C = "closer to the truth than delta, the best of today"
W, B = "its average error is within the tolerance", "its average error is beyond the tolerance"
TOLERANCE = {"K": 0.5, "mm day-1": 0.5}


def scored(bias: float, own: float, other: float, gap: tuple[float, float] | None, name: str = "2m_temperature",
           spaces: tuple[str, ...] = ("physical",), log1p: tuple[float, float] | None = None) -> Scores:  # fmt: skip
    """A region's rows of one variable; `log1p` are own and other of rain's second space where they differ."""
    rows = Table("t", "d", "standard", "r", "a/b", "v")
    rows.add("net", name, "physical", "WCE", "bias", "m", bias)
    for space in spaces:
        mine, theirs = log1p if space == "log1p" and log1p else (own, other)
        rows.add("net", name, space, "WCE", "rmse", "m", mine)
        rows.add("delta", name, space, "WCE", "rmse", "m", theirs)
        rows.add("nearest", name, space, "WCE", "rmse", "m", 2 * theirs)
        if gap is not None:
            rows.add("net", name, space, "WCE", uses.DIFFERENCE, "m", mine - theirs, ci=gap)
    return Scores(rows.frame(), "t")


def judge(scores: Scores, name: str = "2m_temperature", units: str = "K") -> uses.Judgement:
    found = uses.mean(scores, "net", name, "WCE", units, TOLERANCE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("bias", "own", "gap", "level", "why"),
    [
        (0.2, 1.0, (-0.6, -0.2), "yes", f"{W}, and it is {C}, beyond chance"),
        (-0.2, 1.0, (-0.6, 0.1), "care", f"{W}, and it is {C}, which may be chance"),
        (0.2, 1.0, None, "care", f"{W}, and it is {C}, but the record is too short to rule out chance"),
        (-0.9, 1.0, (-0.6, -0.2), "care", f"{B}, though it is {C}, beyond chance"),
        (0.2, 2.0, (0.1, 0.4), "care", f"{W}, but delta, available today, is as close to the truth or closer"),
        (0.9, 2.0, (0.1, 0.4), "no", f"{B}, and delta, available today, is as close to the truth or closer"),
    ],
)
def test_levels(bias: float, own: float, gap: tuple[float, float] | None, level: str, why: str) -> None:
    found = judge(scored(bias, own, 1.4, gap))
    assert (found.level, found.why) == (level, why)
    assert found.today == ("delta", 1.4) and found.error == bias


def test_rain_is_better_only_where_it_is_in_both_spaces() -> None:
    both = ("physical", "log1p")
    assert judge(scored(0.1, 3.0, 3.5, (-0.6, -0.2), "precipitation_rate", both), "precipitation_rate", "mm day-1").level == "yes"
    worse = scored(0.1, 3.0, 3.5, (-0.6, -0.2), "precipitation_rate", both, (0.5, 0.4))
    assert judge(worse, "precipitation_rate", "mm day-1").level == "care"


def test_a_mark_among_regions_goes_before_the_interval_of_one() -> None:
    scores = scored(0.2, 1.0, 1.4, (-0.6, -0.2))
    rows = Table("t", "d", "standard", "r", "a/b", "v")
    rows.add("net", "2m_temperature", "physical", "WCE", uses.MARKED, "m", 0.0)
    found = judge(Scores(pd.concat([scores.frame, rows.frame()]), "t"))
    assert found.sure is False and found.level == "care"


def test_nothing_is_judged_without_rows_nor_without_a_tolerance() -> None:
    scores = scored(0.2, 1.0, 1.4, (-0.6, -0.2))
    assert uses.mean(scores, "net", "2m_temperature", "SAS", "K", TOLERANCE) is None
    assert judge(scores, units="Pa").level == "care"  # no tolerance: no green light on the error


def test_an_error_far_below_its_tolerance_is_shown_as_none() -> None:
    one = judge(scored(0.2, 1.0, 1.4, (-0.6, -0.2)))
    assert one.tolerance is not None and decision._signed(one) == "+0.20"
    shown = [decision._signed(dataclasses.replace(one, error=share * one.tolerance)) for share in (0.0099, -0.0099, 0.02)]
    assert shown[:2] == ["≈ 0", "≈ 0"] and shown[2] != "≈ 0"


def test_the_page_decides_first_and_says_what_the_input_is(made: SimpleNamespace) -> None:
    page = re.search(r'<section id="decision">(.*?)</section>', made.html, re.S)
    assert page is not None and made.html.index('id="decision"') < made.html.index('id="results"')
    words = page[1]
    first = re.search(r"<p class=\"reading\">(.*?)</p>", words)
    assert first is not None and first[1].startswith("The coarse input is an area average of the truth itself")
    assert "SSIM" not in words and "PSNR" not in words
    assert "the record is too short to rule out chance" in words
    assert words.count('class="lamp yes"') == 1  # the legend's: four frames are no ground for a yes
    assert "Not judged here: season timing, heavy rain, heat, frost and drought." in words
    csv = (made.out / "tables" / "decision_maps.csv").read_text(encoding="utf-8").splitlines()
    assert csv[0].startswith("region,name,kind,use,variable,of,level,error") and len(csv) > 100


def test_a_monsoon_domain_is_no_second_region_of_its_own_region(made: SimpleNamespace) -> None:
    """South America's domain is the AR6 region SAM: text and map count 2 regions and 1 domain, and the map has the region's colour."""
    task = read(made.slice, made.root).main_task()
    onset = uses.Column(uses.TIMING, "precipitation_rate", "onset", uses.DAY)
    levels = {"global": 0.0, "SAM": 9.0, "ESAF": 1.0, "monsoon:south_america": 0.0}  # errors: days
    found = [uses.Judgement(place, onset, error, 5.0, 1.0, ("delta", 0.5), False, None) for place, error in levels.items()]
    kinds = {"global": "domain", "monsoon:south_america": decision.DOMAIN}
    places = [decision.Place(key, f"<{key}>", kinds.get(key, "land")) for key in levels]
    words = plain(decision._count(onset, found, places))
    assert "Regions: use it in 0 of 2, with care in 1, not in 1 (<SAM>). " in words
    assert "Monsoon domains: use it in 0 of 1, with care in 1, not in 0." in words
    with look():
        by_region = lamps.lamp_maps(task, found, [onset], "", ["Onset"])
        domains = lamps.lamp_maps(task, found[-1:], [onset], "", ["Onset"])
    assert by_region is not None and by_region.pictures[0].alt.endswith("use in 0, with care in 1, not in 1 regions.")
    assert domains is not None and domains.pictures[0].alt.endswith("use in 0, with care in 1, not in 0 monsoon domains.")
    shade = np.array([0xC4, 0x51, 0x1B])  # not: SAM's own, though its domain may be used with care
    far = [np.abs(one.pictures[0].pixels[..., :3].astype(int) - shade).max(axis=-1) for one in (by_region, domains)]
    assert (far[0] < 8).sum() > (far[1] < 8).sum() + 50  # beyond the patch of the legend


def test_rain_that_is_none_is_dry_and_no_ratio_is_made_of_it() -> None:
    rows = Table("t", "d", "standard", "r", "a/b", "v")
    for who, low, high in (("net", 6.1e-5, 3.0), (TRUTH, 0.0, 0.04)):
        for metric, value in (("quantile_0.001", low), ("quantile_0.5", 0.3), ("quantile_0.999", high), ("wet_share_0.1", 0.02)):
            rows.add(who, "precipitation_rate", "physical", "global", metric, "m", value)
    scores = Scores(rows.frame(), "t")
    table = distribution_table(scores, "net", ["precipitation_rate"])
    assert table is not None and [(cell.text, cell.note) for cell in table.rows[0][1:5]] == [
        ("dry", "dry"), ("0.300", "0.300"), ("", ""), ("3.00", "dry")]  # fmt: skip
    assert table.rows[0][1].value == 6.1e-5 and "Dry: less than 0.1 mm/day" in table.caption
    assert verdict.extremes(scores, "net", ["precipitation_rate"]) == []  # 3 over 0.04 mm/day is no 75 times too heavy rain
    assert amount(-0.01, "precipitation_rate").text == "−0.0100" and amount(0.05, "2m_temperature").text == "0.0500"


def test_figures_are_drawn_from_rows_alone(made: SimpleNamespace) -> None:
    rows = table.read(made.root / "results/tiny/evaluate/metrics.parquet")
    rows = rows[(rows["task"] == "test") & (rows["protocol"] == "standard")]
    shown = pd.read_csv(made.out / "tables" / "taylor_test.csv")
    assert set(shown["variable"]) == {"2m_temperature", "10m_u_component_of_wind", "mean_sea_level_pressure", "precipitation_rate"}
    for column, metric in (("r", "pearson_r"), ("sigma_ratio", "sigma_ratio")):
        known = rows[(rows["metric"] == metric) & (rows["region"] == "global")]["value"].to_numpy()
        assert all(abs(known - value).min() < 1e-5 for value in shown[column])
    skill = pd.read_csv(made.out / "tables" / "fractions_test.csv")
    known = rows[rows["metric"].str.startswith("fss_") & (rows["region"] == "global")]["value"].to_numpy()
    assert len(skill) >= 24 and all(abs(known - value).min() < 1e-5 for value in skill["fss"].dropna())


def test_quantiles_of_the_figure_fall_where_the_density_has_them(made: SimpleNamespace) -> None:
    shown = pd.read_csv(made.out / "tables" / "distributions_test.csv")
    one = shown[(shown["field"] == "2m_temperature") & (shown["model"] == "truth")]
    width = one["value"].diff().median()
    assert (one["density"] * width).sum() == pytest.approx(1, abs=1e-3)


def test_one_model_has_nothing_beside_it_and_says_so(made: SimpleNamespace) -> None:
    assert 'id="ablation"' not in made.html and "Only reslim predicted these samples in this run" in made.html
    assert 'id="left-out"' not in made.html and 'id="waves"' not in made.html  # a day of frames has no waves


def test_models_of_the_same_samples_stand_beside_each_other(made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = read(made.slice, made.root)
    task = inputs.main_task()
    twin = SimpleNamespace(name="conus", config=SimpleNamespace(model="conus"), variables=task.variables, prediction=task.prediction)
    monkeypatch.setattr(ablation, "alike", lambda inputs, task: [task, twin])
    with look():
        (section,) = ablation.sections(inputs, task)
    models, rmse = section.tables()
    assert [row[0].text for row in models.rows] == ["reslim", "conus"] and "steps: 60" in models.rows[0][3].text
    assert len(section.figures()) == 1 and [row[0].text for row in rmse.rows] == ["reslim", "conus"]
    assert ablation.alike.__name__ == "<lambda>"
