"""Build a PairStore: initialise, write parts in any order and place, finalise. Never declares a store with a missing part complete."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from orbit2.config.load import validate
from orbit2.config.schema import DatasetConfig
from orbit2.data import pairs
from orbit2.data.pairs import PairStore, SideSpec
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_json
from orbit2.grid import Grid, from_centres, named
from orbit2.provenance import code_version, record
from orbit2.regrid.parts import Part, Times, plan_parts, plan_times
from orbit2.remap import Regridder
from orbit2.sources import manifest
from orbit2.sources.catalogue import open_source
from orbit2.sources.static import open_static
from orbit2.variables import variable

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """One dataset's slice of the configuration."""

    name: str
    hash: str
    dataset: DatasetConfig


def read_job(config: Path) -> Job:
    """The dataset slice written by the workflow. Raises OrbitError when it is not one."""
    content = read_json(config)
    if not isinstance(content, dict) or not {"name", "hash", "dataset"} <= set(content):
        raise OrbitError("not a dataset configuration slice", where=config, allowed="keys name, hash, dataset")
    return Job(str(content["name"]), str(content["hash"]), validate(DatasetConfig, content["dataset"], config))


def initialise(*, config: Path, resources: Path, store: Path) -> None:
    """Create the empty store with coordinates and static fields; keeps one that was begun with the same configuration.

    Raises OrbitError when provider files are missing or do not hold the configured times.
    """
    job = read_job(config)
    if (store / "zarr.json").is_file():
        _begun(store, job)
    times = plan_times(job.dataset)
    _open(job, resources, times)  # fails here, before anything is written, when fields or times are missing
    static_file = manifest.files(resources / "static" / manifest.VERSION)[0]
    sides = {}
    for side, name, variables in (("coarse", job.dataset.coarse_grid, job.dataset.inputs),
                                  ("fine", job.dataset.fine_grid, job.dataset.outputs)):
        grid = named(name)
        sides[side] = SideSpec(grid, variables, job.dataset.statics, open_static(grid, job.dataset.statics, static_file))
    pairs.initialise(store, sides["coarse"], sides["fine"], times, shard=job.dataset.samples_per_shard, attributes={
        "dataset": job.name, "config_hash": job.hash, "source": job.dataset.source, "code_version": code_version(),
        "method": "conservative from the source grid to both grids", "min_valid_fraction": job.dataset.min_valid_fraction,
    })


def build_part(*, config: Path, resources: Path, store: Path, part: str, out: Path) -> None:
    """Regrid the samples of one part, write them, then write `out` = {part, start, count, sha256, config_hash}.

    Does nothing when `out` is there and the store's samples match its checksum. Memory: one part. Raises OrbitError for an
    unknown part, a store that was not initialised, missing fields, or values outside a variable's physical range.
    """
    job = read_job(config)
    chosen = _part(job, part)
    root = _begun(store, job)
    if out.is_file() and _part_intact(root, out, job, chosen):
        return
    out.unlink(missing_ok=True)
    times = plan_times(job.dataset)[chosen.start : chosen.start + chosen.count]
    source = _open(job, resources, times)
    coarse, fine = (_regridded(source, named(grid), names, job.dataset.min_valid_fraction)
                    for grid, names in ((job.dataset.coarse_grid, job.dataset.inputs), (job.dataset.fine_grid, job.dataset.outputs)))
    if root.attrs.get("finalised"):  # rebuilding a part of a complete store: it is incomplete until finalised again
        root.attrs.update({"finalised": False})
    pairs.write_part(store, chosen.start, coarse, fine)
    write_json(out, {"part": chosen.id, "start": chosen.start, "count": chosen.count, "config_hash": job.hash,
                     "sha256": {"coarse": _digest(coarse), "fine": _digest(fine)},
                     "missing": {"coarse": int(np.isnan(coarse).sum()), "fine": int(np.isnan(fine).sum())}})


def finalise(*, config: Path, store: Path, parts: list[Path], out: Path) -> None:
    """Declare the store complete when every planned part is there and its data match its checksum; writes `out`.

    Raises OrbitError naming the parts that are missing or do not match.
    """
    job = read_job(config)
    root = _begun(store, job)
    planned = {part.id: part for part in plan_parts(job.dataset)}
    given = {str(read_json(path).get("part")): path for path in parts}
    missing = sorted(set(planned) - set(given))
    if missing:
        raise OrbitError("parts are missing", where=store, got=missing[:8], hint="build them first")
    broken = [key for key, part in planned.items() if not _part_intact(root, given[key], job, part)]
    if broken:
        raise OrbitError("parts do not match their checksums", where=store, got=broken[:8],
                         hint="delete their files in parts/ and build them again")
    provenance = record("regrid", config=job.dataset.model_dump(mode="json"), config_hash=job.hash)
    pairs.finalise(store, {"provenance": provenance})
    write_json(out, {"dataset": job.name, "hash": job.hash, "samples": sum(p.count for p in planned.values()),
                     "parts": {key: read_json(given[key])["sha256"] for key in planned}, "provenance": provenance})


def inspect(store: Path) -> str:
    """What a finalised store holds, for people. Raises OrbitError when it is not finalised."""
    opened = PairStore(store)
    lines = [f"{store}: {len(opened.times)} samples, {opened.times[0]} to {opened.times[-1]}, refinement {opened.refinement}"]
    for side in pairs.SIDES:
        lines.append(f"  {side}: {opened.grid(side).describe()}")
        lines += [f"    {name} [{variable(name).units}]" for name in opened.variables(side)]
        lines.append(f"    static: {', '.join(opened.statics(side))}")
    return "\n".join(lines)


def _part(job: Job, part: str) -> Part:
    planned = {p.id: p for p in plan_parts(job.dataset)}
    if part not in planned:
        raise OrbitError("unknown part", where=job.name, got=part, allowed=f"{next(iter(planned))} to {list(planned)[-1]}")
    return planned[part]


def _begun(store: Path, job: Job) -> zarr.Group:
    if not (store / "zarr.json").is_file():
        raise OrbitError("pair store was not initialised", where=store, hint="run `orbit2 regrid init` first")
    root = zarr.open_group(str(store), mode="r+")
    if root.attrs.get("config_hash") != job.hash:
        raise OrbitError("pair store belongs to another configuration", where=store,
                         got=str(root.attrs.get("config_hash")), allowed=job.hash, hint="delete it, or choose another store")
    return root


def _open(job: Job, resources: Path, times: Times) -> xr.Dataset:
    """The source at exactly `times`. Raises OrbitError naming the first times it does not hold."""
    names = tuple(dict.fromkeys((*job.dataset.inputs, *job.dataset.outputs)))
    source = open_source(job.dataset.source, resources, names)
    held = source["time"].values.astype("datetime64[s]")
    absent = times[~np.isin(times, held)]
    if len(absent):
        raise OrbitError(f"{len(absent)} configured times are not in the source files", where=resources / job.dataset.source,
                         got=", ".join(map(str, absent[:3])), allowed=f"{held.min()} to {held.max()}",
                         hint="retrieve them, or change the periods")
    return source.isel(time=np.searchsorted(held, times))


def _regridded(source: xr.Dataset, grid: Grid, names: tuple[str, ...], min_valid_fraction: float) -> FloatArray:
    """[n, V, H, W] on `grid`, conservatively from the source grid, one variable in memory at a time."""
    native = from_centres(source["lat"].values, source["lon"].values)
    regridder = Regridder(native, grid, "conservative", min_valid_fraction=min_valid_fraction)
    result = np.empty((source.sizes["time"], len(names), *grid.shape), dtype=np.float32)
    for i, name in enumerate(names):
        try:
            values = regridder(source[name]).to_numpy()
        except (OSError, RuntimeError, EOFError) as error:
            raise OrbitError(f"provider file cannot be read ({error})", where=name, hint="delete it and retrieve it again") from None
        _check_range(name, values)
        result[:, i] = values
    return result


def _check_range(name: str, values: FloatArray) -> None:
    """Raises OrbitError for values that are no weather: a file whose units attribute is wrong, or a decoding error."""
    if np.isnan(values).all():
        raise OrbitError("field is missing everywhere on the target grid (NaN only)", where=name, hint="check its area and mask")
    low, high = variable(name).valid
    least, greatest = float(np.nanmin(values)), float(np.nanmax(values))
    if least < low or greatest > high:
        raise OrbitError("values outside the physical range: wrong units?", where=name,
                         got=f"{least:g} to {greatest:g} {variable(name).units}", allowed=f"{low:g} to {high:g}")


def _digest(values: FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _part_intact(root: zarr.Group, path: Path, job: Job, part: Part) -> bool:
    """True when the part's file belongs to this configuration and the samples in the store have its checksums."""
    try:
        saved: dict[str, Any] = read_json(path)
        if (saved["part"], saved["start"], saved["count"], saved["config_hash"]) != (part.id, part.start, part.count, job.hash):
            return False
        for side in pairs.SIDES:
            array = root[f"{side}/fields"]
            assert isinstance(array, zarr.Array)
            if _digest(np.asarray(array[part.start : part.start + part.count], dtype=np.float32)) != saved["sha256"][side]:
                return False
    except (OrbitError, KeyError, TypeError, ValueError, OSError):
        return False
    return True
