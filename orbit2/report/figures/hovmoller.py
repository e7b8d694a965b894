"""Hovmöller diagrams of the test frames. Draws what diagnose wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orbit2 import longitudes
from orbit2.grid import Grid
from orbit2.metrics.netcdf import grid_of_file
from orbit2.report.figures import maps, scenes
from orbit2.report.figures.panels import Figure, Panels, Picture
from orbit2.report.inputs import Task
from orbit2.report.style import display, method_name
from orbit2.report.tables import csv_text, label
from orbit2.times import normal

Array = npt.NDArray[np.float64]


def beside(stack: xr.DataArray) -> str:
    """What is drawn beside truth and model: bicubic interpolation where it was scored, else the best baseline; empty without any."""
    return "bicubic" if "bicubic" in stack["model"].values else str(stack.attrs.get("best_baseline", ""))


def dated(stamps: list[str]) -> list[str]:
    """Stamps `2000-07-19 00:00 UTC` with what tells the rows of a diagram apart: of days their dates, of several years these too."""
    days, years = len({stamp[10:] for stamp in stamps}) == 1, len({stamp[:4] for stamp in stamps}) > 1
    return [stamp[0 if days or years else 5 : 10 if days else 16] for stamp in stamps]


def hovmoller(task: Task, data: xr.Dataset, variable_name: str, model: str) -> Figure:
    look = display(variable_name)
    stack = data[f"{variable_name}_longitude"]
    shown_fields = {
        key: look.field(stack.sel(model=key).to_numpy().astype(np.float64))
        for key in ("truth", beside(stack), model)
        if key in stack["model"].values
    }
    truth = shown_fields["truth"]
    times = dated([scenes.stamp(t) for t in normal(data["time"].to_numpy())])
    lon, edges = _longitudes(task, data)
    rows = np.arange(len(times) + 1) - 0.5
    layers: list[tuple[str, Array, Any, Any, str]] = [("Truth", truth, look.cmap, look.norm(truth), look.units)]
    layers.append((f"Model ({model})", shown_fields[model], look.cmap, look.norm(truth), look.units))
    errors = {key: shown_fields[key] - truth for key in shown_fields if key != "truth"}
    norm = look.difference_norm(*errors.values())
    layers += [
        (f"{method_name(key)} − truth", error, look.difference_cmap, norm, scenes.DIFFERENCE_UNITS.get(look.units, look.units))
        for key, error in errors.items()
    ]
    height = float(np.clip(0.26 * len(times) + 1.5, 2.5, 4.5))
    panels, alts = Panels(-(-len(layers) // 2), 2, 4.65, height), []
    ticks = np.unique(np.linspace(0, len(times) - 1, min(6, len(times))).round().astype(int))
    for i, (title, values, cmap, scale, shown_units) in enumerate(layers):
        ax = panels.axes(i, (0.20, 0.88 / height, 0.765, 1 - 1.20 / height))
        mesh = ax.pcolormesh(edges, rows, values, cmap=cmap, norm=scale, rasterized=True)
        ax.set_title(title, pad=5)
        ax.set_yticks(ticks, [times[t] for t in ticks])
        ax.invert_yaxis()
        ax.grid(False)
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 3, 6]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: maps.degrees(longitudes.signed(x), "E", "W")))
        maps.colourbar(panels.axes(i, (0.24, 0.46 / height, 0.68, 0.10 / height)), mesh, shown_units)  # type: ignore[arg-type]
        alts.append(f"Time-longitude diagram of {label(variable_name)}: {title}.")
    whole, *cuts = panels.render(len(layers))
    csv = csv_text(
        pd.DataFrame(
            {
                "time": np.repeat(data["time"].to_numpy(), len(lon)),
                "lon": np.tile(lon, len(times)),
                **{str(key): stack.sel(model=key).to_numpy().ravel() for key in shown_fields},
            }
        )
    )
    return Figure(
        f"hovmoller_{variable_name}",
        f"{label(variable_name)}, time and longitude",
        "Dates and times are UTC.",
        tuple(Picture(p, a, photographic=False) for p, a in zip(cuts, alts, strict=True)),
        whole,
        csv=csv,
    )


def _longitudes(task: Task, data: xr.Dataset) -> tuple[Array, Array]:
    """Of a diagram's columns and their edges: the prediction's own, or where diagnose made others (of a map, or means of neighbours)."""
    grid = task.grid
    if not isinstance(grid, Grid) or data.sizes["lon"] != grid.shape[1]:
        found = grid_of_file(data)
        assert isinstance(found, Grid)
        grid = found
    return grid.lon, grid.lon_edges
