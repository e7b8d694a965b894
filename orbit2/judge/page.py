"""The page of a comparison: verdict, scores, maps, regions, and what was left out. Every number is a row of the table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from orbit2.judge.judged import Judged
from orbit2.metrics import table as tables_of
from orbit2.metrics.fields import Field, fields_of
from orbit2.metrics.netcdf import grid_of_file
from orbit2.report import tables
from orbit2.report.figures import maps, scenes
from orbit2.report.figures.panels import Figure
from orbit2.report.pages import assembly
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.pages.verdict import basis
from orbit2.report.style import display, look
from orbit2.report.tables import Cell, Scores, Table, number

OTHERS = (("bias", "bias"), ("mae", "MAE"), ("pearson_r", "correlation"), ("r2_cod", "R² (1 − SSE/SST)"), ("ssim", "SSIM"),
          ("effective_resolution_km", "effective resolution (km)"))  # fmt: skip
MOST_REGIONS = 12  # shown; all are in the table


def write(matched: Judged, out: Path) -> None:
    """`report/` in the folder `out`, from the tables and maps that lie there."""
    scores = Scores(tables_of.read(out / "metrics.parquet"), matched.task)
    regions = tables_of.read(out / "regions.parquet")
    with look():
        chapters = [_verdict(matched, scores), _maps(matched, out), _regions(matched, regions), _common_ground(matched), _words()]
    lead = [f"{matched.model} against {matched.reference}: {_basis(matched)}.", f"On {basis(scores)}: {_said(matched, scores)}"]
    page = assembly.rendered(f"{matched.model} judged against {matched.products[1].name}", "orbit2 evaluate", lead, chapters,
                             "the products named below", _banner(matched))  # fmt: skip
    assembly.write(out / "report", page, chapters)


def _banner(matched: Judged) -> str:
    """Which of the products say of themselves that they are synthetic."""
    named: dict[str, list[str]] = {}
    for product in matched.products:
        if product.banner:
            named.setdefault(product.banner, []).append(product.name)
    return "; ".join(f"{', '.join(names)}: {banner}" for banner, names in named.items())


def _basis(matched: Judged) -> str:
    count, grid = len(matched.times), matched.grid
    span = f"{matched.times[0]} to {matched.times[-1]}" if count > 1 else str(matched.times[0])
    return f"{count} {'fields' if count > 1 else 'field'} a variable, {span}, on {grid.describe()}"


def _said(matched: Judged, scores: Scores) -> str:
    """Who is nearer, where there is somebody to compare with. A variable is won when it is won in every space."""
    if not any(matched.baselines(name) for name in matched.variables):
        return "no baseline was given (--baseline), so these numbers do not say whether it is better than anything."
    won, compared = [], 0
    for name in matched.variables:
        if not matched.baselines(name):
            continue
        compared += 1
        if all(_beats(matched, scores, f) for f in fields_of([name])):
            won.append(tables.lower(tables.label(name)))
    what = f": {', '.join(won)}" if won else ""
    return f"it has a lower RMSE than every baseline for {len(won)} of {compared} variables{what}."


def _beats(matched: Judged, scores: Scores, f: Field) -> bool:
    own = scores.value(matched.model, f.variable, "rmse", f.space)
    others = [scores.value(other, f.variable, "rmse", f.space) for other in matched.baselines(f.variable)]
    return own is not None and all(other is not None and own < other for other in others)


def _verdict(matched: Judged, scores: Scores) -> Section:
    section = Section("scores", "Scores", "Scores")
    section.blocks = [
        paragraph(f"Area-weighted, on the cells where every product has a value. {matched.reference} is taken as the truth: where it is "
                  "wrong, a right product looks wrong.", "note"),
        Block("table", table=_errors(matched, scores)),
        Block("table", table=_others(matched, scores)),
        Block("table", table=tables.all_scores(scores, matched.task)),
    ]  # fmt: skip
    return section


def _errors(matched: Judged, scores: Scores) -> Table:
    """RMSE of each product with its interval, and skill against each baseline."""
    beside = [name for name in matched.all_models if name != matched.model]
    rows = []
    for f in fields_of(matched.variables):
        row = [Cell(tables.label(f.variable), note=tables.units(f.variable, f.space))]
        for model in (matched.model, *beside):
            value = scores.value(model, f.variable, "rmse", f.space)
            row.append(Cell.of(value, 3, strong=model == matched.model, note=_interval(scores, model, f, "rmse")))
        for other in beside:
            row.append(Cell.of(scores.value(matched.model, f.variable, f"rmse_skill_vs_{other}", f.space), 2))
        rows.append(tuple(row))
    return Table(
        "rmse", "RMSE in the units under each name, in grey its 95 % interval where the record is long enough; skill is 1 − RMSE/RMSE of "
        "the baseline.", ("Variable", matched.model, *beside, *(f"skill against {other}" for other in beside)), tuple(rows),
    )  # fmt: skip


def _interval(scores: Scores, model: str, f: Field, metric: str) -> str:
    rows = scores.rows
    wanted = {"model": model, "variable": f.variable, "space": f.space, "metric": metric, "region": scores.domain}
    found = rows[np.logical_and.reduce([rows[key] == value for key, value in wanted.items()])]
    if not len(found) or not np.isfinite(low := float(found["ci_low"].iloc[0])):
        return ""
    return f"{number(low)} to {number(float(found['ci_high'].iloc[0]))}"


def _others(matched: Judged, scores: Scores) -> Table:
    rows = []
    for f in fields_of(matched.variables):
        row = [Cell(tables.label(f.variable), note=tables.units(f.variable, f.space))]
        for metric, _ in OTHERS:
            beside = [(other, _somewhere(scores, other, f, metric)) for other in matched.baselines(f.variable)]
            note = ", ".join(f"{other} {number(value)}" for other, value in beside if value is not None)
            row.append(Cell.of(_somewhere(scores, matched.model, f, metric), 3, strong=True, note=note))
        rows.append(tuple(row))
    heads = ("Variable", *(title for _, title in OTHERS))
    return Table("other", f"Other scores of {matched.model}; baselines in grey.", heads, tuple(rows))


def _somewhere(scores: Scores, model: str, f: Field, metric: str) -> float | None:
    """A score of the whole domain, or, of a spectrum, of the first band or box that has one."""
    value = scores.value(model, f.variable, metric, f.space)
    if value is not None:
        return value
    rows = scores.rows[(scores.rows["model"] == model) & (scores.rows["variable"] == f.variable) & (scores.rows["space"] == f.space)
                       & (scores.rows["metric"] == metric)]  # fmt: skip
    return float(rows["value"].iloc[0]) if metric == "effective_resolution_km" and len(rows) else None


def _maps(matched: Judged, out: Path) -> Section:
    section = Section("maps", "Where it errs", "Maps")
    section.blocks = [paragraph("Mean error over all times, of every product on one colour scale.", "note")]
    with xr.open_dataset(out / "maps.nc", engine="h5netcdf") as opened:
        data = opened.load()
    for i, name in enumerate(matched.variables):
        figure = _bias_map(matched, data, name)
        section.blocks.append(Block("fold", text=tables.label(name), blocks=tuple(shown(figure)), open=i == 0))
    return section


def _bias_map(matched: Judged, data: xr.Dataset, name: str) -> Figure | None:
    if f"{name}_bias" not in data:
        return None
    field, drawn = data[f"{name}_bias"], display(name)
    if min(field.shape[-2:]) < 2 or (grid := grid_of_file(data)) is None:
        return None
    means = {model: field.sel(model=model).to_numpy() * drawn.scale for model in matched.models(name)}
    norm, units = drawn.difference_norm(*means.values()), scenes.DIFFERENCE_UNITS.get(drawn.units, drawn.units)
    layers = [scenes.Layer(f"{model} − {matched.products[1].name}", values, grid, drawn.difference_cmap, norm, units,
                           f"{tables.label(name)}, mean error of {model}") for model, values in means.items()]  # fmt: skip
    caption = f"Mean of {len(matched.times)} times."
    if grid.periodic:
        return scenes.world_figure(layers, f"bias_{name}", f"{tables.label(name)}, mean error", caption, None)
    return scenes.zoom_figure(layers, f"bias_{name}", f"{tables.label(name)}, mean error", caption, maps.extent(grid))


def _regions(matched: Judged, rows: pd.DataFrame) -> Section:
    """The AR6 regions with the largest errors over the typical one."""
    section = Section("regions", "Regions", "Regions")
    section.blocks = [paragraph("The 58 IPCC AR6 regions, land and sea apart; those with the largest RMSE first.", "note")]
    for name in matched.variables:
        own = rows[(rows["variable"] == name) & (rows["space"] == "physical") & (rows["season"] == "all")]
        own = own[own["model"].isin(matched.models(name)) & own["metric"].isin(("rmse", "bias", "pearson_r"))]
        own = own.pivot_table(index="region", columns=["metric", "model"], values="value", sort=False)
        if not len(own) or ("rmse", matched.model) not in own:
            continue
        order = own[("rmse", matched.model)].sort_values(ascending=False).index
        wanted = [("rmse", model) for model in matched.models(name)] + [(m, matched.model) for m in ("bias", "pearson_r")]
        wanted = [column for column in wanted if column in own]
        body = tuple((Cell(str(r)), *(Cell.of(float(own.loc[r, c]), 3) for c in wanted)) for r in order)
        heads = tuple(f"{'correlation' if metric == 'pearson_r' else metric.upper() if metric == 'rmse' else metric}, {model}"
                      for metric, model in wanted)  # fmt: skip
        section.blocks.append(Block("table", table=Table(
            f"regions_{name}", f"{tables.label(name)}, {tables.units(name)}.", ("Region", *heads), body,
            collapsed="" if len(body) <= MOST_REGIONS else f"{tables.label(name)}: {len(body)} regions")))  # fmt: skip
    return section


def _common_ground(matched: Judged) -> Section:
    section = Section("ground", "What was compared", "What was compared")
    roles = ("judged", "taken as truth", *("baseline" for _ in matched.products[2:]))
    facts = [(f"{product.name} ({role})", f"{product.path}, {each.grid.describe()}, {len(each.times)} times, "
              f"{', '.join(each.names)}") for product, role, each in zip(matched.products, roles, matched.inputs, strict=True)]  # fmt: skip
    facts += [("common grid", matched.grid.describe()),
              ("common times", f"{len(matched.times)}, matched by {'date' if matched.clock.by_date else 'instant'}")]  # fmt: skip
    section.blocks = [Block("facts", pairs=tuple(facts))]
    left = left_out(matched)
    section.blocks.append(Block("points", points=tuple(left)) if left else paragraph("Nothing was left out."))
    return section


def left_out(matched: Judged) -> list[str]:
    """What was left out or changed to make the products comparable, a line each."""
    gone = [f"{count} of {len(matched.times)} fields of {tables.lower(tables.label(name))} have no cell with a value in all products and "
            "were left out" for name, count in matched.empty.items()]  # fmt: skip
    return [*matched.notes, *gone]


def _words() -> Section:
    section = Section("words", "How to read it", "How to read it")
    section.blocks = [paragraph("Every number is a row of metrics.parquet or regions.parquet beside this page; formula, source, direction "
                                "and trap of each metric are in orbit2's docs/metrics.md.", "note")]  # fmt: skip
    return section


def names_of(paths: Sequence[Path], taken: Sequence[str] = ()) -> list[str]:
    """A name for each product, from its file's; alike ones are numbered."""
    found: list[str] = []
    for path in paths:
        stem = "_".join(path.name.removesuffix(".gz").rsplit(".", 1)[0].split()) or "product"
        if stem in (*taken, *found) and path.parent.name:
            stem = f"{path.parent.name}/{stem}".replace(" ", "_")
        name, n = stem, 1
        while name in (*taken, *found):
            n += 1
            name = f"{stem}-{n}"
        found.append(name)
    return found
