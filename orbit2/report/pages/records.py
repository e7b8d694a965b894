"""The sections on provenance, limits and words. Never hides where a run came from or what it lacks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orbit2 import places
from orbit2.config.dataset import duration
from orbit2.config.load import dataset_hash
from orbit2.config.sources import synthetic
from orbit2.files import short_hash
from orbit2.provenance import code_version, versions
from orbit2.report import text
from orbit2.report.figures import scenes
from orbit2.report.figures.monsoon import seasons_present
from orbit2.report.inputs import Inputs, Model, Task, ordered
from orbit2.report.pages import ablation, jobs, sections, verdict
from orbit2.report.pages.blocks import Block, Section, paragraph
from orbit2.report.tables import Beside, Cell, Row, Scores, Table, traced
from orbit2.times import day, of_any

MANY_FILES = 60


def provenance_section(inputs: Inputs, config: Path, out: Path) -> Section:
    section = Section("provenance", "Provenance", "Provenance", part="Run")
    run = inputs.config.model_dump(mode="json")
    pairs: list[tuple[str, str]] = [
        ("orbit2", f"{code_version()} (this report); scores by {', '.join(sorted(set(inputs.scores['code_version'].astype(str))))}"),
        ("Run", f"label {inputs.label}, configuration hash {short_hash(run)}"),
    ]
    for name in inputs.config.datasets:
        pairs.append(
            (f"Data set {name}", f"hash {dataset_hash(inputs.config, name)}; "
             + "; ".join(text.source_of(inputs.config.datasets[name], source)[0] for source in inputs.config.datasets[name].sources))
        )
    for model in ordered(inputs):
        pairs.append((f"Model {model.name}", _describe(model)))
    pairs.append(("Packages", ", ".join(f"{name} {value}" for name, value in versions().items() if value != "not installed")))
    pairs.append(("Regions and coastlines", f"{text.REGIONS_CREDIT} {text.COAST_CREDIT}"))
    section.blocks.append(Block("facts", pairs=tuple(pairs)))
    checksums = _checksums(inputs)
    if checksums:
        section.blocks.append(
            Block(
                "table",
                table=Table(
                    "checksums",
                    "SHA-256 of what went in.",
                    ("File", "sha256"),
                    tuple((Cell(name), Cell(digest)) for name, digest in checksums),
                    collapsed=f"{traced(str(len(checksums)), Beside('report/tables/checksums.csv'), how='beside')} checksums",
                    source="records",
                ),
            )
        )
    intro = "The command that makes all of this, in the folder that holds results/"
    if inputs.label not in places.runs():
        intro += " (with the configuration below in that file)"
    section.blocks += [
        *jobs.card(inputs),
        paragraph(intro + ":"),
        Block("code", text=command(inputs)),
        paragraph("This report alone, from the files of the run:"),
        Block("code", text=f"orbit2 report --config {_relative(config, inputs.root)} --out {_relative(out, inputs.root)}"),
        Block("fold", text="The complete configuration", blocks=(Block("code", text=json.dumps(run, indent=1, ensure_ascii=False)),)),
    ]
    return section


def command(inputs: Inputs) -> str:
    """That makes all of the run again: one that ships goes by its name."""
    return f"orbit2 run {inputs.label}{'' if inputs.label in places.runs() else '.yaml'}"


def _relative(path: Path, root: Path) -> str:
    """`path` as seen from the run's root: a report never shows where on a machine it was made."""
    try:
        return str(path.resolve().relative_to(root.resolve()))
    except ValueError:
        return path.name


def _describe(model: Model) -> str:
    about = model.about
    parts = [f"hash {model.hash}"]
    parts += [f"{key} {traced(str(about[name]), Beside(f'models/{model.name}-{model.hash}/model/config.json', (), name), how='told')}"
              for key, name in (("seed", "seed"), ("weights of step", "best_step")) if about.get(name) is not None]  # fmt: skip
    parts.append(model.origin or (f"fine-tuned from {model.config.finetune_from}" if model.config.finetune_from else
                                  "trained from random weights"))  # fmt: skip
    if model.provenance.get("code_version"):
        parts.append(f"trained by orbit2 {model.provenance['code_version']}")
    return ", ".join(parts)


def _checksums(inputs: Inputs) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, statistics in inputs.statistics.items():
        record = statistics.get("provenance")
        listed = record.get("inputs") if isinstance(record, dict) else None
        found += [(f"{name}: {key}", str(value)) for key, value in (listed or {}).items()]
    found += _files(inputs.resources)
    for task in inputs.tasks.values():
        stored = task.store.attributes.get("inputs")
        if isinstance(stored, dict):
            found += [(f"{task.config.dataset}: {key}", str(value)) for key, value in stored.items()]
    for model in inputs.models.values():
        found += [(f"model {model.name}: {key}", str(value)) for key, value in (model.about.get("sha256") or {}).items()]
    return list(dict.fromkeys(found))


def _files(resources: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, str]]:
    """Provider files one by one; of a source with very many, their number and the digest of all their digests."""
    sources: dict[str, list[tuple[str, str]]] = {}
    for name, entry in resources:
        sources.setdefault(name.split("/")[0], []).append((name, str(entry.get("sha256", ""))))
    found = []
    for source, files in sources.items():
        found += files if len(files) <= MANY_FILES else [(f"{source}: {len(files)} files, listed in its manifest", short_hash(files, 64))]
    return found


def _untold(inputs: Inputs, scores: Scores, task: Task) -> list[str]:
    """What a longer record could tell and these tables do not."""
    found = []
    if inputs.regions is None or not seasons_present(Scores(inputs.regions, task.name), task.variables):
        found.append("rainy seasons (their onset, withdrawal and seasonality)")
    if not scores.rows["metric"].str.startswith("return_level").any():
        found.append("return levels")
    return found


def limits_section(inputs: Inputs, task: Task) -> Section:
    periods = task.dataset.split.blocks.values()
    scores = Scores(inputs.scores, task.name)
    blocks = [of_any(day(x)) for period in periods for x in (period.start, period.end)]
    days = int((max(blocks) - min(blocks)) / np.timedelta64(1, "D")) + 1
    facts = {
        "frames": len(task.times),
        "first": scenes.stamp(task.times[0]),
        "last": scenes.stamp(task.times[-1]),
        "days": days,
        **sections.facts(task),
        "intervals": bool(scores.rows.loc[scores.rows["metric"] == "rmse", "ci_low"].notna().any()),  # a seam's interval is about its place
        "extremes": verdict.extremes(scores, task.config.model, task.variables),
        "finer": dict(task.store.attributes.get("finer_than_source", {})),
        "gap": None if task.dataset.split.gap_days is None else duration(task.dataset.gap),
        "untold": _untold(inputs, scores, task),
        "members": int(task.prediction.sizes.get("member", 0)),
        "synthetic": synthetic(task.dataset.sources),
        "origin": inputs.models[task.config.model].origin,
        "alone": task.config.model if len(ablation.alike(inputs, task)) < 2 else "",
    }
    facts["shown"] = _shown(facts, scores, task)
    section = Section("limits", "What this run cannot say", "Limits", part="Run")
    section.blocks = [Block("points", points=tuple(text.limits(facts)))]
    table = notes_table(inputs.notes.get(task.name, {}))
    if table is not None:
        section.blocks += [Block("heading", text="What is not computed, and why"), Block("table", table=table)]
    return section


def _shown(facts: Mapping[str, Any], scores: Scores, task: Task) -> dict[str, Any]:
    """The facts' numbers for the page, each with the row or the file that it is read from."""
    run, store = Beside("config/report.json", (), f"datasets.{task.config.dataset}.split"), f"{task.config.dataset}/pairs.zarr"
    rows = {metric: scores.rows[scores.rows["metric"] == metric] for metric in ("n_samples", "members")}
    counted = {metric: Row(scores.task, *(str(found.iloc[0][key]) for key in ("model", "variable", "space", "region", "metric", "season")))
               for metric, found in rows.items() if len(found)}  # fmt: skip
    finer = {side: traced(str(told), Beside(store, (), "finer_than_source"), how="told") for side, told in facts["finer"].items()}
    shown = {"days": traced(str(facts["days"]), run, how="told"), "finer": finer}
    if facts["gap"]:
        shown["gap"] = traced(str(facts["gap"]), run, how="told")
    for key, metric in (("frames", "n_samples"), ("members", "members")):
        if metric in counted:
            shown[key] = traced(str(facts[key]), counted[metric])
    return shown


def notes_table(notes: Mapping[str, Any]) -> Table | None:
    """The diagnose stage's notes.json: diagnostics that were not computed, what they need and why."""
    entries = [entry for entry in notes.get("notes", []) if isinstance(entry, dict) and "diagnostic" in entry]
    if not entries:
        return None
    return Table(
        "notes",
        "Diagnostics that this run does not give, what each needs, and in grey what there is.",
        ("Diagnostic", "needs", "status"),
        tuple(
            (
                Cell(_of_notes(_sentence(str(entry["diagnostic"])))),
                Cell(_of_notes(_sentence(str(entry.get("needs", "")))), note=_of_notes(str(entry.get("has", "")))),
                Cell(_of_notes(_sentence(str(entry.get("status", ""))))),
            )
            for entry in entries
        ),
    )


def _of_notes(words: str) -> str:
    return traced(words, Beside("diagnose/notes.json"), how="told") if words else ""


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def glossary_section() -> Section:
    return Section("glossary", "Glossary", "Glossary", [Block("words", pairs=text.GLOSSARY)], part="Run")
