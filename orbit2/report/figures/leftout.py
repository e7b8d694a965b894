"""A region left out of training beside all others: errors inside and outside over those of interpolation. Draws rows of diagnose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from orbit2.baselines import METHODS
from orbit2.report.figures import maps
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.style import MUTED, colour, method_name
from orbit2.report.tables import Cell, Scores, Table, csv_text, label, traced, units

INSIDE, REST = "left_out:box", "left_out:rest"
KINDS = {INSIDE: "left out", REST: "elsewhere"}


def best_interpolation(scores: Scores, model: str, name: str, region: str) -> tuple[str, float] | None:
    """The interpolation with the lowest RMSE there: what is fitted has seen the truth of the box, interpolation has not."""
    found = {who: v for who in scores.baselines(model) if who in METHODS and (v := scores.value(who, name, "rmse", region=region))}
    return min(found.items(), key=lambda item: item[1]) if found else None


def ratios(scores: Scores, model: str, name: str) -> dict[str, tuple[float, str, float]]:
    """Region -> (RMSE over that of the best interpolation, which one, RMSE)."""
    made = {}
    for region in KINDS:
        own, best = scores.value(model, name, "rmse", region=region), best_interpolation(scores, model, name, region)
        if own is not None and best is not None:
            made[region] = own / best[1], best[0], own
    return made


def reading(scores: Scores, model: str, names: Sequence[str], box: maps.Box) -> str:
    """In words: for how many variables the lead over interpolation holds where no truth was seen."""
    found = {name: both for name in names if len(both := ratios(scores, model, name)) == len(KINDS)}
    if not found:
        return ""
    leads = [name for name, both in found.items() if both[REST][0] < 1]
    kept = [name for name in leads if found[name][INSIDE][0] < 1]
    said = f"{model} never saw the truth of {maps.describe_box(box)}, in training or validation. "
    if not leads:
        return said + "Elsewhere it is behind interpolation for every variable, so there is no lead that it could keep."
    pairs = {region: [scores.row(who, name, "rmse", region=region) for name in (leads if region == INSIDE else found)
                      for who in (model, found[name][region][1])] for region in KINDS}  # fmt: skip
    counted = traced(str(len(kept)), *pairs[INSIDE], how="lower"), traced(str(len(leads)), *pairs[REST], how="lower")
    held = " of the ".join(counted)
    return f"{said}Its lead over the best interpolation holds there for {held} variables for which it has one elsewhere."  # fmt: skip


def table(scores: Scores, model: str, names: Sequence[str], task: str) -> Table | None:
    """RMSE of the model and of the best interpolation, inside and outside."""
    rows = []
    for name in names:
        cells = []
        for region in KINDS:
            best, ends = best_interpolation(scores, model, name, region), scores.interval(model, name, "rmse", region=region)
            note = f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else ""
            cells += [Cell.of(scores.value(model, name, "rmse", region=region), 4, strong=True, note=note),
                      Cell.of(best[1] if best else None, 4, note=method_name(best[0]) if best else "")]  # fmt: skip
        if any(cell.value is not None for cell in cells):
            rows.append((Cell(label(name), note=units(name)), *cells))
    if not rows:
        return None
    heads = [f"{who}, {kind}" for kind in KINDS.values() for who in (model, "best interpolation")]
    return Table(f"left_out_{task}_table", f"RMSE of {model} where training saw no truth and elsewhere, beside the best interpolation; "
                 "baselines that are fitted saw the truth of both, and are left out here.", ("Variable", *heads), tuple(rows))  # fmt: skip


def figure(scores: Scores, model: str, names: Sequence[str], task: str) -> Figure | None:
    """Two bars a variable; None without rows of both regions."""
    found = {name: both for name in names if len(both := ratios(scores, model, name)) == len(KINDS)}
    if not found:
        return None
    panels = Panels(1, 1, 5.8, 0.55 * len(found) + 1.2)
    ax = panels.axes(0, (0.34, 0.62 / panels.height, 0.62, 1 - 0.95 / panels.height))
    shades = {INSIDE: colour(model), REST: "#8a939c"}
    for y, both in enumerate(found.values()):
        for k, region in enumerate(KINDS):
            ax.barh(y + (k - 0.5) * 0.36, both[region][0], height=0.34, color=shades[region], label=KINDS[region] if y == 0 else None)
            ax.text(both[region][0] + 0.01, y + (k - 0.5) * 0.36, f"{both[region][0]:.3g}", va="center", fontsize=8)
    ax.axvline(1, color=MUTED, linewidth=1.2, linestyle="--")
    ax.set_yticks(range(len(found)), [label(name) for name in found])
    ax.set_xlim(0, 1.15 * max(1.0, *(both[r][0] for both in found.values() for r in KINDS)))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set_xlabel("RMSE ÷ RMSE of the best interpolation there")
    panels.figure.legend(loc="upper right", ncols=2, fontsize=8)
    frame = pd.DataFrame([{"variable": name, "where": KINDS[region], "ratio": both[region][0], "interpolation": both[region][1]}
                          for name, both in found.items() for region in KINDS])  # fmt: skip
    worse = float(np.mean([both[INSIDE][0] - both[REST][0] for both in found.values()]))
    alt = (f"Bars of RMSE over interpolation's, {len(found)} variables: where no truth was seen on average {abs(worse):.3g} "
           f"{'higher' if worse > 0 else 'lower'} than elsewhere.")  # fmt: skip
    caption = "Error of the model over that of the best interpolation (dashed: as good), in the box that training left out and elsewhere."
    return one(panels, f"left_out_{task}", "Where training saw no truth", caption, [alt], csv_text(frame), columns=1)
