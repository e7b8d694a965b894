"""Parts of a task's scores: which there are, what each has gathered as one HDF5 file, and their sum. Never opens a prediction.

A part is a calendar month of a task, `202603`, or a year, `2026`. Its file holds the states of the collectors of both stages,
`<stage>/<collector>/...`, and says what it was made of; it appears whole or not at all. Sums are the same to rounding however the days
are divided.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from orbit2.config.base import science
from orbit2.config.load import validate
from orbit2.config.schema import DownscaleConfig
from orbit2.config.slices import AFTERWARDS
from orbit2.errors import OrbitError
from orbit2.files import atomic
from orbit2.metrics.collector import Collector, Settings
from orbit2.metrics.matched import Matched
from orbit2.metrics.months import ONWARDS
from orbit2.progress import counted
from orbit2.provenance import code_version

VERSION = 3
READ = (2, VERSION)  # of version 2 no arrays lie together
LARGE = 4096  # bytes from which an array is compressed, and has a place of its own
SMALL, NAMES = "small", "small_names"  # of a collector: the bytes of all its other arrays, one after the other, and what they are
PIECE = 1024  # cells of a map that lie together, with all their days


def write(path: Path, matched: Matched, slice_: Mapping[str, Any], settings: Settings, collectors: Sequence[Collector]) -> None:
    """What the collectors have gathered of the part that `matched` streams; `slice_`: the configuration that it was made with."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"orbit2_part": VERSION, "identity": identity(slice_), **told(settings), "code_version": code_version(),
                           "samples": json.dumps(matched.samples_streamed)})  # fmt: skip
        for collector in collectors:
            group = file.create_group(f"{collector.stage}/{collector.name}")
            small = {}
            for name, array in collector.state().items():
                if array.nbytes < LARGE and array.dtype.kind in "biufS":
                    small[name] = np.asarray(array)
                else:
                    group.create_dataset(name, data=array, **packing(array))
            if small:  # thousands of them: each by itself takes a millisecond to write, and to read
                told_of = json.dumps([(name, array.dtype.str, array.shape) for name, array in small.items()])
                group.create_dataset(NAMES, data=np.frombuffer(told_of.encode(), dtype=np.uint8))
                group.create_dataset(SMALL, data=np.frombuffer(b"".join(array.tobytes() for array in small.values()), dtype=np.uint8))


def forget_others(path: Path) -> None:
    """Delete parts beside `path` that hold the same days cut otherwise (months of its year, the year of its month), with their receipts."""
    name = path.stem.removesuffix(ONWARDS)
    for other in path.parent.glob("*.h5"):
        known = other.stem.removesuffix(ONWARDS)
        if known != name and (known.startswith(name) or name.startswith(known)):
            other.with_suffix(".json").unlink(missing_ok=True)
            other.unlink(missing_ok=True)


def packing(array: npt.NDArray[Any]) -> dict[str, Any]:
    """How an array lies in the file: days of fields in pieces of some rows with all their days, which are read together, again and again;
    they are not compressed (that would save 40 % of them, and make reading ten times slower)."""
    if array.nbytes < LARGE or not array.ndim:
        return {}
    if array.ndim == 3:
        days, rows, columns = array.shape
        return {"chunks": (days, min(rows, max(1, PIECE // columns)), columns)}
    return {"compression": "lzf", "shuffle": True}  # half of what gzip takes, two per cent larger


def current(path: Path, made_of: Sequence[Path], matched: Matched, slice_: Mapping[str, Any], settings: Settings) -> bool:
    """Whether the part at `path` is whole, newer than all files it was made of, and what `write` would write today."""
    if not path.is_file() or any(path.stat().st_mtime_ns < source.stat().st_mtime_ns for source in made_of):
        return False
    expected = {"identity": identity(slice_), **told(settings), "code_version": code_version(),
                "samples": json.dumps(matched.samples_streamed)}  # fmt: skip
    try:
        with _opened(path, expected):
            return True
    except OrbitError:
        return False


def merge(
    folder: Path, matched: Matched, slice_: Mapping[str, Any], settings: Settings, collectors: Sequence[Collector], stage: str
) -> None:  # fmt: skip
    """Add every part in `folder` to the collectors.

    Raises OrbitError for a part that is damaged, was made of other things than `slice_` says, or lacks a collector, for a time that two
    parts have, and for times of the task that none has.
    """
    paths = sorted(Path(folder).glob("*.h5"))
    seen: dict[str, Path] = {}
    for path in counted(paths, "adding up", len(paths), "part"):
        with _opened(path, {"identity": identity(slice_), stage: told(settings)[stage]}) as file:
            for sample in json.loads(file.attrs["samples"]):
                if sample in seen:
                    raise OrbitError("two parts have the same time", where=path, got=f"{sample}, also in {seen[sample].name}",
                                     hint="delete the folder of parts and run them again")  # fmt: skip
                seen[sample] = path
            for collector in collectors:
                where = f"{collector.stage}/{collector.name}"
                if where not in file:
                    raise OrbitError("part lacks what is to be scored", where=path, got=f"no {where}", hint="delete it and run it again")
                collector.merge(Stored(file[where]))
    wanted = matched.samples_streamed
    absent = [sample for sample in wanted if sample not in seen]
    if absent or len(seen) > len(wanted):
        extra = next((sample for sample in seen if sample not in set(wanted)), "none more")
        raise OrbitError("parts are not those of the task", where=folder, got=f"{len(seen)} times in {len(paths)} parts, {extra}",
                         allowed=f"{len(wanted)} times of the prediction, {absent[0] if absent else 'no other'} among them",
                         hint="run `orbit2 evaluate part` for the months that lack; delete parts of an earlier prediction")  # fmt: skip


class Stored(Mapping[str, npt.NDArray[Any]]):
    """The arrays of a collector's group; each large one is read when it is asked for. `small`: the others."""

    def __init__(self, group: h5py.Group) -> None:
        self.group = group
        found: list[str] = []
        group.visititems(lambda name, one: found.append(name) if isinstance(one, h5py.Dataset) else None)
        self.small = _small(group) if NAMES in group else {}
        self.names = [*self.small, *(name for name in found if name not in (SMALL, NAMES))]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.small[name].copy() if name in self.small else np.asarray(self.group[name][()])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _small(group: h5py.Group) -> dict[str, npt.NDArray[Any]]:
    """The arrays that lie together, by name."""
    held, found, at = group[SMALL][()].tobytes(), {}, 0
    for name, kind, shape in json.loads(group[NAMES][()].tobytes()):
        dtype, count = np.dtype(kind), math.prod(shape)
        found[name] = np.frombuffer(held, dtype, count, at).reshape(shape) if count else np.zeros(shape, dtype)
        at += count * dtype.itemsize
    return found


def stored_at(file: h5py.File, where: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays at `<stage>/<collector>/<key>` of a part, by the rest of their names; empty where there are none."""
    stage, collector, *key = where.split("/")
    if f"{stage}/{collector}" not in file:
        return {}
    stored, under = Stored(file[f"{stage}/{collector}"]), "".join(f"{one}/" for one in key)
    return {name.removeprefix(under): stored[name] for name in stored if name.startswith(under)}


def identity(slice_: Mapping[str, Any]) -> str:
    """What a task is: what the slices of both stages and of parts have in common, without the machine's keys."""
    common = {key: slice_.get(key) for key in ("task", "model_hash", "dataset_hash", "observations_hash", "period", "parent")}
    section = science(validate(DownscaleConfig, slice_["downscale"], f"task {slice_['task']}"))
    return json.dumps({**common, "downscale": section}, sort_keys=True)


def told(settings: Settings) -> dict[str, str]:
    """What collectors were told, by stage, without what matters only once parts are summed."""
    scores, diagnostics = (section.model_dump(mode="json", exclude=set(AFTERWARDS[stage]))
                           for stage, section in (("evaluate", settings.evaluate), ("diagnose", settings.diagnose)))  # fmt: skip
    return {"evaluate": json.dumps(scores, sort_keys=True), "diagnose": json.dumps([diagnostics, scores["baselines"]], sort_keys=True)}


def _opened(path: Path, expected: Mapping[str, str]) -> h5py.File:
    """Raises OrbitError for a damaged file and one whose attributes are not those expected."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = " ".join(str(error).split())[:80]
        raise OrbitError(f"part cannot be read ({reason})", where=path, hint="delete it and run it again") from None
    found = {key: file.attrs.get(key) for key in expected}
    if file.attrs.get("orbit2_part") not in READ or found != expected:
        file.close()
        raise OrbitError("part was made of something else", where=path, got="another task, model, data or settings",
                         hint="delete it and run it again")  # fmt: skip
    return file
