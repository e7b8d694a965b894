"""Figures that are not maps or spectra: skill, density, training curves. Draws rows and curves that stages wrote; never scores fields."""

from __future__ import annotations

import textwrap

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orbit2.baselines import METHODS
from orbit2.metrics.verdict import spaces
from orbit2.report.figures.fields import field_title, open_netcdf, split_field
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.inputs import Model, Task
from orbit2.report.style import COLOURS, INK, MUTED, colour, method_name, pretty_units
from orbit2.report.tables import Scores, csv_text, label
from orbit2.variables import VARIABLES

Array = npt.NDArray[np.float64]


EDGE = 1.6  # of the skill figure: what is worse stands there with its value


def skill(scores: Scores, model: str, names: list[str], against: str = "bicubic") -> Figure | None:
    """RMSE of the model, its parent and every baseline, relative to one of them, as dots on a line."""
    rows: list[tuple[str, dict[str, float]]] = []
    parent = scores.parent(model)
    for name in names:
        for space in spaces(name):
            base = scores.value(against, name, "rmse", space)
            if not base:
                continue
            everyone = (*scores.baselines(model), *([parent] if parent else []), model)
            values = {m: v / base for m in everyone if (v := scores.value(m, name, "rmse", space)) is not None}
            shown_units = {"log1p": ", ln(1+x)"}.get(space, ", mm/day" if len(spaces(name)) > 1 else "")
            rows.append((label(name) + shown_units, values))
    if not rows:
        return None
    head = 0.19 * -(-len({m for _, values in rows for m in values}) // 3) + 0.2  # the legend's lines
    panels = Panels(1, 1, 5.8, 0.40 * len(rows) + head + 0.7)
    height = panels.height
    ax = panels.axes(0, (0.33, 0.52 / height, 0.645, 1 - (head + 0.52) / height))
    markers = {"nearest": "s", "bilinear": "^", "conservative": "v", "bicubic": "o", "bicubic_log1p": "P", "bilinear_log1p": "X",
               "delta": "*", "delta_log1p": (6, 2, 0), "regression": "h", "regression_log1p": "H", "lapse_rate": "p",
               "delta_monthly": "*", "delta_monthly_log1p": (6, 2, 0), "quantile_mapping": "<", "bcsd": ">",
               "bcsd_monthly": ">"}  # fmt: skip
    seen: set[str] = set()
    for y, (_, values) in enumerate(rows):
        ax.axhline(y, color="#e6eaee", linewidth=1, zorder=0)
        for m, value in values.items():
            own = m == model
            if value > EDGE:
                ax.annotate(
                    f"{value:.1f} →",
                    (EDGE, y),
                    xytext=(-6, 0),
                    textcoords="offset points",
                    fontsize=8,
                    color=MUTED,
                    ha="right",
                    va="center",
                )
            ax.plot(
                min(value, EDGE),
                y,
                marker="D" if own else "d" if m == parent else markers.get(m, "o"),
                markersize=9 if own else 6.5,
                color="#6a3d9a" if m == parent else colour(m),
                linestyle="none",
                label=None if m in seen else method_name(m),
                zorder=3 if own else 2,
                alpha=1 if own else 0.85,
            )
            seen.add(m)
    ax.axvline(1, color=COLOURS.get(against, MUTED), linewidth=1.2, linestyle="--", zorder=1)
    ax.set_yticks(range(len(rows)), [textwrap.fill(name, 27) for name, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.margins(x=0.04)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"RMSE ÷ RMSE of {method_name(against)}   (left of the line is better)")
    handles, labels = ax.get_legend_handles_labels()
    first = labels.index(method_name(model)) if method_name(model) in labels else 0
    handles, labels = [handles[first], *handles[:first], *handles[first + 1 :]], [labels[first], *labels[:first], *labels[first + 1 :]]
    panels.figure.legend(
        handles, labels, loc="upper center", ncols=min(3, len(labels)), bbox_to_anchor=(0.5, 1.0), handletextpad=0.2, columnspacing=1.2
    )
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    text = csv_text(pd.DataFrame([{"variable": name, **values} for name, values in rows]))
    alt = f"Dot plot of RMSE relative to {against} for " + ", ".join(
        f"{name} ({model} {values[model]:.3f})" for name, values in rows if model in values
    )
    return one(
        panels,
        "skill",
        f"Error relative to {method_name(against)}" + (" interpolation" if against in METHODS else ""),
        f"RMSE of {model} and of every baseline, divided by the RMSE of {method_name(against)}.",
        [alt],
        text,
        columns=1,
    )


def densities(task: Task, model: str, against: str = "bicubic") -> Figure:
    """Truth against model and against one interpolation as log-density, a row per field."""
    data = open_netcdf(task.evaluate / "density.nc", "evaluate")
    names = [str(x).removesuffix("_count") for x in data.data_vars if str(x).endswith("_count")]
    present = [str(m) for m in data["model"].values]
    shown = [m for m in (against, model) if m in present]
    panels = Panels(len(names), len(shown), 4.6, 4.2)
    alts, frames = [], []
    for row, name in enumerate(names):
        edges = data[f"{name}_edges"].to_numpy()
        variable_name, space = split_field(name)
        units = pretty_units(str(data[f"{name}_edges"].attrs.get("units", "")))
        axis = "ln(1 + mm/day)" if space == "log1p" else units
        total = data[f"{name}_count"].sel(model=shown)
        with np.errstate(divide="ignore", invalid="ignore"):
            every = np.log10((total / total.sum(("truth_bin", "prediction_bin"))).where(total > 0))
        norm = Normalize(float(every.min()), float(every.max()))
        for column, m in enumerate(shown):
            counts = data[f"{name}_count"].sel(model=m).to_numpy().astype(np.float64)
            ax = panels.axes(row * len(shown) + column, (0.155, 0.14, 0.66, 0.76))
            bar = panels.axes(row * len(shown) + column, (0.84, 0.14, 0.03, 0.76))
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = np.log10(np.where(counts > 0, counts / counts.sum(), np.nan))
            mesh = ax.pcolormesh(edges, edges, shares.T, cmap=matplotlib.colormaps["viridis"], norm=norm, rasterized=True, shading="flat")
            ax.plot(edges[[0, -1]], edges[[0, -1]], color=INK, linewidth=0.9)
            ax.set_aspect("equal", adjustable="box")
            scale = 100 if variable_name == "mean_sea_level_pressure" else 1
            for axis_object in (ax.xaxis, ax.yaxis):
                axis_object.set_major_locator(MaxNLocator(5))
                if scale != 1:
                    axis_object.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 100:.0f}"))
            shown_units = "hPa" if scale != 1 else axis
            ax.set_xlabel(f"Truth ({shown_units})")
            ax.set_ylabel(f"{method_name(m) if m != model else m} ({shown_units})")
            ax.set_title(f"{label(variable_name)}: {method_name(m)}", fontsize=10.5)
            panels.figure.colorbar(mesh, cax=bar)
            bar.tick_params(labelsize=8)
            bar.set_ylabel("log₁₀ share of cells", fontsize=8.5)
            bar.grid(False)
            alts.append(f"Density of truth against {method_name(m)} for {field_title(name)}; the diagonal is a perfect prediction.")
            i, j = np.nonzero(counts)
            middle: Array = (edges[:-1] + edges[1:]) / 2
            frames.append(
                pd.DataFrame(
                    {"field": name, "model": m, "truth": middle[i], "prediction": middle[j], "cells": counts[i, j].astype(np.int64)}
                )
            )
    text = csv_text(pd.concat(frames))
    return one(
        panels,
        "density",
        "Truth against prediction, cell by cell",
        "Share of all cells and test frames per bin, on a logarithmic scale. A cloud hugging the diagonal is good; flattening at the ends "
        "means that extremes are missed.",
        alts,
        text,
        columns=len(shown),
    )


def training(model: Model) -> Figure | None:
    """Training loss and validation ratios by step; None where no curve was kept."""
    frame = pd.DataFrame(model.curve)
    if "step" not in frame or not len(frame):
        return None
    ratios = pd.DataFrame(
        [{"step": r["step"], **r["validation_ratio"]} for r in model.curve if isinstance(r.get("validation_ratio"), dict)]
    )
    has_loss = "loss" in frame and frame["loss"].notna().any()
    has_ratio = len(ratios) > 0
    count = int(has_loss) + int(has_ratio)
    if not count:
        return None
    panels, alts, i = Panels(1, count, 4.65, 3.2), [], 0
    if has_loss:
        ax = panels.axes(i, (0.14, 0.165, 0.83, 0.725))
        kept = frame.dropna(subset=["loss"])
        window = max(1, len(kept) // 15)
        smooth = window > 1
        ax.plot(
            kept["step"],
            kept["loss"],
            color="#b9c2cb" if smooth else colour("model"),
            linewidth=1 if smooth else 2,
            label="each logged step",
        )
        if smooth:
            ax.plot(
                kept["step"],
                kept["loss"].rolling(window, min_periods=1).mean(),
                color=colour("model"),
                linewidth=2,
                label=f"mean of {window}",
            )
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.set(xlabel="Step", ylabel="Training loss")
        ax.set_title("Training loss")
        if (kept["loss"] > 0).all() and kept["loss"].max() > 8 * kept["loss"].min():
            ax.set_yscale("log")
        ax.legend(loc="upper right")
        alts.append(f"Training loss of {model.name} from step {int(kept['step'].iloc[0])} to {int(kept['step'].iloc[-1])}.")
        i += 1
    if has_ratio:
        ax = panels.axes(i, (0.13, 0.165, 0.585, 0.725))
        palette = ["#D55E00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#8a939c"]
        names = [c for c in ratios.columns if c != "step"]
        for n, name in enumerate(names):
            short = VARIABLES[name].short if name in VARIABLES else name
            ax.plot(ratios["step"], ratios[name], color=palette[n % len(palette)], marker="o", markersize=3, label=short)
        ax.axhline(1, color=MUTED, linewidth=1, linestyle="--")
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.set(xlabel="Step", ylabel="RMSE ÷ RMSE of interpolation")
        ax.set_title("Validation")
        upper = float(np.nanquantile(ratios[names].to_numpy(), 0.95))
        ax.set_ylim(max(0.0, float(np.nanmin(ratios[names].to_numpy())) - 0.05), max(1.08, min(upper * 1.1, 2.0)))
        best = model.about.get("best_step")
        if isinstance(best, int):
            ax.axvline(best, color=INK, linewidth=1, linestyle=":", label="weights kept")
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        alts.append(f"Validation RMSE of {model.name} relative to interpolation by step, for {', '.join(names)}.")
    csv = frame.drop(columns=["validation_ratio", "validation_tail_ratio"], errors="ignore")
    if has_ratio:
        csv = csv.merge(ratios, on="step", how="outer") if len(csv) else ratios
    return one(
        panels,
        f"training_{model.name}",
        f"Training of {model.name}",
        "Loss of the training batches, and RMSE on the validation block relative to interpolation (in the network's normalised "
        "space; precipitation in ln(1 + x)).",
        alts,
        csv_text(csv),
        columns=count,
    )
