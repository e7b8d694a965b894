"""How sure a score is, in words and tables: intervals beside headline numbers, seasons, stars of regions, and what a short record says."""

from pathlib import Path

import pytest

from orbit2.cli.headline import headline
from orbit2.metrics import table
from orbit2.metrics.verdict import basis, beyond_chance, judge
from orbit2.report.pages import climate, seasons, verdict
from orbit2.report.tables import Scores, baseline_table, plain, rmse_table

NAMES = ["2m_temperature", "precipitation_rate"]
FIELDS = (("2m_temperature", "physical"), ("precipitation_rate", "physical"), ("precipitation_rate", "log1p"))


def scores(*, short: bool = False, lost: bool = False, by_season: bool = True) -> table.Table:
    """net 0.8 +- 0.1, bicubic 1.0, delta 1.2; the difference to bicubic is told, in ln(1 + mm) only without `lost`."""
    last = "2020-01-01T18:00" if short else "2020-12-31T00:00"
    built = table.Table("t", "d", "standard", "truth", f"2020-01-01T00:00/{last}", "v")
    built.add("(any)", "(any)", "physical", "global", "n_samples", "times scored", 4 if short else 366)
    for name, space in FIELDS:
        for season in ("all", *(("DJF", "MAM", "JJA", "SON") if by_season and not short else ())):
            for model, value in (("net", 0.8), ("bicubic", 1.0), ("delta", 1.2)):
                ci = None if short else (value - 0.1, value + 0.1)
                built.add(model, name, space, "global", "rmse", "m", value, n=9, ci=ci, season=season)
            unsure = season == "MAM" or (lost and space == "log1p")
            for other, value in (("bicubic", -0.2), ("delta", -0.4)):
                ci = None if short else (value - 0.05, 0.01 if unsure else value + 0.05)
                built.add("net", name, space, "global", f"rmse_difference_vs_{other}", "m", value, n=9, ci=ci, season=season)
    return built



def test_a_difference_is_beyond_chance_only_in_every_space() -> None:
    found = judge(scores().frame())
    assert found[0].gap == pytest.approx((-0.25, -0.15)) and found[0].interval == pytest.approx((0.7, 0.9))
    assert beyond_chance(found) == dict.fromkeys(NAMES, True)
    assert beyond_chance(judge(scores(lost=True).frame())) == {"2m_temperature": True, "precipitation_rate": False}
    assert beyond_chance(judge(scores(short=True).frame())) == {}


def test_the_headline_has_intervals_or_says_why_not(tmp_path: Path) -> None:
    for short in (False, True):
        table.write(scores(short=short, lost=True).frame(), tmp_path / str(short) / "evaluate/metrics.parquet")
    long = headline(tmp_path / "False")
    assert "95 % of the difference" in long and "-0.25 to -0.15" in long and "-0.25 to +0.01" in long
    assert "On 366 days: lower RMSE than every baseline for 2 of 2" in long
    assert "Beyond chance (95 % interval of the difference to the best baseline below 0): 1 of 2." in long
    short_text = headline(tmp_path / "True")
    assert "On 4 frames within 18 hours, too short for a confidence interval: lower RMSE" in short_text
    assert "Beyond chance" not in short_text and "95 %" not in short_text


def test_the_report_puts_intervals_beside_every_headline_number() -> None:
    found = Scores(scores(lost=True).frame(), "t")
    assert "Beyond chance" in (words := plain(verdict.reading(found, NAMES))) and "for one of two variables" in words
    tiles = verdict.tiles(found, NAMES)
    assert plain(tiles[0].basis) == "95 % interval of the difference −0.250 to −0.150 K"
    assert plain(tiles[2].basis).endswith("−0.250 to 0.0100 ln(1 + mm/day): may be chance")
    row = rmse_table(found, "net", NAMES).rows[0]
    assert row[1].note == "0.700 to 0.900" and row[4].note == "difference −0.250 to −0.150"
    assert rmse_table(found, "net", NAMES).rows[2][4].note.endswith("may be chance")
    assert baseline_table(found, "net", NAMES, "t").rows[1][1].note == "0.900 to 1.10"
    short = Scores(scores(short=True).frame(), "t")
    assert plain(verdict.tiles(short, NAMES)[0].basis) == "4 frames within 18 hours, too short for a confidence interval"
    assert "Beyond chance" not in verdict.reading(short, NAMES) and rmse_table(short, "net", NAMES).rows[0][1].note == ""
    assert basis(scores(by_season=False).frame().assign(ci_low=float("nan"))) == "366 days, without a confidence interval"


def test_seasons_have_a_table_of_their_own_where_a_year_was_scored() -> None:
    made = seasons.season_table(Scores(scores().frame(), "t"), "net", NAMES, "t")
    assert made is not None and made.columns[1::2] == ("DJF", "MAM", "JJA", "SON")
    assert made.rows[0][1].value == 0.8 and made.rows[0][2].value == pytest.approx(0.8) and "may be chance" in made.rows[0][4].note
    assert seasons.blocks(Scores(scores(short=True).frame(), "t"), "net", NAMES, "t") == []
    assert len(Scores(scores().frame(), "t").rows) == 1 + 5 * len(FIELDS)  # seasons do not stand among scores of the whole record


def test_regions_say_what_their_stars_mean() -> None:
    built = scores()
    for region, star in (("ALA", 1.0), ("NWN", 0.0)):
        built.add("net", "2m_temperature", "physical", region, climate.MARKED, "m", star)
    assert plain(climate.marks(Scores(built.frame(), "t"))).startswith("* (1 of 2): ")
    short = plain(climate.marks(Scores(scores(short=True).frame(), "t")))
    assert short.startswith("No region is marked: 4 frames within 18 hours, too short for a confidence interval")
