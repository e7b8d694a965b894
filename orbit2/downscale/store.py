"""Predictions in a CF-compliant Zarr v3 store: one shard per item and variable, so no two writers share a file. Resumable item by
item, from any number of processes; never declares itself finalised before every item is on disk."""

from __future__ import annotations

import os
import re
import shutil
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr

from orbit2 import times as clocks
from orbit2.downscale.cf import Originals, auxiliary, coordinates, drawn, fields_on, grid_attribute, quantile_attributes
from orbit2.downscale.cf import attributes as cf_attributes
from orbit2.downscale.derived import Derived
from orbit2.downscale.items import Item, Items
from orbit2.downscale.journal import Journal, sync
from orbit2.downscale.places import ELSEWHERE, REPLACE, attributes, described, is_ours
from orbit2.downscale.stored import CODECS, Rounding, Stored, compressor, rounding_of
from orbit2.errors import OrbitError
from orbit2.files import short_hash
from orbit2.grid import AnyGrid
from orbit2.model.tiles import Tiling
from orbit2.variables import variable

TIME_UNITS = "seconds since 1970-01-01 00:00:00"
CHUNK_EDGE = 720  # fine cells: the longest edge of an inner chunk
CHUNK_BYTES = 1 << 22  # of times that are one chunk: as much as one of a globe at 0.25 degree, which readers have to read whole anyway
SMALLEST_EDGE = 90  # a shard edge without a divisor between these two is one chunk
Replace = Literal["nothing", "prediction", "anything"]  # of what is there when a store is begun


@dataclass(frozen=True)
class Layout:
    """What decides a store's files: variables, fine grid, times, items and tiles. `identity` is everything that decides its values.

    `derived`: what is kept of members instead of them; an item is then computed for all of them.
    """

    names: tuple[str, ...]
    grid: AnyGrid
    times: clocks.Times
    items: Items
    tiling: Tiling
    factor: int
    identity: tuple[Any, ...]
    derived: Derived | None = None
    stored: Stored = "exact"

    @property
    def fields(self) -> tuple[tuple[str, str, int], ...]:
        """(array, output that it is of, quantiles of it or 0), in the order of the channels of what is written."""
        return self.derived.fields if self.derived else tuple((name, name, 0) for name in self.names)

    @property
    def channels(self) -> int:
        """Of a window that waits to be mixed with others."""
        return len(self.names) * (self.derived.members if self.derived else 1)

    @property
    def signature(self) -> str:
        tiling = self.tiling
        domain = [(part.start, part.stop) for part in tiling.domain]
        cut = [tiling.shape, tiling.periodic, domain, tiling.core, tiling.padded, tiling.halo, tiling.blend, self.factor]
        shape = [self.items.times, self.items.time_block, self.items.tiles, self.items.members]
        kept = [self.derived.identity] if self.derived else []
        codec = CODECS[self.stored] if self.stored == "exact" else [self.stored, CODECS[self.stored]]
        return short_hash([self.names, self.grid.digest, [str(t) for t in self.times], shape, cut, codec, self.identity, *kept], 16)

    def rounded(self, name: str, of: str) -> Rounding | None:
        """How values of the array `name`, of the output `of`, are rounded; None: not, as shares of members never are."""
        share = self.derived is not None and name in {event.name for event in self.derived.events}
        return rounding_of(of) if self.stored == "rounded" and not share else None

    def edges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(shard, inner chunk) in fine cells along latitude and longitude."""
        pairs = [shard_and_chunk(cells, core * self.factor, count)
                 for cells, core, count in zip(self.grid.shape, self.tiling.core, self.tiling.counts, strict=True)]  # fmt: skip
        return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])

    def place(self, item: Item) -> tuple[tuple[slice, ...], tuple[int, ...]]:
        """Where an item lies in the arrays, and the numbers of its shard."""
        owned = self.tiling[item.tile].owned(self.factor)
        moved = [slice(part.start - whole.start * self.factor, part.stop - whole.start * self.factor)
                 for part, whole in zip(owned, self.tiling.domain, strict=True)]  # fmt: skip
        place: tuple[slice, ...] = (slice(item.start, item.start + item.count), *moved)
        number = (item.start // self.items.time_block, *divmod(item.tile, self.tiling.counts[1]))
        if self.items.members:
            return (slice(item.member, item.member + 1), *place), (item.member, *number)
        return place, number


def times_of_chunk(time_block: int, rows: int, columns: int) -> int:
    """How many times of a shard of `time_block` one chunk holds: small fields take longer to begin than to pack."""
    most = max(1, CHUNK_BYTES // (4 * rows * columns))
    return next(count for count in range(min(most, time_block), 0, -1) if time_block % count == 0)


def shard_and_chunk(cells: int, core: int, count: int) -> tuple[int, int]:
    """Edges of shards and inner chunks along a direction of `cells` fine cells in `count` cores of `core`; the chunk divides the shard.

    With several cores a shard is a core; a single one may reach beyond the grid's end, so that odd sizes divide.
    """
    if count == 1:
        chunk = -(-cells // -(-cells // CHUNK_EDGE))
        return chunk * -(-cells // chunk), chunk
    chunk = next(edge for edge in range(min(core, CHUNK_EDGE), 0, -1) if core % edge == 0)
    return core, chunk if chunk >= min(core, SMALLEST_EDGE) else core


class PredictionStore:
    """An opened store. Several processes may write different items at once."""

    def __init__(self, path: str | Path, layout: Layout) -> None:
        """Open what `begin` made. Raises OrbitError when it is missing or was made for something else."""
        self.path, self.layout = Path(path), layout
        if not _same(self.path, layout):
            raise OrbitError("prediction store is missing or belongs to other settings", where=path,
                             hint="start it with `--block init`, or delete it")  # fmt: skip
        self.root = zarr.open_group(str(self.path), mode="r+")
        self.journal = Journal(self.path, layout.signature)
        self._arrays = dict[str, zarr.Array[Any]]()

    @property
    def finalised(self) -> bool:
        return bool(attributes(self.path).get("finalised"))

    def done(self) -> set[int]:
        """Items that were written and whose shards are still whole."""
        try:
            found = {line.item for line in self.journal.lines() if all(_bytes(self.path / s) == n for s, n in line.shards.items())}
        except FileNotFoundError:
            found = set()  # another process has just finished, and cleared the journal
        if self.finalised and self.journal.empty():
            return set(range(len(self.layout.items)))
        return found

    def seconds(self) -> float:
        """What computing all items took, together, in whichever processes and attempts."""
        return sum(self.journal.seconds().values())

    def write(self, item: Item, fields: npt.NDArray[np.float32], seconds: float = 0.0) -> None:
        """Write an item's fields [T, C, h, w] (of Layout.fields) and journal it with the seconds it took; what a killed attempt left is
        replaced.

        Raises OrbitError when the disk is full or fails: the item then counts as never written.
        """
        place, number = self.layout.place(item)
        shards: dict[str, int | None] = {}
        try:
            first = 0
            for name, of, quantiles in self.layout.fields:
                array = self._array(name)
                file = self.path / name / "c" / "/".join(map(str, (0, *number) if quantiles else number))
                _clear(file)
                values = fields[:, first : first + max(quantiles, 1)]
                if (rounding := self.layout.rounded(name, of)) is not None:
                    values = rounding.of(values)
                first += max(quantiles, 1)
                if quantiles:
                    array[(slice(None), *place)] = np.moveaxis(values, 1, 0)
                else:
                    array[place] = values[None, :, 0] if self.layout.items.members else values[:, 0]
                shards[str(file.relative_to(self.path))] = size = _bytes(file)
                if size is not None:
                    sync(file)
                    sync(file.parent)
            self.journal.append(item.index, shards, seconds)
        except (OSError, RuntimeError) as error:
            if (known := _of_system(error)) is None:
                raise
            raise unwritten(self.path, known) from None

    def _array(self, name: str) -> zarr.Array[Any]:
        """Opened once: that takes as long as compressing a shard."""
        if name not in self._arrays:
            found = self.root[name]
            assert isinstance(found, zarr.Array)
            self._arrays[name] = found
        return self._arrays[name]

    def finalise(self, extra: Mapping[str, Any]) -> None:
        """Declare the store complete. Raises OrbitError when items are missing."""
        missing = sorted(set(range(len(self.layout.items))) - self.done())
        if missing and not self.finalised:  # another process may just have been quicker
            raise OrbitError("items are missing", where=self.path, got=f"{len(missing)} of {len(self.layout.items)}, first {missing[:5]}",
                             hint="run their blocks again")  # fmt: skip
        self.root.attrs.update({**extra, "finalised": True})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Zarr 3 has no word for it yet; readers warn where it is absent
            zarr.consolidate_metadata(str(self.path))

    def reopen(self) -> None:
        """A finalised store that lost a shard is incomplete until it is finalised again."""
        self.root.attrs["finalised"] = False


def _of_system(error: OSError | RuntimeError) -> OSError | None:
    """What the system said: `zarrs` has a RuntimeError for it, "No space left on device (os error 28)"."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def unwritten(path: Path, error: OSError) -> OrbitError:
    """What is said when the disk is full or fails."""
    return OrbitError(f"prediction could not be written ({error.strerror or error})", where=path,
                      hint="free some space, then start it again: finished items are kept")  # fmt: skip


def begin(
    path: Path, layout: Layout, about: Mapping[str, Any], original: Originals | None = None, *, replace: Replace = "nothing",
    shared: bool = False, methods: Mapping[str, str] | None = None,
) -> None:
    """Create the empty store; one that was begun with the same settings is kept, and what it has goes on. `original`, `methods`: see `cf`.

    Anything else that is there is refused with an OrbitError unless `replace` allows it. `shared`: several processes may be starting.
    """
    there = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    found = attributes(path)  # read once, and last: another process may be creating this very store
    if found.get("signature") == layout.signature:
        return
    if is_ours(found) and replace == "nothing":
        raise OrbitError("another prediction is already there", where=path, got=described(found), hint=REPLACE)
    if there and not is_ours(found) and replace != "anything":
        raise OrbitError("something is there that is no prediction of orbit2: it is not replaced", where=path, hint=ELSEWHERE)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(temporary, layout, {**about, "signature": layout.signature}, original or {}, methods or {})
        if not shared:
            Journal.clear(path)
            discard(path)
        temporary.rename(path)
    except OSError as error:
        if _same(path, layout):
            return  # another process was quicker
        raise OrbitError(f"prediction store cannot be created ({error.strerror or error})", where=path,
                         hint="choose a place that can be written, or remove what lies there") from None  # fmt: skip
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def discard(path: Path) -> None:
    """Remove a folder: for others, and if this process is killed meanwhile, all at once."""
    for stray in path.parent.glob(f".{path.name}.*.old"):
        shutil.rmtree(stray, ignore_errors=True)
    if path.is_dir():
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:6]}.old")
        path.rename(aside)
        if aside.is_symlink():
            aside.unlink()
        shutil.rmtree(aside, ignore_errors=True)


def _create(path: Path, layout: Layout, about: Mapping[str, Any], original: Originals, methods: Mapping[str, str]) -> None:
    root = zarr.create_group(str(path), zarr_format=3)
    members, time_block = layout.items.members, layout.items.time_block
    shard, chunk = layout.edges()
    on_grid = fields_on(layout.grid)
    for name, of, quantiles in layout.fields:
        before, sides = (("member",), (members,)) if members else (("quantile",), (quantiles,)) if quantiles else ((), ())
        array = root.create_array(
            name,
            shape=(*sides, len(layout.times), *layout.grid.shape),
            chunks=(*(1 for _ in sides), times_of_chunk(time_block, *chunk), *chunk),
            shards=(*((quantiles or 1) for _ in sides), time_block, *shard),
            dtype="float32",
            fill_value=float("nan"),
            compressors=compressor(layout.stored),
            dimension_names=(*before, "time", *layout.grid.dims),
        )
        facts = cf_attributes(of, original.get(of), methods)
        if layout.derived:
            count, event = layout.derived.members, None if quantiles else layout.derived.event(name)
            facts = event.attributes(count, facts.get("cell_methods", "")) if event else quantile_attributes(facts, count)
        if (rounding := layout.rounded(name, of)) is not None:
            facts = {**facts, "rounding": rounding.told(variable(of).units)}
        array.attrs.update({**facts, **on_grid})
    seconds, calendar = clocks.seconds(layout.times), clocks.calendar_of(layout.times)
    told = "proleptic_gregorian" if clocks.real(calendar) else calendar
    root.create_array("time", data=seconds, dimension_names=("time",)).attrs.update(
        {"units": TIME_UNITS, "calendar": told, "standard_name": "time", "axis": "T"}
    )
    for name, (dimension, values, attrs) in drawn(members, layout.derived).items():
        root.create_array(name, data=values, dimension_names=(dimension,)).attrs.update(attrs)
    for name, value in coordinates(layout.grid).items():
        dims = (value[0],) if isinstance(value[0], str) else value[0]
        array = root.create_array(name, data=np.asarray(value[1]), dimension_names=dims)
        if len(value) > 2:
            array.attrs.update(value[2])
    said = {**grid_attribute(layout.grid), "coordinates": auxiliary(layout.grid)}
    root.attrs.update({"Conventions": "CF-1.11", **about, **said, "finalised": False})


def _same(path: Path, layout: Layout) -> bool:
    """Whether a store with these settings is there."""
    return bool(attributes(path).get("signature") == layout.signature)


def _bytes(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _clear(file: Path) -> None:
    """Remove a shard and what killed writers left beside it: nobody else writes here."""
    file.unlink(missing_ok=True)
    for stray in file.parent.glob(f"{file.name}.*.partial"):
        stray.unlink(missing_ok=True)
