"""Whether what a build left behind is whole: of a part, and of a store in the making. Never repairs, never writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from orbit2.data import store_layout
from orbit2.data.pairs import SIDES, PairStore
from orbit2.errors import OrbitError
from orbit2.files import read_json
from orbit2.progress import counted
from orbit2.regrid.job import Job, read_job
from orbit2.regrid.parts import Part, plan_parts
from orbit2.variables import variable


def open_begun(store: Path, job: Job) -> zarr.Group:
    """The store that `init` made for this configuration. Raises OrbitError for none, or another one's."""
    if not (store / "zarr.json").is_file():
        raise OrbitError("pair store was not initialised", where=store, hint="run `orbit2 regrid init` first")
    found = store_layout.stored_attributes(store).get("config_hash")
    if found != job.hash:
        raise OrbitError("pair store belongs to another configuration", where=store, got=str(found), allowed=job.hash,
                         hint="delete it, or choose another store")
    return store_layout.open_root(store, mode="r+")


def same_shards(root: zarr.Group, job: Job) -> None:
    """Raise OrbitError where the store's shards are not those that parts are planned by (a machine key, changed since `init`)."""
    if root.attrs.get("shard") != job.dataset.samples_per_shard:
        raise OrbitError("pair store was begun with other shards", where=f"datasets.{job.name}.samples_per_shard",
                         got=job.dataset.samples_per_shard, allowed=root.attrs.get("shard"), hint="set it back: the store is kept")


def shard_sizes(store: Path, job: Job, part: Part) -> dict[str, int]:
    """Bytes of every shard file of a part (0: a shard without any value is not stored)."""
    shard = job.dataset.samples_per_shard
    names = [f"{side}/fields/c/{index}/0/0/0" for side in SIDES if job.names(side)
             for index in range(part.start // shard, -(-(part.start + part.count) // shard))]
    return {name: (store / name).stat().st_size if (store / name).is_file() else 0 for name in names}


def part_intact(store: Path, path: Path, job: Job, part: Part, *, deep: bool = True) -> bool:
    """True when the part's file belongs to this configuration and its shards have the recorded sizes and (`deep`) digests."""
    try:
        saved: dict[str, Any] = read_json(path)
        if (saved["part"], saved["start"], saved["count"], saved["config_hash"]) != (part.id, part.start, part.count, job.hash):
            return False
        if not {"seconds", "missing", "gaps", "blocks"} <= set(saved):
            return False
        if saved["shards"] != shard_sizes(store, job, part):
            return False
        if deep:
            return all(store_layout.digest(store, side, block["start"], block["count"]) == block[side]
                       for block in saved["blocks"] for side in SIDES)
    except (OrbitError, KeyError, TypeError, ValueError, OSError, RuntimeError):
        return False
    return True


@dataclass(frozen=True)
class Progress:
    """How far the build of a store is."""

    planned: list[Part]
    done: list[str]
    broken: list[str]
    samples: int
    seconds: float  # of the finished parts together
    missing: dict[str, dict[str, float]]
    gaps: list[str]


def progress(store: Path, *, deep: bool = False) -> tuple[Job, Progress]:
    """Read from config.json and parts/ beside the store. Raises OrbitError where they are not."""
    config = store.parent / "config.json"
    if not config.is_file():
        raise OrbitError("no config.json beside the store", where=store, hint="inspect stores where the workflow put them")
    job = read_job(config)
    planned = plan_parts(job.dataset)
    done: list[str] = []
    broken: list[str] = []
    gaps: list[str] = []
    seconds, samples = 0.0, 0
    sums: dict[str, dict[str, float]] = {side: dict.fromkeys(job.names(side), 0.0) for side in SIDES}
    for part in counted(planned, "reading the store", len(planned), "part") if deep else planned:
        path = store.parent / "parts" / f"{part.id}.json"
        if not path.is_file():
            continue
        if not part_intact(store, path, job, part, deep=deep):
            broken.append(part.id)
            continue
        saved = read_json(path)
        done.append(part.id)
        seconds, samples, gaps = seconds + float(saved["seconds"]), samples + part.count, [*gaps, *saved["gaps"]]
        for side in SIDES:
            for name, share in saved["missing"][side].items():
                sums[side][name] += share * part.count
    missing = {side: {name: value / max(samples, 1) for name, value in values.items()} for side, values in sums.items()}
    return job, Progress(planned, done, broken, samples, seconds, missing, gaps)


def inspect(store: Path, *, verify: bool = False) -> str:
    """What a store holds and how far and how healthy its build is, for people. `verify` reads everything and compares digests.

    Raises OrbitError when there is no store.
    """
    if not (store / "zarr.json").is_file():
        raise OrbitError("pair store not found", where=store, hint="run `orbit2 regrid` (or the regrid stage) first")
    attributes = store_layout.stored_attributes(store)
    finalised = bool(attributes.get("finalised"))
    lines = [] if finalised else ["NOT finalised: readers refuse it"]
    if (store.parent / "config.json").is_file():
        job, found = progress(store, deep=verify)
        if attributes.get("config_hash") != job.hash:
            lines.append(f"config.json beside it is another configuration's ({job.hash}, the store's is {attributes.get('config_hash')})")
        else:
            if finalised and len(found.done) < len(found.planned):
                lines.append("finalised, but NOT WHOLE: see the parts")
            lines += _progress_lines(found, verify)
    head, *rest = lines if lines and not lines[0].startswith(" ") else ["complete", *lines]
    return "\n".join([f"{store}: {head}", *rest, *(_content_lines(store) if finalised else ())])


def _progress_lines(found: Progress, verify: bool) -> list[str]:
    total = sum(part.count for part in found.planned)
    share = f"{found.samples} of {total} samples, {found.samples / total:.0%}"
    lines = [f"  parts: {len(found.done)} of {len(found.planned)} complete ({share})"]
    if found.broken:
        lines.append(f"  BROKEN parts (delete their files in parts/ and run regrid again): {', '.join(found.broken[:12])}")
    left = [part.id for part in found.planned if part.id not in {*found.done, *found.broken}]
    if left:
        lines.append(f"  to build: {', '.join(left[:12])}{' ...' if len(left) > 12 else ''}")
    if found.samples and found.seconds:
        rate = found.samples / found.seconds
        lines.append(f"  speed: {rate * 3600:.0f} samples an hour and job"
                     + (f"; {(total - found.samples) / rate / 3600:.2f} job-hours left" if left else ""))
    if found.done:
        for side in SIDES:
            shares = {name: share for name, share in found.missing[side].items() if share > 0}
            if shares:
                lines.append(f"  missing in {side}: " + ", ".join(f"{name} {share:.2%}" for name, share in shares.items()))
        lines.append(f"  gaps (no value at all): {len(found.gaps)}"
                     + (f" ({', '.join(found.gaps[:6])}{' ...' if len(found.gaps) > 6 else ''})" if found.gaps else ""))
        lines.append(f"  checked: {'every digest' if verify else 'sizes of all shards (--verify compares digests)'}")
    return lines


def _content_lines(store: Path) -> list[str]:
    opened = PairStore(store)
    lines = [f"  {len(opened.times)} samples, {opened.times[0]} to {opened.times[-1]}, refinement {opened.refinement}"]
    for side in SIDES:
        lines.append(f"  {side}: {opened.grid(side).describe()}")
        lines += [f"    {name} [{variable(name).units}]" for name in opened.variables(side)]
        lines.append(f"    static: {', '.join(opened.statics(side))}")
    return lines
