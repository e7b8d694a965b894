"""Maps of judgements: each region in the colour of its level, a panel per use. Draws judgements, makes none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Patch

from orbit2.climate.domains import AR6
from orbit2.report import text
from orbit2.report.figures import maps
from orbit2.report.figures.fields import open_netcdf
from orbit2.report.figures.monsoon import PREFIX
from orbit2.report.figures.panels import Figure, Panels, Picture
from orbit2.report.figures.regions import edges
from orbit2.report.inputs import Task
from orbit2.report.tables.uses import WORDS, Column, Judgement, counted

# Okabe & Ito (2008), lightened: told apart with every colour vision deficiency, and in print by their brightness.
COLOURS = {"yes": "#009E73", "care": "#F0C75E", "no": "#C4511B"}

LETTERS = 42  # of a title in full size across a panel


def lamp_maps(task: Task, found: Sequence[Judgement], columns: Sequence[Column], csv: str, titles: Sequence[str]) -> Figure | None:
    """One panel per column; None off the globe, or without diagnose's map of the regions. A region has its own colour, else that of the
    monsoon domain that it is in; what is counted are the regions with one of their own, or where none has, the domains."""
    path = task.diagnose / "regions.nc"
    if not task.grid.periodic or not path.is_file():
        return None
    data = open_netcdf(path, "diagnose")
    where, names = data["scored_region_id"].to_numpy(), [str(x) for x in data["region"].values]
    where = np.where(np.isfinite(where), where, -1).astype(int)
    shown = [column for column in columns if any(one.column == column and set(_regions(one.region)) & set(names) for one in found)]
    if not shown:
        return None
    overlay = edges(data["region_id"].to_numpy(), task)
    rows = -(-len(shown) // 3)
    panels, alts = Panels(rows, 3, 3.1, 1.95), []
    levels = list(COLOURS)
    cmap, norm = ListedColormap(list(COLOURS.values())), BoundaryNorm(np.arange(-0.5, len(levels)), len(levels))
    for i, column in enumerate(shown):
        judged = [one for one in found if one.column == column and set(_regions(one.region)) & set(names)]
        own = [one for one in judged if one.region in names]
        by = {name: levels.index(one.level) for one in (*judged, *own) for name in _regions(one.region)}
        values = np.array([by.get(name, np.nan) for name in names] + [np.nan])
        ax = panels.axes(i, (0.015, 0.1, 0.97, 0.74))
        image = maps.world(ax, values[where], task.grid, cmap, norm)
        ax.imshow(overlay, origin="lower", extent=image.get_extent(), interpolation="bilinear", zorder=3)
        title = titles[list(columns).index(column)]
        ax.set_title(title, pad=3, fontsize=min(9, 9 * LETTERS / len(title)))  # it stays above its own panel
        counts = list(counted(own or judged).values())
        handles = [Patch(facecolor=colour, label=f"{WORDS[level]} {count}")
                   for (level, colour), count in zip(COLOURS.items(), counts, strict=True)]  # fmt: skip
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.03), ncols=3, fontsize=7.5, handlelength=1, handleheight=0.9,
                  columnspacing=1.2, frameon=False)  # fmt: skip
        alts.append(f"World map, {title}: " + ", ".join(f"{WORDS[level]} in {count}" for level, count in zip(levels, counts, strict=True))
                    + (" regions." if own else " monsoon domains."))  # fmt: skip
    whole, *cuts = panels.render(len(shown))
    return Figure(
        "decision_maps", "By region", f"Grey: not judged. {text.REGIONS_CREDIT} {text.COAST_CREDIT}",
        tuple(Picture(pixels, alt) for pixels, alt in zip(cuts, alts, strict=True)), whole, columns=3, csv=csv,
    )  # fmt: skip


def _regions(region: str) -> tuple[str, ...]:
    """The AR6 regions that a row's region covers: itself, or those of a monsoon domain."""
    return AR6.get(region.removeprefix(PREFIX), ()) if region.startswith(PREFIX) else (region,)
