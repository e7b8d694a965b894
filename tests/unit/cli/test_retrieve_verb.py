"""`orbit2 retrieve` as a user types it: slices, runs, receipts, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orbit2.cli import main
from orbit2.files import write_json
from tests.data.prism_files import Window, write_cog_zip
from tests.data.servers.base import stall
from tests.data.servers.prism import PrismServer


def orbit2(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_a_dry_run_of_a_whole_run_counts_files_and_bytes(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = orbit2(capsys, "retrieve", "--config", root / "config/runs/prism_pretrain.yaml", "--dry-run")
    lines = out.splitlines()
    days = 14_610  # 1981 to 2020: 40 years with 10 leap days
    assert code == 0 and lines[0].startswith(f"prism: {3 * days:,} files, about 51.1 GB (estimate), 1981-01-01 to 2020-12-31")
    assert lines[-1].startswith("in all: ") and list(tmp_path.iterdir()) == []
    code, out, _ = orbit2(capsys, "retrieve", "static", "--config", root / "config/runs/demo.yaml", "--dry-run")
    assert code == 0 and out.startswith("static: 1 file") and "no network" in out


def test_mistakes_are_one_line(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, message in (
        (("retrieve",), "give SOURCE and --out"),
        (("retrieve", "prism", "--out", tmp_path), "this source cannot be retrieved without --config; got 'prism'"),
        (("retrieve", "prism", "-c", root / "config/runs/demo.yaml"), "does not use this source; got 'prism'; allowed: sample, static"),
        (("retrieve", "--out", tmp_path, "-c", root / "config/runs/demo.yaml"), "the run has several sources"),
    ):
        code, _, err = orbit2(capsys, *arguments)
        assert code == 2 and message in err and err.count("\n") == 1, err
    write_json(tmp_path / "s.json", {"source": "prism", "needs": [], "settings": {"prism": {"urll": "x"}}})
    code, _, err = orbit2(capsys, "retrieve", "prism", "--out", tmp_path, "-c", tmp_path / "s.json")
    assert code == 2 and "unknown key 'prism.urll'" in err and "did you mean 'url'?" in err
    code, _, err = orbit2(capsys, "retrieve", "imerg", "--out", tmp_path, "-c", tmp_path / "s.json")
    assert code == 2 and "configuration is for another source; got 'prism'" in err


def test_a_packaged_source_leaves_a_receipt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, _ = orbit2(capsys, "retrieve", "static", "--out", tmp_path / "static", "--receipt", tmp_path / "done.json")
    receipt = json.loads((tmp_path / "done.json").read_text())
    assert code == 0 and receipt["source"] == "static" and receipt["files"] == 1 and receipt["gaps"] == []
    code, out, _ = orbit2(capsys, "retrieve", "static", "--out", tmp_path / "static", "--receipt", tmp_path / "again.json", "--verify")
    assert code == 0 and "nothing to do" in out and json.loads((tmp_path / "again.json").read_text()) == receipt


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)])
def test_stopped_early_it_says_so_and_can_be_resumed(tmp_path: Path, root: Path, number: signal.Signals, code: int) -> None:
    import numpy as np

    window = Window(35.0, -110.0, 300, 300)
    zips = {day: write_cog_zip(tmp_path / "x.zip", "ppt", day, np.random.default_rng(1).random((300, 300)), window=window).read_bytes()
            for day in ("20200301", "20200302")}
    with PrismServer(lambda element, day: zips.get(day)) as server:
        server.script("/20200302", stall(100_000, 30))
        write_json(tmp_path / "s.json", {
            "source": "prism", "settings": {"prism": {"url": server.url}, "transfer": {"workers": 1}},
            "needs": [{"variables": ["total_precipitation_24hr"], "first": "2020-03-01", "last": "2020-03-02", "box": None}]})
        arguments = ["retrieve", "prism", "--out", "out", "--config", "s.json", "--receipt", "done.json"]
        command = [sys.executable, "-c", f"from orbit2.cli import main; main({arguments!r})"]
        process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE, text=True)
        server.wait_for("/20200302", sent=100_000, timeout=30)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == code and "Traceback" not in err and not (tmp_path / "done.json").exists(), err
        assert len(json.loads((tmp_path / "out/manifest.json").read_text())["files"]) == 1
        subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, check=True, capture_output=True)
        assert int(server.seen[-1].headers["range"].removeprefix("bytes=").removesuffix("-")) > 0
    assert json.loads((tmp_path / "done.json").read_text())["files"] == 2
