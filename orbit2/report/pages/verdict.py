"""The verdict in words and large numbers, built from the rows of a table: wins and losses alike, with what they rest on. No adjectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbit2.metrics.table import TRUTH
from orbit2.metrics.verdict import DIFFERENCE, Judged, beyond_chance, judge, wins
from orbit2.metrics.verdict import basis as _basis
from orbit2.report.style import method_name
from orbit2.report.tables import Row, Scores, dry, label, lower, traced, units


def judged(scores: Scores, names: Sequence[str]) -> list[Judged]:
    """What a task's model is judged by, for these variables."""
    return judge(scores.rows, names)


def basis(scores: Scores) -> str:
    """`4 frames within 22 hours, too short for a confidence interval`."""
    return _basis(scores.rows)


def rests(scores: Scores) -> str:
    """`basis` for a sentence of the page: its numbers keep their rows."""
    counted = scores.rows[scores.rows["metric"] == "n_samples"]
    known = bool(len(counted))
    if not known:  # of regions, whose frames are those of the whole; how long they lie apart each row says
        counted = scores.rows[scores.rows["metric"] == "rmse"]
    if not len(counted):
        return basis(scores)
    where = counted.iloc[0]
    row = Row(scores.task, *(str(where[name]) for name in ("model", "variable", "space", "region", "metric", "season")))
    words, _, span = basis(scores).partition(" within ")
    count, _, unit = words.partition(" ")
    told = f"{traced(count, row)} {unit}" if known and unit else words
    if not span:
        return told
    length, _, rest = span.partition(" ")
    return f"{told} within {traced(length, row, how='span')} {rest}"


def reading(scores: Scores, names: Sequence[str]) -> str:
    """A few plain sentences about the headline. A variable is won when it is won in every space that it is judged in."""
    found = judged(scores, names)
    if not found:
        return "No baseline was scored beside the model, so nothing can be said about its skill."
    model, won, plain = found[0].model, wins(found), wins(found, "interpolation")
    said = [f"On {rests(scores)}: {model} has a lower RMSE than every baseline for {_of(won)}."]
    told = beyond_chance(found)
    if told:
        said.append("Beyond chance, the 95 % interval of the difference to the best baseline lying below 0 in every space, that is so for "
                    f"{_of(told)}.")  # fmt: skip
    lost = [one for one in found if not one.won]
    if lost:
        said.append(f"It loses {_listed(_against(scores, one, one.best[0]) for one in lost)}.")
    if plain and plain != won:
        said.append(f"Against interpolation alone it wins {_of(plain)}.")
    gains = sorted((one for one in found if won[one.variable] and one.best[1] > 0), key=lambda one: one.value / one.best[1])
    if gains:
        most = gains[0]
        gain = traced(f"{100 * (1 - most.value / most.best[1]):.1f}".replace("-", "−"), *_rows(scores, most, most.best[0]), how="gain")
        said.append(f"Its largest gain is {gain} %: {_against(scores, most, most.best[0])}.")
    return " ".join([*said, *_parent(scores, found)])


def _parent(scores: Scores, found: Sequence[Judged]) -> list[str]:
    """Beside the model that it was fine-tuned from."""
    beside = [(one, one.parent) for one in found if one.parent is not None]
    if not beside:
        return []
    behind = [_against(scores, one, parent[0]) for one, parent in beside if one.value >= parent[1]]
    words = f"Fine-tuning: on the same cells it has a lower RMSE than its parent {beside[0][1][0]} for {_of(wins(found, 'parent'))}"
    return [f"{words}; it loses {_listed(behind)}." if behind else f"{words}."]


def _of(won: dict[str, bool]) -> str:
    """`all five variables`, `both variables`, `three of five variables`, `its one variable`."""
    total, count = len(won), sum(won.values())
    if total == 1:
        return "its one variable" if count else "none of its one variable"
    if count == total == 2:
        return "both variables"
    return f"all {_count(total)} variables" if count == total else f"{_count(count)} of {_count(total)} variables"


def _rows(scores: Scores, one: Judged, other: str) -> list[Row]:
    """Of the RMSE of the model and of another."""
    return [scores.row(who, one.variable, "rmse", one.space) for who in (one.model, other)]


def _against(scores: Scores, one: Judged, other: str) -> str:
    """`2 m temperature (0.707 against 0.594 K with regression per cell)`."""
    own, value = (scores.told(who, one.variable, "rmse", one.space) for who in (one.model, other))
    return f"{lower(label(one.variable))} ({own} against {value} {units(one.variable, one.space)} with {method_name(other)})"


def _listed(words: object) -> str:
    entries = list(words)  # type: ignore[call-overload]
    return entries[0] if len(entries) == 1 else f"{', '.join(entries[:-1])} and {entries[-1]}"


def _count(value: int) -> str:
    words = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[value] if value < len(words) else str(value)


@dataclass(frozen=True)
class Tile:
    """One large number of the summary: the change of RMSE against the best baseline, with what it rests on beside it."""

    title: str
    value: str
    note: str
    basis: str
    good: bool


def tiles(scores: Scores, names: Sequence[str]) -> list[Tile]:
    """Per variable and space: RMSE of the model relative to the best baseline, as a percentage."""
    found, rest = [], rests(scores)
    for one in judged(scores, names):
        other, value = one.best
        if value <= 0:
            continue
        change = 100 * (one.value / value - 1)
        unit = units(one.variable, one.space)
        gap = scores.ends(one.model, one.variable, f"{DIFFERENCE}{other}", one.space)
        sure = rest if one.gap is None else f"95 % interval of the difference {gap} {unit}"
        sure += ": may be chance" if one.gap is not None and one.gap[0] <= 0 <= one.gap[1] else ""
        space = f", {unit}" if unit in ("mm/day", "ln(1 + mm/day)") else ""
        shown = traced(f"{change:+.1f}".replace("-", "−"), *_rows(scores, one, other), how="change")
        own, best = (scores.told(who, one.variable, "rmse", one.space) for who in (one.model, other))
        found.append(Tile(f"{label(one.variable)}{space}", f"{shown} %", f"RMSE {own} against {best} {unit} ({method_name(other)})", sure,
                          change < 0))  # fmt: skip
    return found


def extremes(scores: Scores, model: str, names: Sequence[str]) -> list[str]:
    """What became of the tails and of rain's extent, in numbers: model beside truth."""
    found = []
    for name in names:
        own, truth = (scores.value(m, name, "quantile_0.999") for m in (model, TRUTH))
        if own is None or truth is None or dry(truth, name):  # nothing over nothing is no ratio
            continue
        if scores.value(model, name, "wet_share_0.1") is None:  # the tail of a variable that is no rain: how far the range reaches
            continue
        ratio = own / truth
        verdict = "about right" if 0.95 <= ratio <= 1.05 else "too strong" if ratio > 1 else "too weak"
        shares = " and ".join(f"{a} % against {b} % of the area has at least {least} mm/day" for least in ("0.1", "1")
                              if (a := _share(scores, model, name, least)) and (b := _share(scores, TRUTH, name, least)))  # fmt: skip
        high = [scores.told(who, name, "quantile_0.999") for who in (model, TRUTH)]
        times = traced(f"{ratio:.2f}", *(scores.row(who, name, "quantile_0.999") for who in (model, TRUTH)), how="ratio")
        found.append(f"{label(name)}: the 99.9 % quantile is {high[0]} mm/day against {high[1]} of the truth ({times} times: "
                     f"heavy rain is {verdict}); {shares}.")  # fmt: skip
    return found


def _share(scores: Scores, who: str, name: str, least: str) -> str:
    """Of the area where it rains so much, in per cent; empty where it was not counted."""
    metric = f"wet_share_{least}"
    value = scores.value(who, name, metric)
    return "" if value is None else traced(f"{100 * value:.0f}", scores.row(who, name, metric), how="percent")
