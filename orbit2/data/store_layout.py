"""Create, write and finalise a PairStore, from any number of processes at once. Never lets two writers share a file, and never
rewrites metadata while parts are being written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec

from orbit2 import times as clocks
from orbit2.data import kept, packing
from orbit2.data.shards import FieldReader
from orbit2.data.store_grid import GRID, grid_of, put_grid
from orbit2.errors import OrbitError
from orbit2.files import read_json, short_hash, write_text
from orbit2.grid import AnyGrid
from orbit2.times import Times
from orbit2.variables import carried, declarations, from_json, variable

Side = Literal["coarse", "fine"]
SIDES: tuple[Side, ...] = ("coarse", "fine")
TIME_UNITS = "hours since 1940-01-01 00:00:00"
EPOCH = "1940-01-01"
STORE_VERSION = "pairs-2"
# By measurement (benchmarks/pairstore_read.py): of the codecs that shrink int16 fields, the fastest to read.
CODEC: dict[str, Any] = {"cname": "lz4hc", "clevel": 5, "shuffle": "shuffle", "typesize": 2}
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SideSpec:
    """What one group holds: its grid, its dynamic (perhaps none) and static variables."""

    grid: AnyGrid
    variables: tuple[str, ...]
    statics: tuple[str, ...]
    static_values: FloatArray  # [S, H, W]


def signature(coarse: SideSpec, fine: SideSpec, times: Times, shard: int) -> str:
    """Identifies what a store holds besides its fields: grids, names, ranges, times, static values, layout."""
    sides = []
    for spec in (coarse, fine):
        ranges = [[p.transform, p.low, p.high] for p in map(packing.packing_of, spec.variables)]
        sides.append([spec.grid.digest, spec.variables, ranges, spec.statics, _sha(spec.static_values.astype("<f4"))])
    declared = declarations(_all_names(coarse, fine))
    own = [STORE_VERSION, packing.VERSION, shard, _sha(clocks.seconds(times).astype("<i8")), CODEC, sides]
    other = [] if clocks.real(calendar := clocks.calendar_of(times)) else [calendar]
    return short_hash([*own, *other, *(from_json(row).meaning for row in declared.values())], 16)


def _all_names(*specs: SideSpec) -> list[str]:
    return [name for spec in specs for name in (*spec.variables, *spec.statics)]


def _sha(values: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def initialise(
    path: str | Path,
    coarse: SideSpec,
    fine: SideSpec,
    times: Times,
    *,
    shard: int = 8,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create the empty store (all fields missing), or keep one that is already there: nothing that was written is ever deleted.

    A finalised store of another shard length (a machine key) is as good; an empty one of anything else is made anew. Raises OrbitError
    when samples of something else are there, saying what differs, when the grids do not nest, or `path` is no pair store.
    """
    path = Path(path)
    factor = fine.grid.nests_in(coarse.grid)
    if not (coarse.variables or fine.variables):
        raise OrbitError("a pair store needs variables on one side at least", where=path, hint="name inputs or outputs of the dataset")
    identity = signature(coarse, fine, times, shard)
    if path.exists():
        found = stored_attributes(path)
        if found.get("signature") == identity:
            return
        differ = kept.differences(path, dict(zip(SIDES, (coarse, fine), strict=True)), times, shard, STORE_VERSION, CODEC)
        if found.get("finalised") and set(differ) == {kept.SHARD}:
            return
        if found.get("finalised") or _any_written(path):
            told = "; ".join(f"{what}: {text}" for what, text in differ.items()) or "its signature"
            state = "finished" if found.get("finalised") else "begun"
            raise OrbitError(f"a {state} pair store is there that holds something else", where=path, got=told,
                             hint="it is kept: move it away (or delete it) to build anew, or go back to what it was made with")
        shutil.rmtree(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.part")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        root = zarr.create_group(str(temporary), zarr_format=3)
        for side, spec in zip(SIDES, (coarse, fine), strict=True):
            _create_side(root.create_group(side), spec, times, shard)
        columns = len(coarse.variables) + len(fine.variables)
        root.create_array(
            "written",
            shape=(len(times), columns),
            chunks=(shard, columns),
            dtype="float32",
            fill_value=float("nan"),
            compressors=None,
            dimension_names=("time", "column"),
            attributes={"units": "1", "long_name": "missing fraction of what was written, coarse then fine variables; else NaN"},
        )
        root.attrs.update(
            {
                "Conventions": "CF-1.11",
                "orbit2_store": STORE_VERSION,
                "packing_version": packing.VERSION,
                "signature": identity,
                "refinement": factor,
                "shard": shard,
                "finalised": False,
                **carried(_all_names(coarse, fine)),
                **(attributes or {}),
            }
        )
        temporary.rename(path)
    except OSError as error:
        if path.exists() and stored_attributes(path).get("signature") == identity:
            return  # another process was quicker
        raise OrbitError(f"pair store cannot be created ({error.strerror or error})", where=path,
                         hint="choose a place that can be written, or remove what lies there") from None  # fmt: skip
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _create_side(group: zarr.Group, spec: SideSpec, times: Times, shard: int) -> None:
    height, width = spec.grid.shape
    samples, count = len(times), len(spec.variables)
    if count:
        group.create_array(
            "fields",
            shape=(samples, count, height, width),
            chunks=(1, count, height, width),
            shards=(shard, count, height, width),
            dtype="int16",
            fill_value=packing.MISSING,
            compressors=BloscCodec(**CODEC),
            dimension_names=("time", "variable", *spec.grid.dims),
            attributes={"packing": f"{packing.VERSION}: per variable, see scale_factor, add_offset and the group's `packing`"},
        )

    def put(name: str, values: npt.ArrayLike, dims: tuple[str, ...], fill: float | None = None, **attrs: Any) -> None:
        data = np.asarray(values)
        if not data.size:
            return
        if data.dtype.kind in "US":
            data = data.astype(np.dtypes.StringDType())
        group.create_array(name, data=data, chunks=data.shape, fill_value=fill, dimension_names=dims, attributes=attrs)

    put("static", spec.static_values.astype(np.float32), ("static", *spec.grid.dims), np.nan)  # what a chunk that is gone reads as
    put("missing", np.full((samples, count), np.nan, dtype=np.float32), ("time", "variable"), units="1",
        long_name="fraction of missing cells; NaN where no field was written")
    calendar = clocks.calendar_of(times)
    hours = clocks.seconds(times, EPOCH) / 3600
    put("time", hours, ("time",), units=TIME_UNITS, calendar="proleptic_gregorian" if clocks.real(calendar) else calendar,
        standard_name="time")
    packed = packing.describe(spec.variables)
    put("variable_name", list(spec.variables), ("variable",))
    put("scale_factor", [packed[name]["scale_factor"] for name in spec.variables], ("variable",))
    put("add_offset", [packed[name]["add_offset"] for name in spec.variables], ("variable",))
    put("static_name", list(spec.statics), ("static",))
    group.attrs.update(
        {
            **put_grid(spec.grid, put),
            "variables": list(spec.variables),
            "statics": list(spec.statics),
            "units": {name: variable(name).units for name in (*spec.variables, *spec.statics)},
            "packing": packed,
        }
    )


def _any_written(path: Path) -> bool:
    """Whether a job has written samples (or might have: a store that cannot be read)."""
    try:
        return bool(np.isfinite(np.concatenate(list(missing_fractions(path).values()), 1)).any())
    except (KeyError, ValueError, OSError, AssertionError):
        return True


def stored_attributes(path: str | Path) -> dict[str, Any]:
    """Attributes of the store's root group. Raises OrbitError when `path` is no pair store."""
    path = Path(path)
    if not (path / "zarr.json").is_file():
        raise OrbitError("not a pair store: it has no zarr.json", where=path, hint="choose another place, or delete it")
    attributes = read_json(path / "zarr.json").get("attributes", {})
    if "orbit2_store" not in attributes:
        raise OrbitError("not a pair store", where=path, hint="choose another place, or delete it")
    return dict(attributes)


def open_root(path: str | Path, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """The store's root group. Raises OrbitError when `path` is no pair store, or its metadata cannot be read."""
    stored_attributes(path)
    try:
        root = zarr.open_group(str(path), mode=mode)
        for name in ("written", *(f"{side}/time" for side in SIDES)):
            _array(root, name)
        for side in SIDES:
            for name in () if GRID in root[side].attrs else ("lat_bnds", "lon_bnds"):
                _array(root, f"{side}/{name}")
            if _names(root, side):
                _array(root, f"{side}/fields")
                _array(root, f"{side}/missing")
    except (KeyError, ValueError, OSError, AssertionError) as error:
        raise OrbitError(f"pair store is damaged ({type(error).__name__}: {' '.join(str(error).split())[:120]})", where=path,
                         hint="delete it and re-run the regrid stage") from None
    return root


def write_part(path: str | Path, start: int, coarse: FloatArray, fine: FloatArray) -> dict[Side, str]:
    """Write samples `start : start + n` ([n, V, H, W] and [n, C, sH, sW], canonical units, NaN = missing), whole shards.

    Returns each side's digest, which `digest` gives for the same samples afterwards. Other processes may write other shards
    at the same time. Killed at any point, the shards at work count as never written. Memory: half the arguments' more.
    Raises OrbitError when the samples do not fill whole shards (two writers would share one), for a wrong shape or a
    finalised store, for values outside their range (nothing is written then), and when the disk is full.
    """
    path = Path(path)
    attributes, root = stored_attributes(path), zarr.open_group(str(path), mode="r+")
    if attributes.get("finalised"):
        raise OrbitError("pair store is finalised", where=path, hint="`reopen` it before writing parts again")
    shard, names = int(attributes["shard"]), {side: _names(root, side) for side in SIDES}
    sides = dict(zip(SIDES, (coarse, fine), strict=True))
    count = len(coarse)
    _check_part(path, root, start, sides, names, shard)
    codes = {side: packing.pack(values, names[side]) for side, values in sides.items()}  # checks every value before the first write
    receipts = _array(root, "written")
    try:
        for first in range(0, count, shard):
            block = slice(first, first + shard)
            number = (start + first) // shard
            _clear(path / "written/c" / str(number) / "0")  # what follows counts as unwritten until it is all there
            missing = []
            for side in SIDES:
                part = codes[side][block]
                missing.append((part == packing.MISSING).mean((2, 3), dtype=np.float64).astype(np.float32))
                if names[side]:
                    file = path / side / "fields/c" / str(number) / "0/0/0"
                    _clear(file)
                    _array(root, f"{side}/fields")[start + first : start + first + len(part)] = part
                    _sync(file)
            receipts[start + first : start + first + len(missing[0])] = np.concatenate(missing, 1)
    except OSError as error:
        raise OrbitError(f"part could not be written ({error.strerror or error})", where=f"{path} sample {start + first}",
                         hint="free some space, then run this part again") from None
    return {side: packing.digest_codes(values) for side, values in codes.items()}


def _check_part(
    path: Path, root: zarr.Group, start: int, sides: Mapping[Side, FloatArray], names: Mapping[Side, tuple[str, ...]], shard: int
) -> None:
    samples, count = _array(root, "written").shape[0], len(sides["coarse"])
    if start % shard or start < 0:
        raise OrbitError("part does not begin at a shard boundary", where=path, got=start, allowed=f"multiples of {shard}",
                         hint="begin parts at whole shards")  # fmt: skip
    if start + count > samples or (count % shard and start + count != samples):
        raise OrbitError("part does not end at a shard boundary", where=path, got=f"{count} samples from {start}",
                         allowed=f"multiples of {shard}, or up to the last sample ({samples})", hint="end parts at whole shards")
    for side, values in sides.items():
        group = root[side]
        assert isinstance(group, zarr.Group)
        expected = (count, len(names[side]), *grid_of(group).shape)
        if values.shape != expected:
            raise OrbitError("part has the wrong shape", where=f"{path}/{side}", got=values.shape, allowed=expected,
                             hint="give [sample, variable, row, column] of the store's own variables and grid")  # fmt: skip


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    found = root[name]
    assert isinstance(found, zarr.Array)
    return found


def _names(root: zarr.Group, side: Side) -> tuple[str, ...]:
    names: Sequence[str] = root[side].attrs["variables"]  # type: ignore[assignment]
    return tuple(names)


def _clear(file: Path) -> None:
    """Remove a shard and what killed writers left beside it: nobody else writes here."""
    file.unlink(missing_ok=True)
    for stray in file.parent.glob(f"{file.name}.*.partial"):
        stray.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    """To the disk before the receipt says so; a shard with nothing but missing values has no file."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def missing_fractions(path: str | Path) -> dict[Side, FloatArray]:
    """What `write_part` recorded so far, finalised or not: missing fraction [T, V] per side, NaN where nothing was written."""
    root = zarr.open_group(str(path), mode="r")
    array = _array(root, "written")
    (samples, columns), shard = array.shape, array.chunks[0]
    found = np.full((-(-samples // shard), shard, columns), np.nan, dtype=np.float32)
    folder = Path(path) / "written" / "c"
    for entry in os.scandir(folder) if folder.is_dir() else ():  # uncompressed chunks: a hundred times faster than asking zarr for all
        file = Path(entry.path) / "0"
        if entry.name.isdecimal() and file.is_file():
            receipt = np.fromfile(file, dtype="<f4")
            if receipt.size == shard * columns:
                found[int(entry.name)] = receipt.reshape(shard, columns)
    found = found.reshape(-1, columns)[:samples]
    count = len(_names(root, "coarse"))
    return {"coarse": found[:, :count], "fine": found[:, count:]}


def written(path: str | Path) -> npt.NDArray[np.bool_]:
    """Which samples [T] are wholly written, in a store finalised or not: how far a build has come."""
    stored_attributes(path)
    return np.asarray(np.isfinite(np.concatenate(list(missing_fractions(path).values()), 1)).all(1))


def digest(path: str | Path, side: Side, start: int, count: int) -> str:
    """sha256 of the stored codes of `count` samples, finalised or not: what `packing.digest` gives before writing.

    Raises OrbitError for samples that are damaged or were never written.
    """
    root = zarr.open_group(str(path), mode="r")
    names = len(_names(root, "coarse"))
    receipts = np.asarray(_array(root, "written")[start : start + count])
    receipts = receipts[:, :names] if side == "coarse" else receipts[:, names:]
    if np.isnan(receipts).any():
        raise OrbitError("digest of samples never written", where=f"{path}/{side}", got=f"{count} samples from {start}",
                         hint="write the part first")  # fmt: skip
    found = hashlib.sha256()
    if receipts.shape[1]:
        reader = FieldReader(Path(path), side)
        for offset in range(count):
            found.update(reader.read(start + offset, receipts[offset]).astype("<i2", copy=False).data)
    return found.hexdigest()


def finalise(path: str | Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Declare the store complete; readers accept it from now on. Samples never written are gaps. Raises OrbitError if the disk is full."""
    root = zarr.open_group(str(path), mode="r+")
    try:
        for side, values in missing_fractions(path).items():
            if values.size:
                _array(root, f"{side}/missing")[:] = values
        _update_attributes(Path(path), {**(attributes or {}), "finalised": True})
    except OSError as error:
        raise OrbitError(f"pair store could not be finalised ({error.strerror or error})", where=path, hint="run this again") from None


def reopen(path: str | Path) -> None:
    """Take the finalised mark away, so that parts may be written again; readers refuse the store until it is finalised."""
    if stored_attributes(path).get("finalised"):
        _update_attributes(Path(path), {"finalised": False})


def _update_attributes(path: Path, changes: Mapping[str, Any]) -> None:
    """Replace the root's zarr.json as a whole, so that no reader or kill sees half of it."""
    content = read_json(path / "zarr.json")
    content["attributes"] = {**content.get("attributes", {}), **changes}
    write_text(path / "zarr.json", json.dumps(content, indent=2, ensure_ascii=False))
