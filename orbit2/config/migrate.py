"""Results of an older orbit2 under the names and hashes of this one. Never computes, deletes, builds or overwrites anything.

A folder's own slice says what it was made from. Read as today's configuration (keys that did not exist yet at their defaults), it gives
the hash that the workflow will look for. Files are changed in place with their times kept, so that nothing counts as new.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbit2.config import records, slices
from orbit2.config.base import machine, science
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import machine_file, slice_text, validate
from orbit2.config.network import ArchitectureConfig
from orbit2.config.old_hash import old_dataset_hash, old_model_hash
from orbit2.config.schema import ModelConfig, RunConfig
from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.files import read_json, sealed, short_hash, to_text, unsealed, write_json, write_text

HASHES = ("hash", "config_hash", "model_hash", "dataset_hash", "observations_hash", "parent")


@dataclass(frozen=True)
class Move:
    """A folder of data or of a model: where it is, where it belongs, what its slice and its machine keys read today."""

    old: Path
    new: Path
    slice_: dict[str, Any]
    machine: dict[str, Any]


@dataclass
class Plan:
    """What a migration would do, and what it cannot (`left`: a reason each)."""

    moves: list[Move] = field(default_factory=list)
    runs: dict[Path, RunConfig] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)  # old -> new, of the moves
    current: set[str] = field(default_factory=set)  # of folders that are as they should be
    receipts: list[str] = field(default_factory=list)  # stores that waited for receipts of a whole run


def plan(results: Path) -> Plan:
    """Look at everything under `results`; touches nothing."""
    found = Plan()
    _look(found, sorted((results / "data").glob("*/config.json")), _dataset)
    waiting = sorted((results / "models").glob("*/config.json"))
    while waiting:  # parents before their children
        later = [path for path in waiting if _parent_waits(path, waiting)]
        _look(found, [path for path in waiting if path not in later], lambda content: _model(content, found))
        if later == waiting:
            found.left += [f"{path.parent}: its parent is among {', '.join(p.parent.name for p in waiting)}" for path in later]
            break
        waiting = later
    for path in sorted(results.glob("*/config/report.json")):
        try:
            run = validate(RunConfig, read_json(path)["run"], path)
        except (OrbitError, KeyError, TypeError) as error:
            found.left.append(f"{path.parent.parent}: its configuration is none today ({' '.join(str(error).split())})")
            continue
        if any(_differs(file, content) for file, content in _told(path.parent, run).items()):
            found.runs[path.parent] = run
    return found


def migrate(results: Path, *, dry_run: bool = False, say: Callable[[str], None] = print) -> Plan:
    """Rename and rewrite what `plan` finds, saying each step; once more does nothing."""
    found = plan(results)
    root, remembered = results.parent, results.parent / ".snakemake/metadata"
    names = {move.old.relative_to(root): move.new.relative_to(root) for move in found.moves}
    for folder, run in found.runs.items():
        for name, section in run.downscale.items():
            parts = folder.relative_to(root).parent / "downscale" / f"{name}.parts"
            names |= {parts / f"{i}.json": parts / f"{i}of{section.blocks}.json" for i in range(section.blocks)}
    if not dry_run:
        records.rename(remembered, {str(old): str(new) for old, new in names.items()})  # first: interrupted after it, the rest goes on
    for move in found.moves:
        say(f"{move.old} -> {move.new}")
        if not dry_run:
            _move(move, found.hashes)
    for folder, run in found.runs.items():
        say(f"{folder.parent}: slices and receipts")
        if not dry_run:
            _rewrite_run(folder, run, found.hashes)
    found.receipts = records.receipts(root, results, remembered, dry_run=dry_run)
    for store in found.receipts:
        say(f"{store}: its own receipts of the provider's files")
    for reason in found.left:
        say(f"left as it is: {reason}")
    return found


def waiting(results: Path, wanted: Iterable[str]) -> list[str]:
    """Folders that would be one of `wanted` after a migration, which is not there yet."""
    absent = {str(folder) for folder in wanted if not (Path(folder) / "config.json").is_file()}
    return [str(move.old) for move in plan(results).moves if str(move.new) in absent] if absent else []


def _look(found: Plan, paths: Iterable[Path], read: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
    for path in paths:
        try:
            content = read_json(path)
            name, given = str(content["name"]), str(content["hash"])
            old, slice_, machines = read(content)
        except (OrbitError, KeyError, TypeError) as error:
            found.left.append(f"{path.parent}: {' '.join(str(error).split())}")
            continue
        new = path.parent.with_name(f"{name}-{slice_['hash']}")
        if given not in (old, slice_["hash"]):
            found.left.append(f"{path.parent}: its slice and its hash do not belong together")
        elif new == path.parent and given == slice_["hash"]:
            found.current.add(given)
        elif new != path.parent and new.exists():
            found.left.append(f"{path.parent}: {new} is there already")
        else:
            found.hashes[given] = slice_["hash"]
            if path.parent.name.startswith(f"{name}-"):
                found.hashes[path.parent.name.removeprefix(f"{name}-")] = slice_["hash"]  # a migration that was interrupted
            found.moves.append(Move(path.parent, new, slice_, machines))


def _dataset(content: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(old hash, slice, machine keys) of a dataset's slice."""
    _refuse_close(content["dataset"])
    section = validate(DatasetConfig, content["dataset"])
    sources = validate(SourcesConfig, content["sources"]).values(content["sources"])
    made = {"dataset": science(section), "sources": sources}
    return old_dataset_hash(content), {"name": content["name"], "hash": short_hash(made), **made}, machine({"dataset": section})


def _refuse_close(raw: Mapping[str, Any]) -> None:
    """Raise OrbitError for blocks closer than today's least gap, where the slice does not set one."""
    if raw["split"].get("gap_days") is None:
        loose = validate(DatasetConfig, {**raw, "split": {**raw["split"], "gap_days": 0}})
        told = loose.split.close(loose.model_copy(update={"split": loose.split.model_copy(update={"gap_days": None})}).gap)
        if told:
            raise OrbitError(told, where="split",
                             hint="scores of what is trained on it flatter: build it anew with a wider gap (split.gap_days: 0 in the "
                                        "run builds it as it was)")  # fmt: skip


def _model(content: Mapping[str, Any], found: Plan) -> tuple[str, dict[str, Any], dict[str, Any]]:
    section, network = validate(ModelConfig, content["model"]), validate(ArchitectureConfig, content["architecture"])
    datasets = {}
    for name, raw in content["datasets"].items():
        keys = {key: value for key, value in raw.items() if key != "hash"}
        datasets[name] = {"hash": _today(raw["hash"], keys, found), **science(validate(DatasetConfig, keys))}
    parent = content["parent"]
    if parent is not None and parent not in found.hashes and parent not in found.current:
        raise OrbitError("the model that it was fine-tuned from is not here", where="parent", got=parent,
                         hint="put its folder among the results, or train it again")  # fmt: skip
    made = {"name": content["name"], "model": science(section), "architecture": science(network), "datasets": datasets,
            "parent": found.hashes.get(parent, parent)}
    return old_model_hash(content), {**made, "hash": short_hash(made)}, machine({"model": section, "architecture": network})


def _today(old: str, dataset: Mapping[str, Any], found: Plan) -> str:
    """The hash of a dataset today, also of one whose folder is gone if its sources had no keys of their own."""
    if old in found.hashes or old in found.current:
        return found.hashes.get(old, old)
    section = validate(DatasetConfig, dataset)
    sources = SourcesConfig().values((*section.sources, "static"))
    new = short_hash({"dataset": science(section), "sources": sources})
    if old not in (new, old_dataset_hash({"dataset": dataset, "sources": sources})):
        raise OrbitError("the folder of a dataset that it was trained on is not here", where="datasets", got=old,
                         hint="put its folder among the results, or build it again")  # fmt: skip
    return new


def _parent_waits(path: Path, others: Iterable[Path]) -> bool:
    try:
        parent = read_json(path)["parent"]
        return parent is not None and any(read_json(other).get("hash") == parent for other in others if other != path)
    except (OrbitError, KeyError, TypeError, AttributeError):
        return False


def _move(move: Move, hashes: Mapping[str, str]) -> None:
    """Everything inside first, the slice next, the name last: interrupted anywhere, the same command goes on."""
    begun = move.old / "parts/init.json"
    if begun.is_file():
        cut = {key: value for key, value in move.machine.get("dataset", {}).items() if key in ("samples_per_part", "samples_per_shard")}
        _rewrite(begun, {**cut, **read_json(begun)})
    for pattern in ("parts/*.json", "finalised.json", "statistics.json", "*.zarr/zarr.json", "model/*.json", "checkpoints/*.json"):
        for path in sorted(move.old.glob(pattern)):
            _rewrite(path, renamed(read_json(path), hashes))
    for path in sorted(move.old.glob("checkpoints/*/manifest.json")):
        with suppress(OrbitError, ValueError, TypeError):  # a damaged one is for training to find
            _rewrite(path, sealed(renamed(unsealed(read_json(path)), hashes)))
    if not machine_file(move.old / "config.json").is_file():
        write_json(machine_file(move.old / "config.json"), move.machine)
    _rewrite(move.old / "config.json", move.slice_, slice_text(move.slice_))
    move.old.rename(move.new)


def _rewrite_run(folder: Path, run: RunConfig, hashes: Mapping[str, str]) -> None:
    predictions = folder.parent / "downscale"
    for name, section in slices.predictions(run).items():
        parts, receipt, store = predictions / f"{name}.parts", predictions / f"{name}.json", predictions / f"{name}.zarr/zarr.json"
        for number in range(section.blocks):
            if (parts / f"{number}.json").is_file():
                (parts / f"{number}.json").rename(parts / f"{number}of{section.blocks}.json")
        if receipt.is_file():
            _rewrite(receipt, {"blocks": section.blocks, **read_json(receipt)})
        if store.is_file():
            _rewrite(store, renamed(read_json(store), hashes))
    for path, content in _told(folder, run).items():
        if _differs(path, content):
            _rewrite(path, content, slice_text(content))


def _told(folder: Path, run: RunConfig) -> dict[Path, dict[str, Any]]:
    """The slices of a run's folder, as the workflow would write them; the report's last, for it is read first."""
    told = {folder / f"{stage}_{task}.json": getattr(slices, stage)(run, task) for task in run.downscale
            for stage in ("downscale", "evaluate", "diagnose")}
    return {**told, folder / "report.json": slices.report(run)}


def _differs(path: Path, content: Mapping[str, Any]) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") != slice_text(content)


def renamed(value: Any, hashes: Mapping[str, str]) -> Any:
    """`value` with the new hashes wherever a key says that it holds one."""
    if isinstance(value, dict):
        return {key: hashes.get(inner, inner) if key in HASHES and isinstance(inner, str) else renamed(inner, hashes)
                for key, inner in value.items()}
    return [renamed(item, hashes) for item in value] if isinstance(value, list) else value


def _rewrite(path: Path, content: Any, text: str | None = None) -> None:
    """Other content, the same time."""
    times = path.stat()
    text = to_text(content) if text is None else text
    if path.read_text(encoding="utf-8") != text:
        write_text(path, text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
