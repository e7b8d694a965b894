"""The verdict in words and large numbers, built from the rows of a table: wins and losses alike, with what they rest on. No adjectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbit2.metrics.table import TRUTH
from orbit2.metrics.verdict import Judged, beyond_chance, judge, wins
from orbit2.metrics.verdict import basis as _basis
from orbit2.report.style import method_name
from orbit2.report.tables import Scores, between, label, lower, number, units


def judged(scores: Scores, names: Sequence[str]) -> list[Judged]:
    """What a task's model is judged by, for these variables."""
    return judge(scores.rows, names)


def basis(scores: Scores) -> str:
    """`4 frames within 22 hours, too short for a confidence interval`."""
    return _basis(scores.rows)


def reading(scores: Scores, names: Sequence[str]) -> str:
    """A few plain sentences about the headline. A variable is won when it is won in every space that it is judged in."""
    found = judged(scores, names)
    if not found:
        return "No baseline was scored beside the model, so nothing can be said about its skill."
    model, won, plain = found[0].model, wins(found), wins(found, "interpolation")
    said = [f"On {basis(scores)}: {model} has a lower RMSE than every baseline for {_of(won)}."]
    told = beyond_chance(found)
    if told:
        said.append("Beyond chance, the 95 % interval of the difference to the best baseline lying below 0 in every space, that is so for "
                    f"{_of(told)}.")  # fmt: skip
    lost = [one for one in found if not one.won]
    if lost:
        said.append(f"It loses {_listed(_against(one, *one.best) for one in lost)}.")
    if plain and plain != won:
        said.append(f"Against interpolation alone it wins {_of(plain)}.")
    gains = sorted((one for one in found if won[one.variable] and one.best[1] > 0), key=lambda one: one.value / one.best[1])
    if gains:
        said.append(f"Its largest gain is {_percent(1 - gains[0].value / gains[0].best[1])}: {_against(gains[0], *gains[0].best)}.")
    return " ".join([*said, *_parent(found)])


def _parent(found: Sequence[Judged]) -> list[str]:
    """Beside the model that it was fine-tuned from."""
    beside = [(one, one.parent) for one in found if one.parent is not None]
    if not beside:
        return []
    behind = [_against(one, *parent) for one, parent in beside if one.value >= parent[1]]
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


def _against(one: Judged, other: str, value: float) -> str:
    """`2 m temperature (0.707 against 0.594 K with regression per cell)`."""
    unit = units(one.variable, one.space)
    return f"{lower(label(one.variable))} ({number(one.value)} against {number(value)} {unit} with {method_name(other)})"


def _listed(words: object) -> str:
    entries = list(words)  # type: ignore[call-overload]
    return entries[0] if len(entries) == 1 else f"{', '.join(entries[:-1])} and {entries[-1]}"


def _percent(gain: float) -> str:
    return f"{100 * gain:.1f} %".replace("-", "−")


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
    found, rests = [], basis(scores)
    for one in judged(scores, names):
        other, value = one.best
        if value <= 0:
            continue
        change = 100 * (one.value / value - 1)
        unit = units(one.variable, one.space)
        sure = rests if one.gap is None else f"95 % interval of the difference {between(one.gap)} {unit}"
        sure += ": may be chance" if one.gap is not None and one.gap[0] <= 0 <= one.gap[1] else ""
        space = f", {unit}" if unit in ("mm/day", "ln(1 + mm/day)") else ""
        found.append(Tile(f"{label(one.variable)}{space}", f"{change:+.1f} %".replace("-", "−"),
                          f"RMSE {number(one.value)} against {number(value)} {unit} ({method_name(other)})", sure, change < 0))  # fmt: skip
    return found


def extremes(scores: Scores, model: str, names: Sequence[str]) -> list[str]:
    """What became of the tails and of rain's extent, in numbers: model beside truth."""
    found = []
    for name in names:
        own, truth = (scores.value(m, name, "quantile_0.999") for m in (model, TRUTH))
        if own is None or not truth:
            continue
        wet = [(scores.value(model, name, f"wet_share_{least}"), scores.value(TRUTH, name, f"wet_share_{least}"), least)
               for least in ("0.1", "1")]  # fmt: skip
        if wet[0][0] is None:  # the tail of a variable that is no rain: how far the range reaches
            continue
        ratio = own / truth
        verdict = "about right" if 0.95 <= ratio <= 1.05 else "too strong" if ratio > 1 else "too weak"
        shares = " and ".join(f"{100 * a:.0f} % against {100 * b:.0f} % of the area has at least {least} mm/day"
                              for a, b, least in wet if a is not None and b is not None)  # fmt: skip
        found.append(f"{label(name)}: the 99.9 % quantile is {number(own)} mm/day against {number(truth)} of the truth ({ratio:.2f} times: "
                     f"heavy rain is {verdict}); {shares}.")  # fmt: skip
    return found
