"""The section on cost: what trainings and predictions took, where their time went, and what plan says of the same. Never measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orbit2.config.schema import RunConfig
from orbit2.report.figures import scenes
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.inputs import Inputs, ordered
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.style import MUTED
from orbit2.report.tables import Cell, Table, csv_text, number
from orbit2.timing import PARTS, STEP, Foreseen, quality

# (configuration, "training" or "prediction", name, record) -> what plan says of it; the command line hands it in, for stages know no plan.
Foresee = Callable[[RunConfig, str, str, Mapping[str, Any]], Foreseen]
KWH = 3.6e6  # joules
PLANNED = ("waiting for data", "forward", "backward", "optimiser", "exchanges", "writing")  # what plan has of the same
COLOURS = {"setup": "#c3cad1", "waiting": "#CC79A7", "copy": "#E69F00", "forward": "#56B4E9", "backward": "#0072B2",
           "optimiser": "#009E73", "validation": "#D55E00", "saving": "#b8860b", "other": "#e6e9ec"}  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A training or prediction with its record: `count` steps or samples, of which all its tries together took `total`."""

    name: str
    unit: str
    count: float
    total: Mapping[str, Any]
    last: Mapping[str, Any]
    foreseen: Foreseen

    @property
    def each(self) -> float | None:
        """Seconds of a step or sample, what is around the steps left out."""
        spent = sum(self.total["seconds"].get(part, 0.0) for part in STEP) + (0.0 if self.unit == "step" else self._written)
        return spent / self.count if self.count else None

    @property
    def _written(self) -> float:
        return float(self.total["seconds"].get("saving", 0.0))

    @property
    def planned(self) -> float | None:
        known = [self.foreseen.split[part] for part in PLANNED if part in self.foreseen.split]
        return sum(known) / self.foreseen.count if known and self.foreseen.count else None


def cost_section(inputs: Inputs, foresee: Foresee | None = None) -> Section:
    section = Section("cost", "What it cost", "Cost", part="Run")
    done = _done(inputs, foresee)
    section.blocks = [*_training(inputs), *_reached(inputs), *_downscaling(inputs)]
    if done:
        section.blocks += [Block("heading", text="Where the time went"), *shown(_figure(done)), Block("table", table=_parts(done)),
                           Block("heading", text="Beside the plan"), Block("table", table=_beside(done))]  # fmt: skip
    else:
        section.blocks.append(paragraph("No record of where the time went (timing.json) was kept.", "note"))
    return section


def _done(inputs: Inputs, foresee: Foresee | None) -> list[Done]:
    """All that has a record, in the order in which it was done."""
    found = []
    trained = [("training", model.name, model.timing) for model in ordered(inputs)]
    for kind, name, told in [*trained, *(("prediction", task.name, task.timing) for task in inputs.tasks.values())]:
        if not told:
            continue
        foreseen = foresee(inputs.config, kind, name, told) if foresee else Foreseen(untold="made without orbit2's command line")
        trains, total, last = kind == "training", told["total"], told["tries"][-1]
        count = sum(one["steps"] for one in told["tries"]) if trains else total["samples"]
        found.append(Done(f"{kind} of {name}", "step" if trains else "sample", count, total, last, foreseen))
    return found


def _training(inputs: Inputs) -> list[Block]:
    rows = []
    for model in ordered(inputs):
        if model.origin:
            continue
        about = model.about
        rates = [float(r["samples_per_second"]) for r in model.curve if isinstance(r.get("samples_per_second"), (int, float))]
        rows.append(
            (
                Cell(model.name),
                _count(about.get("parameters")),
                _count(about.get("steps")),
                _count(about.get("batch_size")),
                Cell.of(_float(about.get("training_seconds"))),
                Cell.of(float(np.median(rates)) if rates else None),
                Cell(str(about.get("precision", "n/a")).removeprefix("torch.")),
            )
        )
    if not rows:
        return []
    caption = "Training, as measured by the train stage (samples per second: median of the logged steps)."
    columns = ("Model", "parameters", "steps", "batch", "seconds", "samples/s", "precision")
    return [Block("table", table=Table("cost_training", caption, columns, tuple(rows), source="records"))]


def _downscaling(inputs: Inputs) -> list[Block]:
    rows = []
    for task in inputs.tasks.values():
        rows.append(
            (
                Cell(task.name),
                Cell(f"{scenes.spacing(task.input_grid)} to {scenes.spacing(task.grid)}"),
                Cell(f"{task.grid.shape[0]} × {task.grid.shape[1]}"),
                _count(len(task.times)),
                Cell.of(_float(task.prediction.attrs.get("seconds_per_sample"))),
            )
        )
    caption = "Downscaling, as measured by the downscale stage (all output variables of one time)."
    columns = ("Task", "grids", "cells", "samples", "seconds per sample")
    return [Block("table", table=Table("cost_downscaling", caption, columns, tuple(rows), source="records"))]


def _reached(inputs: Inputs) -> list[Block]:
    """Time to a stated quality, as MLPerf HPC counts it: from the start of the first try, reading, validating and saving inside."""
    rows = []
    for model in ordered(inputs):
        told = quality(model.curve, model.config.train.target)
        if told["best"] is None:
            continue
        stated = Cell("none stated") if told["target"] is None else Cell.of(told["target"])
        step, seconds = told["target_step"], told["target_seconds"]
        reached = Cell("not reached") if told["target"] and step is None else Cell.of(seconds, note=f"step {step}" if step else "")
        best = Cell.of(told["best_seconds"], note=f"step {told['best_step']}")
        rows.append((Cell(model.name), stated, reached, Cell.of(told["best"]), best))
    if not rows:
        return []
    caption = (
        "Time to quality: seconds of training from its first start on, with reading, validation and saving in it, until the validation "
        "loss (RMSE over that of interpolation) first reached the target that the configuration states (train.target), and its best."
    )
    columns = ("Model", "target", "seconds to the target", "best loss", "seconds to the best")
    return [Block("table", table=Table("cost_quality", caption, columns, tuple(rows), source="records"))]


def _parts(done: list[Done]) -> Table:
    shown_parts = [part for part in PARTS if any(one.total["seconds"].get(part) for one in done)]
    several = any(one.last["ranks"] > 1 for one in done)
    rows = []
    for one_done in done:
        seconds = one_done.total["seconds"]
        whole = sum(seconds.values()) or 1.0
        cells = [Cell.of(seconds[part], note=f"{seconds[part] / whole:.0%}") if part in seconds else Cell("–") for part in shown_parts]
        if several:
            cells.append(Cell.of(one_done.total["communication"]))
        rows.append((Cell(one_done.name, note=_where(one_done.last)), Cell.of(one_done.total["elapsed"]), *cells))
    return Table(
        "cost_time",
        "Seconds by part of one process's time, all tries together (means over ranks that train together; sums over processes that share a "
        "prediction), and their shares. elapsed: on the clock, without the time between tries."
        + (" communication: inside the parts of a step, what nothing hid, by a profile of one step." if several else ""),
        ("", "elapsed", *shown_parts, *(["communication"] if several else [])),
        tuple(rows),
        source="records",
    )


def _beside(done: list[Done]) -> Table:
    rows = []
    for one_done in done:
        total, plan = one_done.total, one_done.foreseen
        devices = total["device_seconds"]
        rate = None if total["flops"] is None or not devices else total["flops"] / devices
        energy, planned_energy = (None if joules is None else joules / KWH for joules in (total["joules"], plan.joules))
        planned_rate = "" if plan.rate is None else f"plan {number(plan.rate / 1e12)}"
        rows.append(
            (
                Cell(one_done.name),
                Cell.of(one_done.each, note=_plan(one_done.planned) or plan.untold or "", strong=True),
                Cell.of(total["samples_per_second"]),
                Cell.of(None if rate is None else rate / 1e12, note=planned_rate),
                Cell.of(None if total["of_rate"] is None else 100 * total["of_rate"]),
                Cell.of(_giga(total["device_bytes"]), note=_plan(_giga(plan.device_bytes))),
                Cell.of(_giga(total["host_bytes"])),
                Cell.of(energy, note=_plan(planned_energy)),
            )
        )
    return Table(
        "cost_plan",
        "Measured, and in grey what the command orbit2 plan says of the same work on the same device. Seconds of a step (of training) or "
        "a sample (of a prediction): waiting for data, computing, exchanging, and for predictions writing; start, validation and "
        "checkpoints left out. Samples a second and FLOP/s of one device are of the whole time, all of that inside; FLOPs are the model's, "
        "the rate is the data sheet's. Memory of a device as torch's allocator held it (it keeps no count on a CPU), of the host as a "
        "process had it. n/a: nothing tells it here.",
        ("", "seconds each", "samples/s", "TFLOP/s", "% of rate", "device, GB", "host, GB", "kWh"),
        tuple(rows),
        source="records",
    )


def _figure(done: list[Done]) -> Figure:
    """One bar for each, cut into the parts of its time."""
    shares = pd.DataFrame([{"what": d.name, **{part: d.total["seconds"].get(part, 0.0) for part in PARTS}} for d in done]).set_index("what")
    shares = shares.loc[:, (shares > 0).any()]
    shares = 100 * shares.div(shares.sum(axis=1), axis=0)
    height = 1.0 + 0.34 * len(done)
    panels = Panels(1, 1, 9.3, height)
    ax = panels.axes(0, (0.22, 0.52 / height, 0.75, (height - 1.0) / height))
    left = np.zeros(len(shares))
    for part in shares.columns:
        widths = shares[part].to_numpy()
        ax.barh(np.arange(len(shares)), widths, left=left, color=COLOURS[part], label=part, height=0.62, linewidth=0)
        for row, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width >= 6:
                ax.text(start + width / 2, row, f"{width:.0f}", ha="center", va="center", fontsize=8, color=_ink(COLOURS[part]))
        left += widths
    ax.set_yticks(np.arange(len(shares)), list(shares.index))
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the time", color=MUTED)
    ax.grid(axis="y", visible=False)
    ax.legend(ncols=len(shares.columns), loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=8, handlelength=1,
              columnspacing=1)  # fmt: skip
    words = "; ".join(f"{what}: " + ", ".join(f"{part} {row[part]:.0f} %" for part in row.index if row[part] >= 1)
                      for what, row in shares.iterrows())  # fmt: skip
    return one(panels, "cost_time_shares", "Shares of the time", "Shares of the time of trainings and predictions, all tries together.",
               [f"Bars of the shares of time. {words}."], csv_text(shares.reset_index()), columns=1)  # fmt: skip


def _ink(colour: str) -> str:
    """What can be read on it."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#1c2733"


def _where(last: Mapping[str, Any]) -> str:
    ranks = f", {last['ranks']} ranks" if last["ranks"] > 1 else ""
    return f"{last['device']}{ranks}, {last['precision']}"


def _plan(value: float | None) -> str:
    return "" if value is None else f"plan {number(value)}"


def _giga(count: int | None) -> float | None:
    return None if count is None else count / 1e9


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _count(value: object) -> Cell:
    return Cell(f"{value:,}", float(value)) if isinstance(value, int) else Cell("n/a")
