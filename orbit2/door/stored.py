"""Reads members of a zip in place where they are stored without compression (as the Climate Data Store sends them). Never extracts."""

from __future__ import annotations

import errno
import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

from orbit2.door.archive import MAX_MEMBERS

_LOCAL_HEADER = struct.Struct("<4s22xHH")


class Member(io.RawIOBase):
    """A seekable, read-only file inside another. Holds no open file between reads, so that hundreds may be open."""

    mode = "rb"

    def __init__(self, archive: Path, name: str, offset: int, size: int) -> None:
        super().__init__()
        self.archive, self.member, self.offset, self.size, self._position = archive, name, offset, size, 0

    def __str__(self) -> str:
        return f"{self.archive}: {self.member}"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.size - self._position))
        if not wanted:
            return 0
        handle, got = os.open(self.archive, os.O_RDONLY), 0
        try:
            while got < wanted:  # HDF5 takes what it asked for to be there: after a short read it would go on with what the buffer held
                more = os.preadv(handle, [view[got:wanted]], self.offset + self._position + got)
                if not more:
                    raise OSError(errno.EIO, "the archive ends before its member", str(self.archive))
                got += more
        finally:
            os.close(handle)
        self._position += got
        return got

    def head(self, count: int) -> bytes:
        """The first bytes; the position stays."""
        with open(self.archive, "rb") as handle:
            handle.seek(self.offset)
            return handle.read(min(count, self.size))


def stored_members(archive: Path, suffixes: tuple[str, ...]) -> list[Member]:
    """The members with one of `suffixes`, sorted by name; none where any of them is compressed, encrypted or does not fit.

    Raises zipfile.BadZipFile.
    """
    with zipfile.ZipFile(archive) as opened, open(archive, "rb") as handle:
        infos = [m for m in opened.infolist() if not m.is_dir() and m.filename.lower().endswith(suffixes)]
        if len(infos) > MAX_MEMBERS or len({m.filename for m in infos}) != len(infos):
            return []
        size, members = os.fstat(handle.fileno()).st_size, []
        for info in sorted(infos, key=lambda m: m.filename):
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1 or info.compress_size != info.file_size:
                return []
            handle.seek(info.header_offset)
            mark, name_length, extra_length = _LOCAL_HEADER.unpack(handle.read(_LOCAL_HEADER.size))
            begin = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
            if mark != b"PK\x03\x04" or begin + info.file_size > size:
                raise zipfile.BadZipFile(f"member {info.filename} is cut")
            members.append(Member(archive, info.filename, begin, info.file_size))
    return members
