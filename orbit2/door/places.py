"""What a user names turned into files and stores: paths, patterns, folders, addresses. Reads no field and writes nothing."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orbit2.errors import OrbitError

SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf", ".h5", ".hdf5", ".grib", ".grib2", ".grb", ".grb2", ".zip")
MOST = 100_000  # files below one folder or pattern
MARKS = ("zarr.json", ".zmetadata", ".zgroup", ".zattrs", ".zarray")
SECONDS = 30  # a server's longest silence
_ADDRESS = re.compile(r"^([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])", re.IGNORECASE)
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Remote:
    """A file or store behind an address that fsspec understands (s3://, gs://, https://, memory://, ...)."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def options(self) -> dict[str, Any]:
        """Anonymous where nobody is logged in; impatient enough to end in a message."""
        scheme = urlsplit(self.url).scheme
        if scheme == "s3":
            own = any(os.environ.get(key) for key in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"))
            limits = {"connect_timeout": SECONDS / 3, "read_timeout": SECONDS, "retries": {"max_attempts": 2}}
            return {"anon": not own and not (Path.home() / ".aws/credentials").is_file(), "config_kwargs": limits}
        if scheme in ("gs", "gcs"):
            return {} if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") else {"token": "anon"}
        if scheme in ("http", "https"):
            import aiohttp

            return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=SECONDS, sock_read=SECONDS)}}
        return {}

    @cached_property
    def there(self) -> tuple[Any, str]:
        """(file system, path in it). Raises OrbitError for a kind of address that nothing installed understands."""
        from fsspec.core import url_to_fs

        try:
            filesystem, path = url_to_fs(self.url, **self.options)
        except (ValueError, ImportError) as error:
            raise OrbitError(f"this kind of address cannot be read ({error})", where=self.url,
                             allowed="s3://, gs://, https:// and what else fsspec knows",
                             hint="download the file and give its path") from None  # fmt: skip
        return filesystem, path

    def head(self, count: int) -> bytes:
        filesystem, path = self.there
        found: bytes = filesystem.cat_file(path, start=0, end=count)
        return found[:count]

    @property
    def is_store(self) -> bool:
        """Whether a Zarr store is there."""
        if self.url.lower().endswith(SUFFIXES):
            return False
        filesystem, path = self.there
        return any(filesystem.exists(f"{path.rstrip('/')}/{mark}") for mark in MARKS)

    def state(self) -> tuple[str, int, str]:
        """(address, bytes, version) as far as the server says them: what tells one input from another."""
        filesystem, path = self.there
        try:
            about = filesystem.info(path)
        except (OSError, ValueError):
            return self.url, 0, ""
        version = next((str(about[key]) for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created") if about.get(key)), "")
        return self.url, int(about.get("size") or 0), version


Place = Path | Remote


def places(sources: str | Path | Sequence[str | Path]) -> list[Place]:
    """The files and Zarr stores that are named, each once, in the order given (those of a pattern or folder by name).

    Raises OrbitError naming what is not there, a pattern that matches nothing, and a folder without data.
    """
    named = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not named:
        raise OrbitError("no input is named", where="input", hint="give a path, a pattern in quotes, a folder or an address")
    found: dict[str, Place] = {}
    for source in named:
        for place in _places(str(source)):
            found.setdefault(str(place.resolve() if isinstance(place, Path) else place), place)
    return list(found.values())


def address(source: object) -> str | None:
    """The address in `source`, its slashes whole again where a path was made of it; None for a path."""
    text = str(source)
    match = _ADDRESS.match(text)
    return f"{match[1]}://{text[match.end():]}" if match else None


def _places(text: str) -> list[Place]:
    url = address(text)
    if url is not None:
        if url.lower().startswith("file://"):
            return _places(url[7:])
        return _behind(url)
    path = Path(text).expanduser()
    if not os.path.lexists(path) and _PATTERN.search(text):
        return [place for name in _matching(str(path)) for place in _local(Path(name))]
    return _local(path)


def _matching(pattern: str) -> list[str]:
    found = sorted(name for name in glob.glob(pattern, recursive=True) if not name.endswith(".part"))
    if not found:
        raise OrbitError("no file matches this pattern", where=pattern, hint="** goes through folders, * through names")
    if len(found) > MOST:
        raise OrbitError("too many files match this pattern", where=pattern, got=f"{len(found):,}", allowed=f"{MOST:,}",
                         hint="make the pattern narrower")  # fmt: skip
    return found


def _local(path: Path) -> list[Place]:
    if not path.exists():
        raise OrbitError("input not found", where=path, hint="check the spelling; a pattern in quotes names many files")
    return [path] if path.is_file() or is_store(path) else within(path)


def is_store(folder: Path) -> bool:
    """Whether a folder is a Zarr store."""
    return folder.is_dir() and (folder.suffix == ".zarr" or any((folder / mark).is_file() for mark in MARKS))


def within(folder: Path) -> list[Place]:
    """The data files and stores below a folder, by name; hidden ones and those that are still being written are none."""
    found: list[Place] = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        stores = [name for name in folders if is_store(Path(root, name))]
        found += [Path(root, name) for name in stores]
        folders[:] = [name for name in folders if name not in stores]
        found += [Path(root, name) for name in sorted(files) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        if len(found) > MOST:
            raise OrbitError("too many files are in this folder", where=folder, allowed=f"{MOST:,}", hint="name some of them")
    if not found:
        raise OrbitError("no data file in this folder", where=folder, allowed=f"a Zarr store, or files named {', '.join(SUFFIXES)}",
                         hint="name the files by a pattern")  # fmt: skip
    return sorted(found, key=str)


def _behind(url: str) -> list[Place]:
    """What is behind an address: a file or store; all that match it, or lie below it."""
    from orbit2.door.damage import reading

    remote = Remote(url)
    with reading(url, "an address", hint="is it right, and the network there? A copy on this machine works too"):
        filesystem, path = remote.there
        if re.search(r"[*\[]", path):
            names = sorted(filesystem.glob(path))
            if not names:
                raise OrbitError("nothing matches this pattern", where=url, hint="** goes through folders, * through names")
            return [Remote(filesystem.unstrip_protocol(name)) for name in names]
        if remote.is_store or url.lower().endswith(SUFFIXES) or not filesystem.isdir(path):
            return [remote]
        names = sorted(name for name in filesystem.find(path, maxdepth=3) if name.lower().endswith(SUFFIXES))
        if not names:
            raise OrbitError("no data file and no Zarr store there", where=url, allowed=", ".join(SUFFIXES),
                             hint="name the files themselves")  # fmt: skip
        return [Remote(filesystem.unstrip_protocol(name)) for name in names]


def state_of(place: Place) -> tuple[Any, ...]:
    """(name, bytes, latest change) of a file, or of all files below a folder: what tells one input from another."""
    if isinstance(place, Remote):
        return place.state()
    files = [place] if place.is_file() else [Path(root, name) for root, _, names in os.walk(place) for name in names]
    states = [file.stat() for file in files]
    return place.name, sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)


def label(found: Sequence[Place]) -> str:
    """A few words for all of them."""
    return found[0].name if len(found) == 1 else f"{found[0].name} and {len(found) - 1} more"
