"""Power spectra by latitude band and in a box, with their ratio to the truth. Draws what evaluate wrote; never transforms a field."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator

from orbit2.report.figures.fields import field_title, leading, open_netcdf, split_field
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.inputs import Task
from orbit2.report.style import COLOURS, MUTED, colour, method_name, pretty_units
from orbit2.report.tables import Scores, csv_text

Array = npt.NDArray[np.float64]
SHOWN = ("nearest", "bicubic", "bicubic_log1p")
MEMBER = "one member"  # of an ensemble, whose mean stands under the model's name


def zonal_spectra(task: Task, model: str, scores: Scores) -> list[Figure]:
    """Per field: zonal power by latitude band with the ratio to the truth below; both Nyquist wavelengths marked. None without a band."""
    data = open_netcdf(task.evaluate / "spectra.nc", "evaluate")
    if not data.sizes.get("band"):
        return []
    figures = []
    for name in leading([str(x) for x in data["field"].values]):
        curves = data["zonal_power"].sel(field=name)
        bands = [str(b) for b in data["band"].values]
        nyquists = [_nyquist(data["wavelength_km"].sel(band=b).to_numpy(), task.store.refinement) for b in bands]
        series = [
            (
                band_title(b),
                data["wavelength_km"].sel(band=b).to_numpy(),
                {str(m): curves.sel(model=m, band=b).to_numpy() for m in _chosen(data, model)},
                _resolution(scores, model, name, b),
                nyquists[i],
            )
            for i, b in enumerate(bands)
        ]
        units, series = pretty_units(str(data["units"].sel(field=name).item())), [one for one in series if _told(one)]
        if not series:
            continue
        figures.append(
            _spectrum_figure(
                series,
                f"spectra_zonal_{name}",
                f"Zonal power spectra: {field_title(name)}",
                _power_label(units, "per wavenumber"),
                name,
                model,
            )
        )
    return figures


def radial_spectra(task: Task, model: str, scores: Scores) -> list[Figure]:
    """Per field: radial power spectral density, a figure for each box that was scored."""
    data = open_netcdf(task.evaluate / "spectra.nc", "evaluate")
    boxes = [str(box) for box in data["box"].values] if data.sizes.get("box") else []
    drawn = (_radial(data, task, model, scores, box, "spectra_radial" + (f"_{box}" if i else "")) for i, box in enumerate(boxes))
    return [figure for figure in drawn if figure is not None]


def _radial(data: xr.Dataset, task: Task, model: str, scores: Scores, box: str, figure: str) -> Figure | None:
    k = data["k"].sel(box=box).to_numpy()
    with np.errstate(divide="ignore"):
        wavelength = 1 / k
    km = 2 * task.grid.km
    series = []
    for name in leading([str(x) for x in data["field"].values]):
        curves = data["radial_power"].sel(field=name, box=box)
        series.append(
            (
                field_title(name),
                wavelength,
                {str(m): curves.sel(model=m).to_numpy() for m in _chosen(data, model)},
                _resolution(scores, model, name, box),
                (km * task.store.refinement, km),
            )
        )
    series = [one for one in series if _told(one)]
    return None if not series else _spectrum_figure(
        series, figure, f"Radial power spectra in the box “{box}”", "Power spectral density (units² km)", box, model
    )


def _chosen(data: xr.Dataset, model: str) -> list[str]:
    present = [str(m) for m in data["model"].values]
    return [m for m in ("truth", *SHOWN[:2], model, MEMBER) if m in present]


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
    squared = f"{units}²" if units.isalpha() else f"({units})²"
    return f"Power {per}" if units in ("1", "–") else f"Power {per} ({squared})"


Series = tuple[str, Array, dict[str, Array], float | None, tuple[float, float]]


def _told(series: Series) -> bool:
    """Whether the truth has any power there: rows with a gap have no spectrum, and land alone no row without one."""
    _, wavelength, curves, _, (_, fine) = series
    return bool((np.isfinite(wavelength) & (curves["truth"] > 0) & (wavelength > fine * 1.001)).any())


def _spectrum_figure(series: list[Series], name: str, title: str, ylabel: str, about: str, model: str) -> Figure:
    across = 2 if len(series) == 4 else min(3, len(series))
    panels = Panels(-(-len(series) // across), across, 4.1, 4.5)
    alts, frames = [], []
    for i, (heading, wavelength, curves, resolution, nyquists) in enumerate(series):
        upper, lower = panels.axes(i, (0.17, 0.415, 0.79, 0.49)), panels.axes(i, (0.17, 0.125, 0.79, 0.235))
        _spectrum(upper, lower, wavelength, curves, resolution, nyquists, model)
        upper.set_title(heading)
        upper.set_ylabel(ylabel, fontsize=9)
        effective = f"; effective resolution of {model} {resolution:.0f} km" if resolution is not None else ""
        alts.append(f"Power spectra of {', '.join(curves)} and their ratio to the truth, {heading}{effective}.")
        frames.append(pd.DataFrame({"panel": heading, "wavelength_km": wavelength, **curves}))
    text = csv_text(pd.concat(frames).dropna(subset=["wavelength_km"]))
    caption = (
        "Above: power by wavelength. Below: ratio to the truth, with the band 0.5–2 shaded. Dashed lines: Nyquist wavelengths of "
        "the coarse and the "
        "fine grid; everything between them was added by the method. Dotted: effective resolution of the model."
    )
    return one(panels, name, title, caption, alts, text, columns=across)


def _spectrum(
    upper: Axes,
    lower: Axes,
    wavelength: Array,
    curves: dict[str, Array],
    resolution: float | None,
    nyquists: tuple[float, float],
    model: str,
) -> None:
    truth = curves["truth"]
    use = np.isfinite(wavelength) & (truth > 0) & (wavelength > nyquists[1] * 1.001)  # the Nyquist bin itself holds half a wave
    lower.axhspan(0.5, 2, color="#eef1f4", zorder=0)
    lower.axhline(1, color=COLOURS["truth"], linewidth=1)
    for key, power in curves.items():
        style: dict[str, Any] = {
            "color": colour(key),
            "linewidth": 2 if key in ("truth", model) else 1.4,
            "zorder": 3 if key == model else 2,
        }
        if key not in ("truth", model):
            style["linestyle"] = {"bicubic": (0, (5, 1.5))}.get(key, (0, (1.5, 1.2)))
        name = f"{key}, mean of members" if key == model and MEMBER in curves else method_name(key)
        upper.plot(wavelength[use], power[use], label=name, **style)
        if key != "truth":
            lower.plot(wavelength[use], power[use] / truth[use], **style)
    subs = (1.0, 2.0, 5.0) if wavelength[use].max() < 30 * wavelength[use].min() else (1.0, 3.0)
    for ax in (upper, lower):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(float(wavelength[use].max()), min(float(wavelength[use].min()), nyquists[1]) * 0.93)
        for line in nyquists:
            ax.axvline(line, color=MUTED, linewidth=1, linestyle="--", zorder=1)
        ax.xaxis.set_major_locator(LogLocator(10, subs=subs, numticks=20))
        ax.minorticks_off()  # hundreds of them on a log axis: slow and not read
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    low = float(np.nanquantile(truth[use], 0.02))
    upper.set_ylim(low * 0.02, float(np.nanmax(truth[use])) * 3)
    lower.set_ylim(0.05, 4)
    lower.set_yticks([0.1, 0.5, 1, 2], ["0.1", "0.5", "1", "2"])
    lower.minorticks_off()
    if resolution is not None:
        lower.axvline(resolution, color=colour("model"), linewidth=1.8, linestyle=":", zorder=4)
    for ax in (upper, lower):
        ax.tick_params(axis="x", labelsize=8.5)
    upper.tick_params(labelbottom=False)
    upper.legend(loc="lower left", handlelength=1.8, borderpad=0.2, labelspacing=0.3, frameon=True, framealpha=0.85, edgecolor="none")
    for line, text, side in zip(nyquists, ("coarse Nyquist", "fine"), ("center", "right"), strict=True):
        upper.annotate(
            text,
            (line, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0 if side == "center" else 5, -5),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=8,
            color=MUTED,
        )
    lower.set_xlabel("Wavelength (km)")
    lower.set_ylabel("Ratio to truth", fontsize=9)
