"""The map of regions that answers: hover for the numbers, click to filter the tables. Shows rows of diagnose, never computes any."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import shapely
from matplotlib.colors import to_hex

from orbit2.metrics.verdict import spaces
from orbit2.report.figures.maps import Box
from orbit2.report.interactive import outlines
from orbit2.report.interactive.widgets import Address, Widget
from orbit2.report.style import method_name
from orbit2.report.tables import Scores, between, label, number, units

MISSING = "#c9d0d6"
CLASSES = 9  # colours of a map: as many as can be told apart
SCORES = (("rmse_skill_vs_best_baseline", "skill against the best baseline"), ("rmse", "RMSE"), ("bias", "bias"))


@dataclass(frozen=True)
class Shown:
    """One score of one variable: a title, its value and words by region."""

    title: str
    values: Mapping[str, float]
    words: Mapping[str, str]
    diverging: bool
    reverse: bool = False  # high is bad: red


def widget(
    scores: Scores, model: str, variables: Sequence[str], regions: Mapping[str, str], own: Mapping[str, str], box: Box | None = None,
) -> Widget | None:  # fmt: skip
    """The map of the `regions` (abbreviation -> name) of a task, of the world or of its `box`; None where none was scored there.

    `own`: outlines (WKT, degrees) of regions of the user's (`basins:Danube`), which lie above the others; one without can be chosen by
    its name alone.
    """
    drawing = outlines.world() if box is None else outlines.Drawing(box)
    others = [code for code in scores.rows["region"].astype(str).unique() if ":" in code]
    shown = [one for one in _all(scores, model, variables, [*regions, *others]) if one.values]
    known = set().union(*(one.values for one in shown))
    shapes = {code: shape for code, shape in outlines.ar6().items() if code in regions and (box is None or code in known)}
    shapes |= {code: shapely.from_wkt(own[code]) for code in others if code in own and code in known}
    paths = {code: path for code, shape in shapes.items() if (path := drawing.path(shape))}
    if not paths or not shown:
        return None
    told = [coloured(one) for one in shown]
    about = {
        "view_box": drawing.view_box, "globe": drawing.outline, "coasts": drawing.coasts, "missing": MISSING,
        "regions": [(code, regions.get(code, code), path, told[0]["regions"].get(code)) for code, path in paths.items()],
        "own": [code for code in others if code not in paths],
        "scores": [one.title for one in shown],
        "legend": told[0]["legend"],
    }  # fmt: skip
    return Widget("regionmap", about, partial(_told, told))


def _told(scores: Sequence[Mapping[str, Any]], _: Address) -> dict[str, Any]:
    return {str(i): one for i, one in enumerate(scores)}


def _all(scores: Scores, model: str, variables: Sequence[str], codes: Sequence[str]) -> Iterator[Shown]:
    for metric, words in SCORES:
        for name in variables:
            for space in spaces(name):
                found = {code: value for code in codes if (value := scores.value(model, name, metric, space, code)) is not None}
                unit = units(name, space)
                said = {code: _said(scores, model, name, metric, space, code, value, unit) for code, value in found.items()}
                where = f" ({unit})" if len(spaces(name)) > 1 or metric != SCORES[0][0] else ""
                yield Shown(f"{label(name)}: {words}{where}", found, said, metric != "rmse", metric == "bias")


def _said(scores: Scores, model: str, name: str, metric: str, space: str, code: str, value: float, unit: str) -> str:
    """`RMSE 0.71 K (95 % interval 0.65 to 0.80)`."""
    ends = scores.interval(model, name, metric, space, code)
    sure = f" (95 % interval {between(ends)})" if ends else ""
    if metric != SCORES[0][0]:
        return f"{'RMSE' if metric == 'rmse' else metric} {number(value)} {unit}{sure}"
    own, best = scores.value(model, name, "rmse", space, code), scores.best(model, name, "rmse", space, code)
    beside = f"; RMSE {number(own)} against {number(best[1])} {unit} with {method_name(best[0])}" if own is not None and best else ""
    return f"skill {value:+.2f}".replace("-", "−") + sure + beside


def coloured(shown: Shown) -> dict[str, Any]:
    """What the script reads of one score: a colour, the words and the value of each region, and the legend."""
    values = np.array(list(shown.values.values()))
    if shown.diverging:
        high = _round(float(np.quantile(np.abs(values), 0.97)))
        low, cmap = -high, matplotlib.colormaps["RdBu_r" if shown.reverse else "RdBu"]
    else:
        low, high, cmap = 0.0, _round(float(np.quantile(values, 0.97))), matplotlib.colormaps["YlOrBr"]
    colours = [to_hex(cmap(0.06 + 0.88 * i / (CLASSES - 1))) for i in range(CLASSES)]
    position = {code: int(np.clip((value - low) / (high - low) * CLASSES, 0, CLASSES - 1)) for code, value in shown.values.items()}
    edges = [number(low + (high - low) * i / CLASSES, 2) for i in range(1, CLASSES)]
    names = [f"below {edges[0]}", *("" for _ in range(CLASSES - 2)), f"{edges[-1]} and more"]
    names[CLASSES // 2] = "about 0" if shown.diverging else f"{edges[CLASSES // 2 - 1]} to {edges[CLASSES // 2]}"
    return {
        "regions": {code: {"fill": colours[position[code]], "text": shown.words[code], "value": value}
                    for code, value in shown.values.items()},
        "legend": [*zip(colours, names, strict=True), (MISSING, "not scored")],
    }  # fmt: skip


def _round(limit: float) -> float:
    """Two digits, upwards: legends with plain numbers."""
    if not limit > 0:
        return 1.0
    size = 10.0 ** (math.floor(math.log10(limit)) - 1)
    return math.ceil(limit / size) * size
