"""How much of the fine structure is real: squared coherence with the truth by wavelength. Draws what evaluate wrote."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.ticker import FuncFormatter, LogLocator

from orbit2.report.figures.fields import field_title, leading, open_netcdf, split_field
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.figures.spectra import SHOWN, band_title
from orbit2.report.inputs import Task
from orbit2.report.style import MUTED, colour, method_name
from orbit2.report.tables import Scores, csv_text

Array = npt.NDArray[np.float64]


def coherences(task: Task, model: str, scores: Scores) -> list[Figure]:
    """One figure per box, and where there is none per latitude band: a panel per field, the model beside interpolations."""
    data = open_netcdf(task.evaluate / "spectra.nc", "evaluate")
    kind = "box" if data.sizes.get("box") else "band"
    if f"{'radial' if kind == 'box' else 'zonal'}_coherence" not in data or not data.sizes.get(kind) or model not in data["model"].values:
        return []
    drawn = (_figure(task, data, kind, str(place), model, scores) for place in data[kind].values)
    return [figure for figure in drawn if figure is not None]


def _figure(task: Task, data: xr.Dataset, kind: str, place: str, model: str, scores: Scores) -> Figure | None:
    coherence = data["radial_coherence" if kind == "box" else "zonal_coherence"].sel({kind: place})
    wavelength = _wavelength(data, kind, place)
    fine = 2 * task.grid.km if kind == "box" else float(np.nanmin(wavelength))
    coarse = fine * task.store.refinement
    use = np.isfinite(wavelength) & (wavelength > fine * 1.001)
    own = coherence.sel(model=model)
    names = [name for name in leading([str(x) for x in data["field"].values]) if np.isfinite(own.sel(field=name).to_numpy()[use]).any()]
    if not names:
        return None
    across = min(3, len(names))
    panels, alts, frames = Panels(-(-len(names) // across), across, 4.1, 2.7), [], []
    for i, name in enumerate(names):
        ax = panels.axes(i, (0.15, 0.2, 0.81, 0.64))
        present = [m for m in (*SHOWN, model) if m in data["model"].values]
        curves = {m: coherence.sel(model=m, field=name).to_numpy().astype(np.float64) for m in present}
        curves = {m: values for m, values in curves.items() if np.isfinite(values[use]).any()}
        for m, values in curves.items():
            ax.plot(wavelength[use], values[use], color=colour(m), linewidth=2 if m == model else 1.2, label=method_name(m),
                    linestyle="-" if m == model else (0, (5, 1.5)), zorder=3 if m == model else 2)  # fmt: skip
        ax.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
        ax.axvline(coarse, color=MUTED, linewidth=1, linestyle="--")
        ax.set_xscale("log")
        ax.set_xlim(float(wavelength[use].max()), float(wavelength[use].min()) * 0.93)
        ax.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=20))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        ax.minorticks_off()
        ax.set_ylim(0, 1.02)
        ax.set_title(field_title(name))
        ax.set_xlabel("Wavelength (km)", fontsize=8.5)
        ax.set_ylabel("Squared coherence", fontsize=8.5)
        if i == 0:
            ax.legend(fontsize=7.5, loc="lower left", frameon=True, framealpha=0.85, edgecolor="none")
        variable_name, space = split_field(name)
        km = scores.value(model, variable_name, "coherent_resolution_km", space, place)
        told = f"; {model} is coherent with the truth down to {km:.0f} km" if km is not None else ""
        alts.append(f"Squared coherence with the truth by wavelength, {field_title(name)}, of {', '.join(curves)}{told}.")
        frames.append(pd.DataFrame({"field": name, "wavelength_km": wavelength, **curves}))
    where = f"in the box “{place}”" if kind == "box" else band_title(place)
    return one(
        panels, f"coherence_{place}", f"How much of each wavelength is real, {where}",
        "Share of the variance at a wavelength that lies where the truth has it: 1 is all real, 0 is invented or missing. The dashed line "
        "is the coarse grid's Nyquist wavelength: to its right the input holds nothing of its own. Power alone, above, does not tell real "
        "structure from invented. Dotted: half.", alts,
        csv_text(pd.concat(frames).dropna(subset=["wavelength_km"])), columns=across,
    )  # fmt: skip


def _wavelength(data: xr.Dataset, kind: str, place: str) -> Array:
    if kind == "band":
        return np.asarray(data["wavelength_km"].sel(band=place).to_numpy(), dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / data["k"].sel(box=place).to_numpy(), dtype=np.float64)
