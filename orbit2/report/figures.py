"""Figures that are not maps: skill, spectra, density, training curves. Draws rows and curves that stages wrote; never scores fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from orbit2.errors import OrbitError
from orbit2.report.inputs import Model, Task
from orbit2.report.panels import Figure, Panels, Picture
from orbit2.report.style import COLOURS, INK, MUTED, colour, method_name, pretty_units
from orbit2.report.tables import Scores, label, spaces
from orbit2.variables import VARIABLES

Array = npt.NDArray[np.float64]


def open_netcdf(path: Path, stage: str) -> xr.Dataset:
    """Load a small NetCDF file of a stage. Raises OrbitError when it is missing or unreadable."""
    if not path.is_file():
        raise OrbitError("file not found", where=path, hint=f"run the {stage} stage first")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            return opened.load()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OrbitError(f"not a readable NetCDF file ({reason})", where=path, hint=f"delete it and re-run the {stage} stage") from None


def split_field(name: str) -> tuple[str, str]:
    """`precipitation_rate_log1p` -> ("precipitation_rate", "log1p")."""
    if name in VARIABLES:
        return name, "physical"
    base, _, space = name.rpartition("_")
    return base, space


def field_title(name: str) -> str:
    """A field's name for people."""
    variable_name, space = split_field(name)
    return label(variable_name) + (", ln(1 + x)" if space == "log1p" else "")


def leading(names: list[str]) -> list[str]:
    """One field per variable: precipitation only in ln(1 + x)."""
    return [name for name in names if not (split_field(name)[1] == "physical" and f"{name}_log1p" in names)]


def one(panels: Panels, name: str, title: str, caption: str, alts: list[str], csv: str, columns: int = 2, collapsed: str = "") -> Figure:
    """A finished line-art figure."""
    whole, *cuts = panels.render(len(alts))
    pictures = tuple(Picture(pixels, alt, photographic=False) for pixels, alt in zip(cuts, alts, strict=True))
    return Figure(name, title, caption, pictures, whole, columns=columns, csv=csv, collapsed=collapsed)


def skill(scores: Scores, model: str, names: list[str], against: str = "bicubic") -> Figure | None:
    """RMSE of the model and every interpolation, relative to one of them, as dots on a line."""
    rows: list[tuple[str, dict[str, float]]] = []
    for name in names:
        for space in spaces(name):
            base = scores.value(against, name, "rmse", space)
            if not base:
                continue
            values = {m: v / base for m in (*scores.baselines(model), model) if (v := scores.value(m, name, "rmse", space)) is not None}
            rows.append((label(name) + (", ln(1+x)" if space == "log1p" else ""), values))
    if not rows:
        return None
    panels = Panels(1, 1, 7.2, 0.42 * len(rows) + 1.25)
    height = panels.height
    ax = panels.axes(0, (0.27, 0.55 / height, 0.70, 1 - 1.10 / height))
    markers = {"nearest": "s", "bilinear": "^", "conservative": "v", "bicubic": "o", "bicubic_log1p": "P", "bilinear_log1p": "X"}
    seen: set[str] = set()
    for y, (_, values) in enumerate(rows):
        ax.axhline(y, color="#e6eaee", linewidth=1, zorder=0)
        for m, value in values.items():
            own = m == model
            ax.plot(value, y, marker="D" if own else markers.get(m, "o"), markersize=9 if own else 6.5, color=colour(m), linestyle="none",
                    label=None if m in seen else method_name(m), zorder=3 if own else 2, alpha=1 if own else 0.85)
            seen.add(m)
    ax.axvline(1, color=COLOURS[against] if against in COLOURS else MUTED, linewidth=1.2, linestyle="--", zorder=1)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"RMSE ÷ RMSE of {method_name(against)}   (left of the line is better)")
    handles, labels = ax.get_legend_handles_labels()
    panels.figure.legend(handles, labels, loc="upper center", ncols=min(4, len(labels)), bbox_to_anchor=(0.55, 1.0),
                         handletextpad=0.2, columnspacing=1.2)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    text = pd.DataFrame([{"variable": name, **values} for name, values in rows]).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    alt = f"Dot plot of RMSE relative to {against} for " + ", ".join(
        f"{name} ({model} {values[model]:.3f})" for name, values in rows if model in values)
    return one(panels, "skill", "Error relative to bicubic interpolation",
               f"RMSE of {model} and of every interpolation, divided by the RMSE of {method_name(against)}.", [alt], text, columns=1)


SHOWN = ("nearest", "bicubic", "bicubic_log1p")


def zonal_spectra(task: Task, model: str, scores: Scores) -> list[Figure]:
    """Per field: zonal power by latitude band with the ratio to the truth below; both Nyquist wavelengths marked."""
    data = open_netcdf(task.evaluate / "spectra.nc", "evaluate")
    figures = []
    for name in leading([str(x) for x in data["field"].values]):
        curves = data["zonal_power"].sel(field=name)
        bands = [str(b) for b in data["band"].values]
        nyquists = [_nyquist(data["wavelength_km"].sel(band=b).to_numpy(), task.store.refinement) for b in bands]
        series = [(band_title(b), data["wavelength_km"].sel(band=b).to_numpy(),
                   {str(m): curves.sel(model=m, band=b).to_numpy() for m in _chosen(data, model)},
                   _resolution(scores, model, name, b), nyquists[i]) for i, b in enumerate(bands)]
        units = pretty_units(str(data["units"].sel(field=name).item()))
        figures.append(_spectrum_figure(series, f"spectra_zonal_{name}", f"Zonal power spectra: {field_title(name)}",
                                        _power_label(units, "per wavenumber"), name, model))
    return figures


def radial_spectra(task: Task, model: str, scores: Scores) -> Figure | None:
    """Per field: radial power spectral density in the first box; None where no box was scored."""
    data = open_netcdf(task.evaluate / "spectra.nc", "evaluate")
    if not data.sizes.get("box"):
        return None
    box = str(data["box"].values[0])
    k = data["k"].sel(box=box).to_numpy()
    with np.errstate(divide="ignore"):
        wavelength = 1 / k
    km = 2 * task.grid.km
    series = []
    for name in leading([str(x) for x in data["field"].values]):
        curves = data["radial_power"].sel(field=name, box=box)
        series.append((field_title(name), wavelength, {str(m): curves.sel(model=m).to_numpy() for m in _chosen(data, model)},
                       _resolution(scores, model, name, box), (km * task.store.refinement, km)))
    return _spectrum_figure(series, "spectra_radial", f"Radial power spectra in the box “{box}”",
                            "Power spectral density (units² km)", box, model)


def _chosen(data: xr.Dataset, model: str) -> list[str]:
    present = [str(m) for m in data["model"].values]
    return [m for m in ("truth", *SHOWN[:2], model) if m in present]


def _resolution(scores: Scores, model: str, name: str, region: str) -> float | None:
    variable_name, space = split_field(name)
    return scores.value(model, variable_name, "effective_resolution_km", space, region)


def _nyquist(wavelength: Array, factor: int) -> tuple[float, float]:
    fine = float(np.nanmin(wavelength))
    return fine * factor, fine


def band_title(band: str) -> str:
    """`30S-30N` -> `30°S to 30°N`."""
    def side(text: str) -> str:
        return "equator" if text == "EQ" else f"{text[:-1]}°{text[-1]}"

    south, _, north = band.partition("-")
    return f"{side(south)} to {side(north)}" if north else band


def _power_label(units: str, per: str) -> str:
    return f"Power {per}" if units in ("1", "–") else f"Power {per} (({units})²)"


Series = tuple[str, Array, dict[str, Array], float | None, tuple[float, float]]


def _spectrum_figure(series: list[Series], name: str, title: str, ylabel: str, about: str, model: str) -> Figure:
    panels = Panels(-(-len(series) // 3) if len(series) > 3 else 1, min(3, len(series)), 4.1, 4.5)
    alts, frames = [], []
    for i, (heading, wavelength, curves, resolution, nyquists) in enumerate(series):
        upper, lower = panels.axes(i, (0.17, 0.40, 0.79, 0.50)), panels.axes(i, (0.17, 0.125, 0.79, 0.235))
        _spectrum(upper, lower, wavelength, curves, resolution, nyquists, model)
        upper.set_title(heading)
        upper.set_ylabel(ylabel, fontsize=9)
        effective = f"; effective resolution of {model} {resolution:.0f} km" if resolution is not None else ""
        alts.append(f"Power spectra of {', '.join(curves)} and their ratio to the truth, {heading}{effective}.")
        frames.append(pd.DataFrame({"panel": heading, "wavelength_km": wavelength, **curves}))
    text = pd.concat(frames).dropna(subset=["wavelength_km"]).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    caption = ("Above: power by wavelength. Below: ratio to the truth, with the band 0.5–2 shaded. Dashed lines: Nyquist wavelengths of the coarse and the "
               "fine grid; everything between them was added by the method. Triangle: effective resolution of the model.")
    return one(panels, name, title, caption, alts, text, columns=min(3, len(series)))


def _spectrum(upper: Axes, lower: Axes, wavelength: Array, curves: dict[str, Array], resolution: float | None,
              nyquists: tuple[float, float], model: str) -> None:
    truth = curves["truth"]
    use = np.isfinite(wavelength) & (truth > 0)
    lower.axhspan(0.5, 2, color="#eef1f4", zorder=0)
    lower.axhline(1, color=COLOURS["truth"], linewidth=1)
    for key, power in curves.items():
        style: dict[str, Any] = {"color": colour(key), "linewidth": 2 if key in ("truth", model) else 1.4, "zorder": 3 if key == model else 2}
        if key not in ("truth", model):
            style["linestyle"] = {"bicubic": (0, (5, 1.5))}.get(key, (0, (1.5, 1.2)))
        upper.plot(wavelength[use], power[use], label=method_name(key), **style)
        if key != "truth":
            lower.plot(wavelength[use], power[use] / truth[use], **style)
    for ax in (upper, lower):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(float(wavelength[use].max()), float(wavelength[use].min()) * 0.93)
        for line in nyquists:
            ax.axvline(line, color=MUTED, linewidth=1, linestyle="--", zorder=1)
        ax.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=20))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    low = float(np.nanmin(truth[use]))
    upper.set_ylim(low * 0.02, float(np.nanmax(truth[use])) * 3)
    lower.set_ylim(0.05, 4)
    lower.set_yticks([0.1, 0.5, 1, 2], ["0.1", "0.5", "1", "2"])
    lower.yaxis.set_minor_formatter(NullFormatter())
    if resolution is not None:
        lower.plot(resolution, 0.062, marker="^", color=colour("model"), markersize=8, clip_on=False, zorder=5)
    for ax in (upper, lower):
        ax.tick_params(axis="x", labelsize=8.5)
    upper.tick_params(labelbottom=False)
    upper.legend(loc="lower left", handlelength=1.8, borderpad=0.2, labelspacing=0.3)
    for line, text in zip(nyquists, ("coarse", "fine"), strict=True):
        upper.annotate(f"{text} Nyquist", (line, 0.985), xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right",
                       fontsize=8, color=MUTED, xytext=(-1, 0), textcoords="offset points")
    lower.set_xlabel("Wavelength (km)")
    lower.set_ylabel("Ratio to truth", fontsize=9)


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
        for column, m in enumerate(shown):
            counts = data[f"{name}_count"].sel(model=m).to_numpy().astype(np.float64)
            ax = panels.axes(row * len(shown) + column, (0.155, 0.14, 0.66, 0.76))
            bar = panels.axes(row * len(shown) + column, (0.84, 0.14, 0.03, 0.76))
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = np.log10(np.where(counts > 0, counts / counts.sum(), np.nan))
            mesh = ax.pcolormesh(edges, edges, shares.T, cmap=matplotlib.colormaps["viridis"], rasterized=True, shading="flat")
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
            middle = (edges[:-1] + edges[1:]) / 2
            frames.append(pd.DataFrame({"field": name, "model": m, "truth": middle[i], "prediction": middle[j], "cells": counts[i, j].astype(np.int64)}))
    text = pd.concat(frames).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return one(panels, "density", "Truth against prediction, cell by cell",
               "Share of all cells and test frames per bin, on a logarithmic scale. A cloud hugging the diagonal is good; flattening at the ends "
               "means that extremes are missed.", alts, text, columns=len(shown))


def training(model: Model) -> Figure | None:
    """Training loss and validation ratios by step; None where no curve was kept."""
    frame = pd.DataFrame(model.curve)
    if "step" not in frame or not len(frame):
        return None
    ratios = pd.DataFrame([{"step": r["step"], **r["validation_ratio"]} for r in model.curve if isinstance(r.get("validation_ratio"), dict)])
    has_loss = "loss" in frame and frame["loss"].notna().any()
    has_ratio = len(ratios) > 0
    count = int(has_loss) + int(has_ratio)
    if not count:
        return None
    panels, alts, i = Panels(1, count, 5.6, 3.5), [], 0
    if has_loss:
        ax = panels.axes(i, (0.125, 0.16, 0.84, 0.73))
        kept = frame.dropna(subset=["loss"])
        ax.plot(kept["step"], kept["loss"], color="#b9c2cb", linewidth=1, label="each logged step")
        window = max(1, len(kept) // 15)
        ax.plot(kept["step"], kept["loss"].rolling(window, min_periods=1).mean(), color=colour("model"), linewidth=2, label=f"mean of {window}")
        ax.set(xlabel="Step", ylabel="Training loss")
        ax.set_title("Training loss")
        if (kept["loss"] > 0).all() and kept["loss"].max() > 8 * kept["loss"].min():
            ax.set_yscale("log")
        ax.legend(loc="upper right")
        alts.append(f"Training loss of {model.name} from step {int(kept['step'].iloc[0])} to {int(kept['step'].iloc[-1])}.")
        i += 1
    if has_ratio:
        ax = panels.axes(i, (0.115, 0.16, 0.60, 0.73))
        palette = ["#D55E00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#8a939c"]
        names = [c for c in ratios.columns if c != "step"]
        for n, name in enumerate(names):
            short = VARIABLES[name].short if name in VARIABLES else name
            ax.plot(ratios["step"], ratios[name], color=palette[n % len(palette)], marker="o", markersize=3, label=short)
        ax.axhline(1, color=MUTED, linewidth=1, linestyle="--")
        ax.set(xlabel="Step", ylabel="RMSE ÷ RMSE of interpolation")
        ax.set_title("Validation")
        upper = float(np.nanquantile(ratios[names].to_numpy(), 0.95))
        ax.set_ylim(max(0.0, float(np.nanmin(ratios[names].to_numpy())) - 0.05), max(1.08, min(upper * 1.1, 2.0)))
        best = model.about.get("best_step")
        if isinstance(best, int):
            ax.axvline(best, color=INK, linewidth=1, linestyle=":", label="weights kept")
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        alts.append(f"Validation RMSE of {model.name} relative to interpolation by step, for {', '.join(names)}.")
    csv = frame.drop(columns=["validation_ratio"], errors="ignore")
    if has_ratio:
        csv = csv.merge(ratios, on="step", how="outer") if len(csv) else ratios
    return one(panels, f"training_{model.name}", f"Training of {model.name}",
               "Loss of the training batches, and RMSE on the validation block relative to interpolation (in the network's normalised space; precipitation in ln(1 + x)).",
               alts, csv.to_csv(index=False, float_format="%.6g", lineterminator="\n"), columns=count)
