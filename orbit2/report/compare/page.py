"""The page of a comparison: who is nearer to the truth, where, and whether that may be chance. Shows rows of both runs' tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from orbit2.errors import OrbitError
from orbit2.metrics import registry
from orbit2.metrics.fields import Field, fields_of
from orbit2.metrics.significance import chance, discoveries
from orbit2.metrics.table import TRUTH
from orbit2.report.compare import sides
from orbit2.report.compare.sides import Paired, Side
from orbit2.report.pages import assembly
from orbit2.report.pages.blocks import Block, Section, paragraph
from orbit2.report.style import look
from orbit2.report.tables import Cell, Scores, Table, between, label, lower, number, units
from orbit2.variables import VARIABLES

DOMAIN = "evaluate/scores/{label}/{model}/domain"
REGIONS = "diagnose/regions/moments/{label}/{model}"
OTHERS = ("mae", "bias", "pearson_r", "ssim", "psnr_pooled", "kge", "perkins", "fine_pearson_r", "fine_amplitude", "lsd_db",
          "effective_resolution_km", "quantile_0.99", "quantile_0.999", "wet_share_1", "crps_fair", "conservation_rmse")  # fmt: skip
NAMES = {"mae": "MAE", "pearson_r": "correlation", "ssim": "SSIM", "psnr_pooled": "PSNR", "kge": "Kling-Gupta efficiency",
         "perkins": "Perkins score", "fine_pearson_r": "correlation of the fine structure",
         "fine_amplitude": "amplitude of the fine structure", "lsd_db": "log-spectral distance",
         "effective_resolution_km": "effective resolution", "quantile_0.99": "99 % quantile", "quantile_0.999": "99.9 % quantile",
         "wet_share_1": "share of the area with at least 1 mm/day", "crps_fair": "CRPS (fair)",
         "conservation_rmse": "RMSE of cell means against the input"}  # fmt: skip
ROUNDING = 1e-6  # of a score: two runs that differ by less do not differ, and no table shows it


def run(first: Path, second: Path, out: Path) -> None:
    """Compare two run folders (`results/demo`) and write a page, tables beside it, into the folder `out`.

    Raises OrbitError for a folder that holds no scored run, and for runs without a scored task in common.
    """
    if first.resolve() == second.resolve():
        raise OrbitError("a run is compared with itself", where="--compare", got=first, hint="give two run folders")
    names = [first.name, second.name] if first.name != second.name else [f"{first.name} (first)", f"{second.name} (second)"]
    pair = [sides.opened(folder, name) for folder, name in zip((first, second), names, strict=True)]
    tasks = sides.common(*pair)
    with look():
        chapters = [chapter for task in tasks for chapter in _chapters(pair[0], pair[1], task)]
    lead = [f"{pair[0].name} and {pair[1].name}, on the tasks that both scored: {', '.join(tasks)}. Differences are the second run less "
            "the first; a negative one of an error means that the second is nearer to the truth."]  # fmt: skip
    page = assembly.rendered(f"{pair[0].name} and {pair[1].name} compared", "orbit2 report --compare", lead, chapters,
                             "the tables of both runs", _banner(*pair))  # fmt: skip
    assembly.write(out, page, chapters)


def _banner(first: Side, second: Side) -> str:
    """Which of the two runs are of no real world."""
    if first.banner == second.banner:
        return first.banner
    return "; ".join(f"{side.name} is {side.banner}" for side in (first, second) if side.banner)


def _chapters(first: Side, second: Side, task: str) -> Iterator[Section]:
    scores = [Scores(side.scores, task) for side in (first, second)]
    models = [side.models[task] for side in (first, second)]
    fields = [f for f in fields_of([name for name in VARIABLES if name in set(scores[0].rows["variable"])])
              if all(s.value(m, f.variable, "rmse", f.space) is not None for s, m in zip(scores, models, strict=True))]  # fmt: skip
    found = {f.label: sides.paired(first, second, task, f.label, DOMAIN) for f in fields}
    section = Section(f"compare-{task}", f"Task {task}", task)
    section.blocks = [
        paragraph(_basis(scores, found, first, second), "note"),
        paragraph(_verdict(fields, scores, models, found, second.name), "reading"),
        Block("table", table=_errors(task, fields, scores, models, found, first, second)),
        Block("heading", text="Scorecard"),
        Block("table", table=_card(task, fields, scores, models, first, second)),
    ]
    yield section
    regions = _regions(first, second, task, fields)
    if regions is not None:
        yield regions


def _basis(scores: Sequence[Scores], found: dict[str, Paired | None], first: Side, second: Side) -> str:
    """What the two rest on, and whether that is the same."""
    rests = [f"{s.text('reference')}, {s.text('date_range').replace('/', ' to ')}" for s in scores]
    told = rests[:1] if rests[0] == rests[1] else [f"{side.name}: {rest}" for side, rest in zip((first, second), rests, strict=True)]
    paired = [one for one in found.values() if one is not None]
    if not paired:
        return ("; ".join(told) + ". The two were not scored on the same truth, cells and days (or their parts are gone): numbers stand "
                "side by side, and no difference is judged.")  # fmt: skip
    days = max(one.days for one in paired)
    known = any(np.isfinite(one.interval.low).any() for one in paired)
    sure = "" if known else " That is too short for an interval: any difference may be chance."
    return "; ".join(told) + (f". Both saw the same truth on {days} {'days' if days > 1 else 'day'}; intervals of 95 % are of a paired "
                              f"block bootstrap of these days, p-values of the test of Diebold and Mariano.{sure}")  # fmt: skip


def _verdict(
    fields: Sequence[Field], scores: Sequence[Scores], models: Sequence[str], found: dict[str, Paired | None], name: str,
) -> str:  # fmt: skip
    """How often the second run has the lower error, and how often beyond chance."""
    gaps = {f.label: _gap(f, scores, models) for f in fields}
    lower_ = [f for f in fields if gaps[f.label] < 0]
    tested = [one for f in fields if (one := found[f.label]) is not None and _beyond(one)]
    sure = {way: [one for one in tested if way * one.interval.value[0] > 0] for way in (-1, 1)}
    if not any(gaps.values()):
        return "Both have the same RMSE in every field."
    words = f"{name} has a lower RMSE in {len(lower_)} of {len(fields)} fields"
    words += f": {', '.join(_name(f) for f in lower_)}." if 0 < len(lower_) < len(fields) else "."
    return words + f" Beyond chance it is nearer to the truth in {len(sure[-1])}, and farther from it in {len(sure[1])}."


def _name(f: Field) -> str:
    return lower(label(f.variable)) + (f" ({units(f.variable, f.space)})" if f.space != "physical" else "")


def _gap(f: Field, scores: Sequence[Scores], models: Sequence[str]) -> float:
    one, other = (s.value(m, f.variable, "rmse", f.space) for s, m in zip(scores, models, strict=True))
    assert one is not None and other is not None
    return _gap_of(one, other)


def _beyond(one: Paired, b: int = 0) -> bool:
    ends = one.interval.at(b)
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def _errors(
    task: str, fields: Sequence[Field], scores: Sequence[Scores], models: Sequence[str], found: dict[str, Paired | None], first: Side,
    second: Side,
) -> Table:  # fmt: skip
    rows = []
    for f in fields:
        values = [s.value(m, f.variable, "rmse", f.space) for s, m in zip(scores, models, strict=True)]
        one, gap = found[f.label], _gap(f, scores, models)
        ends = one.interval.at(0) if one is not None else None
        note = f"{between(ends)}" + ("" if one is not None and _beyond(one) else ": may be chance") if ends else ""
        p = Cell("n/a")
        if one is not None and np.isfinite(one.p):
            p = Cell("below 0.0001" if one.p < 1e-4 else number(one.p, 2), one.p, derived=True)
        rows.append((Cell(label(f.variable), note=units(f.variable, f.space)), *(Cell.of(value, 4) for value in values),
                     Cell(_signed(gap), gap, derived=True, strong=True, note=note, good=gap < 0 if gap else None), p))  # fmt: skip
    return Table(f"compare_{task}", "RMSE of both runs' models, their difference (second less first) with its 95 % interval in "
                 "grey, and the p-value of equal squared errors.",
                 ("Variable", _head(first, task), _head(second, task), "difference", "p"), tuple(rows))  # fmt: skip


def _head(side: Side, task: str) -> str:
    return f"{side.models[task]}, {side.name}"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def _card(task: str, fields: Sequence[Field], scores: Sequence[Scores], models: Sequence[str], first: Side, second: Side) -> Table:
    """Every other score that both have, with which of the two is nearer to what it should be."""
    rows = []
    for f in fields:
        for metric in OTHERS:
            values = [s.value(m, f.variable, metric, f.space) for s, m in zip(scores, models, strict=True)]
            if values[0] is None or values[1] is None:
                continue
            truth = scores[0].value(TRUTH, f.variable, metric, f.space)
            better, gap = nearer(metric, values[0], values[1], truth), _gap_of(values[0], values[1])
            rows.append((Cell(label(f.variable), note=units(f.variable, f.space) if f.space != "physical" else ""),
                         Cell(NAMES.get(metric, metric.replace("_", " ")), note=_units_of(metric, f)),
                         *(Cell.of(value, 4) for value in values), Cell(_signed(gap), gap, derived=True, good=better),
                         Cell({True: second.name, False: first.name, None: "neither"}[better])))  # fmt: skip
    return Table(f"compare_card_{task}", "Other scores of both models over the whole domain, and whose is nearer to what it should be "
                 "(docs/metrics.md says what that is). No intervals: a small difference may be chance.",
                 ("Variable", "score", _head(first, task), _head(second, task), "difference", "nearer"), tuple(rows))  # fmt: skip


def _gap_of(one: float, other: float) -> float:
    """Second less first; what is only rounding is none."""
    return 0.0 if abs(other - one) <= ROUNDING * max(abs(one), abs(other)) else other - one


def _units_of(metric: str, f: Field) -> str:
    """Of a score: the field's own, or the metric's, which is without any where that is 1."""
    entry = registry.find(metric)
    found = entry.units if entry is not None else "1"
    return units(f.variable, f.space) if found == "field" else "" if found == "1" else found


def nearer(metric: str, one: float, other: float, truth: float | None) -> bool | None:
    """Whether the `other` value of a metric is better than the `one`; None where they are alike or the register knows no better."""
    entry = registry.find(metric)
    goal = {"zero": 0.0, "one": 1.0, "truth": truth}.get(entry.direction) if entry is not None else None
    if entry is None or not _gap_of(one, other) or entry.direction == "none" or (entry.direction == "truth" and truth is None):
        return None
    if goal is not None:
        return None if abs(other - goal) == abs(one - goal) else abs(other - goal) < abs(one - goal)
    return (other > one) == (entry.direction == "higher")


def _regions(first: Side, second: Side, task: str, fields: Sequence[Field]) -> Section | None:
    """RMSE differences by region; marked are those that stand when at most a tenth of all marks may be chance."""
    names = sides.region_names(first, task)
    if first.regions is None or second.regions is None or not names or names != sides.region_names(second, task):
        return None
    scores = [Scores(side.regions, task) for side in (first, second) if side.regions is not None]
    models = [side.models[task] for side in (first, second)]
    marks: dict[str, np.ndarray] = {}
    for f in fields:
        one = sides.paired(first, second, task, f.label, REGIONS)
        if one is not None and len(one.interval.value) == len(names):
            marks[f.label] = chance(one.interval)
    tested = list(marks)
    stands = dict(zip(tested, discoveries(np.stack([marks[key] for key in tested])), strict=True)) if tested else {}
    rows: list[tuple[Cell, ...]] = []
    shown: list[str] = []
    for b, (code, name) in enumerate(names.items()):
        row = [Cell(name, note=code)]
        for f in fields:
            values = [s.value(m, f.variable, "rmse", f.space, code) for s, m in zip(scores, models, strict=True)]
            if values[0] is None or values[1] is None:
                row.append(Cell("n/a"))
                continue
            gap, star = _gap_of(values[0], values[1]), " *" if f.label in stands and stands[f.label][b] else ""
            note = f"{number(values[0])} → {number(values[1])}"
            row.append(Cell(_signed(gap) + star, gap, derived=True, good=gap < 0 if gap else None, note=note))
        if any(cell.value is not None for cell in row):
            rows.append(tuple(row))
            shown.append(code)
    heads = tuple(f"{label(f.variable)} ({units(f.variable, f.space)})" for f in fields)
    count = int(sum(one.sum() for one in stands.values()))
    told = "No region is marked: fewer than 60 days, or not the same truth, so that any difference may be chance."
    if any(np.isfinite(p).any() for p in marks.values()):
        told = f"* ({count}): the difference stands when at most a tenth of all marks may be chance."
    section = Section(f"compare-regions-{task}", f"Where do they differ? Task {task}", f"{task}, regions")
    caption = f"RMSE of {second.name} less that of {first.name} by region, and both. {told}"
    table = Table(f"compare_regions_{task}", caption, ("Region", *heads), tuple(rows), regions=tuple(shown))
    section.blocks = [Block("table", table=table)]
    return section
