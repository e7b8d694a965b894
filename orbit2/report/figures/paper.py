"""Figures of a downscaling paper that are drawn from rows: Taylor diagram, fractions skill by threshold and scale, return levels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from orbit2.metrics.table import TRUTH
from orbit2.metrics.verdict import spaces
from orbit2.report.figures.panels import Figure, Panels, heatmap, one
from orbit2.report.style import COLOURS, INK, MUTED, colour, method_name
from orbit2.report.tables import Scores, csv_text, label, number, units
from orbit2.times import SEASONS

FSS = re.compile(r"fss_(.+)_(\d+)px")
RETURN = re.compile(r"(.+)_return_(\d+)")
MARKERS = {"all": "D", **dict(zip(SEASONS, "o^sv", strict=True))}
FULL = 1.65  # of the truth's standard deviation: the diagram's edge


def taylor(frame: pd.DataFrame, task: str, model: str, names: Sequence[str]) -> Figure | None:
    """Correlation as the angle, standard deviation over the truth's as the radius (Taylor 2001, JGR 106:7183): the model in every season,
    the baselines over the whole record."""
    whole = Scores(frame, task)
    by_season = {season: whole if season == "all" else Scores(frame, task, season=season) for season in ("all", *SEASONS)}
    points = []
    for name in names:
        space = spaces(name)[-1]
        for season, scores in by_season.items():
            for who in (model, *(whole.baselines(model) if season == "all" else ())):
                r, ratio = (scores.value(who, name, metric, space) for metric in ("pearson_r", "sigma_ratio"))
                if r is not None and ratio is not None:
                    points.append({"variable": name, "space": space, "season": season, "model": who, "r": r, "sigma_ratio": ratio})
    if not points:
        return None
    table = pd.DataFrame(points)
    found = list(dict.fromkeys(table["variable"]))
    panels, alts = Panels(-(-(len(found) + 1) // 3), 3, 3.1, 3.3), []  # one more holds the legend
    for i, name in enumerate(found):
        rows = table[table["variable"] == name]
        ax = panels.axes(i, (0.13, 0.13, 0.82, 0.7))
        _arcs(ax)
        for who, season, r, ratio in zip(rows["model"], rows["season"], rows["r"], rows["sigma_ratio"], strict=True):
            reach, r0 = min(ratio, FULL), max(r, 0.0)
            own = who == model
            size = 8 if own and season == "all" else 5
            ax.plot(reach * r0, reach * np.sqrt(max(0.0, 1 - r0**2)), MARKERS[season], color=colour(who), markersize=size,
                    alpha=1 if own else 0.85, zorder=4 if own else 3, clip_on=False,
                    label=f"{method_name(who)}{'' if season == 'all' else ', ' + season}")  # fmt: skip
        ax.set_title(label(name) + (",\nln(1 + x)" if spaces(name)[-1] == "log1p" else ""), pad=16, fontsize=9.5)
        mine = rows[(rows["model"] == model) & (rows["season"] == "all")]
        told = "no point of the model"
        if len(mine):
            told = f"{model}: correlation {number(mine['r'].iloc[0])}, ratio {number(mine['sigma_ratio'].iloc[0])}"
        alts.append(f"Taylor diagram of {label(name)}; {told}.")
    handles: dict[str, Any] = {}
    for ax in panels.figure.axes:
        handles |= {text: handle for handle, text in zip(*ax.get_legend_handles_labels(), strict=True) if text not in handles}
    ax = panels.axes(len(found), (0.05, 0.05, 0.9, 0.9))
    ax.set_axis_off()
    ax.legend(list(handles.values()), list(handles), loc="center left", fontsize=7.5, handletextpad=0.3)
    alts.append("Legend: " + ", ".join(handles) + ".")
    return one(
        panels, f"taylor_{task}", "Taylor diagrams",
        "The star is the truth. Angle: correlation; distance from the corner: standard deviation over the truth's; distance from the "
        "star: centred RMSE over the truth's standard deviation. Over all cells and times together: mountains and seasons are in it, bias "
        "is not.", alts, csv_text(table), columns=3,
    )  # fmt: skip


def _arcs(ax: Axes) -> None:
    """The quarter circle: correlations along its edge, arcs of equal standard deviation and of equal centred RMSE."""
    turn = np.linspace(0, np.pi / 2, 91)
    for radius in (0.5, 1.0, 1.5, FULL):
        bold = radius in (1.0, FULL)
        ax.plot(radius * np.cos(turn), radius * np.sin(turn), color=INK if bold else MUTED, linewidth=0.9 if bold else 0.5,
                linestyle="--" if radius == 1.0 else "-", zorder=1)  # fmt: skip
    for error in (0.25, 0.5, 0.75):
        whole = np.linspace(0, np.pi, 181)
        ax.plot(1 + error * np.cos(whole), error * np.sin(whole), color="#9fb7c9", linewidth=0.6, linestyle=":", zorder=1)
    for r in (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99):
        angle = np.arccos(r)
        ax.plot([0, FULL * r], [0, FULL * np.sin(angle)], color="#e6eaee", linewidth=0.6, zorder=0)
        ax.text(1.03 * FULL * r, 1.03 * FULL * np.sin(angle), f"{r:g}", fontsize=6.5, color=MUTED, ha="left" if r > 0.5 else "center",
                va="bottom")  # fmt: skip
    ax.plot(1, 0, "*", color=COLOURS["truth"], markersize=11, clip_on=False, zorder=5)
    ax.set_xlim(0, FULL)
    ax.set_ylim(0, FULL)
    ax.set_aspect("equal")
    ax.grid(False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_xticks((0, 0.5, 1, 1.5))
    ax.set_yticks((0, 0.5, 1, 1.5))
    ax.tick_params(labelsize=7)
    ax.set_xlabel("standard deviation ÷ truth's", fontsize=7.5)


def fractions(scores: Scores, model: str, names: Sequence[str], task: str) -> Figure | None:
    """Fractions skill (Roberts and Lean 2008) of model and best baseline, thresholds down, window sizes across."""
    rows = scores.rows[(scores.rows["region"] == scores.domain) & scores.rows["variable"].isin(list(names))]
    found = [(str(v), *match.groups()) for v, m in dict.fromkeys(zip(rows["variable"], rows["metric"], strict=True))
             if (match := FSS.fullmatch(str(m)))]  # fmt: skip
    if not found:
        return None
    name = found[0][0]
    thresholds = list(dict.fromkeys(t for v, t, _ in found if v == name))
    sizes = sorted({int(n) for v, _, n in found if v == name})
    middle = f"fss_{thresholds[len(thresholds) // 2]}_{sizes[len(sizes) // 2]}px"
    beside = [(value, other) for other in scores.baselines(model) if (value := scores.value(other, name, middle)) is not None]
    methods = [model, *([max(beside)[1]] if beside else [])]
    values = {who: np.array([[_or_nan(scores.value(who, name, f"fss_{t}_{n}px")) for n in sizes] for t in thresholds]) for who in methods}
    useful = {t: f"fss_useful_km_{t}" for t in thresholds}
    panels, alts = Panels(1, len(methods), 4.6, 0.9 + 0.36 * len(thresholds)), []
    height = panels.height
    for i, who in enumerate(methods):
        ax = panels.axes(i, (0.17, 0.5 / height, 0.8, 1 - 0.9 / height))
        heatmap(ax, values[who], "YlGnBu", (0, 1), ".2f", [f"{n}" for n in sizes], [_event(t) for t in thresholds])
        ax.set_xlabel("window, cells", fontsize=8.5)
        ax.set_title(method_name(who), pad=5)
        alts.append(f"Fractions skill score of {method_name(who)} by threshold and window; {number(values[who][0, 0])} at the lowest "
                    "threshold and one cell.")  # fmt: skip
    csv = csv_text(pd.DataFrame([{"variable": name, "model": who, "threshold": t, "window": n, "fss": values[who][y, x]}
                                 for who in methods for y, t in enumerate(thresholds) for x, n in enumerate(sizes)]))  # fmt: skip
    told = ", ".join(f"{scores.told(model, name, metric)} km ({_event(t)})" for t, metric in useful.items()
                     if scores.value(model, name, metric) is not None)  # fmt: skip
    return one(
        panels, f"fractions_{task}", f"Is {label(name).lower()} in the right place?",
        "Fractions skill score: 1 is perfect. It grows with the window, for rain that lies a little off counts once the window holds both "
        f"places. {f'Smallest useful scale of {model}: {told}. ' if told else ''}Beside it the baseline that is best in its middle.",
        alts, csv,
    )  # fmt: skip


def _event(threshold: str) -> str:
    """`5mm` -> `5 mm/day`, `q0.95` -> `top 5 %`."""
    return f"top {100 * (1 - float(threshold[1:])):.2g} %" if threshold.startswith("q") else threshold.replace("mm", " mm/day")


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def returns(scores: Scores, model: str, names: Sequence[str], task: str) -> Figure | None:
    """Return levels by return period: truth, model and baselines, with the truth's and the model's interval where they have one."""
    rows = scores.rows[(scores.rows["region"] == scores.domain) & scores.rows["variable"].isin(list(names))]
    wanted = [(str(v), match[1], int(match[2])) for v, m in dict.fromkeys(zip(rows["variable"], rows["metric"], strict=True))
              if (match := RETURN.fullmatch(str(m)))]  # fmt: skip
    kinds = list(dict.fromkeys((v, index) for v, index, _ in wanted))
    if not kinds:
        return None
    panels, alts, table = Panels(-(-len(kinds) // 2), min(2, len(kinds)), 4.6, 3.0), [], []
    for i, (name, index) in enumerate(kinds):
        years = sorted(y for v, k, y in wanted if (v, k) == (name, index))
        ax = panels.axes(i, (0.15, 0.19, 0.8, 0.68))
        for who in (TRUTH, model, *scores.baselines(model)):
            known = [(y, value) for y in years if (value := scores.value(who, name, f"{index}_return_{y}")) is not None]
            if not known:
                continue
            x, values = zip(*known, strict=True)
            strong = who in (TRUTH, model)
            shade = COLOURS["truth"] if who == TRUTH else colour(who)
            ax.plot(x, values, "o-", color=shade, linewidth=1.8 if strong else 0.8, markersize=5 if strong else 3,
                    alpha=1 if strong else 0.7, zorder=4 if strong else 2, label="truth" if who == TRUTH else method_name(who))  # fmt: skip
            sure = [(y, *ends) for y in x if (ends := scores.interval(who, name, f"{index}_return_{y}")) is not None]
            if strong and sure:
                ax.fill_between([s[0] for s in sure], [s[1] for s in sure], [s[2] for s in sure], color=shade, alpha=0.15, linewidth=0)
            table += [{"variable": name, "index": index, "model": who, "years": y, "value": v} for y, v in known]
        ax.set_xscale("log")
        ax.set_xticks(years, [str(y) for y in years])
        ax.minorticks_off()
        ax.set_xlabel("return period, years")
        ax.set_ylabel(units(name).removesuffix("/day"))
        ax.set_title(f"{label(name)}: {index}", fontsize=10)
        ax.legend(fontsize=6.5, ncols=2)
        alts.append(f"Return levels of {index} for {', '.join(str(y) for y in years)} years.")
    caption = "Return levels of a cell's yearly extreme, area-weighted over cells (GEV by L-moments)."
    return one(panels, f"returns_{task}", "Rare events", caption, alts, csv_text(pd.DataFrame(table)))
