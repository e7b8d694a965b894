"""Archives from outside: nothing is written elsewhere, nothing without bound, nothing twice."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from orbit2.door.archive import unpack
from orbit2.errors import OrbitError


def make(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../evil.nc", "/etc/evil.nc", "a/../../evil.nc", "..\\evil.nc", "C:evil.nc"])
def test_member_outside_the_folder_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    archive = make(folder / "x.zip", {"good.nc": b"1", name: b"2"})
    with pytest.raises(OrbitError, match="outside its folder"):
        unpack(archive, (".nc",))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "x.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.nc")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(OrbitError, match="is a link"):
        unpack(path, (".nc",))


def test_number_and_size_of_members_are_bounded(tmp_path: Path) -> None:
    archive = make(tmp_path / "x.zip", {f"{i}.nc": bytes(1000) for i in range(5)})
    with pytest.raises(OrbitError, match="too many members"):
        unpack(archive, (".nc",), max_members=4)
    with pytest.raises(OrbitError, match="too large"):
        unpack(archive, (".nc",), max_bytes=4999)
    assert len(unpack(archive, (".nc",), max_members=5, max_bytes=5000)) == 5


def test_damage_is_found_and_leaves_no_product(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.nc", b"temperature" * 100)
    content = (tmp_path / "x.zip").read_bytes()
    flipped = content.replace(b"temperature", b"temperaturE", 1)
    for name, damaged in (("flipped.zip", flipped), ("cut.zip", content[:200]), ("text.zip", b"hello")):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(OrbitError, match=f"{name}: damaged archive"):
            unpack(tmp_path / name, (".nc",))
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_unpacked_once_again_when_a_member_was_cut_or_the_archive_replaced(tmp_path: Path) -> None:
    archive = make(tmp_path / "x.zip", {"a.nc": b"12345", "readme.txt": b"no data"})
    (first,) = unpack(archive, (".nc",))
    before = first.stat().st_mtime_ns
    assert unpack(archive, (".nc",)) == [first] and first.stat().st_mtime_ns == before
    first.write_bytes(b"1")
    assert unpack(archive, (".nc",))[0].read_bytes() == b"12345"
    make(archive, {"a.nc": b"new"})
    assert unpack(archive, (".nc",))[0].read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    archive = make(folder / "x.zip", {"a.nc": b"1"})
    folder.chmod(0o500)
    try:
        assert unpack(archive, (".nc",))[0].read_bytes() == b"1"
    finally:
        folder.chmod(0o700)
