"""How the figures look: fonts, colours, colour maps, display units. Never reads data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import AsinhNorm, BoundaryNorm, Colormap, LinearSegmentedColormap, Normalize, TwoSlopeNorm

from orbit2.variables import is_precipitation, variable

INK, MUTED, RULE = "#1c2733", "#5b6773", "#d5dbe1"
# Okabe & Ito (2008): distinguishable with every common colour vision deficiency.
COLOURS = {
    "truth": "#1c2733",
    "model": "#D55E00",
    "input": "#CC79A7",
    "bicubic": "#0072B2",
    "bilinear": "#56B4E9",
    "conservative": "#009E73",
    "nearest": "#8a939c",
    "bicubic_log1p": "#0072B2",
    "bilinear_log1p": "#56B4E9",
    "delta": "#E69F00",
    "delta_log1p": "#E69F00",
    "regression": "#b8860b",
    "regression_log1p": "#b8860b",
    "lapse_rate": "#CC79A7",
    "delta_monthly": "#E69F00",
    "delta_monthly_log1p": "#E69F00",
    "quantile_mapping": "#6b8e23",
    "bcsd": "#4b5f8a",
    "bcsd_monthly": "#4b5f8a",
    "one member": "#882255",
}
METHOD_NAMES = {
    "bicubic_log1p": "bicubic of ln(1+x)", "bilinear_log1p": "bilinear of ln(1+x)", "delta_log1p": "delta of ln(1+x)",
    "delta_monthly": "delta by month", "delta_monthly_log1p": "delta of ln(1+x) by month", "quantile_mapping": "quantile mapping",
    "bcsd": "BCSD", "bcsd_monthly": "BCSD by month",
    "regression": "regression per cell", "regression_log1p": "regression of ln(1+x)", "lapse_rate": "lapse rate",
}  # fmt: skip
RAIN_LEVELS = (0.1, 0.5, 1, 2, 5, 10, 20, 40, 80)


def method_name(name: str) -> str:
    """A baseline's or model's name as people read it."""
    return METHOD_NAMES.get(name, name)


def colour(name: str) -> str:
    """Colour of a baseline; everything else is a model."""
    return COLOURS.get(name, COLOURS["model"])


@contextmanager
def look() -> Iterator[None]:
    """The report's matplotlib settings (Agg, no interactive state), undone afterwards."""
    import seaborn as sns  # here: it takes a second, and only drawing needs it

    matplotlib.use("Agg", force=False)
    settings: Any = {
        **sns.axes_style("whitegrid"),
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same layout on every machine
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 9.5,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "mathtext.default": "regular",
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "axes.edgecolor": "#9aa5af",
        "grid.color": "#e6eaee",
        "grid.linewidth": 0.7,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
        "xtick.bottom": True,
        "ytick.left": True,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "axes.unicode_minus": True,
    }
    with plt.rc_context(settings):
        try:
            yield
        finally:
            plt.close("all")


@dataclass(frozen=True)
class Display:
    """How one variable is drawn: shown = value * scale + offset in `units`; differences keep only the scale."""

    units: str
    scale: float
    offset: float
    cmap: Colormap
    difference_cmap: Colormap
    diverging: bool  # the field itself is centred on zero
    rain: bool

    def field(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        shown: npt.NDArray[Any] = values * self.scale + self.offset
        return shown

    def norm(self, *fields: npt.NDArray[Any]) -> Normalize:
        """One colour scale for all `fields` (already in shown units): their common 0.5-99.5 % range."""
        if self.rain:
            return BoundaryNorm(RAIN_LEVELS, self.cmap.N, extend="both")
        pooled = np.concatenate([np.ravel(f[np.isfinite(f)]) for f in fields]) if fields else np.array([0.0, 1.0])
        if not pooled.size:
            return Normalize(0, 1)
        low, high = (float(x) for x in np.quantile(pooled, (0.005, 0.995)))
        if self.diverging:
            high = max(abs(low), abs(high)) or 1.0
            low = -high
        if self.units == "°C" and 0.3 < -low / max(high, 1e-9) < 3.4:
            return TwoSlopeNorm(0.0, low, high)  # yellow is freezing point
        return Normalize(low, high if high > low else low + 1)

    def difference_norm(self, *differences: npt.NDArray[Any]) -> Normalize:
        """A symmetric scale for differences: the 99 % quantile of the largest; rain is compressed around zero."""
        limits = [float(np.quantile(np.abs(d[np.isfinite(d)]), 0.99)) for d in differences if np.isfinite(d).any()]
        limit = max([*limits, 1e-12])
        return AsinhNorm(1.0, vmin=-limit, vmax=limit) if self.rain and limit > 5 else Normalize(-limit, limit)


def _cut(name: str, low: float, high: float) -> Colormap:
    return LinearSegmentedColormap.from_list(f"{name}_cut", matplotlib.colormaps[name](np.linspace(low, high, 256)))


def display(name: str) -> Display:
    """Display settings of a variable by its physics: temperature in degrees C, pressure in hPa, rain on fixed levels."""
    units = variable(name).units
    differences = matplotlib.colormaps["RdBu_r"]
    if is_precipitation(name):
        rain = _cut("YlGnBu", 0.06, 1.0).with_extremes(under="#ffffff", over="#050d33")
        return Display(pretty_units(units), 1, 0, rain, matplotlib.colormaps["BrBG"], False, True)
    if units == "K":
        return Display("°C", 1, -273.15, _cut("RdYlBu_r", 0.02, 0.98), differences, False, False)
    if units == "Pa":
        return Display("hPa", 0.01, 0, matplotlib.colormaps["viridis"], differences, False, False)
    if units == "m s-1":
        return Display(pretty_units(units), 1, 0, matplotlib.colormaps["PuOr_r"], differences, True, False)
    return Display(pretty_units(units), 1, 0, matplotlib.colormaps["cividis"], differences, False, False)


_UNITS = {"m s-1": "m s⁻¹", "mm day-1": "mm day⁻¹", "kg kg-1": "kg kg⁻¹", "1": "–"}


def pretty_units(units: str) -> str:
    """CF units with typographic exponents."""
    return _UNITS.get(units, units)
