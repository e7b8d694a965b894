"""Maps of what each cell's own days are like: correlation over time, a high quantile, wet days. Draws what diagnose wrote."""

from __future__ import annotations

import matplotlib
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import MaxNLocator

from orbit2.grid import AnyGrid
from orbit2.metrics.netcdf import grid_of_file
from orbit2.report import text
from orbit2.report.figures import maps, scenes
from orbit2.report.figures.panels import Figure, Panels, Picture
from orbit2.report.inputs import Task
from orbit2.report.style import display, method_name
from orbit2.report.tables import Beside, Scores, label, traced

Array = npt.NDArray[np.float64]
Layer = tuple[str, Array, Colormap, Normalize, str]
TRUTH = "truth"


def cell_maps(task: Task, data: xr.Dataset, scores: Scores, model: str) -> Figure | None:
    """A row per variable: correlation, how much more than that of the best baseline or of nearest neighbour, bias of a high quantile; of
    rain a row of wet days more. None where diagnose has no such maps (why stands under what the run cannot say). `scores` of evaluate:
    which baseline is best.
    """
    names = [name for name in task.variables if f"{name}_r" in data and model in data["model"].values]
    grid = grid_of_file(data) if names else None
    if grid is None:
        return None
    rows = [(name, layers) for name in names for layers in _rows(data, scores, name, model)]
    panels, alts = Panels(len(rows), 3, 3.1, 2.2 if grid.periodic else 2.8), []
    for row, (name, layers) in enumerate(rows):
        for column in range(3):
            if column >= len(layers):
                alts.append(f"No further map of {label(name)}.")
                continue
            title, values, cmap, norm, bar = layers[column]
            _draw(panels, 3 * row + column, grid, title, values, cmap, norm, bar)
            known = values[np.isfinite(values)]
            alts.append(f"Map of {label(name)}, {title}: median {np.median(known):.3g}." if known.size else f"{title}: nothing known.")
    whole, *cuts = panels.render(3 * len(rows))
    about = str(data[f"{names[0]}_r"].attrs.get("comment", ""))
    about = traced(f"{about[:1].upper()}{about[1:]}", Beside(f"diagnose/{task.name}/climate.nc", (), f"{names[0]}_r"), how="told")
    return Figure(
        f"cells_{task.name}", "What each cell's days are like", f"{about}. Correlation of daily values over time, "
        f"seasons and all; rain counts as wet from 1 mm on. Grey: not known, or never changing. {text.COAST_CREDIT}",
        tuple(Picture(pixels, alt) for pixels, alt in zip(cuts, alts, strict=True)), whole, columns=3,
    )  # fmt: skip


def _rows(data: xr.Dataset, scores: Scores, name: str, model: str) -> list[list[Layer]]:
    look, named = display(name), matplotlib.colormaps
    r = _of(data, f"{name}_r", model)
    first: list[Layer] = [(f"{label(name)}: r", r, named["viridis"], Normalize(float(_low(r)), 1.0), "correlation")]
    best = scores.best(model, name, "rmse", "physical")
    known = [who for who in ([best[0]] if best else []) + ["nearest"] if who in data["model"].values
             and np.isfinite(_of(data, f"{name}_r", who)).any()]  # fmt: skip
    if known:
        gain = r - _of(data, f"{name}_r", known[0])
        limit = _limit(gain)
        first.append((f"r less that of {method_name(known[0])}", gain, named["RdBu"], Normalize(-limit, limit), "above 0: better"))
    if f"{name}_quantile_bias" in data:
        bias = _of(data, f"{name}_quantile_bias", model) * look.scale
        q, limit = float(data[f"{name}_quantile_bias"].attrs["quantile"]), _limit(bias)
        units = scenes.DIFFERENCE_UNITS.get(look.units, look.units)
        first.append((f"{100 * q:g} % quantile: bias", bias, look.difference_cmap, Normalize(-limit, limit), units))
    if f"{name}_wet_share" not in data:
        return [first]
    truth, own = (100 * _of(data, f"{name}_wet_share", who) for who in (TRUTH, model))
    limit = _limit(own - truth)
    wet = Normalize(0.0, max(1.0, float(np.nanmax(truth)) if np.isfinite(truth).any() else 1.0))
    return [first, [
        ("Wet days: truth", truth, look.cmap, wet, "% of days"), (f"Wet days: {model}", own, look.cmap, wet, "% of days"),
        (f"Wet days: {model} − truth", own - truth, look.difference_cmap, Normalize(-limit, limit), "% of days"),
    ]]  # fmt: skip


def _of(data: xr.Dataset, key: str, who: str) -> Array:
    found: Array = data[key].sel(model=who).to_numpy().astype(np.float64)
    return found


def _low(r: Array) -> float:
    return max(-1.0, min(0.95, float(np.nanquantile(r, 0.02)))) if np.isfinite(r).any() else 0.0


def _limit(values: Array) -> float:
    return (float(np.nanquantile(np.abs(values), 0.98)) if np.isfinite(values).any() else 1.0) or 1.0


def _draw(panels: Panels, panel: int, grid: AnyGrid, title: str, values: Array, cmap: Colormap, norm: Normalize, bar: str) -> None:
    ax = panels.axes(panel, (0.015, 0.24, 0.97, 0.64) if grid.periodic else (0.13, 0.3, 0.84, 0.58))
    if grid.periodic:
        image = maps.world(ax, values, grid, cmap, norm)
    else:
        image = maps.zoom(ax, values, grid, maps.extent(grid), cmap, norm)
    ax.set_title(title, pad=3, fontsize=9)
    beneath = panels.axes(panel, (0.14, 0.19, 0.72, 0.035))
    maps.colourbar(beneath, image, bar)
    if not hasattr(norm, "boundaries"):
        beneath.xaxis.set_major_locator(MaxNLocator(4))
    beneath.tick_params(labelsize=7.5)
