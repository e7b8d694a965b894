"""Shards of a pair store kept on a node's own disk, as whole files, for all processes of the node and for later runs. Never an error: what
cannot be kept is read from the store. (fsspec's caches are bounded by nothing and know no rebuilt store.)"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)
SUM = "bytes"  # the file that says how much there is
NODE, NODE_GB = "ORBIT2_CACHE", "ORBIT2_CACHE_GB"  # where a profile's set-up of a node has made room, for runs that name no cache
ABANDONED = 600.0  # seconds after which a copy that another process began is taken to be dead


def of_node(where: str | None, gigabytes: float) -> tuple[str | None, float]:
    """`data.cache` and `data.cache_gb`; where the run names no cache, what this node's set-up offers."""
    if where or not os.environ.get(NODE):
        return where, gigabytes
    text = os.environ.get(NODE_GB, "")
    return os.environ[NODE], float(text) if text.isdecimal() else gigabytes


def open_cache(where: str | None, gigabytes: float, store: Path) -> StoreCache | None:
    """The part of the cache folder `where` (`$VARS` and `~` are replaced) that belongs to a `store`; None, and why in the log, where there
    can be none. What it held of the same store before that was built again is deleted."""
    if not where:
        return None
    root = os.path.expanduser(os.path.expandvars(where))
    if unset := re.search(r"\$(\w+|\{[^}]*\})", root):
        log.warning("data.cache: no cache, because %s is not set here: %s", unset[0], where)
        return None
    folder = Path(root).absolute() / f"orbit2-{os.getuid()}"  # not what other users of a shared disk put there
    path = hashlib.sha256(str(store.resolve()).encode()).hexdigest()[:16]
    try:
        status = (store / "zarr.json").stat()  # written anew whenever a store is declared complete
        content = (store / "zarr.json").read_bytes() + f"{status.st_mtime_ns} {status.st_ino}".encode()
        own = folder / path / hashlib.sha256(content).hexdigest()[:16]
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        for other in (folder / path).iterdir():
            if other != own:
                shutil.rmtree(other, ignore_errors=True)
        cache = StoreCache(own, folder, int(gigabytes * 1e9))
        cache.count()
    except OSError as error:
        log.warning("data.cache: no cache, samples are read from the store: %s (%s)", error.strerror or error, folder)
        return None
    return cache


@dataclass
class StoreCache:
    """Copies of one store's shards below `own`; `limit` [bytes] is for all stores in `folder` together."""

    own: Path
    folder: Path
    limit: int
    _off: bool = False

    def kept(self, source: str, side: str, number: int) -> str | None:
        """Path of the copy of a shard, which is made now if it is not there; None: read the `source`."""
        target = self.own / side / str(number)
        if target.exists():
            return str(target)
        if self._off:  # full, or gone: looking again would cost every read
            return None
        try:
            return str(target) if self._copy(source, target) else None
        except OSError as error:
            self._warn(f"nothing more is kept ({error.strerror or error})")
            return None

    def forget(self, path: str, why: Exception) -> None:
        """A copy that cannot be used: deleted, so that the next process makes another."""
        log.warning("data.cache: %s cannot be used (%s): its samples are read from the store", path, why)
        with suppress(OSError):
            os.unlink(path)

    def count(self) -> None:
        """Add up anew what the folder holds: a process that was killed may have left the sum wrong."""
        with self._used() as handle:
            total = 0
            for place, _, files in os.walk(self.folder):
                for name in set(files) - {SUM}:
                    with suppress(OSError):  # renamed meanwhile
                        total += os.stat(os.path.join(place, name)).st_size
            _write(handle, total)

    def _copy(self, source: str, target: Path) -> bool:
        """Whether the whole file is there now. Not where another process is at it, nor where it would not fit."""
        try:
            before = os.stat(source)
        except FileNotFoundError:
            return False  # a gap of the store
        target.parent.mkdir(exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > ABANDONED:
                    part.unlink()
            return False
        try:
            if not self._reserve(before.st_size):
                self._warn("it is full")
                return False
            try:
                with open(source, "rb") as read, open(handle, "wb", closefd=False) as write:
                    shutil.copyfileobj(read, write, 1 << 20)
                os.fsync(handle)
                after, copied = os.stat(source), os.fstat(handle).st_size
                whole = copied == before.st_size and (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
                if whole and not target.exists():
                    os.replace(part, target)
                    return True
                self._reserve(-before.st_size)
                return target.exists()
            except OSError:
                self._reserve(-before.st_size)
                raise
        finally:
            os.close(handle)
            with suppress(OSError):
                part.unlink()

    def _reserve(self, count: int) -> bool:
        """Add to the sum of all processes, unless it would pass the limit."""
        with self._used() as handle:
            total = int(os.pread(handle, 32, 0) or b"0") + count
            if count > 0 and total > self.limit:
                return False
            _write(handle, total)
        return True

    @contextmanager
    def _used(self) -> Iterator[int]:
        """The file with the sum, for one process at a time."""
        handle = os.open(self.folder / SUM, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    def _warn(self, what: str) -> None:
        self._off = True
        log.warning("data.cache: %s: other samples are read from the store (%s, at most %.1f GB)", what, self.folder, self.limit / 1e9)


def _write(handle: int, total: int) -> None:
    os.pwrite(handle, f"{max(total, 0):<31}\n".encode(), 0)
