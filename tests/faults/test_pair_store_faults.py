"""A PairStore under fire: several writers, kill -9 at every stage, damaged and vanished shards, a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orbit2.data import pairs
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from tests.data.pair_parts import SAMPLES, SHARD, TIMES, begin, write

HEADER = """
    import os, resource, signal, sys, time
    from pathlib import Path
    from orbit2.data import pairs
    from orbit2.errors import OrbitError
    from tests.data.pair_parts import SAMPLES, SHARD, begin, write
"""
STARTS = range(0, SAMPLES, SHARD)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def process(root: Path, folder: Path, body: str, *arguments: object) -> subprocess.Popen[str]:
    script = folder / f"job{len(list(folder.glob('job*.py')))}.py"
    script.write_text(textwrap.dedent(HEADER) + textwrap.dedent(body))
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(script), *map(str, arguments)], cwd=root, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def sequential(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sequential") / "s.zarr"
    begin(path)
    for start in STARTS:
        write(path, start)
    return path


@pytest.mark.parametrize("writers", [2, 3])
def test_concurrent_writers_leave_the_same_bytes_as_one(sequential: Path, tmp_path: Path, root: Path, writers: int) -> None:
    path, go = tmp_path / "s.zarr", tmp_path / "go"
    body = """
        path, go, mine, writers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
        Path(f"{go}.{mine}").touch()
        while not go.exists():
            time.sleep(0.001)
        begin(path)  # all of them at once: one makes it, the others keep it
        for start in range(mine * SHARD, SAMPLES, writers * SHARD):
            write(path, start)
    """
    jobs = [process(root, tmp_path, body, path, go, i, writers) for i in range(writers)]
    while len(list(tmp_path.glob("go.*"))) < writers:
        assert all(job.poll() is None for job in jobs)
    go.touch()
    for job in jobs:
        errors = job.communicate(timeout=60)[1]
        assert job.returncode == 0, errors
    assert contents(path) == contents(sequential)
    pairs.finalise(path)
    assert len(PairStore(path).indices("2020-01-01", "2020-01-01")) == 22


@pytest.mark.parametrize("moment", ["first shard renamed", "second shard on disk", "receipt renamed"])
def test_killed_while_writing_then_written_again_is_identical(sequential: Path, tmp_path: Path, root: Path, moment: str) -> None:
    """The second writing of a part is killed: nothing of it may count, though the first one was complete."""
    path = tmp_path / "s.zarr"
    shutil.copytree(sequential, path)
    body = """
        import pathlib
        path, moment, calls = Path(sys.argv[1]), sys.argv[2], {"replace": 0, "fsync": 0}
        def kill_at(kind, call, number):
            def wrapped(*arguments, **options):
                calls[kind] += 1
                if calls[kind] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)
            return wrapped
        if moment == "second shard on disk":
            os.fsync = kill_at("fsync", os.fsync, 2)
        else:
            pathlib.Path.replace = kill_at("replace", pathlib.Path.replace, {"first shard renamed": 1, "receipt renamed": 3}[moment])
        write(path, 8)
    """
    job = process(root, tmp_path, body, path, moment)
    assert job.wait(timeout=60) == -signal.SIGKILL
    assert [i for i, done in enumerate(pairs.written(path)) if not done] == [8, 9, 10, 11]
    with pytest.raises(OrbitError, match="never written"):
        pairs.digest(path, "coarse", 8, 4)
    with pytest.raises(OrbitError, match="not finalised"):
        PairStore(path)
    if "renamed" in moment:
        assert list(path.rglob("*.partial")), "the kill came too late to test anything"
    write(path, 8)
    assert contents(path) == contents(sequential)


def test_killed_at_any_time_by_another_process(sequential: Path, tmp_path: Path, root: Path) -> None:
    path = tmp_path / "s.zarr"
    begin(path)
    job = process(root, tmp_path, """
        print("begun", flush=True)
        while True:
            for start in range(0, SAMPLES, SHARD):
                write(Path(sys.argv[1]), start)
    """, path)
    assert job.stdout is not None and job.stdout.readline() == "begun\n"
    while not list(path.glob("fine/fields/c/3/**/*")):
        assert job.poll() is None
    job.send_signal(signal.SIGKILL)
    job.wait(timeout=30)
    done = pairs.written(path)
    assert done[::4].any()
    for start in STARTS:
        if done[start]:  # what counts as written is whole
            count = min(4, 22 - start)
            assert pairs.digest(path, "fine", start, count) == pairs.digest(sequential, "fine", start, count)
    for start in STARTS:
        write(path, start)
    assert contents(path) == contents(sequential)


def test_killed_while_finalising_leaves_a_store_that_can_be_finalised(sequential: Path, tmp_path: Path, root: Path) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(sequential, path)
    job = process(root, tmp_path, """
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        pairs.finalise(sys.argv[1])
    """, path)
    assert job.wait(timeout=60) == -signal.SIGKILL
    with pytest.raises(OrbitError, match="not finalised"):
        PairStore(path)
    pairs.finalise(path)
    np.testing.assert_array_equal(PairStore(path).times, TIMES)


@pytest.fixture
def finished(sequential: Path, tmp_path: Path) -> Path:
    path = tmp_path / "s.zarr"
    shutil.copytree(sequential, path)
    pairs.finalise(path)
    return path


def test_a_shard_cut_short_anywhere_is_named(finished: Path) -> None:
    shard = finished / "fine/fields/c/2/0/0/0"
    whole, before = shard.read_bytes(), PairStore(finished)
    expected = before.read_packed("fine", 9)
    for length in (0, 1, 67, 68, 1000, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        shard.write_bytes(whole[:length])
        for store in (PairStore(finished), before):  # `before` had the index in memory
            with pytest.raises(OrbitError, match=r"s\.zarr: sample 9 \(fine\) cannot be read.*cut short"):
                store.read("fine", 9)
            assert np.isfinite(store.read("coarse", 9)).all() and store.read("fine", 7).shape == (1, 36, 72)
    shard.write_bytes(whole)
    np.testing.assert_array_equal(before.read_packed("fine", 9), expected)


def test_damage_inside_a_shard_is_an_error_or_another_digest(finished: Path) -> None:
    shard = finished / "fine/fields/c/2/0/0/0"
    whole, good = shard.read_bytes(), PairStore(finished).digest("fine", 8, 4)
    positions = [*range(40), *range(40, len(whole), 197)]
    errors = harmless = 0
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        shard.write_bytes(damaged)
        try:
            harmless += PairStore(finished).digest("fine", 8, 4) == good  # a header's byte that decoding does not use
        except OrbitError as error:
            assert "(fine) cannot be read" in str(error)
            errors += 1
    assert errors > 10 and harmless < len(positions) / 20


def test_a_vanished_shard_is_an_error_and_not_missing_weather(finished: Path) -> None:
    (finished / "coarse/fields/c/1/0/0/0").unlink()
    with pytest.raises(OrbitError, match=r"sample 5 \(coarse\) cannot be read: its shard is gone"):
        PairStore(finished).read("coarse", 5)
    with pytest.raises(OrbitError, match="is gone"):
        pairs.digest(finished, "coarse", 4, 4)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]).returncode:
        pytest.skip("a small file system needs the right to mount tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_a_clear_error_and_nothing_counts(sequential: Path, small_disk: Path) -> None:
    path = small_disk / "s.zarr"
    begin(path)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as handle, pytest.raises(OSError, match="No space left"):
        while True:
            handle.write(bytes(4096))
    with pytest.raises(OrbitError, match=r"part could not be written \(No space left on device\).*free some space"):
        write(path, 4)
    assert not pairs.written(path).any()
    with pytest.raises(OrbitError, match=r"could not be finalised \(No space left on device\)"):
        pairs.finalise(path)
    with pytest.raises(OrbitError, match="not finalised"):
        PairStore(path)
    with pytest.raises(OrbitError, match=r"cannot be created \(No space left on device\)"):
        begin(small_disk / "other.zarr")
    assert not (small_disk / "other.zarr").exists()
    filler.unlink()
    assert write(path, 4)["fine"] == pairs.digest(sequential, "fine", 4, 4)


def test_a_writer_that_may_write_no_more_says_so(sequential: Path, tmp_path: Path, root: Path) -> None:
    """As on a full disk, without the right to mount one: the process may write no file over 1 kB."""
    path = tmp_path / "s.zarr"
    begin(path)
    job = process(root, tmp_path, """
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        try:
            write(Path(sys.argv[1]), 4)
        except OrbitError as error:
            print(error)
    """, path)
    out, errors = job.communicate(timeout=60)
    assert "part could not be written (File too large)" in out and not errors
    assert not pairs.written(path).any()
    write(path, 4)
    assert pairs.digest(path, "fine", 4, 4) == pairs.digest(sequential, "fine", 4, 4)
