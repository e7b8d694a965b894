"""Two diagrams of an ensemble: reliability of events, and error by spread. Draws rows that evaluate wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from orbit2.metrics.verdict import spaces
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.style import MUTED, RULE, colour
from orbit2.report.tables import Scores, csv_text, label, units

EVENT = re.compile(r"reliability_frequency_(.+)_(\d+)")
BLUES = ("#0b3c5d", "#1d6996", "#38a6a5", "#73af48", "#edad08", "#cc503e")
LEAST_AREA = 1e-4  # share of the area that a point of a reliability curve must rest on


def reliability(scores: Scores, model: str, names: Sequence[str], members: int, task: str) -> Figure | None:
    """How often an event came where so many members have it, a panel per variable; None without such rows."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    own = scores.rows[(scores.rows["model"] == model) & (scores.rows["space"] == "physical")]
    for name in names:
        for metric in own.loc[own["variable"] == name, "metric"]:
            told = EVENT.fullmatch(str(metric))
            if told is None:
                continue
            share = scores.value(model, name, f"reliability_area_{told[1]}_{told[2]}")
            value = scores.value(model, name, str(metric))
            if value is not None and (share is None or share >= LEAST_AREA):
                found.setdefault(name, {}).setdefault(told[1], {})[int(told[2])] = value
    found = {name: {event: points for event, points in events.items() if len(points) > 1} for name, events in found.items()}
    found = {name: events for name, events in found.items() if events}
    if not found:
        return None
    panels, alts, table = Panels(-(-len(found) // 2), min(2, len(found)), 4.6, 3.6), [], []
    for panel, (name, events) in enumerate(found.items()):
        ax = panels.axes(panel, (0.14, 0.15, 0.82, 0.75))
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        for i, event in enumerate(sorted(events, key=_limit)):
            at = sorted(events[event])
            ax.plot([k / members for k in at], [events[event][k] for k in at], "o-", color=BLUES[i % len(BLUES)], markersize=3.5,
                    linewidth=1.2, label=_said(event, name))  # fmt: skip
            table += [{"variable": name, "event": event, "members": k, "forecast": k / members, "frequency": events[event][k]} for k in at]
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="Share of members", ylabel="Frequency in the truth")
        ax.set_title(label(name), fontsize=10.5)
        ax.legend(fontsize=7.5, loc="upper left")
        steepest = max(abs(v - k / members) for points in events.values() for k, v in points.items())
        alts.append(f"Reliability diagram of {label(name)}: {len(events)} events, furthest from the diagonal by {steepest:.2f}.")
    caption = ("How often an event came where this share of members has it. On the diagonal (dashed) the share of members is the "
               f"probability; a flatter curve is too sure. Points that rest on less than {LEAST_AREA:.2%} of the area are left "
               "out.")  # fmt: skip
    return one(panels, f"reliability_{task}", "Is a share of members a probability?", caption, alts, csv_text(pd.DataFrame(table)))


def _limit(event: str) -> float:
    return float(event.lstrip("q"))


def _said(event: str, name: str) -> str:
    return f"above the training {100 * _limit(event):g} %" if event.startswith("q") else f"≥ {event} {units(name)}"


def spread_and_error(scores: Scores, model: str, names: Sequence[str], task: str) -> Figure | None:
    """RMSE of the members' mean against their spread in groups of cells, a panel per variable and space; None without such rows."""
    found = {}
    for name in names:
        for space in spaces(name):
            points: list[tuple[float, float | None]] = []
            while (value := scores.value(model, name, f"binned_spread_{len(points)}", space)) is not None:
                points.append((value, scores.value(model, name, f"binned_error_{len(points)}", space)))
            known = [(width, wrong) for width, wrong in points if wrong is not None]
            if len(known) > 1:
                found[name, space] = known
    if not found:
        return None
    panels, alts, table = Panels(-(-len(found) // 2), min(2, len(found)), 4.6, 3.2), [], []
    for panel, ((name, space), known) in enumerate(found.items()):
        ax = panels.axes(panel, (0.15, 0.17, 0.81, 0.72))
        spread, error = (np.array(values) for values in zip(*known, strict=True))
        most = 1.06 * float(max(spread.max(), error.max()))
        ax.plot([0, most], [0, most], color=MUTED, linewidth=1, linestyle="--")
        ax.plot(spread, error, "o-", color=colour(model), markersize=4, linewidth=1.2)
        ax.set(xlim=(0, most), ylim=(0, most), xlabel=f"Spread of the members ({units(name, space)})", ylabel="RMSE of their mean")
        ax.set_title(label(name) + (", ln(1 + x)" if space == "log1p" else ""), fontsize=9.5)
        ax.axhline(float(np.sqrt((error**2).mean())), color=RULE, linewidth=1)
        rank = float(np.corrcoef(spread, error)[0, 1]) if np.ptp(spread) > 0 and np.ptp(error) > 0 else float("nan")
        alts.append(f"Error by spread of {label(name)}: error {error[0]:.3g} where members agree most, {error[-1]:.3g} where least "
                    + (f"(correlation {rank:.2f})." if np.isfinite(rank) else "."))  # fmt: skip
        table += [{"variable": name, "space": space, "group": k + 1, "spread": s, "error": e} for k, (s, e) in enumerate(known)]
    caption = ("Cells of all frames in groups of equal area, in order of the members' spread. On the diagonal (dashed) the spread tells "
               "the error; a level curve (grey: the mean error) says that the spread tells nothing.")  # fmt: skip
    return one(panels, f"spread_{task}", "Does the spread tell the error?", caption, alts, csv_text(pd.DataFrame(table)))
