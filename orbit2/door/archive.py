"""Opens the zip archives that providers send. Never writes outside its own folder and never trusts a member's name or size."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tempfile
import uuid
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from orbit2.errors import OrbitError
from orbit2.files import short_hash

MAX_MEMBERS = 1000
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, struct.error)
MAX_BYTES = 256 * 2**30  # of one archive, unpacked


def unpack(
    archive: Path, suffixes: tuple[str, ...], *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES
) -> list[Path]:
    """Extract the members with one of `suffixes` once, into a hidden folder beside `archive`; returns them sorted.

    The folder's name holds a digest of the archive's directory, so that a replaced archive is unpacked again; it appears
    whole or not at all. Raises OrbitError for a file that is no zip, is damaged, has a member whose path leaves the
    folder, that is a link or encrypted, or has more members or bytes than allowed.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir()]
            _check(archive, members, max_members, max_bytes)
            wanted = [m for m in members if m.filename.lower().endswith(suffixes)]
            if not wanted:
                raise OrbitError("archive holds no data file", where=archive, got=[m.filename for m in members][:5],
                                 allowed=", ".join(suffixes), hint="name the archive that holds the data, or unpack it yourself")
            digest = short_hash([[m.filename, m.file_size, m.CRC] for m in members])
            folder = _folder(archive) / f".{archive.name}.{digest}"
            if folder.is_dir() and not all(_there(folder / m.filename, m.file_size) for m in wanted):
                shutil.rmtree(folder, ignore_errors=True)
            if not folder.is_dir():
                _extract(opened, wanted, folder)
    except _DAMAGE as error:
        raise OrbitError(f"damaged archive ({error})", where=archive, hint="delete it and retrieve it again") from None
    return sorted(folder / m.filename for m in wanted)


def members(archive: Path, *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES) -> list[zipfile.ZipInfo]:
    """The files in an archive, checked as for `unpack` but not extracted. Raises OrbitError as it does."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [m for m in opened.infolist() if not m.is_dir()]
    except _DAMAGE as error:
        raise OrbitError(f"damaged archive ({error})", where=archive, hint="delete it and retrieve it again") from None
    _check(archive, found, max_members, max_bytes)
    return found


def _check(archive: Path, members: list[zipfile.ZipInfo], max_members: int, max_bytes: int) -> None:
    if len(members) > max_members:
        raise OrbitError("archive has too many members", where=archive, got=len(members), allowed=f"at most {max_members}",
                         hint="unpack it yourself and name the files")  # fmt: skip
    total = sum(m.file_size for m in members)
    if total > max_bytes:
        raise OrbitError("archive is too large when unpacked", where=archive, got=f"{total} bytes", allowed=f"at most {max_bytes} bytes",
                         hint="unpack it yourself and name the files")  # fmt: skip
    seen: set[str] = set()
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename or "\\" in member.filename:
            raise OrbitError("archive member would be written outside its folder", where=archive, got=member.filename,
                             hint="pack it again, names inside one folder")  # fmt: skip
        if stat.S_ISLNK(member.external_attr >> 16):
            raise OrbitError("archive member is a link", where=archive, got=member.filename, hint="pack the files themselves")
        if member.flag_bits & 0x1:
            raise OrbitError("archive member is encrypted", where=archive, got=member.filename,
                             hint="unpack it with its password and name the files")  # fmt: skip
        if member.filename in seen:
            raise OrbitError("archive holds a member twice", where=archive, got=member.filename, hint="pack it again, each file once")
        seen.add(member.filename)


def _extract(opened: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path) -> None:
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.part")
    try:
        for member in members:
            target = temporary / member.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as source, open(target, "wb") as out:  # zipfile checks length and CRC while reading
                shutil.copyfileobj(source, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process may have been first: its copy is the same
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _folder(archive: Path) -> Path:
    """Beside the archive, or the temporary folder where that place is read-only."""
    if os.access(archive.parent, os.W_OK):
        return archive.parent
    folder = Path(tempfile.gettempdir()) / f"orbit2-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
