"""The page to decide from: where and for what a run's product can be used, in days, mm and degrees. No SSIM, no PSNR, no adjectives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from orbit2.climate.domains import TITLES as TITLES_OF
from orbit2.report import text
from orbit2.report.figures import lamps, monsoon
from orbit2.report.figures.fields import open_netcdf
from orbit2.report.inputs import Inputs, Task
from orbit2.report.pages import probabilities, records, sections, verdict
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.style import method_name, pretty_units
from orbit2.report.tables import Beside, Cell, Scores, Table, csv_text, label, lower, number, traced, uses
from orbit2.report.tables.uses import Column, Judgement
from orbit2.variables import variable

TITLES = {"mean": "day to day", "timing": "season timing", "heavy_rain": "heavy rain", "heat": "heat", "frost": "frost",
          "drought": "drought"}  # fmt: skip

DOMAIN = "monsoon domain"
BESIDE = "report/tables/decision_maps.csv"
APART = ("left_out:", "years:")  # rows of parts of the domain or of the record that nobody decides about
LEVELS = {
    "yes": "its average error lies within the tolerance, and it is closer to the truth than everything that is available today, by more "
           "than chance explains.",
    "care": "only one of the two is so, or the record is too short to rule out chance.",
    "no": "neither is so: use what is available today.",
}
SAME = {"K": "°C", "mm day-1": "mm/day"}  # of an error, as people say it: a kelvin is a degree Celsius


@dataclass(frozen=True)
class Place:
    """A region as the rows name it, its name for people, and what kind it is."""

    key: str
    name: str
    kind: str


def section(inputs: Inputs, task: Task) -> Section:
    """The whole page, for the main task."""
    scores = everything(inputs, task)
    places = regions(task, scores)
    found = judged(inputs, task, scores, places)
    model, rests = task.config.model, verdict.rests(Scores(inputs.scores, task.name))
    page = Section("decision", "Where, and for what, can it be used?", "Decide", part="Decide")
    given = text.inputs(sections.facts(task))
    page.blocks = [paragraph(given, "reading"), Block("levels", pairs=tuple(LEVELS.items()))]
    if not found:
        page.blocks.append(paragraph("Nothing was judged by region: run the diagnose stage.", "note"))
        return page
    columns = uses.columns_of(found)
    page.blocks += [
        Block("points", points=tuple(_count(column, [one for one in found if one.column == column], places) for column in columns)),
        *_missing(inputs, columns, rests),
        paragraph(_rule(inputs.config.report.tolerance, found, rests), "note"),
        *shown(lamps.lamp_maps(task, found, columns, places_csv(found, places), [_title(c) for c in columns])),
        Block("table", table=_table(model, found, columns, [place for place in places if any(one.region == place.key for one in found)])),
        *probabilities.blocks(inputs, task),
        Block("heading", text="What stands behind it"),
        Block("facts", pairs=(*_today(found), *_facts(inputs, task, scores, rests))),
    ]
    return page


def everything(inputs: Inputs, task: Task) -> Scores:
    """Rows of both stages, for one look-up."""
    frames = [inputs.scores] if inputs.regions is None else [inputs.scores, inputs.regions]
    return Scores(pd.concat(frames, ignore_index=True), task.name)


def regions(task: Task, scores: Scores) -> list[Place]:
    """The domain, the user's regions, those that diagnose knows by name, then monsoon domains."""
    whole = Place(scores.domain, "Whole domain", "domain")
    names: dict[str, Place] = {}
    if (task.diagnose / "regions.nc").is_file():
        data = open_netcdf(task.diagnose / "regions.nc", "diagnose")
        for key, name, kind in zip(*(data[which].values for which in ("region", "region_name", "region_kind")), strict=True):
            names[str(key)] = Place(str(key), str(name), str(kind).lower().replace("-", " and "))
    present = [str(region) for region in dict.fromkeys(scores.rows["region"])]
    own = [Place(key, TITLES_OF.get(key.partition(":")[2], key.partition(":")[2]) if key.startswith(monsoon.PREFIX) else
                 key.partition(":")[2], DOMAIN if key.startswith(monsoon.PREFIX) else key.partition(":")[0])
           for key in present if ":" in key and not key.startswith(APART)]  # fmt: skip
    named = [place for key, place in names.items() if key in present]
    domains = [place for place in own if place.kind == DOMAIN]
    return [whole, *(place for place in own if place.kind != DOMAIN), *named, *domains]


def judged(inputs: Inputs, task: Task, scores: Scores, places: Sequence[Place]) -> list[Judgement]:
    """Every use in every region that has the rows for it, in the order of `report.uses`."""
    report, found = inputs.config.report, list[Judgement]()
    for use in report.uses:
        if use == uses.MEAN:
            for name in task.variables:
                made = (uses.mean(scores, task.config.model, name, place.key, variable(name).units, report.tolerance) for place in places)
                found += [one for one in made if one is not None]
        elif use == uses.TIMING:
            for name in task.variables:
                for event in ("onset", "withdrawal"):
                    dated = (uses.dates(scores, task.config.model, name, place.key, event, report.tolerance) for place in places)
                    found += [one for one in dated if one is not None]
        for counted in uses.thresholds(scores):
            if counted.use == use:
                days = (uses.days(scores, task.config.model, counted, place.key, report.tolerance) for place in places)
                found += [one for one in days if one is not None]
    return found


def _title(column: Column) -> str:
    """`2 m temperature, day to day`, `Heavy rain: at least 20 mm`."""
    use = TITLES.get(column.use, column.use.replace("_", " "))
    told = column.name.replace("degC", "°C")
    return f"{label(column.variable)}, {use}" if column.use == uses.MEAN else f"{use[:1].upper()}{use[1:]}: {told}"


def _units(column: Column) -> str:
    return {uses.MEAN: SAME.get(column.units, pretty_units(column.units)), uses.TIMING: "days"}.get(column.use, "days a year")


def _count(column: Column, found: Sequence[Judgement], places: Sequence[Place]) -> str:
    """`2 m temperature, day to day. Regions: use it in 3 of 44, with care in 40, not in 1 (Tibetan Plateau). Monsoon domains: ... Whole
    domain: ...`: places of another kind overlap the regions, and are counted by themselves, as the map does."""
    names, kinds = {place.key: place.name for place in places}, {place.key: _group(place) for place in places}
    said = []
    for kind in dict.fromkeys(kinds.values()):
        some = [one for one in found if kinds[one.region] == kind]
        if kind and some:
            of = (("use", column.use), ("variable", column.variable), ("of", column.name), ("kind", kind))
            counted = {level: traced(str(count), Beside(BESIDE, (*of, ("level", uses.WORDS[level]))), how="beside")
                       for level, count in uses.counted(some).items()}  # fmt: skip
            worst = [names[one.region] for one in some if one.level == "no"]
            named = f" ({', '.join(worst)})" if 0 < len(worst) <= 4 else ""
            total = traced(str(len(some)), Beside(BESIDE, of), how="beside")
            said.append(f"{kind}: use it in {counted['yes']} of {total}, with care in {counted['care']}, not in {counted['no']}{named}.")
    domain = next((one for one in found if not kinds[one.region]), None)
    said += [f"Whole domain: {uses.WORDS[domain.level]}; {domain.why}."] if domain is not None else []
    return " ".join([f"{_title(column)}.", *said])


def _group(place: Place) -> str:
    """What a place is counted among: the AR6 regions of all kinds, monsoon domains, regions of one file of the user's; the domain alone."""
    return {"domain": "", DOMAIN: "Monsoon domains"}.get(place.kind, "Regions" if ":" not in place.key else place.kind)


def _rule(tolerance: Mapping[str, float], found: Sequence[Judgement], rests: str) -> str:
    """What the lights stand on: tolerances, what is available today, and how sure it is."""
    units = dict.fromkeys(one.column.units for one in found if one.column.units in tolerance)
    limits = [f"{tolerance[unit]:g} {'days' if unit == uses.DAY else SAME.get(unit, pretty_units(unit))}" for unit in units]
    halved = any(one.column.use not in (uses.MEAN, uses.TIMING) for one in found)
    given = (f"Tolerances, as the configuration states them (report.tolerance): {', '.join(limits)}"
             + (" (of days in a year also at most half of the truth's own)" if halved else "") + ". ") if limits else ""  # fmt: skip
    known = any(one.sure is not None for one in found)
    sure = ("Beyond chance: other days of the same climate would leave the product ahead in at least 95 of 100 cases; where regions are "
            "compared with each other, at most a tenth of the leads is chance. " if known else
            "No lead can be told from chance here. ")  # fmt: skip
    return (f"{given}Available today: the coarse input itself, interpolations of it, and simple corrections fitted to the training years. "
            f"{sure}All of it rests on {rests}; other years, and another training of the model, are not in it.")


def _today(found: Sequence[Judgement]) -> list[tuple[str, str]]:
    """What the names mean of those that are the best of today somewhere."""
    names = dict.fromkeys(one.today[0] for one in found if one.today is not None)
    said = {method_name(name): text.METHODS[name.removesuffix("_log1p")] + (" (of ln(1 + rain))" if name.endswith("_log1p") else "")
            for name in names if name.removesuffix("_log1p") in text.METHODS}  # fmt: skip
    return [("Available today", "; ".join(f"{name}: {words}" for name, words in said.items()) + ".")] if said else []


def _table(model: str, found: Sequence[Judgement], columns: Sequence[Column], places: Sequence[Place]) -> Table:
    by = {(one.region, one.column): one for one in found}
    rows = []
    for place in places:
        row = [Cell(place.name, note={"domain": "", DOMAIN: DOMAIN}.get(place.kind, place.key))]
        for column in columns:
            one = by.get((place.key, column))
            row.append(Cell("n/a") if one is None else Cell(_signed(one), one.error, note=_beside(one), level=one.level))
        rows.append(tuple(row))
    heads = tuple(f"{_title(column)} ({_units(column)})" for column in columns)
    return Table(
        "decision",
        f"Average error of {model} by region and use, in the units of the heading: positive is too much, too late, too many. In grey, how "
        "well it does the single day, the same of the best that is available today, and what that is; then of another product of "
        "observations, where there is one. From day to day that is the typical error (RMSE), of dates the mean distance in days: less is "
        "better. Of days beyond a threshold it is the share of days that both have among those that either has (critical success index, "
        "0 to 1): more is better.",
        ("Region", *heads), tuple(rows), regions=tuple(place.key for place in places),
    )  # fmt: skip


def _signed(one: Judgement) -> str:
    """The error with its sign; what is less than a hundredth of the tolerance is none that anybody decides by."""
    if one.tolerance and abs(one.error) < one.tolerance / 100:
        return "≈ 0"
    shown = number(one.error, 2)
    return shown if shown.startswith("−") or shown in ("0", "n/a") else f"+{shown}"


def _beside(one: Judgement) -> str:
    """The model's score beside today's best, and the observations'."""
    row = one.row
    if one.own is None or row is None:
        return ""

    def of(who: str, value: float) -> str:
        return traced(number(value), dataclasses.replace(row, model=who))

    words = of(row.model, one.own)
    if one.today is not None:
        words += f", today {of(*one.today)} ({method_name(one.today[0])})"
    return words + (f"; observations {of(*one.observed)}" if one.observed is not None else "")


def places_csv(found: Sequence[Judgement], places: Sequence[Place]) -> str:
    """Every judgement as a row: region, use, variable, level, error, tolerance, the scores and why."""
    by = {place.key: place for place in places}
    return csv_text(pd.DataFrame([{
        "region": one.region, "name": by[one.region].name, "kind": _group(by[one.region]), "use": one.column.use,
        "variable": one.column.variable,
        "of": one.column.name, "level": uses.WORDS[one.level], "error": one.error, "units": one.column.units, "tolerance": one.tolerance,
        "model": one.own, "today": one.today[1] if one.today else None, "today is": one.today[0] if one.today else "",
        "observations": one.observed[1] if one.observed else None, "why": one.why,
    } for one in found]))  # fmt: skip


def _missing(inputs: Inputs, columns: Sequence[Column], rests: str) -> list[Block]:
    """Uses that were asked for and have no rows, with what they would need, and what there is."""
    there = {column.use for column in columns}
    absent = [use for use in inputs.config.report.uses if use not in there]
    if not absent:
        return []
    names = " and ".join(filter(None, (", ".join(TITLES.get(use, use.replace("_", " ")) for use in absent[:-1]),
                                       TITLES.get(absent[-1], absent[-1].replace("_", " ")))))  # fmt: skip
    return [paragraph(f"Not judged here: {names}. They need a record of daily values that is long enough, and the variables for them; "
                      f"this run has {rests}.")]  # fmt: skip


def _facts(inputs: Inputs, task: Task, scores: Scores, rests: str) -> list[tuple[str, str]]:
    products = scores.products()
    agree = [f"{lower(label(name))} {scores.told(product, name, 'rmse')} {pretty_units(variable(name).units)} ({product.partition(':')[2]})"
             for name in task.variables for product in products if scores.value(product, name, "rmse") is not None]  # fmt: skip
    known = (f"RMSE of another product of observations against this truth: {', '.join(agree)}." if agree else
             "Not known here: the run has no second product of observations of these variables.")  # fmt: skip
    pairs = [("How well observations agree", known)]
    misses = verdict.extremes(scores, task.config.model, task.variables)
    if misses:
        pairs.append(("What becomes of extremes", " ".join(misses)))
    what, credit = text.source_of(task.dataset)
    credits = dict.fromkeys(str(entry["attribution"]) for _, entry in inputs.resources if entry.get("attribution"))
    model = inputs.models[task.config.model]
    digests = [f"{name} {digest}" for name, digest in (model.about.get("sha256") or {}).items()]
    pairs += [("Data", f"{what}; truth: {scores.text('reference')}"),
              ("Period", f"{sections.when(scores.text('date_range').replace('/', ' to '))}, {rests}"),
              ("Licence and credit", " ".join(credits) or credit),
              ("Made again by", records.command(inputs)),
              ("Model", f"{model.name}, hash {model.hash}" + (f"; SHA-256 of {', '.join(digests)}" if digests else "")
               + (f"; {model.origin}" if model.origin else ""))]  # fmt: skip
    return pairs
