"""What the diagnose stage found: skill in the AR6 regions and Hovmöller diagrams. Never shows a region that was not scored as scored."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orbit2 import longitudes
from orbit2.metrics.verdict import basis, frames, spaces
from orbit2.report import maps, scenes, text
from orbit2.report.blocks import Block, Section, paragraph, shown
from orbit2.report.figures import open_netcdf, split_field
from orbit2.report.inputs import Inputs, Task
from orbit2.report.panels import Figure, Panels, Picture
from orbit2.report.spectra import band_title
from orbit2.report.style import display, method_name
from orbit2.report.tables import Cell, Scores, Table, csv_text, label, lower, number, units
from orbit2.variables import VARIABLES

Array = npt.NDArray[np.float64]
SKILL = "rmse_skill_vs_best_baseline"
MARKED = "rmse_marked_vs_best_baseline"
DISCRIMINATES = 0.95  # a diagram on which nearest neighbour does better tells no method from another


def sections(inputs: Inputs, task: Task) -> list[Section]:
    """The regions and the Hovmöller section; one that says what is missing when diagnose was not run."""
    if inputs.regions is None or not (task.diagnose / "regions.nc").is_file():
        return [
            Section(
                "regions",
                "Regions",
                "Regions",
                [
                    paragraph(
                        f"The climate diagnostics of task {task.name} are not there: run the diagnose stage to get skill by region "
                        f"and Hovmöller diagrams.",
                        "note",
                    )
                ],
            )
        ]
    scores = Scores(inputs.regions, task.name)
    return [_regions(task, scores), _hovmoller(task, scores)]


def _regions(task: Task, scores: Scores) -> Section:
    data = open_netcdf(task.diagnose / "regions.nc", "diagnose")
    section = Section("regions", "Where does it help?", "Regions")
    section.blocks = [
        paragraph(
            "Skill is 1 − RMSE of the model ÷ RMSE of the baseline that does best in that region, interpolation or fitted: positive where "
            "the model helps. Land regions count their "
            f"land cells, ocean regions their sea cells. {text.REGIONS_CREDIT}"
        )
    ]
    counts = _counts(task, scores, [str(r) for r in data["region"].values])
    if counts:
        section.blocks.append(paragraph(counts, "reading"))
    section.blocks += shown(_skill_maps(task, data))
    section.blocks.append(Block("table", table=_region_table(task, scores, data)))
    section.blocks.append(Block("fold", text="Which region is which", blocks=tuple(shown(_key_map(task, data)))))
    return section


def _counts(task: Task, scores: Scores, regions: list[str]) -> str:
    """In how many regions each variable gains; rain in each space and in both."""
    parts = []
    for variable_name in task.variables:
        found = {space: {r: v for r in regions if (v := scores.value(task.config.model, variable_name, SKILL, space, r)) is not None}
                 for space in spaces(variable_name)}  # fmt: skip
        if not any(found.values()):
            continue
        counts = [f"{sum(v > 0 for v in skill.values())} of {len(skill)} in {units(variable_name, space)}"
                  for space, skill in found.items()]  # fmt: skip
        if len(found) == 1:
            parts.append(f"{counts[0].partition(' in ')[0]} for {lower(label(variable_name))}")
        else:
            both = set.intersection(*(set(skill) for skill in found.values()))
            won = sum(all(skill[r] > 0 for skill in found.values()) for r in both)
            parts.append(f"{won} of {len(both)} for {lower(label(variable_name))} ({', '.join(counts)})")
    return f"Regions in which {task.config.model} beats the best baseline: " + ", ".join(parts) + "." if parts else ""


def _fields(data: xr.Dataset, task: Task) -> list[str]:
    names = [str(x).removesuffix("_region_skill") for x in data.data_vars if str(x).endswith("_region_skill")]
    order = {name: i for i, name in enumerate(task.variables)}
    return sorted(names, key=lambda name: order.get(split_field(name)[0], 99))


def _edges(ids: npt.NDArray[Any], task: Task) -> npt.NDArray[np.float64]:
    """Region boundaries on the world map's pixels as an RGBA overlay."""
    on_map = maps.on_world(ids.astype(np.float64), task.grid)
    on_map = np.where(np.isfinite(on_map), on_map, -2)
    edge = np.zeros(on_map.shape, dtype=bool)
    edge[:, 1:] |= on_map[:, 1:] != on_map[:, :-1]
    edge[1:] |= on_map[1:] != on_map[:-1]
    edge[:, 1:] |= edge[:, :-1].copy()  # two pixels wide, so that scaling loses none of it
    overlay = np.zeros((*edge.shape, 4))
    overlay[edge & (on_map > -2)] = (0.11, 0.15, 0.2, 0.85)
    return overlay


def _draw(
    panels: Panels, index: int, task: Task, values: Array, overlay: Array, norm: Normalize, box: tuple[float, float, float, float]
) -> Any:
    ax = panels.axes(index, box)
    cmap = matplotlib.colormaps["RdBu"]
    image = maps.world(ax, values, task.grid, cmap, norm)
    ax.imshow(overlay, origin="lower", extent=image.get_extent(), interpolation="bilinear", zorder=3)
    return ax, image


def _skill_maps(task: Task, data: xr.Dataset) -> Figure | None:
    fields = _fields(data, task)
    if not fields or not task.grid.periodic:
        return None
    pooled = np.concatenate([data[f"{f}_region_skill"].to_numpy() for f in fields])
    limit = max(0.1, float(np.nanquantile(np.abs(pooled), 0.97))) if np.isfinite(pooled).any() else 0.1
    overlay = _edges(data["region_id"].to_numpy(), task)
    panels, alts = Panels(-(-len(fields) // 2), 2, 4.65, 3.05), []
    for i, field in enumerate(fields):
        ax, image = _draw(panels, i, task, data[f"{field}_skill"].to_numpy(), overlay, Normalize(-limit, limit), (0.015, 0.17, 0.97, 0.725))
        variable_name, space = split_field(field)
        title = label(variable_name) + (f", {units(variable_name, space)}" if len(spaces(variable_name)) > 1 else "")
        ax.set_title(title, pad=5)
        maps.colourbar(panels.axes(i, (0.13, 0.145, 0.74, 0.032)), image, "skill against the region's best baseline")
        alts.append(
            f"Map of RMSE skill of {task.config.model} by AR6 region for {title}; blue where it beats interpolation, grey where "
            f"nothing was scored."
        )
    whole, *cuts = panels.render(len(fields))
    skills = {f"{f} skill": data[f"{f}_region_skill"].to_numpy() for f in fields}
    csv = csv_text(pd.DataFrame({"region": data["region"].values, **skills}))
    return Figure(
        "regions",
        f"Skill of {task.config.model} by region",
        f"Blue: better than the best baseline; red: worse; grey: not scored. All test frames pooled. {text.COAST_CREDIT}",
        tuple(Picture(p, a) for p, a in zip(cuts, alts, strict=True)),
        whole,
        csv=csv,
    )


def _key_map(task: Task, data: xr.Dataset) -> Figure | None:
    """The regions' abbreviations on a map."""
    if not task.grid.periodic:
        return None
    ids = data["region_id"].to_numpy()
    names = [str(r) for r in data["region"].values]
    panels = Panels(1, 1, 9.6, 5.0)
    shades = np.where(np.isfinite(ids) & (ids >= 0), (np.nan_to_num(ids, nan=0) * 7) % 5, np.nan)
    ax = panels.axes(0, (0.01, 0.01, 0.98, 0.98))
    image = maps.world(ax, shades, task.grid, matplotlib.colormaps["Pastel1"], Normalize(-0.5, 8.5))
    ax.imshow(_edges(ids, task), origin="lower", extent=image.get_extent(), interpolation="bilinear", zorder=3)
    on_map = maps.on_world(np.where(np.isfinite(ids), ids, -1), task.grid)
    left, right, bottom, top = image.get_extent()
    for i, name in enumerate(names):
        rows, columns = np.nonzero(on_map == i)
        if not len(rows):
            continue
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - np.median(columns)) ** 2)
        x = left + (columns[middle] + 0.5) / on_map.shape[1] * (right - left)
        y = bottom + (rows[middle] + 0.5) / on_map.shape[0] * (top - bottom)
        ax.text(x, y, name, ha="center", va="center", fontsize=6.5, fontweight="bold", zorder=4)
    whole, cut = panels.render(1)
    csv = csv_text(pd.DataFrame({"region": names, "name": data["region_name"].values, "kind": data["region_kind"].values}))
    return Figure(
        "regions_key",
        "The AR6 reference regions",
        text.REGIONS_CREDIT,
        (Picture(cut, "Map of the AR6 reference regions with their abbreviations."),),
        whole,
        wide=True,
        columns=1,
        csv=csv,
    )


def _region_table(task: Task, scores: Scores, data: xr.Dataset) -> Table:
    names, kinds = ([str(x) for x in data[key].values] for key in ("region_name", "region_kind"))
    model, rows = task.config.model, []
    columns = [(v, space) for v in task.variables for space in spaces(v)]
    for region, name, kind in zip((str(r) for r in data["region"].values), names, kinds, strict=True):
        cells = scores.value("(any)", "(any)", "n_cells", region=region)
        row = [
            Cell(name, note=f"{region}, {kind.lower().replace('-', ' and ')}"),
            Cell(f"{cells:,.0f}", cells) if cells is not None else Cell("n/a"),
        ]
        for variable_name, space in columns:
            skill = scores.value(model, variable_name, SKILL, space, region)
            rmse = scores.value(model, variable_name, "rmse", space, region)
            if skill is None:
                row.append(Cell("n/a"))
            else:
                star = " *" if scores.value(model, variable_name, MARKED, space, region) else ""
                row.append(Cell(f"{skill:+.2f}".replace("-", "−"), skill, note=number(rmse) + star, good=skill > 0))
        rows.append(tuple(row))
    heads = [f"{VARIABLES[v].short} ({units(v, space)})" for v, space in columns]
    return Table(
        "regions_table",
        f"RMSE skill of {model} by region against the best baseline there, and below it the model's RMSE; n/a: no cell of the "
        f"region was scored, or its rain is zero throughout. {marks(scores)}",
        ("Region", "cells", *heads),
        tuple(rows),
    )


def marks(scores: Scores) -> str:
    """What the stars mean, or why there are none."""
    marked = scores.rows.loc[scores.rows["metric"] == MARKED, "value"]
    if not len(marked):
        return f"No region is marked: {basis(scores.rows)}, so that any of these differences may be chance."
    return (f"* ({int(marked.sum())} of {len(marked)}): the difference of RMSE stands when at most a tenth of all marks may be chance "
            "(false discovery rate); without a star it may be chance.")


def _hovmoller(task: Task, scores: Scores) -> Section:
    name = task.config.model
    data = open_netcdf(task.diagnose / "hovmoller.nc", "diagnose")
    section = Section("hovmoller", "Do weather systems move as they should?", "Hovmöller")
    names = [v for v in task.variables if f"{v}_longitude" in data]
    if not names:
        section.blocks = [paragraph("No time-longitude diagram was made for this task.", "note")]
        return section
    band = str(data[f"{names[0]}_longitude"].attrs.get("band", ""))
    section.blocks = [
        paragraph(
            f"Time-longitude (Hovmöller) diagrams: each row is one test frame, averaged over {band_title(band)}. The frames are "
            f"shown as they are, rain in mm/day."
        ),
        paragraph(_hovmoller_verdict(scores, name, names, band), "reading"),
    ]
    rows = []
    for variable_name in names:
        row = [Cell(label(variable_name))]
        for metric in ("hovmoller_longitude_pattern_r", "hovmoller_longitude_nrmse"):
            row += [
                Cell.of(scores.value(name, variable_name, metric, region=band), 4, strong=True),
                *(Cell.of(scores.value(other, variable_name, metric, region=band), 4) for other in ("bicubic", "nearest")),
            ]
        rows.append(tuple(row))
    section.blocks.append(
        Block(
            "table",
            table=Table(
                "hovmoller_scores",
                "Agreement of the diagrams with the truth: pattern correlation (1 is perfect) and RMSE over the truth's standard "
                "deviation (0 is perfect).",
                ("Variable", f"correlation, {name}", "bicubic", "nearest", f"RMSE/σ, {name}", "bicubic", "nearest"),
                tuple(rows),
            ),
        )
    )
    for i, variable_name in enumerate(names):
        section.blocks.append(
            Block(
                "fold",
                text=label(variable_name),
                open=i == 0 or i == len(names) - 1,
                blocks=tuple(shown(_hovmoller_figure(task, data, variable_name, name))),
            )
        )
    return section


def _hovmoller_verdict(scores: Scores, model: str, names: list[str], band: str) -> str:
    """Judged only where the diagram can tell methods apart: nearest-neighbour interpolation moves nothing and adds nothing."""
    metric, r = "hovmoller_longitude_nrmse", "hovmoller_longitude_pattern_r"
    controls = [v for n in names if (v := scores.value("nearest", n, r, region=band)) is not None]
    if not controls:
        return "Nearest-neighbour interpolation was not scored, so what a diagram of this record can tell apart is not known."
    told = [n for n in names if (v := scores.value("nearest", n, r, region=band)) is not None and v < DISCRIMINATES]
    if not told:
        return (f"These diagrams cannot discriminate: on {frames(scores.rows)}, nearest-neighbour interpolation alone, which moves nothing "
                f"and adds nothing, already correlates with the truth by {number(min(controls), 2)} to {number(max(controls), 2)}. "
                "No verdict.")
    better = []
    for name in told:
        own, best = scores.value(model, name, metric, region=band), scores.best(model, name, metric, "physical", band)
        if own is not None and best is not None and own < best[1]:
            better.append(name)
    left = len(names) - len(told)
    rest = f" For the other {left} nearest neighbour alone comes close: the diagram cannot discriminate, no verdict." if left else ""
    where = ", ".join(lower(label(n)) for n in told)
    return (f"Where nearest-neighbour interpolation correlates by less than {DISCRIMINATES:g} ({where}), {model} is nearer to the truth "
            f"than every baseline for {len(better)} of {len(told)}.{rest}")


def _hovmoller_figure(task: Task, data: xr.Dataset, variable_name: str, model: str) -> Figure:
    look = display(variable_name)
    stack = data[f"{variable_name}_longitude"]
    shown_fields = {
        key: look.field(stack.sel(model=key).to_numpy().astype(np.float64))
        for key in ("truth", "bicubic", model)
        if key in stack["model"].values
    }
    truth = shown_fields["truth"]
    times = [scenes.stamp(t)[5:16] for t in data["time"].to_numpy().astype("datetime64[s]")]
    edges, rows = task.grid.lon_edges, np.arange(len(times) + 1) - 0.5
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
                "time": np.repeat(data["time"].to_numpy(), len(task.grid.lon)),
                "lon": np.tile(task.grid.lon, len(times)),
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
