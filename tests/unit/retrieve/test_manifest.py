"""The manifest: durable line by line, merged, locked, quick for thousands of files, and choosing files by what they hold."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.sources import manifest


def record(folder: Path, name: str, variables: tuple[str, ...] = (), first: str | None = None, last: str | None = None,
           box: tuple[float, ...] | None = None) -> manifest.Record:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode())
    return manifest.entry(path, origin="o", licence="l", doi=None, attribution="a", file=name, variables=variables, box=box,
                          first=None if first is None else np.datetime64(first), last=None if last is None else np.datetime64(last))


def names(folder: Path, **wanted: object) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in manifest.files(folder, **wanted)]  # type: ignore[arg-type]


def test_files_are_chosen_by_variable_time_and_box(tmp_path: Path) -> None:
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.add(record(tmp_path, "a/1.nc", ("t", "u"), "2020-01-01T00", "2020-01-31T23"))
        ledger.add(record(tmp_path, "a/2.nc", ("t",), "2020-02-01T00", "2020-02-29T23"))
        ledger.add(record(tmp_path, "b/1.nc", ("p",), "2020-01-01T01", "2020-02-01T00", (20, 50, 230, 300)))
        ledger.add(record(tmp_path, "c.nc"))
    assert names(tmp_path) == ["a/1.nc", "a/2.nc", "b/1.nc", "c.nc"]
    assert names(tmp_path, variables=["t"]) == ["a/1.nc", "a/2.nc", "c.nc"] and names(tmp_path, variables=["p", "u"])[0] == "a/1.nc"
    assert names(tmp_path, first=np.datetime64("2020-02-01")) == ["a/2.nc", "b/1.nc", "c.nc"]
    assert names(tmp_path, first=np.datetime64("2020-02-01T00:00:01")) == ["a/2.nc", "c.nc"]
    assert names(tmp_path, last=np.datetime64("2020-01-31")) == ["a/1.nc", "b/1.nc", "c.nc"]
    assert names(tmp_path, last=np.datetime64("2020-01-01T00:00")) == ["a/1.nc", "c.nc"]
    assert names(tmp_path, last=np.datetime64("2020-01-01")) == ["a/1.nc", "b/1.nc", "c.nc"]  # a bare day is whole
    assert names(tmp_path, box=(25, 45, -125, -70)) == ["a/1.nc", "a/2.nc", "b/1.nc", "c.nc"]
    assert names(tmp_path, box=(25, 45, -140, -70)) == names(tmp_path, box=(10, 45, 235, 290)) == ["a/1.nc", "a/2.nc", "c.nc"]


def test_a_line_is_durable_at_once_and_a_torn_last_one_does_not_count(tmp_path: Path) -> None:
    entries = [record(tmp_path, f"{n}.nc") for n in range(3)]
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.add(entries[0])
        assert not (tmp_path / "manifest.json").exists() and names(tmp_path) == ["0.nc"]
        ledger.add(entries[1])
        journal = (tmp_path / manifest.JOURNAL).read_bytes()
    assert not (tmp_path / manifest.JOURNAL).exists() and names(tmp_path) == ["0.nc", "1.nc"]
    (tmp_path / "manifest.json").unlink()
    (tmp_path / manifest.JOURNAL).write_bytes(journal + json.dumps({"add": entries[2]}).encode()[:-20])  # the process died here
    assert names(tmp_path) == ["0.nc", "1.nc"]
    with manifest.ledger(tmp_path, "s") as ledger:
        assert json.loads((tmp_path / "manifest.json").read_text())["source"] == "s" and len(ledger.files) == 2  # merged on start
        ledger.add(entries[2])
    assert names(tmp_path) == ["0.nc", "1.nc", "2.nc"]


@pytest.mark.parametrize("journal", [b"", b'\n{"add": {"fi'])
def test_a_run_that_was_killed_before_its_first_file_hinders_no_other(tmp_path: Path, journal: bytes) -> None:
    (tmp_path / manifest.JOURNAL).write_bytes(journal)
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.add(record(tmp_path, "1.nc"))
    assert names(tmp_path) == ["1.nc"] and not (tmp_path / manifest.JOURNAL).exists()


def test_what_comes_after_a_line_that_a_full_disk_cut_is_read(tmp_path: Path) -> None:
    with manifest.ledger(tmp_path, "s") as ledger:
        with open(tmp_path / manifest.JOURNAL, "ab") as journal:
            journal.write(b'{"add": {"file": "x')
        ledger.add(record(tmp_path, "1.nc"))
        assert names(tmp_path) == ["1.nc"]


def test_a_merge_that_was_interrupted_repeats_itself(tmp_path: Path) -> None:
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.add(record(tmp_path, "1.nc"))
        ledger.gap(file="2.nc", variables=["t"], first=np.datetime64("2020-01-01"), last=np.datetime64("2020-01-01"), reason="404")
        journal = (tmp_path / manifest.JOURNAL).read_bytes()
    (tmp_path / manifest.JOURNAL).write_bytes(journal)  # killed after the rename, before the journal went
    with manifest.ledger(tmp_path, "s"):
        pass
    assert names(tmp_path) == ["1.nc"] and [g["file"] for g in manifest.gaps(tmp_path)] == ["2.nc"]


def test_gaps_close_and_files_drop(tmp_path: Path) -> None:
    day = np.datetime64("2020-01-01")
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.gap(file="1.nc", variables=["t"], first=day, last=day, reason="404")
        ledger.add(record(tmp_path, "2.nc"))
    assert manifest.gaps(tmp_path, ["t"], day, day)[0]["reason"] == "404"
    assert manifest.gaps(tmp_path, ["u"]) == [] == manifest.gaps(tmp_path, None, day + 1)
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.add(record(tmp_path, "1.nc"))
        ledger.drop("2.nc")
    assert names(tmp_path) == ["1.nc"] and manifest.gaps(tmp_path) == []


def test_nothing_changes_on_disk_when_nothing_is_recorded(tmp_path: Path) -> None:
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.add(record(tmp_path, "1.nc"))
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    with manifest.ledger(tmp_path, "s"):
        pass
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before


def test_a_cut_or_missing_file_and_another_source_are_errors(tmp_path: Path) -> None:
    with manifest.ledger(tmp_path, "s") as ledger:
        ledger.add(record(tmp_path, "1.nc"))
    with pytest.raises(OrbitError, match=r"folder holds another source; got 's'; allowed: t"), manifest.ledger(tmp_path, "t"):
        pass
    (tmp_path / "1.nc").write_bytes(b"1")
    with pytest.raises(OrbitError, match=r"1.nc: file does not match the manifest; `orbit2 retrieve \S+ --config YOUR_RUN"):
        manifest.files(tmp_path)
    with pytest.raises(OrbitError, match="provider files not found"):
        manifest.files(tmp_path / "elsewhere")


def _hold(folder: Path, seconds: float, queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    with manifest.ledger(folder, "s"):
        queue.put(("in", time.monotonic()))
        time.sleep(seconds)
        queue.put(("out", time.monotonic()))


def test_two_processes_take_turns(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_hold, args=(tmp_path, 0.3, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    events = sorted((queue.get(timeout=10) for _ in range(4)), key=lambda e: e[1])
    assert [name for name, _ in events] == ["in", "out", "in", "out"]
    for process in processes:
        process.join()


def test_ten_thousand_files_are_no_burden(tmp_path: Path) -> None:
    one = record(tmp_path, "one.nc", ("t",), "2020-01-01", "2020-01-01")
    days = np.datetime64("1990-01-01") + np.arange(10_000)
    entries = [{**one, "file": f"{n:05d}", "first": manifest.stamp(d), "last": manifest.stamp(d)} for n, d in enumerate(days)]
    manifest.write(tmp_path, "s", [*entries, one])
    begin = time.process_time()
    assert names(tmp_path, variables=["t"], first=days[-1] + 500) == ["one.nc"]
    assert len(manifest.select(manifest.read(tmp_path)["files"], ["t"], days[100], days[199])) == 100
    assert time.process_time() - begin < 1.5  # measured: 0.25 s


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OrbitError, match="cannot be written"), manifest.ledger(folder, "s"):
            pass
