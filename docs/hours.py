"""Writes the table of node-hours in docs/frontier.md, and docs/hours.json: every dataset of Table I with a model of each size on Frontier.

    python docs/hours.py [DATASET ...]     these alone; the others stay as they are (some minutes a dataset)
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import yaml

from orbit2.config.load import from_mapping
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.files import short_hash, write_json, write_text
from orbit2.metrics.months import plan_parts as task_months
from orbit2.model.inspect import build, size
from orbit2.nodehours import Job, Submitted, rows
from orbit2.plan.estimate import training
from orbit2.plan.hours import seconds
from orbit2.plan.machine import machine
from orbit2.plan.price import assumptions
from orbit2.regrid import plan_parts

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORD = ROOT / "docs/frontier.md", ROOT / "docs/hours.json"
BEGIN, END = "<!-- written by docs/hours.py -->\n", "<!-- end of docs/hours.py -->\n"
DATASETS = ("era5_622km", "era5_112km", "prism_16km", "daymet_16km", "us_28km")
SIZES = ("9m", "126m", "1b", "10b")
NODES = 64  # of a training: a sample of a step on each of its 512 GCDs
SHARDS = {"1b": 8, "10b": 64}  # ranks that share a model's parameters and optimiser; one where it is not named
PROFILE = yaml.safe_load((ROOT / "profiles/frontier/config.yaml").read_text(encoding="utf-8"))
DEVICE, CORES = PROFILE["set-resources"]["train_model"]["device"], PROFILE["cores"]
TOGETHER, MONTHS = (PROFILE["group-components"][group] for group in ("regrid_{data}", "score_{task}"))


def run(dataset: str, model: str) -> RunConfig:
    """One dataset, a model of one size trained on it, its test year predicted."""
    train = {"include": "train/9m.yaml", "checkpointing": "blocks", "mesh": {"fsdp": SHARDS.get(model, 1)}}
    return from_mapping({
        "label": "hours", "sources": {"include": "datasets/sources.yaml"},
        "datasets": {dataset: {"include": f"datasets/{dataset}.yaml"}},
        "models": {model: {"datasets": [dataset], "architecture": {"include": f"models/reslim_{model}.yaml"}, "train": train}},
        "downscale": {"test": {"model": model, "dataset": dataset}},
    }, [], base=ROOT / "config", where="docs/hours.py")  # fmt: skip


def inputs(config: RunConfig) -> str:
    """What numbers are made from beside the program."""
    said = config.model_dump(mode="json", exclude_defaults=True)
    return short_hash([said, json.loads(json.dumps(assumptions(machine(DEVICE, nodes=NODES)))), NODES, CORES, TOGETHER])


def jobs(config: RunConfig, dataset: str, model: str) -> list[Submitted]:
    """What the profile makes of the run: groups as there."""
    threads = PROFILE["set-threads"]
    parts = [Job("regrid_part", dataset, threads["regrid_part"]) for _ in plan_parts(config.datasets[dataset])]
    groups = [Submitted(tuple(parts[i : i + TOGETHER])) for i in range(0, len(parts), TOGETHER)]
    months = [Job("evaluate_part", "test") for _ in task_months(config, "test")]
    scores = [Submitted(tuple(months[i : i + MONTHS])) for i in range(0, len(months), MONTHS)]
    return [*groups, Submitted((Job("statistics_dataset", dataset, threads["statistics_dataset"]),)),
            Submitted((Job("train_model", model),), NODES), Submitted((Job("downscale_task", "test"),)),
            Submitted((Job("evaluate_fit", dataset),)), *scores]  # fmt: skip


def of(dataset: str, model: str) -> dict[str, Any]:
    config = run(dataset, model)
    found = training(config, model, build(config, model), machine(DEVICE, nodes=NODES), {}, advised=False)
    memory = max((each.memory for each in found.trainings), key=lambda each: each.need)
    told = rows(jobs(config, dataset, model), seconds(config, DEVICE, {model: NODES}), CORES)
    hours = {row.rules[0]: [row.submitted, None if row.untold else round(row.hours, 3)] for row in told}
    return {"inputs": inputs(config), "memory": memory.need, "advice": memory.advice, "hours": hours}


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| dataset | model | memory of a GCD | regrid (SLURM jobs) | statistics | training | prediction | scores | in all |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name in filter(record.__contains__, names()):
        row = record[name]
        dataset, model = name.split("/")
        if row["advice"]:
            lines.append(f"| {dataset} | {model} | {size(row['memory'])}: {row['advice']} | | | | | | |")
            continue
        regrid, statistics, train, predict, fits, months = (row["hours"][rule] for rule in (
            "regrid_part", "statistics_dataset", "train_model", "downscale_task", "evaluate_fit", "evaluate_part"))  # fmt: skip
        scores = None if None in (fits[1], months[1]) else fits[1] + months[1]
        told = [*(hours for _, hours in (regrid, statistics, train, predict)), scores]
        cells = (f"{_hours(regrid[1])} ({regrid[0]})", *(_hours(hours) for hours in told[1:]))
        whole = _hours(sum(hours or 0.0 for hours in told)) + (" and what is not told" if None in told else "")
        lines.append(f"| {dataset} | {model} | {size(row['memory'])} | {' | '.join(cells)} | {whole} |")
    return "\n".join(lines) + "\n"


def _hours(hours: float | None) -> str:
    if hours is None:
        return "not told"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.{max(1, 1 - math.floor(math.log10(hours)))}f}" if hours > 0 else "0"


def page(record: dict[str, Any]) -> str:
    """The page with this table in it."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return before + BEGIN + table(record) + END + rest.split(END)[1]


def names() -> list[str]:
    return [f"{dataset}/{model}" for dataset in DATASETS for model in SIZES]


def main(chosen: list[str]) -> None:
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    for name in names():
        dataset, model = name.split("/")
        if not chosen or dataset in chosen or name in chosen:
            try:
                record[name] = of(dataset, model)
            except OrbitError as error:
                sys.exit(f"{name}: {error}")
            print(name, record[name], flush=True)
            write_json(RECORD, {key: record[key] for key in names() if key in record})
    write_text(PAGE, page(record))


if __name__ == "__main__":
    main(sys.argv[1:])
