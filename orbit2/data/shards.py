"""One sample's chunk straight from its Zarr v3 shard: index entry, its bytes, Blosc. Twice zarr-python's own speed.
Never guesses: an array stored in any other way is left to zarr-python, and damage is an error."""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import blosc

from orbit2.data.cache import StoreCache
from orbit2.data.packing import MISSING
from orbit2.errors import OrbitError
from orbit2.timing import Seconds

Codes = npt.NDArray[np.int16]
_ABSENT = 2**64 - 1
_BLOSC_HEADER = struct.Struct("<4B3I")
_INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
_POPULATE_READ = 22  # Linux 5.14's MADV_POPULATE_READ, which Python does not name
_KEPT_INDEXES = 65536  # 17 bytes a sample: 9 MB for shards of 8


class DamagedShard(Exception):
    """A shard that is cut short, overwritten or otherwise not what its index says."""


class ShardReader:
    """Reads single samples of an array written as one chunk per sample in shards along time."""

    def __init__(self, path: Path, shape: tuple[int, ...], shard: int) -> None:
        self.path, self.shape, self.shard = path, shape, shard
        self.cache: StoreCache | None = None
        self.bytes = 2 * int(np.prod(shape))
        self.took: Seconds = defaultdict(float)  # seconds of staging, reading and decoding since somebody last asked
        self._folder = str(path / "c")
        self._indexes: OrderedDict[tuple[int, int, int, int], npt.NDArray[np.uint64]] = OrderedDict()

    def file(self, index: int) -> str:
        """The shard that holds a sample."""
        return f"{self._folder}/{index // self.shard}/0/0/0"

    def read(self, index: int, out: Codes | None = None) -> Codes | None:
        """Sample [V, H, W] (into `out` when given: C-contiguous int16), or None where none was written.

        Raises DamagedShard.
        """
        file = self.file(index)
        if self.cache is not None and (kept := self._staged(file, index // self.shard)) is not None:
            try:
                return self._read(kept, index, out)
            except (DamagedShard, OSError) as error:
                self.cache.forget(kept, error)
        try:
            return self._read(file, index, out)
        except FileNotFoundError:
            return None

    def _staged(self, file: str, number: int) -> str | None:
        """The node's own copy of a shard."""
        assert self.cache is not None
        began = perf_counter()
        kept = self.cache.kept(file, self.path.parent.name, number)
        self.took["staging"] += perf_counter() - began
        return kept

    def _read(self, file: str, index: int, out: Codes | None) -> Codes | None:
        began = perf_counter()
        handle = os.open(file, os.O_RDONLY)
        try:
            offset, length = (int(x) for x in self._entries(handle, index // self.shard)[index % self.shard])
            if offset == length == _ABSENT:
                return None
            with _stored(handle, offset, length) as chunk:
                self.took["reading"] += (there := perf_counter()) - began
                codes = self._decode(chunk, length, out)
                self.took["decoding"] += perf_counter() - there
                return codes
        finally:
            os.close(handle)

    def _decode(self, chunk: memoryview, length: int, out: Codes | None) -> Codes:
        if len(chunk) != length or length < _BLOSC_HEADER.size:
            raise DamagedShard(f"was cut short: {len(chunk)} of a sample's {length} bytes")
        *_, whole, _, packed = _BLOSC_HEADER.unpack_from(chunk)
        if whole != self.bytes or packed != length:  # Blosc trusts these two numbers
            raise DamagedShard("holds a chunk of another size")
        codes = np.empty(self.shape, dtype=np.int16) if out is None else out
        try:
            blosc.decompress(chunk, codes)
        except (RuntimeError, ValueError) as error:
            raise DamagedShard(f"does not decompress ({error})") from None
        return codes

    def _entries(self, handle: int, number: int) -> npt.NDArray[np.uint64]:
        """The shard's index [shard, 2]: offset and length of every chunk; kept until the file changes."""
        status = os.fstat(handle)
        key = (number, status.st_ino, status.st_size, status.st_mtime_ns)
        found = self._indexes.get(key)
        if found is None:
            length = 16 * self.shard + 4
            tail = os.pread(handle, length, max(status.st_size - length, 0))
            if len(tail) != length or google_crc32c.value(tail[:-4]) != int.from_bytes(tail[-4:], "little"):
                raise DamagedShard("has no valid index at its end: it was cut short or overwritten")
            found = np.frombuffer(tail[:-4], dtype="<u8").reshape(self.shard, 2)
            self._indexes[key] = found
            if len(self._indexes) > _KEPT_INDEXES:
                self._indexes.popitem(last=False)
        return found


@contextmanager
def _stored(handle: int, offset: int, length: int) -> Iterator[memoryview]:
    """Some bytes of a file: mapped (no copy) when they lie in memory and the system can map safely, else read."""
    before = offset % mmap.ALLOCATIONGRANULARITY
    pages = _map(handle, offset - before, before + length)
    if pages is None:
        yield memoryview(os.pread(handle, length, offset))
        return
    with pages, memoryview(pages) as everything, everything[before:] as part:
        yield part


def _map(handle: int, offset: int, length: int) -> mmap.mmap | None:
    """A mapping whose pages are all there, or None. A plain one would end the process when the disk fails; this one is refused."""
    if sys.platform != "linux":
        return None
    pages = None
    try:
        os.preadv(handle, [bytearray(1)], offset, os.RWF_NOWAIT)  # an error unless this page is in memory: one read is better then
        pages = mmap.mmap(handle, length, access=mmap.ACCESS_READ, offset=offset)
        pages.madvise(_POPULATE_READ)
    except (OSError, ValueError):  # an older kernel, a file cut short, a file system without mappings
        if pages is not None:
            pages.close()
        return None
    return pages


def open_shards(path: Path) -> ShardReader | None:
    """A reader for the array at `path`, or None unless it is stored exactly as `store_layout` stores fields."""
    try:
        stored: dict[str, Any] = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        outer = stored["chunk_grid"]["configuration"]["chunk_shape"]
        (sharding,) = stored["codecs"]
        inner = sharding["configuration"]
        plain, compressor = inner["codecs"]
        shape = tuple(int(n) for n in stored["shape"][1:])
        usual = (
            stored["zarr_format"] == 3
            and stored["data_type"] == "int16"
            and stored["chunk_grid"]["name"] == "regular"
            and stored["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
            and not stored.get("storage_transformers")
            and sharding["name"] == "sharding_indexed"
            and inner["chunk_shape"] == [1, *shape]
            and outer[1:] == list(shape)
            and len(shape) == 3
            and plain == {"name": "bytes", "configuration": {"endian": "little"}}
            and compressor["name"] == "blosc"
            and inner["index_codecs"] == _INDEX_CODECS
            and inner.get("index_location", "end") == "end"
        )
    except (OSError, KeyError, TypeError, ValueError):
        return None
    return ShardReader(path, shape, int(cast(int, outer[0]))) if usual else None


class FieldReader:
    """Stored codes of one side of a store: straight from the shards where they are laid out as expected, else by zarr."""

    def __init__(self, store: Path, side: str, cache: StoreCache | None = None) -> None:
        self.store, self.side = store, side
        self.shards = open_shards(store / side / "fields")
        if self.shards is not None:
            self.shards.cache = cache
        array = zarr.open_array(str(store / side / "fields"), mode="r")
        self.array, self.samples = array, int(array.shape[0])

    @property
    def took(self) -> Mapping[str, float]:
        """Seconds of staging, reading and decoding since somebody last asked; empty where zarr reads."""
        if self.shards is None:
            return {}
        found, self.shards.took = self.shards.took, defaultdict(float)
        return found

    def read(self, index: int, missing: npt.NDArray[np.floating[Any]], out: Codes | None = None) -> Codes:
        """Codes [V, H, W] of one sample; `missing` [V] is what was recorded about it (NaN: never written).

        Raises IndexError outside the store, OrbitError for a damaged sample or one that was written and is gone.
        """
        if not -self.samples <= index < self.samples:
            raise IndexError(f"sample {index} of {self.samples}")
        index %= self.samples
        try:
            if self.shards is None:
                found = np.asarray(self.array[index], dtype=np.int16)
            else:
                codes = self.shards.read(index, out)
                if codes is not None:
                    return codes
                if not np.all((missing == 1) | np.isnan(missing)):
                    raise DamagedShard("is gone")
                found = np.full(self.shards.shape, MISSING, dtype=np.int16)
        except (DamagedShard, OSError, ValueError, RuntimeError) as error:
            raise OrbitError(f"sample {index} ({self.side}) cannot be read: its shard {error}", where=self.store,
                             hint="write the part that holds it again, then finalise") from None
        if out is None:
            return found
        out[...] = found
        return out
