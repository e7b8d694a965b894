"""Maps of errors over the whole record, and distributions with their quantiles. Draws what evaluate wrote."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from orbit2.metrics.table import TRUTH
from orbit2.report import text
from orbit2.report.figures import maps, scenes
from orbit2.report.figures.fields import field_title, leading, open_netcdf, split_field
from orbit2.report.figures.panels import Figure, Panels, Picture, one
from orbit2.report.inputs import Task
from orbit2.report.style import COLOURS, MUTED, colour, display, method_name, pretty_units
from orbit2.report.tables import Scores, csv_text, label, units

TAILS = ("0.001", "0.01", "0.5", "0.99", "0.999")
MOST = 0.9999


def error_maps(task: Task, scores: Scores, model: str) -> Figure | None:
    """Bias and RMSE of the model in each cell, and its RMSE over that of the best baseline of the domain; a row per variable."""
    data = open_netcdf(task.evaluate / "maps.nc", "evaluate")
    names = [name for name in task.variables if f"{name}_rmse" in data and model in data["model"].values]
    if not names:
        return None
    draw = _drawer(task)
    tall = 2.2 if task.grid.periodic else 2.8
    panels, alts = Panels(len(names), 3, 3.1, tall), []
    for row, name in enumerate(names):
        look = display(name)
        bias, rmse = (data[f"{name}_{metric}"].sel(model=model).to_numpy().astype(np.float64) * look.scale for metric in ("bias", "rmse"))
        best = scores.best(model, name, "rmse", "physical")
        shown = scenes.DIFFERENCE_UNITS.get(look.units, look.units)
        limit = _limit(np.abs(bias))
        layers: list[tuple[str, npt.NDArray[np.float64], Colormap, Normalize, str]] = [
            (f"{label(name)}: bias", bias, look.difference_cmap, Normalize(-limit, limit), shown),
            ("RMSE", rmse, matplotlib.colormaps["magma_r"], Normalize(0, _limit(rmse)), shown),
        ]
        if best is not None and best[0] in data["model"].values:
            other = data[f"{name}_rmse"].sel(model=best[0]).to_numpy().astype(np.float64) * look.scale
            ratio = np.where(other > 0, rmse / np.where(other > 0, other, 1.0), np.nan)
            layers.append((f"RMSE ÷ {method_name(best[0])}", ratio, matplotlib.colormaps["RdBu_r"], Normalize(0.5, 1.5), "below 1: better"))
        for column, (title, values, cmap, norm, bar) in enumerate(layers):
            ax = panels.axes(3 * row + column, (0.015, 0.24, 0.97, 0.64) if task.grid.periodic else (0.13, 0.3, 0.84, 0.58))
            image = draw(ax, values, cmap, norm)
            ax.set_title(title, pad=3, fontsize=9)
            beneath = panels.axes(3 * row + column, (0.14, 0.19, 0.72, 0.035))
            maps.colourbar(beneath, image, bar)
            beneath.xaxis.set_major_locator(MaxNLocator(4))
            beneath.tick_params(labelsize=7.5)
            alts.append(f"Map over all frames, {label(name)}, {title}: median {np.nanmedian(values):.3g}.")
        alts += ["Nothing was scored beside the model."] * (3 - len(layers))
    whole, *cuts = panels.render(3 * len(names))
    return Figure(
        f"errors_{task.name}", "Errors in each cell", f"Over all test frames; rain in mm/day. {text.COAST_CREDIT}",
        tuple(Picture(pixels, alt) for pixels, alt in zip(cuts, alts, strict=True)), whole, columns=3,
    )  # fmt: skip


def _limit(values: npt.NDArray[np.float64]) -> float:
    return (float(np.nanquantile(values, 0.98)) if np.isfinite(values).any() else 1.0) or 1.0


def _drawer(task: Task) -> Callable[[Axes, npt.NDArray[np.float64], Colormap, Normalize], AxesImage]:
    """Round the globe the world map, else the box."""
    grid = task.grid
    if grid.periodic:
        return lambda ax, values, cmap, norm: maps.world(ax, values, grid, cmap, norm)
    return lambda ax, values, cmap, norm: maps.zoom(ax, values, grid, maps.extent(grid), cmap, norm)


def distributions(task: Task, scores: Scores, model: str) -> Figure | None:
    """Per field its density, on a logarithmic axis, and model quantiles against the truth's, as far as 99.99 % where bins and area tell."""
    data = open_netcdf(task.evaluate / "density.nc", "evaluate")
    names = leading([str(x).removesuffix("_count") for x in data.data_vars if str(x).endswith("_count")])
    if not names or model not in data["model"].values:
        return None
    beside = [m for m in ("nearest", "bicubic", "bicubic_log1p") if m in data["model"].values]
    panels, alts, table = Panels(len(names), 2, 4.6, 2.6), [], []
    for row, field in enumerate(names):
        name, space = split_field(field)
        edges = data[f"{field}_edges"].to_numpy().astype(np.float64)
        middle, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
        axis = "ln(1 + mm/day)" if space == "log1p" else pretty_units(str(data[f"{field}_edges"].attrs.get("units", "")))
        counts = {m: data[f"{field}_count"].sel(model=m).to_numpy().astype(np.float64) for m in (model, *beside)}
        marginal = {"truth": counts[model].sum(axis=1), **{m: c.sum(axis=0) for m, c in counts.items()}}
        left, right = (panels.axes(2 * row + k, (0.14, 0.22, 0.82, 0.62)) for k in (0, 1))
        quantiles = {}
        for who, count in marginal.items():
            if count.sum() <= 0:
                continue
            shade = COLOURS["truth"] if who == "truth" else colour(who)
            density = count / count.sum() / width
            left.plot(middle, np.where(density > 0, density, np.nan), color=shade, linewidth=1.8 if who in ("truth", model) else 0.9,
                      label=method_name(who), zorder=3 if who == model else 2)  # fmt: skip
            quantiles[who] = np.concatenate([[0.0], np.cumsum(count) / count.sum()])
            table += [{"field": field, "model": who, "value": v, "density": d} for v, d in zip(middle, density, strict=True)]
        left.set_yscale("log")
        left.set_title(f"{field_title(field)}: density", fontsize=9.5)
        left.set_xlabel(axis, fontsize=8.5)
        levels = np.concatenate([np.geomspace(1e-4, 0.01, 20), np.linspace(0.02, 0.98, 49), 1 - np.geomspace(0.01, 1 - MOST, 20)])
        against = np.interp(levels, quantiles["truth"], edges)
        right.plot(edges[[0, -1]], edges[[0, -1]], color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
        for who, cumulated in quantiles.items():
            if who != "truth":
                right.plot(against, np.interp(levels, cumulated, edges), ".-", color=colour(who), markersize=2.5, linewidth=0.8,
                           label=method_name(who), zorder=3 if who == model else 2)  # fmt: skip
        low, high = against[0], against[-1]
        right.set_xlim(low - 0.03 * (high - low), high + 0.08 * (high - low))
        right.set_ylim(right.get_xlim())
        right.set_title("quantiles, 0.01 % to 99.99 %", fontsize=9.5)
        right.set_xlabel(f"truth, {axis}", fontsize=8.5)
        right.set_ylabel("prediction", fontsize=8.5)
        if row == 0:
            left.legend(fontsize=7)
        at = [f"quantile_{t}" for t in TAILS]
        own, truth = ([scores.value(who, name, metric, space) for metric in at] for who in (model, TRUTH))
        words = ", ".join(f"{100 * float(t):g} %: {p:.4g} against {o:.4g}" for t, p, o in zip(TAILS, own, truth, strict=True) if p and o)
        alts += [f"Density of {field_title(field)}, truth, {model} and interpolations.",
                 f"Quantiles of {model} against the truth's, {field_title(field)}"
                 + (f", {units(name, space)}: {words}." if words else ".")]  # fmt: skip
    return one(
        panels, f"distributions_{task.name}", "Distributions and their tails",
        "Left: density by area over all frames and cells, on a logarithmic axis. Right: quantiles against the truth's from the same bins "
        f"({data.sizes['edge'] - 1} over the range): below the diagonal at the upper end, extremes are too weak. Right values in wrong "
        "places count as right.",
        alts, csv_text(pd.DataFrame(table)),
    )  # fmt: skip
