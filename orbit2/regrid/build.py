"""Build a PairStore: initialise, write parts in any order and place, finalise. Never declares a store with a missing part complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2 import allowance
from orbit2.config.sources import SYNTHETIC, synthetic, traits
from orbit2.data import store_layout
from orbit2.data.pairs import SIDES, Side
from orbit2.data.store_layout import SideSpec
from orbit2.errors import OrbitError
from orbit2.files import read_json, short_hash, write_json
from orbit2.lazy import compute
from orbit2.progress import counted
from orbit2.provenance import code_version, record
from orbit2.regrid import kept
from orbit2.regrid.fields import covered, runs
from orbit2.regrid.health import open_begun, part_intact, same_shards, shard_sizes
from orbit2.regrid.job import Job, Opened, read_job
from orbit2.regrid.parts import Part, plan_parts
from orbit2.sources import manifest
from orbit2.sources.catalogue import source
from orbit2.sources.files import facts, said_of, static_files
from orbit2.sources.source import Facts
from orbit2.sources.static import open_static
from orbit2.sources.times import Times, plan_times
from orbit2.times import span, stamps
from orbit2.variables import cell_methods, variable

log = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float32]
SPARE = 64 * 2**20  # bytes: coordinates, weights, codecs and their buffers
BEGUN = "init.json"  # beside the parts: what the store was begun with


def initialise(*, config: Path, resources: Path, store: Path, out: Path | None = None) -> None:
    """Create the empty store with coordinates and static fields; keeps one that was begun with the same configuration.

    `out`: written when that is done; it keeps how the store is cut into parts, which later changes of the configuration do not touch.

    Raises OrbitError when provider files are missing or do not hold the first and last configured times.
    """
    job = read_job(config)
    if (store / "zarr.json").is_file():
        open_begun(store, job)
    times = plan_times(job.dataset)
    planned = plan_parts(job.dataset)
    native: dict[str, str] = {}
    finer: dict[str, str] = {}
    beyond: dict[tuple[str, str], float] = {}
    for part in dict.fromkeys((planned[0], planned[-1])):  # before anything is written: is there what was asked for?
        for run in runs(_times(times, part)):
            for name, one in _open(job, resources, run).items():
                one.fields.check(run)
                native[name] = one.native.describe()
                finer |= {f"{side}: {name}": told for side, told in one.finer.items()}
                beyond |= {(side, name): share for side, share in one.outside.items() if share > 0.001}
    for (side, name), share in beyond.items():
        log.warning("%.1f %% of the %s grid lies outside %s's files and stays missing", 100 * share, side, name)
    own_statics, rename = static_files(job.dataset.files), job.dataset.files.rename if job.dataset.files is not None else {}
    sides = {}
    for side in SIDES:
        folder = resources / "static" / manifest.VERSION
        static = open_static(job.grid(side), job.dataset.statics, folder, job.settings.static, own=own_statics, rename=rename)
        sides[side] = SideSpec(job.grid(side), job.names(side), job.dataset.statics, static)
    days = {name: covered(job.dataset.step_hours) if traits(name).hourly else _facts(job, name).day for name in job.dataset.sources}
    own = [name for name in job.dataset.inputs if name in job.dataset.outputs and job.dataset.source_of(name) == job.dataset.source]
    store_layout.initialise(store, sides["coarse"], sides["fine"], times, shard=job.dataset.samples_per_shard, attributes={
        "dataset": job.name, "config_hash": job.hash, "source": job.dataset.source, "code_version": code_version(),
        "method": "conservative from the source grid to both grids", "min_valid_fraction": job.dataset.min_valid_fraction,
        "input_sources": {name: job.dataset.source_of(name) for name in job.dataset.inputs}, "day": days,
        "coarse_copies_of_targets": own, "native_grids": native, "finer_than_source": finer,
        "cell_methods": {name: cell_methods(name, job.dataset.step_hours) for side in SIDES for name in job.names(side)},
        "static_source": {"source": said_of(own_statics) or job.settings.static.source, "relief": job.settings.static.relief},
        **({"synthetic": SYNTHETIC} if synthetic(job.dataset.sources) else {}),
    })
    if out is not None:
        cut = {"samples_per_part": job.dataset.samples_per_part, "samples_per_shard": job.dataset.samples_per_shard}
        write_json(out, {"store": store.name, "initialised": True, **cut})


def build_part(*, config: Path, resources: Path, store: Path, part: str, out: Path) -> None:
    """Regrid the samples of one part, shard by shard, then write `out`: its digests, shards, missing shares and gaps.

    Does nothing when the store's samples match `out`, or what it was when the part was built last from the same provider files (a
    group of jobs of which one failed loses its receipts). Memory: one shard of samples. Raises OrbitError for an unknown part, a store
    that was not initialised, missing fields, or values outside a variable's physical range.
    """
    job = read_job(config)
    chosen = _part(job, part)
    root = open_begun(store, job)
    same_shards(root, job)
    times = _times(plan_times(job.dataset), chosen)
    if out.is_file() and part_intact(store, out, job, chosen):
        log.info("part %s: complete, nothing to do", chosen.id)
        return
    files = kept.made_from(resources, job.dataset.sources, (times[0], times[-1]))
    if kept.restore(out, files) and part_intact(store, out, job, chosen):
        log.info("part %s: was complete before its receipt was lost, nothing to do", chosen.id)
        return
    out.unlink(missing_ok=True)
    kept.forget(out)
    if root.attrs.get("finalised"):  # rebuilding a part of a complete store: it is incomplete until finalised again
        store_layout.reopen(store)
    before = allowance.held()
    opened = [(run, _open(job, resources, run)) for run in runs(times)]
    _refuse_too_little(job, [one for _, held in opened for one in held.values()], before)
    began = time.monotonic()
    blocks: list[dict[str, Any]] = []
    tally = Tally(job)
    shard = job.dataset.samples_per_shard
    for start, block in counted(_shards(times, shard), f"part {chosen.id}", -(-len(times) // shard), "shard"):
        pieces = [_block(one, job, inside) for run, one in opened if len(inside := block[(block >= run[0]) & (block <= run[-1])])]
        fields = {side: np.concatenate([piece[side] for piece in pieces]) for side in SIDES} if len(pieces) > 1 else pieces[0]
        tally.add(block, fields)
        digests = store_layout.write_part(store, chosen.start + start, fields["coarse"], fields["fine"])
        blocks.append({"start": chosen.start + start, "count": len(block), "coarse": digests["coarse"], "fine": digests["fine"]})
    tally.refuse_empty(f"part {chosen.id} of {job.name}", [one for _, one in opened])
    write_json(out, {"part": chosen.id, "start": chosen.start, "count": chosen.count, "config_hash": job.hash, "blocks": blocks,
                     "shards": shard_sizes(store, job, chosen), "seconds": round(time.monotonic() - began, 2), **tally.summary()})
    kept.keep(out, files)


def finalise(*, config: Path, store: Path, parts: Path | Sequence[Path], out: Path) -> None:
    """Declare the store complete when every planned part is there and its shards are whole; writes `out`.

    `parts`: the folder of what the part jobs wrote, or these files. Raises OrbitError naming the parts that are missing, that do not
    match, or that belong to no part of this store.
    """
    job = read_job(config)
    same_shards(open_begun(store, job), job)
    planned = {part.id: part for part in plan_parts(job.dataset)}
    files = sorted(parts.glob("*.json")) if isinstance(parts, Path) else parts
    given = {path.stem: path for path in files if path.name != BEGUN}
    missing = sorted(set(planned) - set(given))
    if missing:
        raise OrbitError("parts are missing", where=store, got=missing[:8], hint="build them first")
    alien = sorted(set(given) - set(planned))
    if alien:
        where = parts if isinstance(parts, Path) else store
        raise OrbitError("files that are no part of this store", where=where, got=alien[:8], allowed=f"000 to {max(planned)}",
                         hint="they were left by a build with other parts: delete them")
    saved = {key: read_json(path) for key, path in given.items()}
    broken = [key for key, part in planned.items()
              if saved[key].get("part") != key or not part_intact(store, given[key], job, part, deep=False)]
    if broken:
        raise OrbitError("parts do not match what is in the store", where=store, got=broken[:8],
                         hint="delete their files in parts/ and build them again")
    provenance = record("regrid", config=job.dataset.model_dump(mode="json"), config_hash=job.hash)
    gaps = sorted({gap for part in saved.values() for gap in part["gaps"]})
    blocks = sorted((block["start"], block["coarse"], block["fine"]) for part in saved.values() for block in part["blocks"])
    store_layout.finalise(store, {"provenance": provenance, "gaps": gaps, "content": short_hash(blocks, 16)})  # by which copies are known
    write_json(out, {"dataset": job.name, "hash": job.hash, "samples": sum(p.count for p in planned.values()), "gaps": gaps,
                     "parts": {key: part["blocks"] for key, part in saved.items()}, "provenance": provenance})
    for folder in {path.parent for path in files}:
        kept.forget_all(folder)


class Tally:
    """What is missing in a part: shares per side and variable, and samples without any value (gaps)."""

    def __init__(self, job: Job) -> None:
        self.job, self.gaps = job, set[str]()
        self.missing: dict[Side, npt.NDArray[np.int64]] = {side: np.zeros(len(job.names(side)), dtype=np.int64) for side in SIDES}
        self.cells: dict[Side, int] = dict.fromkeys(SIDES, 0)

    def add(self, times: Times, fields: dict[Side, FloatArray]) -> None:
        """Count a block; raises OrbitError for values that are no weather (a wrong units attribute, a decoding error)."""
        for side in SIDES:
            values = fields[side]
            absent = np.isnan(values)
            self.missing[side] += absent.sum(axis=(0, 2, 3))
            self.cells[side] += values.shape[0] * values.shape[2] * values.shape[3]
            if len(self.job.names(side)):
                self.gaps |= set(stamps(times[absent.all(axis=(1, 2, 3))]))
            for i, name in enumerate(self.job.names(side)):
                _check_range(name, values[:, i])

    def refuse_empty(self, where: str, opened: Sequence[dict[str, Opened]]) -> None:
        """Raises OrbitError for a variable without any value in the whole part, unless its source has recorded gaps there."""
        for side in SIDES:
            for name, count in zip(self.job.names(side), self.missing[side], strict=True):
                gaps = any(one[self.job.source_of(side, name)].data.attrs.get("gaps") for one in opened)
                if count == self.cells[side] and not gaps:
                    raise OrbitError("field is missing everywhere on the target grid (NaN only)", where=f"{where}: {name}",
                                     hint="check its area and mask")

    def summary(self) -> dict[str, Any]:
        shares = {side: {name: round(int(count) / max(self.cells[side], 1), 6)
                         for name, count in zip(self.job.names(side), self.missing[side], strict=True)} for side in SIDES}
        return {"missing": shares, "gaps": sorted(self.gaps)}


def _refuse_too_little(job: Job, opened: Sequence[Opened], before: int) -> None:
    """Raise OrbitError where a limit was set that this part cannot keep: better said now than by the kernel.

    One shard of both sides (computed, joined, packed), what its sources hold for it, and a third of what is left for decoded slabs, or
    the largest one. `before`: bytes that the process held before it opened anything.
    """
    limit, shard = allowance.memory_limit(), job.dataset.samples_per_shard
    fields = 3 * shard * sum(len(job.names(side)) * int(np.prod(job.grid(side).shape)) * 4 for side in SIDES)
    held = fields + max(one.sample_bytes(shard) for one in opened) + allowance.threads() * max(one.work for one in opened) + SPARE
    least = before + max(held * 3 // 2, held + max(one.slab for one in opened))
    if limit is not None and limit < least:
        raise OrbitError("this part needs more memory than it is given", where=f"datasets.{job.name}", got=f"{limit >> 20} MB",
                         allowed=f"at least {(least >> 20) + 8} MB",  # a process is now and then some MB larger before it begins
                         hint="--memory-mb, or mem_mb of regrid_part in the profile; fewer samples_per_shard and --threads need less")


def _facts(job: Job, name: str) -> Facts:
    if traits(name).adopted and job.dataset.files is not None:
        return facts(name, job.dataset.files)
    return source(name, job.settings).facts


def _part(job: Job, part: str) -> Part:
    planned = {p.id: p for p in plan_parts(job.dataset)}
    if part not in planned:
        raise OrbitError("unknown part", where=job.name, got=part, allowed=f"{next(iter(planned))} to {list(planned)[-1]}",
                         hint="parts are numbered as the dataset is long")  # fmt: skip
    return planned[part]


def _times(times: Times, part: Part) -> Times:
    return times[part.start : part.start + part.count]


def _shards(times: Times, shard: int) -> Iterator[tuple[int, Times]]:
    for start in range(0, len(times), shard):
        yield start, times[start : start + shard]


def _open(job: Job, resources: Path, times: Times) -> dict[str, Opened]:
    return {name: Opened(job, name, resources, times) for name in job.dataset.sources}


def _block(opened: dict[str, Opened], job: Job, times: Times) -> dict[Side, FloatArray]:
    """Both sides [n, V, H, W] at `times`; what both need of a provider's file is read once (one dask graph)."""
    data = {name: one.fields.block(times) for name, one in opened.items()}
    wanted = [(side, i, job.source_of(side, name), name) for side in SIDES for i, name in enumerate(job.names(side))]
    lazy = [opened[origin].regridders[side](data[origin][name]).data for side, _, origin, name in wanted]
    try:
        values = compute(*lazy, scheduler="threads", num_workers=allowance.threads())  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, EOFError) as error:
        raise OrbitError(f"provider file cannot be read ({' '.join(str(error).split())[:160]})", where=span(times),
                         hint="`orbit2 retrieve --verify` finds and fetches damaged files") from None
    result = {side: np.empty((len(times), len(job.names(side)), *job.grid(side).shape), dtype=np.float32) for side in SIDES}
    for (side, i, _, _), field in zip(wanted, values, strict=True):
        result[side][:, i] = field
    return result


def _check_range(name: str, values: FloatArray) -> None:
    if np.isnan(values).all():
        return
    low, high = variable(name).valid
    least, greatest = float(np.nanmin(values)), float(np.nanmax(values))
    if least < low or greatest > high:
        raise OrbitError("values outside the physical range: wrong units?", where=name,
                         got=f"{least:g} to {greatest:g} {variable(name).units}", allowed=f"{low:g} to {high:g}",
                         hint="check the source's files: units, fill values, damage")  # fmt: skip


