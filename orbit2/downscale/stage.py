"""The downscale stage: a task of the pipeline, or a user's own file. Work items stream through; an interrupted run resumes."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import outputs
from orbit2.config.load import read_slice, validate
from orbit2.config.schema import DownscaleConfig
from orbit2.data.fingerprint import fingerprint
from orbit2.data.pairs import SIDES, PairStore
from orbit2.door.ingest import Reading, read_inputs
from orbit2.door.opening import opened
from orbit2.door.places import Place, label, places, state_of
from orbit2.downscale import as_published, members, timing
from orbit2.downscale.claim import claimed
from orbit2.downscale.derived import derived_from
from orbit2.downscale.items import parse_block
from orbit2.downscale.job import Job, Settings, compute_block, finish, layout_of
from orbit2.downscale.places import ELSEWHERE, REPLACE, attributes, check_out, check_receipt, described, is_ours
from orbit2.downscale.plausible import climate, climate_of_task, compare
from orbit2.downscale.predictor import Downscaler, load_model
from orbit2.downscale.samples import FileSamples, Statics, StoreSamples, statics_of_grid
from orbit2.downscale.store import PredictionStore, begin, discard, unwritten
from orbit2.downscale.work import Spent
from orbit2.errors import OrbitError
from orbit2.files import atomic, write_json
from orbit2.grid import AnyGrid
from orbit2.model.carried import same_statics
from orbit2.model.replayed import replay_model
from orbit2.parallel import alike, launch
from orbit2.parallel.reduce import Fact, agree, agree_on, barrier
from orbit2.provenance import code_version, record
from orbit2.timing import Rate

log = logging.getLogger(__name__)
PATIENCE = timedelta(days=2)  # ranks that live finish their shares at different times; a dead one ends the others (parallel/watch.py)


def run(*, config: Path, model: Path, store: Path, out: Path, block: str | None = None, receipt: Path | None = None,
        device: str | None = None, wall_minutes: float = 0.0, rate: Rate | None = None, climate: Path | None = None) -> None:  # fmt: skip
    """Downscale a task's samples (slice file `config`) to the Zarr store `out`, and write `out` with suffix .json as its receipt.

    `block` does a part of that: `init` makes the empty store, `i/n` computes a share of the items (any number of processes at once),
    `finalise` checks that all are there; init and shares write `receipt`. A task with `map_climate` has its inputs mapped first, to those
    of the pair store `climate`, into a store beside `out` (with suffix .mapped.zarr). Raises OrbitError when store and model do not fit,
    Interrupted when it was asked to stop, or after `wall_minutes` or those of the task.
    """
    with launch.ranks(PATIENCE, device) as ranks:  # first of all: an error of one is told to the others
        check_out(out, {"the pair store": store, "the model folder": _folder(model), "the configuration": config}, hint=ELSEWHERE)
        check_receipt(receipt)
        check_receipt(out.with_suffix(".json"))
        outputs.file(timing_of(out), "format", "total", "tries")
        _map(config, model, store, out, climate, first=ranks.first and block in (None, "init"))
        job, task = _task(config, model, store, out, ranks, rate)
        with claimed(out, block, ranks.first):
            if block in (None, "init") and ranks.first:
                begin(out, job.layout, job.about, job.original, replace="prediction", methods=job.methods)
            barrier()
            told: dict[str, Any] = {"store": out.name, "items": len(job.layout.items), "code_version": code_version()}
            if block not in ("init", "finalise"):
                number, blocks = (0, 1) if block is None else parse_block(block)
                spent = compute_block(job, ranks, number, blocks, min(filter(None, (task.wall_minutes, wall_minutes)), default=0.0))
                told |= {"block": f"{number}/{blocks}", "seconds": round(spent.wall, 2), "computed": spent.items}
            if ranks.first and block in (None, "finalise"):
                _finish(job, 1 if block is None else task.blocks)
            elif ranks.first and receipt is not None:
                write_json(receipt, told)


def _mapped(out: Path) -> Path:
    return out.with_suffix(".mapped.zarr")


def _map(config: Path, model: Path, store: Path, out: Path, climate: Path | None, *, first: bool) -> None:
    """The inputs of a task with `map_climate`, mapped by the `first` process. Raises OrbitError where `climate` is not told."""
    task = validate(DownscaleConfig, read_slice(config)["downscale"], config)
    if task.map_climate is not None:
        if climate is None:
            raise OrbitError("the task's inputs are to be mapped: to which pair store's?", where=config, hint="give it as --climate")
        if first:
            from orbit2.downscale.map_climate import map_store

            period = {"start": task.map_climate.period.start, "end": task.map_climate.period.end}
            map_store(pairs=PairStore(store), model=model, onto=PairStore(climate), period=period, out=_mapped(out))
        barrier()


def _finish(job: Job, blocks: int) -> None:
    """Declare the store complete and write its receipt, which keeps the blocks it was made in."""
    finished = PredictionStore(job.path, job.layout)
    kept = finished.root.attrs.get("seconds_per_sample", 0.0)
    seconds = finished.seconds()
    per_sample = seconds / len(job.layout.times) if seconds else kept
    finish(job, {"seconds_per_sample": per_sample})
    about = {name: job.about[name] for name in ("task", "dataset", "model", "model_hash")}
    timing.gather(finished.journal.folder, timing_of(job.path), about)
    frames = len(job.layout.times)
    write_json(job.path.with_suffix(".json"),
               {"store": job.path.name, "frames": frames, "blocks": blocks, "seconds_per_sample": per_sample,
                "code_version": code_version()})  # fmt: skip


def _replayed(downscaler: Downscaler, cuda_graphs: bool, members: int) -> None:
    """Passes as CUDA graphs, where that is asked for; not of members, of which the two halves of a network are called one by one."""
    if cuda_graphs and not members:
        replay_model(downscaler.model, downscaler.device, downscaler.dtype)


def timing_of(out: Path) -> Path:
    """Where the record of a task's prediction lies."""
    return out.with_suffix(".timing.json")


def _task(
    config: Path, model: Path, store: Path, out: Path, ranks: launch.Ranks, rate: Rate | None
) -> tuple[Job, DownscaleConfig]:
    section = read_slice(config)
    task = validate(DownscaleConfig, section["downscale"], config)
    downscaler, pairs = load_model(model, ranks.device, task.precision), PairStore(store)
    downscaler.dataset = task.dataset
    agree_on([
        Fact("the configuration", alike.flat(section), "give all ranks the same --config file"),
        Fact("the pair store", {"": fingerprint(pairs)}, "copy one and the same to all nodes"),
        Fact("the model", downscaler.about["sha256"], "give all ranks the same --model"),
    ])
    _replayed(downscaler, task.cuda_graphs, task.members)
    grid, names = pairs.grid(task.input), pairs.variables(task.input)
    used = tuple(name for name in names if name in downscaler.inputs)
    if not used and downscaler.inputs:
        raise OrbitError("the store has none of the model's inputs", where=store, got=", ".join(names),
                         allowed=", ".join(downscaler.inputs), hint="give a store of the data that the model was trained on")  # fmt: skip
    indices = pairs.indices(section["period"]["start"], section["period"]["end"])
    if task.max_samples:
        indices = indices[: task.max_samples]
    if not len(indices):
        raise OrbitError("no samples in the period", where=store, got=str(section["period"]),
                         allowed=f"{pairs.times[0]} to {pairs.times[-1]}", hint="choose a period within the store's")  # fmt: skip
    samples, lines, outside = _samples(task, pairs, indices, used, out)
    if task.dataset not in downscaler.about.get("datasets", {}):
        lines, range_ = climate_of_task(downscaler.about, samples, pairs.times[indices], grid)
        outside |= range_
    lines = [*lines, *as_published.lacking(downscaler, used), *as_published.resized(downscaler, grid, task.tile, task.halo)]
    for line in lines:
        log.warning("%s: %s", section["task"], line)
    drawn, how = members.described(downscaler, task.members, task.seed)
    about = {
        "task": section["task"],
        "dataset": task.dataset,
        "split": task.split,
        "input": task.input,
        **downscaler.described(warnings=lines, how=how),
        **drawn,
        **outside,
        **remembering(downscaler, grid),
        **as_published.tiled(downscaler, task.tile),
        "model": task.model,
        "model_hash": section["model_hash"],
        "provenance": json.dumps(record("downscale", config_hash=section["model_hash"])),
    }
    settings = Settings(task.tile, task.halo, task.blend, task.time_block, task.batch, task.members, task.seed, stored=task.stored,
                        writers=task.writers)  # fmt: skip
    identity: tuple[Any, ...] = (section["model_hash"], section.get("dataset_hash"), task.input)
    if task.map_climate is not None:
        identity = (*identity, section["climate_hash"], task.map_climate.period.start, task.map_climate.period.end)
    job = Job(
        label=section["task"],
        path=out,
        downscaler=downscaler,
        settings=settings,
        grid=grid,
        samples=samples,
        statics=_statics(downscaler, pairs, task.input),
        layout=layout_of(downscaler, grid, pairs.times[indices], settings, identity),
        about=about,
        rate=rate,
        methods={**downscaler.methods, **{name: pairs.cell_methods(name) for side in SIDES for name in pairs.variables(side)}},
    )
    return job, task


def _samples(
    task: DownscaleConfig, pairs: PairStore, indices: npt.NDArray[np.int64], used: tuple[str, ...], out: Path
) -> tuple[StoreSamples | FileSamples, list[str], dict[str, str]]:
    """The task's inputs as they are, or mapped; lines to be said (none yet); attributes that say how they were mapped."""
    if task.map_climate is None:
        return StoreSamples(pairs, task.input, indices.tolist(), used, task.time_block), [], {}
    from orbit2.downscale.map_climate import mapped_inputs

    inputs, told = mapped_inputs(_mapped(out), used, pairs.times[indices])
    return FileSamples(inputs, task.time_block), [], {"climate_mapping": told}


def remembering(downscaler: Downscaler, grid: AnyGrid) -> dict[str, str]:
    """What is said of the site memory and of the output scale, in the log too."""
    told = downscaler.remembering(grid)
    for what, line in told.items():
        log.info("%s %s", what.replace("_", " "), line)
    return told


def _statics(downscaler: Downscaler, pairs: PairStore, side: str) -> Statics:
    """Fine statics of the prediction's grid: the store's own, or for a finer grid remapped from those of the training."""
    if side == "coarse":
        values, names = pairs.static_values("fine"), pairs.statics("fine")
        absent = [name for name in downscaler.model.statics if name not in names]
        same_statics(downscaler.about, pairs)
        if not absent:
            return Statics(downscaler.refinement, values[[names.index(name) for name in downscaler.model.statics]])
    grid = pairs.grid("coarse" if side == "coarse" else "fine")
    file, told = downscaler.statics_file(grid, None)
    if told:
        log.warning("%s", told)
    return statics_of_grid(grid, downscaler.refinement, downscaler.model.statics, file)


def downscale_file(
    *,
    input: str | Path | Sequence[str | Path],
    model: Path,
    out: Path,
    static: Path | None = None,
    settings: Settings | None = None,
    block: str | None = None,
    wall_minutes: float = 0.0,
    overwrite: bool = False,
    said: Reading | None = None,
    device: str | None = None,
    precision: str = "fp32",
    receipt: Path | None = None,
    rate: Rate | None = None,
    site_memory: bool = True,
    cuda_graphs: bool = False,
) -> Spent:
    """Downscale a user's files (see `orbit2.door`) to `out` (.zarr or .nc); memory goes with the tile, not with the file.

    `block` i/n computes a share of the items, several processes at once; the last one declares the store complete. Returns where
    the time went; `receipt` (JSON) gets the record of it when all is done. The same work started again goes on; anything else at `out` is
    replaced only with `overwrite`, the input never. `cuda_graphs`: the network is replayed (a GPU's launches cost more than small windows).
    Raises OrbitError when the file cannot be read, a needed variable is missing, or `out` is taken or has another suffix; Interrupted
    when it was asked to stop.
    """
    if block is not None and out.suffix != ".zarr":
        raise OrbitError("several processes write Zarr only", where=out, hint="give --out the suffix .zarr")
    if block is not None and overwrite:
        raise OrbitError("--overwrite does not go with --block", where=out, hint="delete what is there first")
    outputs.file(receipt, "format", "total", "tries")
    number, blocks = (0, 1) if block is None else parse_block(block)
    with launch.ranks(PATIENCE, device) as ranks, ExitStack() as held:
        found = places(input)
        own = None if str(static) == "packaged" else static
        kept = {**_inputs(input, found), "the model folder": _folder(model), "the file of statics": own}
        place = check_out(out, kept, overwrite=overwrite)
        downscaler = load_model(model, ranks.device, precision)
        downscaler.site_memory = site_memory
        settings = settings or Settings()
        _replayed(downscaler, cuda_graphs, settings.members)
        held.enter_context(claimed(_store_of(place), block, ranks.first))
        said = said or Reading()
        with opened(input, downscaler.inputs, said.rename) as dataset:
            job = dataset_job(downscaler, dataset, found, place, static, settings, said)
            job = replace(job, rate=rate)
            agree("the task", job.layout.signature, "give all ranks the same input, model and options")
            if place.suffix == ".nc" and _finished(out, place, job, overwrite):
                return Spent()
            if ranks.first:
                begin(job.path, job.layout, job.about, job.original,
                      replace="anything" if overwrite else "nothing", shared=block is not None, methods=job.methods)  # fmt: skip
            barrier()
            spent = compute_block(job, ranks, number, blocks, wall_minutes)
        if not ranks.first:
            return spent
        store = finish(job, {}, blocks)
        if store is None:
            return spent  # another block is still at work, or to come
        if place.suffix == ".nc":
            _to_netcdf(job.path, place, overwrite)
            discard(job.path)
        if receipt is not None:
            timing.gather(store.journal.folder, receipt, {name: job.about[name] for name in ("input_file", "model", "model_hash")})
        store.journal.clear(job.path)
    height, width = job.layout.grid.shape
    log.info("%s: %d frames of %d x %d cells, %s", out, len(job.layout.times), height, width, ", ".join(downscaler.outputs))
    return spent


def dataset_job(
    downscaler: Downscaler, dataset: xr.Dataset, files: Sequence[Place], out: Path, static: Path | None, settings: Settings, said: Reading
) -> Job:
    """What downscaling a lazy Dataset (of `files`) to `out` means; see `compute_block`."""
    name = label(files)
    inputs = read_inputs(dataset, downscaler.inputs, files[0] if len(files) == 1 else name, said, maps=downscaler.reads_maps)
    inputs = as_published.as_trained(downscaler, inputs, settings.tile, settings.halo)
    inputs.warnings += compare(inputs, downscaler.about, downscaler.normaliser, trust=said.trust_units, trim=settings.trim)
    told, outside = climate(inputs, downscaler.about)
    inputs.warnings += told
    own, about_statics = downscaler.statics_file(inputs.grid, static)
    inputs.warnings += [about_statics] if about_statics else []
    for line in inputs.warnings:
        log.warning("%s: %s", name, line)
    derived = derived_from(downscaler.outputs, settings.members, settings.quantiles, settings.events)
    drawn, how = members.described(downscaler, settings.members, settings.seed, derived)
    about = {
        **downscaler.described(inputs.attrs, inputs.warnings, how),
        **drawn,
        **outside,
        **remembering(downscaler, inputs.grid),
        **as_published.tiled(downscaler, settings.tile),
        "input_file": name,
        "provenance": json.dumps(record("downscale", inputs=_checked(files))),
    }
    identity = (*map(state_of, files), *([state_of(own)] if own is not None and own.exists() else []), *said.identity)
    return Job(
        label=name,
        path=_store_of(out),
        downscaler=downscaler,
        settings=settings,
        grid=inputs.grid,
        samples=FileSamples(inputs, settings.time_block),
        statics=statics_of_grid(inputs.grid, downscaler.refinement, downscaler.model.statics, own),
        layout=layout_of(downscaler, inputs.grid, inputs.times, settings, identity),
        about=about,
        original=inputs.named,
        methods=downscaler.methods,
    )


def _inputs(named: str | Path | Sequence[str | Path], found: Sequence[Place]) -> dict[str, Path | None]:
    """What a prediction must not overwrite: the files that it is made of, and the folders that were named."""
    local = [place for place in found if isinstance(place, Path)]
    local += [path for source in ([named] if isinstance(named, (str, Path)) else named) if (path := Path(source)).is_dir()]
    return {"the input" if len(local) == 1 else f"the input {path}": path for path in local}


def _checked(files: Sequence[Place]) -> dict[str, Path] | None:
    """The files whose checksums are kept with a prediction: of many, their names, sizes and times tell them apart (see the signature)."""
    return {"input": file} if len(files) == 1 and isinstance(file := files[0], Path) and file.is_file() else None


def _store_of(out: Path) -> Path:
    """Where the Zarr store of a file's prediction is, or grows until it is written as NetCDF."""
    return out if out.suffix == ".zarr" else out.with_name(f".{out.name}.zarr")


def _finished(out: Path, place: Path, job: Job, overwrite: bool) -> bool:
    """Whether this very prediction is there as NetCDF. Raises OrbitError for another one."""
    found = attributes(place) if place.exists() else {}
    if found.get("signature") == job.layout.signature:
        log.info("%s is there already, made from the same input with the same settings", out)
        return True
    if is_ours(found) and not overwrite:
        raise OrbitError("another prediction is already there", where=out, got=described({"finalised": True, **found}), hint=REPLACE)
    return False


def _to_netcdf(store: Path, out: Path, overwrite: bool) -> None:
    """The finished store as one NetCDF file, chunk by chunk. Raises OrbitError when it cannot be written."""
    try:
        with atomic(out) as temporary, xr.open_zarr(str(store), consolidated=False, chunks={}) as result:
            result.drop_attrs(deep=False).assign_attrs(
                {k: v for k, v in result.attrs.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool)}
            ).to_netcdf(
                temporary,
                engine="netcdf4",
                encoding={name: {"zlib": True, "complevel": 1} for name in result.data_vars if result[name].ndim >= 3},
            )
            check_out(out, {}, overwrite=overwrite)  # it may have come meanwhile
    except OSError as error:
        raise unwritten(out, error) from None
    except RuntimeError as error:  # of netCDF-C, which does not say why
        left = shutil.disk_usage(out.parent).free / 2**20
        raise unwritten(out, OSError(f"{error}; {left:.1f} MB left on the disk")) from None


def _folder(model: Path) -> Path | None:
    return model if (model / "config.json").is_file() else None  # else `load_model` says what it is
