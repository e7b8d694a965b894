"""Writes the tables of docs/costs.md, and docs/costs.json (`make costs`, some minutes): every shipped run on five machines.

    python docs/costs.py [RUN ...]     these runs alone; the others stay as they are

A training that does not fit as shipped is divided into parts (`accumulate`, which changes nothing that is computed) until it does.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orbit2.config.load import load
from orbit2.config.schema import RunConfig
from orbit2.files import short_hash, write_json, write_text
from orbit2.notebook import NOTEBOOK
from orbit2.plan import plan_on
from orbit2.plan.devices import DEVICES
from orbit2.plan.machine import Machine
from orbit2.plan.price import assumptions
from orbit2.plan.records import Model, Plan
from orbit2.plan.text import duration
from orbit2.retrieve.progress import human

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORD = ROOT / "docs/costs.md", ROOT / "docs/costs.json"
BEGIN, END = "<!-- written by docs/costs.py -->\n", "<!-- end -->\n"
MACHINES = {  # what a run can use of them: a step of two samples takes two devices
    "Frontier, two nodes (16 GCDs of MI250X)": Machine("mi250x-gcd", 16, asked=False),
    "DGX H100 (8 GPUs)": Machine("h100", 8, asked=False),
    "one H200": Machine("h200", 1, asked=False),
    "a workstation with one RTX 4090": Machine("rtx-4090", 1, asked=False),
    "a server with one EPYC 7763 (64 cores, no GPU)": Machine("epyc-7763", 1, asked=False),
}
KINDS = ("download", "store", "model", "checkpoints", "prediction")
ROOM = 0.9  # of a device's memory: what plan says of it is right within a tenth


LEFT_OUT = ("demo_climate", "own_data")  # a synthetic test world, for minutes on any two cores; files that only a user has


def runs() -> dict[str, Path]:
    return {path.stem: path for path in sorted((ROOT / "config/runs").glob("*.yaml")) if path.stem not in LEFT_OUT}


def inputs(config: RunConfig) -> str:
    """What numbers are made from beside the program: what the run sets, the devices' sheets, what is assumed."""
    sheets = {name: [asdict(DEVICES[on.device]), assumptions(on)] for name, on in MACHINES.items()}
    said = config.model_dump(mode="json", exclude_defaults=True)
    return short_hash([said, json.loads(json.dumps(sheets))])


def of_run(path: Path) -> dict[str, Any]:
    """A run on all machines."""
    config = load(path)
    found = {name: fitted(path, on) for name, on in MACHINES.items()}
    first = next(iter(found.values()))[0]
    disk = {kind: first.of(kind)[0] for kind in KINDS}
    files = sum(one.files or 0 for one in first.stored if one.kind == "download")
    return {"inputs": inputs(config), "disk": disk, "files": files, "machines": {name: row(*each) for name, each in found.items()}}


def fitted(path: Path, on: Machine) -> tuple[Plan, dict[str, int]]:
    """The plan, and in how many parts steps are computed there that do not fit as they are shipped."""
    config = load(path)
    plan, parts = plan_on(config, on), dict[str, int]()
    for _ in range(3):
        more = {model.name: count for model in plan.models if not roomy(model) and (count := divided(model)) > model.accumulate}
        if not more:
            break
        parts |= more
        plan = plan_on(load(path, [f"models.{name}.train.accumulate={count}" for name, count in parts.items()]), on)
    return plan, parts


def roomy(model: Model) -> bool:
    return all(each.memory.need <= ROOM * each.memory.device for each in model.trainings)


def divided(model: Model) -> int:
    """Parts (a power of two times those it has, no more than a rank has windows) that should fit."""
    factor = 1.0
    for each in model.trainings:
        room = max(ROOM * each.memory.device - each.memory.state, 1.0)
        factor = max(factor, min((each.memory.need - each.memory.state) / room, each.together))
    return model.accumulate << math.ceil(math.log2(factor))


def row(plan: Plan, parts: dict[str, int]) -> dict[str, Any]:
    trained, predicted = [model.time for model in plan.models], [task.time for task in plan.tasks]
    return {
        "fits": plan.fits,
        "accumulate": parts,
        "training": sum(time.wall or 0.0 for time in trained),
        "prediction": sum(time.wall or 0.0 for time in predicted),
        "slices": sum(time.slices or 0 for time in trained),
        "device_seconds": plan.device_seconds,
        "joules": plan.joules,
        "memory": max((each.memory.need for model in plan.models for each in model.trainings), default=0)
        or max(task.memory.need for task in plan.tasks),  # nothing is trained with imported weights
    }


def tables(record: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| run | downloads | in files | pair stores | models and checkpoints | predictions |", "|---|---|---|---|---|---|"]
    for name, run in record.items():
        disk = run["disk"]
        cells = (human(disk["download"]), f"{run['files']:,}", human(disk["store"]), human(disk["model"] + disk["checkpoints"]),
                 human(disk["prediction"]))  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for machine in MACHINES:
        lines += ["", f"### {machine[0].upper()}{machine[1:]}", "",
                  "| run | memory of a device | all trainings | in slices | all predictions | device-hours | energy |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        lines += [f"| {name} | {' | '.join(_cells(run['machines'][machine]))} |" for name, run in record.items()]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    memory = human(row["memory"])
    if not row["fits"]:
        return [f"{memory}: **does not fit**", "", "", "", "", ""]
    if row["accumulate"]:
        memory += " with " + ", ".join(f"`accumulate` {count} ({name})" for name, count in row["accumulate"].items())
    hours, kwh = (f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for value in (row["device_seconds"] / 3600, row["joules"] / 3.6e6))
    return [memory, duration(row["training"]), f"{row['slices']:,}", duration(row["prediction"]), hours, f"{kwh} kWh"]


def page(record: dict[str, Any]) -> str:
    """The page with these tables in it."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return before + BEGIN + tables(record) + END + rest.split(END)[1]


def main(chosen: list[str]) -> None:
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    for name, path in runs().items():
        if not chosen or name in chosen:
            with NOTEBOOK.opened():
                record[name] = of_run(path)
            print(name, {machine: cells["fits"] for machine, cells in record[name]["machines"].items()}, flush=True)
            write_json(RECORD, {key: record[key] for key in runs() if key in record})
    write_text(PAGE, page(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(sys.argv[1:])
