"""What the run took, stage by stage, from the workflow's own records, and what was checked. Never measures, never rounds a failure up."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbit2.config import slices
from orbit2.data.ranges import MUCH, Outside
from orbit2.report.inputs import Inputs, Task, ordered
from orbit2.report.pages.blocks import Block, Section, paragraph
from orbit2.report.tables import Beside, Cell, Scores, Table, amount, label, number, traced, units
from orbit2.times import begin, calendar_of
from orbit2.variables import is_precipitation

KWH = 3.6e6  # joules
BESIDE, CHECKED = "report/tables/cost_stages.csv", "report/tables/checks.csv"
WATTS = (5.0, 15.0)  # of a busy core with its share of the machine: from the data sheets of server processors to a small node's
STAGES = ("retrieve", "regrid", "statistics", "baselines", "train", "finetune", "downscale", "evaluate", "diagnose", "report")
KEEPS = 1e-3  # of the field's standard deviation: a residual below it counts as conserved
SEAM = 0.05
MOST = 4  # variables and seasons outside the training's climate that are named


@dataclass
class Stage:
    """Jobs of a stage: how many, seconds on the clock and of cores, megabytes of the largest."""

    jobs: int = 0
    seconds: float = 0.0
    cores: float = 0.0
    memory: float = 0.0

    def add(self, record: Mapping[str, str]) -> None:
        """A row of Snakemake's benchmark file; what it could not measure is `-` or `NA`."""
        self.jobs += 1
        self.seconds += _number(record.get("s"))
        self.cores += _number(record.get("cpu_time"))
        self.memory = max(self.memory, _number(record.get("max_rss")))


def _number(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if value == value else 0.0


def stages(inputs: Inputs) -> dict[str, Stage]:
    """By stage, in the order of the work, from the benchmark files that lie beside the logs; nothing where there are none."""
    folders = [inputs.root / slices.dataset_folder(inputs.config, name) / "logs" for name in inputs.config.datasets]
    folders += [model.folder.parent / "logs" for model in ordered(inputs)]
    found: dict[str, Stage] = {}
    for path in _records([*folders, inputs.folder / "logs"]):
        stage = next((name for name in STAGES if path.stem.startswith(name)), "")
        if stage:
            with path.open(encoding="utf-8", newline="") as rows:
                for record in csv.DictReader(rows, delimiter="\t"):
                    found.setdefault(stage, Stage()).add(record)
    return {name: found[name] for name in STAGES if name in found}


def _records(folders: Iterable[Path]) -> list[Path]:
    return [path for folder in dict.fromkeys(folders) if folder.is_dir() for path in sorted(folder.glob("*.tsv"))]


def sections(inputs: Inputs) -> list[Section]:
    """The table of stages and the sums; nothing where the workflow left no records."""
    found = stages(inputs)
    if not found:
        return []
    rows = [(Cell(name), *_cells(stage)) for name, stage in found.items()]
    whole = Stage(sum(s.jobs for s in found.values()), sum(s.seconds for s in found.values()), sum(s.cores for s in found.values()),
                  max(s.memory for s in found.values()))  # fmt: skip
    rows.append((Cell("all"), *_cells(whole)))
    table = Table(
        "cost_stages",
        "Jobs of the workflow by stage, the last try of each, as Snakemake measured them: sums of hours on the clock and of core hours, "
        "memory of the largest. Stages that other runs share are counted here too; the report itself is of the time before.",
        ("Stage", "jobs", "hours", "core hours", "memory, GB"), tuple(rows), source="records",
    )  # fmt: skip
    told = [paragraph(_energy(inputs, whole), "reading"), Block("table", table=table)]
    return [Section("stages", "What every stage took", "Stages", told, part="Run")]


def _cells(stage: Stage) -> tuple[Cell, ...]:
    return (Cell(f"{stage.jobs:,}", float(stage.jobs)), Cell.of(stage.seconds / 3600), Cell.of(stage.cores / 3600),
            Cell.of(stage.memory / 1000))  # fmt: skip


def _energy(inputs: Inputs, whole: Stage) -> str:
    """Core and GPU hours, and energy: of counters where a machine has them, else an estimate that says what it assumes."""
    records = {f"timing.json of the training of {model.name}": model.timing for model in inputs.models.values() if model.timing}
    records |= {f"timing.json of the prediction of {task.name}": task.timing for task in inputs.tasks.values() if task.timing}
    devices = sorted({str(record["tries"][-1]["device"]) for record in records.values()})
    on_gpus = {name: record["total"] for name, record in records.items() if record["total"]["device_bytes"] is not None}
    gpu = sum(total["device_seconds"] for total in on_gpus.values()) / 3600
    metered = {name: record["total"]["joules"] for name, record in records.items() if record["total"]["joules"] is not None}
    core, all_of_them = whole.cores / 3600, (("Stage", "all"),)
    words = traced(number(core), Beside(BESIDE, all_of_them, "core hours"), how="beside") + " core hours"
    hours = traced(number(gpu), *(Beside(name, (), "device_seconds", 1 / 3600) for name in on_gpus), how="beside")
    words += f" and {hours} GPU hours" if gpu else ", no GPU"
    words += f". Hardware: {', '.join(devices)}. " if devices else ". "
    if metered:
        used = traced(number(sum(metered.values()) / KWH), *(Beside(name, (), "joules", 1 / KWH) for name in metered), how="beside")
        words += f"Trainings and predictions used {used} kWh by the machine's own counters. "
    low, high = (traced(number(core * watts / 1000, 2), Beside(BESIDE, all_of_them, "core hours", watts / 1000), how="beside")
                 for watts in WATTS)  # fmt: skip
    words += f"Energy of the cores, an estimate with {WATTS[0]:g} to {WATTS[1]:g} W for a busy core: {low} to {high} kWh."
    return words + (" That of the GPUs is not told by anything here." if gpu and not metered else "")


def checks_section(inputs: Inputs) -> Section:
    """What was checked of every task, with the number that it rests on: passed, failed, or not told."""
    rows = [row for task in inputs.tasks.values() for row in _checks(inputs, task)]
    counts = {word: sum(row[2].text == word for row in rows) for word in ("passed", "failed", "for information")}
    shown = {word: traced(str(count), Beside(CHECKED, (("result", word),)), how="beside") for word, count in counts.items()}
    words = f"{shown['passed']} of {traced(str(len(rows)), Beside(CHECKED), how='beside')} passed"
    words += "".join(f", {shown[word]} {word}" for word in ("failed", "for information") if counts[word])
    heads = ("Task", "check", "result", "number", "what it is")
    table = Table("checks", "Checks of the run's predictions. Numbers are rows of the table of scores.", heads, tuple(rows))
    return Section("checks", "What was checked", "Checks", [paragraph(f"{words}.", "reading"), Block("table", table=table)], part="Run")


def _checks(inputs: Inputs, task: Task) -> list[tuple[Cell, ...]]:
    scores, model = Scores(inputs.scores, task.name), task.config.model
    whole = bool(task.prediction.attrs.get("finalised"))
    found = [_row(task, "prediction finished", whole, None, "every sample of the task was written and marked as final")]
    versions = set(inputs.scores.loc[inputs.scores["task"] == task.name, "code_version"].astype(str).unique())
    found.append(_row(task, "one version of the code", len(versions) <= 1, None, f"scores by {', '.join(sorted(versions)) or 'none'}"))
    found += remembered(task, inputs.models[model].about.get("site_memory") or {})
    found += climate(task)
    valid = scores.value(model, task.variables[0], "valid_fraction") if task.variables else None
    if valid is not None:
        found.append(_row(task, "cells scored", None, valid, "share of the area that was scored; missing truth is never filled"))
    for name in task.variables:
        low = scores.value(model, name, "quantile_0.001")
        if is_precipitation(name) and low is not None:
            found.append(_row(task, f"no negative {label(name).lower()}", low >= 0, low, f"0.1 % quantile, {units(name)}",
                              amount(low, name)))
        kept = scores.value(model, name, "conservation_relative")
        if kept is not None:
            asked = _conserves(inputs, model)
            about = "RMSE of area means against the input over the input's standard deviation"
            about += "" if asked else "; not asked of this model"
            found.append(_row(task, f"{label(name)} keeps its input's means", kept < KEEPS if asked else None, kept, about))
        crossed = scores.value(model, name, "order_violations")
        if crossed is not None:
            found.append(_row(task, "minimum below maximum", crossed == 0, crossed, "share of the area where it is not"))
    rows = scores.rows[(scores.rows["model"] == model) & scores.rows["value"].notna()]
    seams = rows.loc[rows["metric"].str.startswith("seam_ratio_"), "value"].to_numpy(dtype=float)
    if len(seams):
        worst = float(seams[abs(seams - 1).argmax()])
        about = "seam ratio furthest from 1; all of them, with their intervals, are under Seams"
        found.append(_row(task, "tiles do not show", abs(worst - 1) <= SEAM, worst, about))
    return found


def remembered(task: Task, memories: Mapping[str, Mapping[str, Any]]) -> list[tuple[Cell, ...]]:
    """Whether the site memory was on, with what, and that no sample of the task was in the blocks that it was made of; nothing of a model
    without one."""
    told = str(task.prediction.attrs.get("site_memory", ""))
    if not told or not memories:
        return []
    from orbit2.model.site import said  # brings torch, which few pages need

    entry = memories.get(task.config.dataset)
    if not told.startswith("on") or entry is None:
        return [_row(task, "site memory", None, None, told)]
    calendar = calendar_of(task.times)
    blocks = [tuple(begin(time, calendar) for time in entry[key]) for key in ("period", "judged_on")]
    seen = any(bool(((task.times >= first) & (task.times <= last)).any()) for first, last in blocks)
    about = f"learned {' to '.join(entry['period'])}, judged {' to '.join(entry['judged_on'])}"
    words = traced(f"{told}: {said(entry)}", Beside("the model's config.json", (), "site_memory"), how="told")
    return [_row(task, "site memory", None, None, words),
            _row(task, "site memory saw no sample of the task", None if task.config.split != "test" else not seen, None, about)]


def climate(task: Task) -> list[tuple[Cell, ...]]:
    """Of inputs from another dataset than the training's: how much of them lies outside its climate. Nothing of others."""
    told = task.prediction.attrs.get("training_range")
    if not told:
        return []
    known = json.loads(str(told))
    seasons = ", ".join(known["new_seasons"])
    rows = [Outside(**each) for each in known["outside"]]
    far = [each for each in rows if each.share >= MUCH]
    about = "; ".join(each.line.removeprefix("climate: ") for each in far[:MOST])
    about += f"; and {len(far) - MOST} more of variable and season" if len(far) > MOST else ""
    if about:
        about = traced(about, Beside(f"downscale/{task.name}", (), "training_range"), how="told")
    else:
        about = "share of the area outside the training's outermost quantiles, worst of all variables and seasons"
    about += f". The training has no samples of {seasons}" if seasons else ""
    return [_row(task, "inputs within the training's climate", None, rows[0].share if rows else None, about)]


def _conserves(inputs: Inputs, model: str) -> bool:
    """Whether the network is made to keep its input's means."""
    return bool(inputs.config.architecture_of(model).conserve)


def _row(task: Task, check: str, passed: bool | None, value: float | None, about: str, shown: Cell | None = None) -> tuple[Cell, ...]:
    result = "for information" if passed is None else "passed" if passed else "failed"
    number_of = shown or (Cell("–") if value is None else Cell.of(value))
    return (Cell(task.name), Cell(check), Cell(result, good=passed), number_of, Cell(about))


def card(inputs: Inputs) -> list[Block]:
    """The model cards as they lie in the model folders."""
    found = []
    for model in ordered(inputs):
        path = model.folder / "card.md"
        if path.is_file():
            found.append(Block("fold", text=f"Model card: {model.name}", blocks=(Block("code", text=path.read_text(encoding="utf-8")),)))
    return found
