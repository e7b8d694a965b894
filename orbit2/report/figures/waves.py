"""Tropical waves: 20 to 100 days by longitude and time, and their lag regressions. Draws what diagnose wrote."""

from __future__ import annotations

import cftime
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.colors import Normalize

from orbit2 import longitudes
from orbit2.metrics.table import ANY
from orbit2.metrics.table import TRUTH as OF_TRUTH
from orbit2.report.figures import maps
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.style import display, method_name
from orbit2.report.tables import Cell, Scores, Table, csv_text, label, number

Array = npt.NDArray[np.float64]
TRUTH, REGION = "truth", "5S-5N"
SHOWN = 180.0  # days of the section that is drawn: where the truth's waves are strongest


def figures(data: xr.Dataset, scores: Scores, name: str, model: str, task: str) -> list[Figure]:
    """The section and the regressions, none where diagnose has no waves of the variable (why stands under what the run cannot say)."""
    key = f"{name}_waves"
    if key not in data or model not in data["model"].values:
        return []
    return [_section(data, name, model, task), _regressions(data, scores, name, model, task)]


def reading(scores: Scores, model: str, name: str) -> str:
    """How well waves are met, or that no verdict can be given."""
    own, nearest = (scores.value(who, name, "waves_pattern_r", region=REGION) for who in (model, "nearest"))
    if own is None:
        return ""
    said = f"Waves of 20 to 100 days along the equator, {label(name).lower()}: {model} correlates with the truth by "
    said += scores.told(model, name, "waves_pattern_r", region=REGION)
    said += f", nearest neighbour by {scores.told('nearest', name, 'waves_pattern_r', region=REGION)}. " if nearest is not None else ". "
    if not scores.value(ANY, name, "waves_discriminate", region=REGION):
        return said + "No verdict: a control does as well, so that this section cannot tell methods apart."
    best = scores.best(model, name, "waves_nrmse", "physical", REGION)
    error = scores.value(model, name, "waves_nrmse", region=REGION)
    if best is None or error is None:
        return said
    won, met = error < best[1], [scores.told(who, name, "waves_nrmse", region=REGION) for who in (model, best[0])]
    return said + (f"Its error over the truth's standard deviation, {met[0]}, is {'below' if won else 'not below'} the lowest "
                   f"of the baselines ({method_name(best[0])}, {met[1]}).")  # fmt: skip


def table(scores: Scores, model: str, name: str, task: str) -> Table | None:
    """Correlation, error, lag, speed, period and direction of waves: truth, model and every baseline."""
    columns = (("pattern_r", "correlation", 3), ("nrmse", "RMSE/σ", 3), ("lag_days", "later by (days)", 2), ("regression_longitude_r",
               "lag and longitude, r", 3), ("regression_latitude_r", "lag and latitude, r", 3), ("speed", "speed (m/s east)", 3),
               ("period", "period (days)", 3), ("east_west", "power east ÷ west", 3))  # fmt: skip
    rows = []
    for who in (OF_TRUTH, model, *scores.baselines(model)):
        values = [scores.value(who, name, f"waves_{metric}", region=REGION) for metric, *_ in columns]
        if any(value is not None for value in values):
            ends = scores.interval(who, name, "waves_pattern_r", region=REGION)
            note = f"{number(ends[0], 3)} to {number(ends[1], 3)}" if ends else ""
            cells = [Cell.of(value, digits, strong=who == model, note=note if metric == "pattern_r" else "")
                     for value, (metric, _, digits) in zip(values, columns, strict=True)]  # fmt: skip
            rows.append((Cell("truth" if who == OF_TRUTH else method_name(who)), *cells))
    if len(rows) < 2:
        return None
    return Table(
        f"wave_scores_{task}_{name}", "Waves of 20 to 100 days, mean 5°S–5°N: against the truth, and what they are like; in grey 95 % "
        "intervals from blocks of days. Speed, and power east over west of wavenumbers 1 to 3, are of globes only.",
        ("", *(title for _, title, _ in columns)), tuple(rows),
    )  # fmt: skip


def _eastward(lon: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """Order and increasing longitudes: round the globe from 0 E, else from the region's west."""
    order, ordered = longitudes.eastward(lon)
    return order, ordered


def _section(data: xr.Dataset, name: str, model: str, task: str) -> Figure:
    look = display(name)
    order, lon = _eastward(data["wave_longitude"].to_numpy())
    day = data["wave_day"].to_numpy().astype(np.float64)
    fields = {who: data[f"{name}_waves"].sel(model=who).to_numpy().astype(np.float64)[:, order] * look.scale for who in (TRUTH, model)}
    shown = _strongest(fields[TRUTH], day)
    layers = [("Truth", fields[TRUTH]), (model, fields[model]), (f"{model} − truth", fields[model] - fields[TRUTH])]
    limit = _limit([fields[TRUTH][shown]], 0.99)
    panels, alts = Panels(1, 3, 3.1, 3.6), []
    dates = _dates(data)
    ticks = np.linspace(0, shown.sum() - 1, 5).round().astype(int)
    for i, (title, values) in enumerate(layers):
        ax = panels.axes(i, (0.24, 0.22, 0.73, 0.7))
        y = np.arange(shown.sum())
        mesh = ax.pcolormesh(lon, y, values[shown], cmap=look.difference_cmap, norm=Normalize(-limit, limit), shading="nearest",
                             rasterized=True)  # fmt: skip
        ax.set_yticks(ticks, [dates[t] for t in np.flatnonzero(shown)[ticks]], fontsize=7.5)
        ax.invert_yaxis()
        ax.grid(False)
        ax.xaxis.set_major_formatter(lambda x, _: maps.degrees(longitudes.signed(x), "E", "W"))
        ax.tick_params(axis="x", labelsize=7.5)
        ax.set_title(title, pad=3, fontsize=9.5)
        bar = panels.axes(i, (0.26, 0.13, 0.69, 0.025))
        maps.colourbar(bar, mesh, look.units)  # type: ignore[arg-type]
        bar.tick_params(labelsize=7)
        alts.append(f"Waves of 20 to 100 days of {label(name)} by longitude and time: {title}.")
    when, where = np.meshgrid(np.array(dates), lon, indexing="ij")
    csv = csv_text(pd.DataFrame({"date": when.ravel(), "lon": where.ravel(), **{w: f.ravel() for w, f in fields.items()}}))
    caption = (f"Anomalies of 20 to 100 days, mean 5°S–5°N (201-day Lanczos filter); the {SHOWN:g} days in which the truth's are "
               "strongest.")  # fmt: skip
    return one(panels, f"waves_{task}_{name}", f"Tropical waves: {label(name)}, longitude and time", caption, alts, csv, columns=3)


def _limit(fields: list[Array], level: float) -> float:
    known = [np.abs(field[np.isfinite(field)]) for field in fields]
    return max((float(np.quantile(values, level)) for values in known if values.size), default=1.0) or 1.0


def _strongest(truth: Array, day: Array) -> npt.NDArray[np.bool_]:
    """The rows of SHOWN days with the largest variance."""
    width = max(2, round(SHOWN / max(1.0, float(np.median(np.diff(day))))))
    energy = (np.where(np.isfinite(truth), truth, 0.0) ** 2).mean(axis=1)
    begin = int(np.argmax(np.convolve(energy, np.ones(width), mode="valid"))) if len(energy) > width else 0
    shown = np.zeros(len(truth), dtype=np.bool_)
    shown[begin : begin + width] = True
    return shown


def _dates(data: xr.Dataset) -> list[str]:
    """Of the section's rows, `2004-03-01`."""
    calendar = str(data["wave_day"].attrs.get("comment", "")).rpartition(" ")[2] or "standard"
    found = cftime.num2date(data["wave_day"].to_numpy(), "days since 1850-01-01", calendar=calendar)
    return [f"{d.year:04d}-{d.month:02d}-{d.day:02d}" for d in found]


def _regressions(data: xr.Dataset, scores: Scores, name: str, model: str, task: str) -> Figure:
    look = display(name)
    lag = data["lag"].to_numpy()
    kinds = [("longitude", *_eastward(data["wave_longitude"].to_numpy()))]
    if f"{name}_waves_by_latitude" in data:
        lat = data["wave_latitude"].to_numpy()
        kinds.append(("latitude", np.argsort(lat), np.sort(lat)))
    every = {kind: {who: data[f"{name}_waves_by_{kind}"].sel(model=who).to_numpy().astype(np.float64)[order] * look.scale
                    for who in (TRUTH, model)} for kind, order, _ in kinds}  # fmt: skip
    limit = _limit([fields[TRUTH] for fields in every.values()], 0.995)
    panels, alts, frames, panel = Panels(len(kinds), 2, 4.65, 2.9), [], [], 0
    for kind, _, at in kinds:
        for who, title in ((TRUTH, "truth"), (model, model)):
            values = every[kind][who]
            ax = panels.axes(panel, (0.13, 0.34, 0.84, 0.55))
            if kind == "longitude":
                mesh = ax.pcolormesh(at, lag, values.T, cmap=look.difference_cmap, norm=Normalize(-limit, limit), shading="nearest",
                                     rasterized=True)  # fmt: skip
                ax.set_ylabel("lag, days", fontsize=8.5)
                ax.xaxis.set_major_formatter(lambda x, _: maps.degrees(longitudes.signed(x), "E", "W"))
                speed = scores.value(OF_TRUTH if who == TRUTH else model, name, "waves_speed", region=REGION)
                _line(ax, data, at, speed)
            else:
                mesh = ax.pcolormesh(lag, at, values, cmap=look.difference_cmap, norm=Normalize(-limit, limit), shading="nearest",
                                     rasterized=True)  # fmt: skip
                ax.set_xlabel("lag, days", fontsize=8.5)
                ax.yaxis.set_major_formatter(lambda y, _: maps.degrees(y, "N", "S"))
            ax.grid(False)
            ax.set_title(f"Lag and {kind}: {title}", pad=3, fontsize=9.5)
            bar = panels.axes(panel, (0.2, 0.15, 0.7, 0.03))
            maps.colourbar(bar, mesh, look.units)  # type: ignore[arg-type]
            bar.tick_params(labelsize=7)
            alts.append(f"{label(name)} regressed on its waves at the reference longitudes by lag and {kind}: {title}.")
            first, second = np.meshgrid(at, lag, indexing="ij")
            frames.append(pd.DataFrame({"by": kind, "degrees": first.ravel(), "lag": second.ravel(), "model": who,
                                        "value": values.ravel()}))  # fmt: skip
            panel += 1
    west, east = (maps.degrees(float(longitudes.signed(x)), "E", "W") for x in data["reference_longitude"].to_numpy())
    metrics = {kind: f"waves_regression_{kind}_r" for kind, *_ in kinds}
    told = " and ".join(f"{scores.told(model, name, metric, region=REGION)} by {kind}" for kind, metric in metrics.items()
                        if scores.value(model, name, metric, region=REGION) is not None)  # fmt: skip
    correlated = f" Correlation with the truth's: {told}." if told else ""
    caption = (f"For one standard deviation of the waves' mean between {west} and {east}: 5°S–5°N by longitude, those longitudes by "
               f"latitude. Line: the speed of the table.{correlated}")  # fmt: skip
    csv = csv_text(pd.concat(frames))
    return one(panels, f"wave_regressions_{task}_{name}", f"How the waves travel: {label(name)}", caption, alts, csv)


def _line(ax: object, data: xr.Dataset, lon: Array, speed: float | None) -> None:
    """The straight line of a speed (m/s east) through the reference longitudes' middle at lag 0."""
    if speed is None or not np.isfinite(speed):
        return
    west, east = data["reference_longitude"].to_numpy()
    base = lon[0] + np.mod(west + longitudes.width(float(west), float(east)) / 2 - lon[0], 360.0)
    lag = np.linspace(-25, 25, 101)
    at = base + speed * 86_400 / 111_194.9 * lag
    inside = (at >= lon[0]) & (at <= lon[-1])
    ax.plot(at[inside], lag[inside], color="#111111", linewidth=1.0, linestyle="--")  # type: ignore[attr-defined]
