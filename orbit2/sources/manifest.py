"""manifest.json: which files of a provider are complete, with checksums, licence and gaps. A file not listed does not exist.

While `retrieve` runs, every finished file is one durable line of `manifest.journal` beside it; the lines are merged into
manifest.json at the end, or by the next run after a crash. Readers see both.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from orbit2 import times
from orbit2.errors import OrbitError
from orbit2.files import read_json, sha256, write_json
from orbit2.longitudes import follow

NAME = "manifest.json"
JOURNAL = "manifest.journal"
LOCK = ".manifest.lock"
VERSION = "v1"
SAMPLED = "sampled-"
WHOLE = 16 * 2**20  # bytes: smaller files are read whole for a quick checksum
PIECES, PIECE = 8, 2**20  # of larger ones these many places, of this size
Record = dict[str, Any]
_log = logging.getLogger(__name__)


def entry(
    path: Path, *, origin: str, licence: str, doi: str | None, attribution: str, file: str | None = None,
    variables: Sequence[str] = (), first: np.datetime64 | None = None, last: np.datetime64 | None = None,
    box: Sequence[float] | None = None, facts: Mapping[str, Any] | None = None, quick: bool = False,
) -> Record:
    """The record of one complete file. `file` is its name below the source's folder (default: the file's own name). `quick`: a checksum
    that takes a moment on any file (see `fingerprint`)."""
    status = path.stat()
    record: Record = {
        "file": file or path.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns, "origin": origin,
        "sha256": fingerprint(path) if quick else sha256(path),
        "licence": licence, "doi": doi, "attribution": attribution, "fetched": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    if variables:
        record["variables"] = list(variables)
    if first is not None and last is not None:
        record |= {"first": stamp(first), "last": stamp(last)}
    if box is not None:
        record["box"] = list(box)
    if facts:
        record["facts"] = dict(facts)
    return record


def stamp(time: times.Time | str, *, end: bool = False) -> str:
    """`YYYY-MM-DDTHH:MM:SS`, which sorts as text; with `end`, a bare day means its last second."""
    if not isinstance(time, str | np.datetime64):  # a date of another calendar
        return times.stamp(time)
    return str(times.end(time) if end else times.begin(time))


def write(folder: Path, source: str, entries: Iterable[Record], gaps: Iterable[Record] = ()) -> None:
    """Replace the manifest by these records; what a journal held is gone."""
    write_json(folder / NAME, {"source": source, "files": sorted(entries, key=lambda e: str(e["file"])),
                               "gaps": sorted(gaps, key=lambda g: str(g["file"]))})
    (folder / JOURNAL).unlink(missing_ok=True)


def intact(folder: Path, record: Record) -> bool:
    """True when the file is there with the recorded length and checksum (reads the whole file)."""
    path = folder / str(record["file"])
    if not path.is_file() or path.stat().st_size != record["bytes"]:
        return False
    known = str(record["sha256"])
    return (fingerprint(path) if known.startswith(SAMPLED) else sha256(path)) == known


def fingerprint(path: Path) -> str:
    """A checksum that takes a moment on any file: of all of a small one, of the size and some places of a large one (`sampled-...`)."""
    size, digest = path.stat().st_size, hashlib.sha256()
    if size <= WHOLE:
        return sha256(path)
    digest.update(str(size).encode())
    with open(path, "rb") as handle:
        for place in np.linspace(0, size - PIECE, PIECES).astype(np.int64):
            handle.seek(int(place))
            digest.update(handle.read(PIECE))
    return f"{SAMPLED}{digest.hexdigest()}"


def untouched(folder: Path, record: Record) -> bool:
    """True when the file has the recorded length and time of change (reads nothing)."""
    try:
        status = (folder / str(record["file"])).stat()
    except OSError:
        return False
    return status.st_size == record["bytes"] and status.st_mtime_ns == record.get("modified_ns")


def read(folder: Path) -> Record:
    """The manifest of a provider folder, journal included. Raises OrbitError when it is missing or not one."""
    if not (folder / NAME).is_file() and not (folder / JOURNAL).is_file():
        raise OrbitError("provider files not found", where=folder, hint="run the retrieve stage first")
    journal = _journal(folder)  # first: a run that ends meanwhile moves its lines into the manifest, never the other way
    if journal and not (folder / NAME).is_file():
        content: Any = {"files": []}
    else:
        content = read_json(folder / NAME)
    if not isinstance(content, dict) or not isinstance(content.get("files"), list) or not isinstance(content.get("gaps", []), list):
        raise OrbitError("not a manifest", where=folder / NAME, hint="delete it and run retrieve again")
    listed = {str(r["file"]): r for r in content["files"]}
    gaps = {str(r["file"]): r for r in content.get("gaps", [])}
    _replay(journal, listed, gaps)
    return {**content, "files": [listed[key] for key in sorted(listed)], "gaps": [gaps[key] for key in sorted(gaps)]}


def files(
    folder: Path, variables: Sequence[str] | None = None, first: np.datetime64 | None = None, last: np.datetime64 | None = None,
    box: Sequence[float] | None = None,
) -> list[Path]:
    """The complete files of a provider folder that hold one of `variables` within [first, last] (inclusive; a bare day is whole).

    With `box` (south, north, west, east) only those that cover it. Records without variables, times or box always match. Sizes
    are checked. Raises OrbitError where nothing was retrieved, and for a file that is missing or cut short.
    """
    return paths(folder, select(read(folder)["files"], variables, first, last, box))


def paths(folder: Path, records: Iterable[Record]) -> list[Path]:
    """The files of these records, sizes checked. Raises OrbitError for one that is missing or cut short."""
    found = []
    for record in records:
        path = folder / str(record["file"])
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        if size != record["bytes"]:
            raise OrbitError("file does not match the manifest", where=path,
                             hint=f"`orbit2 retrieve {folder.parent.name} --config YOUR_RUN.yaml` fetches it again")
        found.append(path)
    return found


def gaps(
    folder: Path, variables: Sequence[str] | None = None, first: np.datetime64 | None = None, last: np.datetime64 | None = None
) -> list[Record]:
    """The recorded gaps (files that the provider does not have) for `variables` within [first, last]."""
    return select(read(folder)["gaps"], variables, first, last)


def select(
    records: Iterable[Record], variables: Sequence[str] | None, first: times.Time | None, last: times.Time | None,
    box: Sequence[float] | None = None,
) -> list[Record]:
    """The records that match, in their order."""
    wanted = None if variables is None else set(variables)
    begin, end = (None if first is None else stamp(first)), (None if last is None else stamp(last, end=True))

    def matches(record: Record) -> bool:
        held = record.get("variables")
        if wanted is not None and held and wanted.isdisjoint(held):
            return False
        if box is not None and record.get("box") is not None and not covers(record["box"], box):
            return False
        if record.get("first") is None or record.get("last") is None:
            return True
        return (end is None or record["first"] <= end) and (begin is None or record["last"] >= begin)

    return [record for record in records if matches(record)]


def covers(outer: Sequence[float], inner: Sequence[float]) -> bool:
    """True when box `outer` holds `inner`, wherever either begins to count its longitudes."""
    west = follow(inner[2], outer[2]) - outer[2]
    return outer[0] <= inner[0] and inner[1] <= outer[1] and west + (inner[3] - inner[2]) <= outer[3] - outer[2] + 1e-9


class Ledger:
    """The manifest of one folder, open for recording by one process; its methods may be called from any thread."""

    def __init__(self, folder: Path, source: str, content: Record, journal: FileIO) -> None:
        self.folder, self.source = folder, source
        self.files: dict[str, Record] = {str(r["file"]): r for r in content["files"]}
        self.gaps: dict[str, Record] = {str(r["file"]): r for r in content.get("gaps", [])}
        self._journal, self._mutex = journal, threading.Lock()

    def add(self, record: Record) -> None:
        """This file is complete; durable when the call returns."""
        self._append({"add": record})

    def gap(self, *, file: str, variables: Sequence[str], first: np.datetime64, last: np.datetime64, reason: str) -> None:
        """The provider does not have this file."""
        self._append({"gap": {"file": file, "variables": list(variables), "first": stamp(first), "last": stamp(last), "reason": reason}})

    def drop(self, file: str) -> None:
        """This file is not complete any more."""
        self._append({"drop": file})

    def _append(self, line: Record) -> None:
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        with self._mutex:
            os.write(self._journal.fileno(), f"\n{text}\n".encode())  # begins anew even after a line that a full disk cut
            os.fsync(self._journal.fileno())
            _replay([line], self.files, self.gaps)


@contextmanager
def ledger(folder: Path, source: str) -> Iterator[Ledger]:
    """The folder's manifest, locked: another process that wants it waits. Merges the journal before and after.

    Raises OrbitError when the manifest belongs to another source, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "ab")  # noqa: SIM115 (the with below closes it; only opening may fail in here)
    except OSError as error:
        raise OrbitError(f"cannot be written ({error.strerror or type(error).__name__})", where=error.filename or folder,
                         hint="check the folder and its permissions") from None
    with lock:
        _acquire(lock, folder)
        content = _recover(folder, source)
        with open(folder / JOURNAL, "ab", buffering=0) as journal:
            opened = Ledger(folder, source, content, journal)
            try:
                yield opened
            finally:
                if os.fstat(journal.fileno()).st_size or not (folder / NAME).is_file():
                    write(folder, source, opened.files.values(), opened.gaps.values())
                else:
                    (folder / JOURNAL).unlink(missing_ok=True)


def _acquire(lock: IO[bytes], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info("%s: another retrieve is at work here; waiting for it", folder)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:  # a file system without locks
        _log.warning("%s cannot be locked (%s); run one retrieve at a time", folder, error.strerror)


def _recover(folder: Path, source: str) -> Record:
    """What is recorded, with the journal of a run that was killed merged in; a damaged manifest counts as none."""
    if not (folder / NAME).is_file() and not _journal(folder):  # a run that was killed before its first file leaves an empty journal
        return {"source": source, "files": [], "gaps": []}
    try:
        content = read(folder)
    except OrbitError as error:
        _log.warning("%s; starting a new one", error)
        (folder / NAME).replace(folder / f"{NAME}.damaged")
        content = read(folder) if _journal(folder) else {"source": source, "files": [], "gaps": []}
    if content.get("source", source) != source and content["files"]:
        raise OrbitError("folder holds another source", where=folder, got=str(content["source"]), allowed=source,
                         hint="choose another folder")
    if (folder / JOURNAL).is_file():
        write(folder, source, content["files"], content["gaps"])
    return content


def _journal(folder: Path) -> list[Record]:
    """The journal's lines. One that is cut short (the process died in it) is left out: its file is fetched again."""
    try:
        text = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for raw in text.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _replay(lines: Iterable[Record], listed: dict[str, Record], gaps: dict[str, Record]) -> None:
    for line in lines:
        if "add" in line:
            listed[line["add"]["file"]] = line["add"]
            gaps.pop(line["add"]["file"], None)
        elif "gap" in line:
            gaps[line["gap"]["file"]] = line["gap"]
        elif "drop" in line:
            listed.pop(line["drop"], None)
