"""How far area means of a prediction are from its input: a histogram by powers of ten. Draws rows that evaluate wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.style import colour, method_name
from orbit2.report.tables import Scores, csv_text, label, units

WITHIN = re.compile(r"conservation_within_1e(-?\d+)")
BESIDE = ("bicubic", "conservative")


def residuals(scores: Scores, model: str, names: Sequence[str], task: str) -> Figure | None:
    """Share of the area by the size of |block mean - input|, a panel per variable; None without such rows."""
    powers = sorted({int(told[1]) for metric in scores.rows["metric"].unique() if (told := WITHIN.fullmatch(str(metric)))})
    found: dict[str, dict[str, list[float]]] = {}
    for name in names:
        for who in (model, *(other for other in BESIDE if other in scores.baselines(model))):
            below = [scores.value(who, name, f"conservation_within_1e{power}") for power in powers]
            known = [share for share in below if share is not None]
            if powers and len(known) == len(powers):
                found.setdefault(name, {})[who] = list(np.diff([0.0, *known, 1.0]))
    found = {name: values for name, values in found.items() if model in values}
    if not found:
        return None
    panels, alts, table = Panels(-(-len(found) // 2), min(2, len(found)), 4.6, 2.8), [], []
    bins = [f"≤ 10{_high(powers[0])}", *(f"10{_high(power)}" for power in powers[1:]), f"> 10{_high(powers[-1])}"]
    for panel, (name, values) in enumerate(found.items()):
        ax = panels.axes(panel, (0.13, 0.24, 0.83, 0.62))
        width = 0.8 / len(values)
        for i, (who, shares) in enumerate(values.items()):
            at = np.arange(len(bins)) + (i - (len(values) - 1) / 2) * width
            ax.bar(at, np.multiply(100, shares), width=width, color=colour(who), label=method_name(who))
            table += [{"variable": name, "model": who, "up_to": up, "share": share}
                      for up, share in zip([*(f"1e{power}" for power in powers), "inf"], shares, strict=True)]  # fmt: skip
        ax.set_xticks(range(len(bins)), bins, fontsize=7)
        ax.set_xlabel(f"|area mean − input| up to ({units(name)})", fontsize=8.5)
        ax.set_ylabel("% of the area", fontsize=8.5)
        ax.set_title(label(name), fontsize=10)
        ax.grid(False, axis="x")
        if panel == 0:
            ax.legend(fontsize=7.5)
        most = int(np.argmax(values[model]))
        alts.append(f"Histogram of the conservation residual of {label(name)}: {model} mostly {bins[most]} {units(name)}.")
    caption = ("The area-weighted mean of a prediction over each cell of its input, less that input, by size in powers of ten, over all "
               "frames. A method that conserves has all of it at the left, at rounding.")  # fmt: skip
    return one(panels, f"conservation_{task}", "Does it keep what the input says?", caption, alts, csv_text(pd.DataFrame(table)))


def _high(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
