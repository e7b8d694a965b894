"""Figures of rainy seasons: the climate matrix, maps of dates, years of the domains, sections. Draws what diagnose wrote."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.ticker import MaxNLocator

from orbit2.climate.domains import TITLES
from orbit2.climate.matrix import COLUMNS, metric, published
from orbit2.metrics.netcdf import grid_of_file
from orbit2.report import text
from orbit2.report.figures import maps
from orbit2.report.figures.panels import Figure, Panels, Picture, heatmap, one
from orbit2.report.style import COLOURS, INK, MUTED, RAIN_LEVELS, colour, display, method_name
from orbit2.report.tables import Scores, csv_text, label, number

Array = npt.NDArray[np.float64]
PREFIX = "monsoon:"
TRUTH = "truth"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FIRST = np.array([1, 32, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335])  # day of the year on which each month begins
HEADS = {"onset": "Onset", "withdrawal": "Withdrawal", "seasonality": "Seasonality", "entropy": "Entropy", "hovmoller": "Hovmöller"}


def domains_of(scores: Scores, name: str) -> list[str]:
    """The domains that have a score of the matrix, in its order; one's own after those."""
    rows = scores.rows[scores.rows["metric"].isin([metric(column) for column in COLUMNS]) & (scores.rows["variable"] == name)]
    present = [str(region).removeprefix(PREFIX) for region in dict.fromkeys(rows["region"])]
    return [*(domain for domain in TITLES if domain in present), *(domain for domain in present if domain not in TITLES)]


def title_of(domain: str) -> str:
    return TITLES.get(domain, domain.replace("_", " ").capitalize())


def matrix(scores: Scores, model: str, name: str, task: str) -> Figure | None:
    """Nine domains by five columns, 0 to 100: input, the baseline with the best mean, model, and the published ones as a reference."""
    domains = domains_of(scores, name)
    if not domains:
        return None

    def values_of(who: str) -> Array:
        found = [[scores.value(who, name, metric(column), region=PREFIX + domain) for column in COLUMNS] for domain in domains]
        return np.array([[np.nan if value is None else value for value in row] for row in found])

    beside = {who: values_of(who) for who in scores.baselines(model) if who != "nearest"}
    means = {who: float(np.nanmean(values)) for who, values in beside.items() if np.isfinite(values).any()}
    shown = {"Input (nearest)": values_of("nearest")}
    shown |= (
        {f"Best baseline: {method_name(best)}": beside[best] for best in [max(means, key=lambda who: means[who])] if means} if means else {}
    )
    shown |= {f"Model: {model}": values_of(model), **{f"Observations: {p.partition(':')[2]}": values_of(p) for p in scores.products()}}
    shown = {title: values for title, values in shown.items() if np.isfinite(values).any()}
    told = published()
    reference = {product: np.array([told.values[d][product] if d in told.values else (np.nan,) * len(COLUMNS) for d in domains])
                 for product in told.products}  # fmt: skip
    everything = {**shown, **{f"Published: {product}": values for product, values in reference.items() if np.isfinite(values).any()}}
    height = 1.05 + 0.27 * len(domains)
    panels, alts = Panels(-(-len(everything) // 2), 2, 4.65, height), []
    for i, (title, values) in enumerate(everything.items()):
        ax = panels.axes(i, (0.26, 0.16, 0.72, 1 - 0.16 - 0.62 / height))
        foreign = title.startswith("Published")
        heatmap(ax, values, "Greys" if foreign else "YlGnBu", (40, 110 if foreign else 104), ".1f",
                [HEADS[column] for column in COLUMNS], [title_of(domain) for domain in domains])  # fmt: skip
        ax.tick_params(axis="x", labelsize=7.5)
        ax.set_title(title, pad=5, fontsize=10, color=MUTED if foreign else INK)
        if foreign:
            ax.text(1, 1.03, "another data set", transform=ax.transAxes, fontsize=7, color=MUTED, ha="right", va="bottom")
        alts.append(
            f"Matrix of scores from 0 to 100, {title}: {number(_edge(values, np.nanmin))} to {number(_edge(values, np.nanmax))}."
        )
    csv = csv_text(pd.DataFrame([{"product": title, "domain": domain, "column": column, "score": values[y, x]}
                                 for title, values in everything.items() for y, domain in enumerate(domains)
                                 for x, column in enumerate(COLUMNS)]))  # fmt: skip
    return one(
        panels, f"climate_matrix_{task}", "Climate matrix",
        "100 × the pattern correlation with the truth, at least 0: of maps of mean onset and withdrawal dates, of the seasonality index, "
        "of relative entropy, and of the section of the mean year. –: no such season, or the section cannot tell methods apart. In grey, "
        f"for reference only, the published matrix: {told.source}. {told.note}", alts, csv,
    )  # fmt: skip


def _edge(values: Array, of: object) -> float:
    return float(of(values)) if np.isfinite(values).any() else float("nan")  # type: ignore[operator]


def date_maps(data: xr.Dataset, name: str, model: str, task: str) -> Figure | None:
    """Mean onset and withdrawal of truth and model (the wetter season where there are two), and the model's error in days."""
    panels_of: list[tuple[str, Array, object, object, str]] = []
    grid = grid_of_file(data)
    if f"{name}_onset" not in data or model not in data["model"].values or grid is None:
        return None
    for event in ("onset", "withdrawal"):
        both = {who: data[f"{name}_{event}"].sel(model=who, season=1).to_numpy().astype(np.float64) for who in (TRUTH, model)}
        if not np.isfinite(both[TRUTH]).any():
            return None
        error = (both[model] - both[TRUTH] + 182.5) % 365 - 182.5
        year = matplotlib.colormaps["twilight_shifted"]
        panels_of += [
            (f"{event.capitalize()}: {title}", both[who], year, Normalize(1, 365), "month")
            for who, title in ((TRUTH, "truth"), (model, model))
        ]
        panels_of.append((f"{event.capitalize()}: {model} − truth", error, matplotlib.colormaps["RdBu_r"], Normalize(-20, 20), "days"))
    panels, alts = Panels(2, 3, 3.1, 2.3 if grid.periodic else 2.8), []
    box = maps.extent(grid)
    for i, (title, values, cmap, norm, bar) in enumerate(panels_of):
        ax = panels.axes(i, (0.015, 0.24, 0.97, 0.64) if grid.periodic else (0.13, 0.3, 0.84, 0.58))
        image = maps.world(ax, values, grid, cmap, norm) if grid.periodic else maps.zoom(ax, values, grid, box, cmap, norm)  # type: ignore[arg-type]
        ax.set_title(title, pad=3, fontsize=9)
        beneath = panels.axes(i, (0.1, 0.19, 0.8, 0.035))
        maps.colourbar(beneath, image, "" if bar == "month" else bar)
        if bar == "month":
            beneath.set_xticks(FIRST[::2], MONTHS[::2])
        beneath.tick_params(labelsize=7.5)
        told = np.abs(values[np.isfinite(values)])
        alts.append(
            f"Map: {title}" + (f", median of the absolute error {np.median(told):.3g} days." if bar == "days" and told.size else ".")
        )
    whole, *cuts = panels.render(len(panels_of))
    return Figure(
        f"season_dates_{task}", "When rainy seasons begin and end",
        f"Means over the years, by the cumulative anomaly; the wetter season where there are two; grey: none. {text.COAST_CREDIT}",
        tuple(Picture(pixels, alt) for pixels, alt in zip(cuts, alts, strict=True)), whole, columns=3,
    )  # fmt: skip


def year_series(data: xr.Dataset, name: str, model: str, task: str) -> Figure | None:
    """Onset of each year, truth and model, a panel per domain with at least three of them."""
    key = f"{name}_domain_onset"
    if key not in data or model not in data["model"].values:
        return None
    years, titles = data["year"].to_numpy(), [str(title) for title in data["domain_title"].values]
    shown = [i for i in range(len(titles)) if np.isfinite(data[key].sel(model=TRUTH).to_numpy()[i]).sum() >= 3]
    if not shown:
        return None
    panels, alts, table = Panels(-(-len(shown) // 3), 3, 3.1, 2.0), [], []
    for panel, i in enumerate(shown):
        ax = panels.axes(panel, (0.17, 0.17, 0.8, 0.66))
        for event, style in (("onset", "o-"), ("withdrawal", "s--")):
            truth = data[f"{name}_domain_{event}"].sel(model=TRUTH).to_numpy()[i].astype(np.float64)
            for who, shade in ((TRUTH, COLOURS["truth"]), (model, colour(model))):
                dates = data[f"{name}_domain_{event}"].sel(model=who).to_numpy()[i].astype(np.float64)
                ax.plot(years, _near(dates, truth), style, color=shade, markersize=3, linewidth=1.1, label=f"{event}, {who}")
                table += [
                    {"domain": titles[i], "event": event, "model": who, "year": y, "day": d} for y, d in zip(years, dates, strict=True)
                ]
        ax.set_title(titles[i], fontsize=9.5)
        _month_axis(ax)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if panel == 0:
            ax.legend(fontsize=6, ncols=2, loc="center")
        alts.append(f"Onset and withdrawal by year in {titles[i]}, truth and {model}.")
    return one(
        panels, f"season_years_{task}", "Year by year", "Dates of the season of each domain's mean rain, by fractional accumulation.", alts,
        csv_text(pd.DataFrame(table)), columns=3,
    )  # fmt: skip


def _near(dates: Array, truth: Array) -> Array:
    """Dates in the turn of the year that is nearest to the truth's middle, so that 31 December and 1 January lie side by side."""
    angle = np.exp(2j * np.pi * truth[np.isfinite(truth)] / 365).mean() if np.isfinite(truth).any() else 1
    middle = (np.angle(angle) / 2 / np.pi * 365) % 365
    near: Array = middle + (dates - middle + 182.5) % 365 - 182.5
    return near


def _month_axis(ax: Axes) -> None:
    low, high = ax.get_ylim()
    low, high = min(low, (low + high) / 2 - 20), max(high, (low + high) / 2 + 20)
    ticks = [
        (first + 365 * turn, month)
        for turn in (-1, 0, 1)
        for first, month in zip(FIRST, MONTHS, strict=True)
        if low <= first + 365 * turn <= high
    ]
    step = max(1, len(ticks) // 5)
    ax.set_yticks([day for day, _ in ticks[::step]], [month for _, month in ticks[::step]])
    ax.set_ylim(low, high)


def section_figures(data: xr.Dataset, scores: Scores, name: str, model: str, task: str) -> list[Figure]:
    """Latitude and time of the mean year in each domain's sector: truth, model, difference."""
    found = []
    look = display(name)
    for domain in (str(d) for d in data["domain"].values):
        key = f"{name}_section_{domain}"
        if key not in data or model not in data["model"].values:
            continue
        truth, own = (data[key].sel(model=who).to_numpy().astype(np.float64) for who in (TRUTH, model))
        if not np.isfinite(truth).any():
            continue
        lat, begin = data[f"{domain}_latitude"].to_numpy(), data["pentad_begin"].to_numpy()
        difference = own - truth
        limit = float(np.nanquantile(np.abs(difference), 0.99)) or 1.0
        levels = BoundaryNorm(RAIN_LEVELS, look.cmap.N, extend="both")
        panels, alts = Panels(1, 3, 3.1, 2.6), []
        layers = (("Truth", truth, look.cmap, levels), (model, own, look.cmap, levels),
                  (f"{model} − truth", difference, look.difference_cmap, Normalize(-limit, limit)))  # fmt: skip
        for i, (title, values, cmap, norm) in enumerate(layers):
            ax = panels.axes(i, (0.14, 0.34, 0.83, 0.54))
            mesh = ax.pcolormesh(begin, lat, values, cmap=cmap, norm=norm, shading="nearest", rasterized=True)
            ax.set_xticks(FIRST[::3], MONTHS[::3])
            ax.yaxis.set_major_formatter(lambda y, _: maps.degrees(y, "N", "S"))
            ax.set_title(title, pad=3, fontsize=9.5)
            ax.grid(False)
            bar = panels.axes(i, (0.16, 0.2, 0.78, 0.04))
            maps.colourbar(bar, mesh, look.units)  # type: ignore[arg-type]
            bar.tick_params(labelsize=7)
            alts.append(f"Latitude and time of {label(name)} in the mean year, {title_of(domain)}: {title}.")
        r, nearest = (scores.told(who, name, "section_pattern_r", region=PREFIX + domain)
                      if scores.value(who, name, "section_pattern_r", region=PREFIX + domain) is not None else ""
                      for who in (model, "nearest"))  # fmt: skip
        judged = scores.value("(any)", name, "section_discriminates", region=PREFIX + domain)
        said = f"Correlation with the truth {r}{f', of nearest neighbour {nearest}' if nearest else ''}. " if r else ""
        said += "" if judged else "No verdict: a control does as well, so the section cannot tell methods apart. "
        latitude, first = np.meshgrid(lat, begin, indexing="ij")
        csv = csv_text(pd.DataFrame({"lat": latitude.ravel(), "day": first.ravel(), "truth": truth.ravel(), model: own.ravel()}))
        found.append(one(panels, f"section_{domain}_{task}", title_of(domain), f"{said}Mean over the sector's longitudes, by pentad.",
                         alts, csv, columns=3))  # fmt: skip
    return found


def seasons_present(scores: Scores, names: Sequence[str]) -> list[str]:
    """Variables that diagnose has seasons of."""
    return [name for name in names if domains_of(scores, name)]
