"""Nothing of a user's is overwritten: what lies where an output goes, and was not written by the same stage, stays as it is."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit2 import outputs
from orbit2.cli import main
from orbit2.errors import OrbitError
from orbit2.files import write_json
from tests.data.tiny_training import Tiny, build

# verb -> (arguments without the output's own option, the option, name of the output); inputs need not exist: outputs are looked at first
ROWS = {
    "retrieve": (["retrieve", "sample", "--out", "r"], "--receipt", "done.json"),
    "regrid init": (["regrid", "init", "-c", "c", "--resources", "r", "--store", "s.zarr"], "--out", "init.json"),
    "regrid part": (["regrid", "part", "-c", "c", "--resources", "r", "--store", "s.zarr", "--part", "000"], "--out", "000.json"),
    "regrid finalise": (["regrid", "finalise", "-c", "c", "--store", "s.zarr", "000.json"], "--out", "finalised.json"),
    "statistics": (["statistics", "-c", "c", "--store", "s.zarr"], "--out", "statistics.json"),
    "evaluate fit": (["evaluate", "fit", "-c", "c", "--store", "s.zarr"], "--out", "baselines.nc"),
    "evaluate": (["evaluate", "-c", "c", "--prediction", "p.zarr", "--store", "s.zarr"], "--out", "scores/maps.nc"),
    "evaluate, outdated": (["evaluate", "-c", "c", "--prediction", "p.zarr", "--store", "s.zarr", "--out", "o"], "--outdates", "m.parquet"),
    "evaluate merge": (["evaluate", "merge", "a.parquet"], "--out", "metrics.parquet"),
    "diagnose": (["diagnose", "-c", "c", "--prediction", "p.zarr", "--store", "s.zarr"], "--out", "found/notes.json"),
    "diagnose merge": (["diagnose", "merge", "a.parquet"], "--out", "metrics.parquet"),
    "report": (["report", "-c", "c"], "--out", "report/index.html"),
    "train": (["train", "-c", "model.json", "--store", "t=s", "--statistics", "t=s", "--checkpoints", "k"], "--out", "model/config.json"),
    "model export": (["model", "export", "m"], "--out", "exported/config.json"),
}
FOREIGN = b"three years of measurements\n"


def a_file(place: Path) -> None:
    place.write_bytes(FOREIGN)


def a_folder(place: Path) -> None:
    place.mkdir()
    (place / "mine").write_bytes(FOREIGN)


def a_link(place: Path) -> None:
    a_file(place.parent / "elsewhere")
    place.symlink_to("elsewhere")


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything below, links as what they say; but not the lock and ledger of `retrieve --out`, and no empty folders."""
    return {str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()}  # fmt: skip


@pytest.mark.parametrize("make", [a_file, a_folder, a_link])
@pytest.mark.parametrize("verb", ROWS)
def test_what_is_not_ours_stays(
    verb: str, make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, option, name = ROWS[verb]
    section = {"datasets": ["t"], "train": {"steps": 1, "batch_size": 1}}
    write_json(tmp_path / "model.json", {"name": "tiny", "hash": "0" * 8, "model": section})
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    make(place)
    before = tree(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*arguments, option, name if "/" not in name else str(Path(name).parent)])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and name.split("/")[0] in error, error
    assert {path: held for path, held in tree(tmp_path).items() if not path.startswith("k/")} == before


def test_an_output_is_written_through_a_link(tmp_path: Path) -> None:
    for name, target in (("a.json", "there/a.json"), ("dangling.json", "there/new.json")):
        (tmp_path / "there").mkdir(exist_ok=True)
        if name == "a.json":
            write_json(tmp_path / target, {"old": 1})
        (tmp_path / name).symlink_to(target)
        write_json(tmp_path / name, {"new": 1})
        assert (tmp_path / name).is_symlink() and json.loads((tmp_path / target).read_text()) == {"new": 1}
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OrbitError, match="not a place to write to"):
        outputs.file(tmp_path / "circle")


def test_the_page_names_every_output() -> None:
    """docs/files.md has a row for each verb of this table, and for each output's name."""
    page = (Path(__file__).resolve().parents[2] / "docs/files.md").read_text(encoding="utf-8")
    for verb, (_, option, name) in ROWS.items():
        words = verb.partition(",")[0]
        assert f"`{words}" in page and option in page, verb
        assert name.rpartition("/")[2] in page or verb in ("regrid init", "regrid part", "retrieve", "evaluate, outdated"), name


def test_the_same_stage_replaces_its_own(tmp_path: Path) -> None:
    write_json(tmp_path / "statistics.json", {"dataset": "a", "hash": "b", "coarse": {}, "fine": {}})
    outputs.file(tmp_path / "statistics.json", "dataset", "hash", "coarse", "fine")
    (tmp_path / "empty.nc").touch()
    outputs.file(tmp_path / "empty.nc")


def test_a_report_replaces_a_report_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "index.html").write_text('<meta name="generator" content="orbit2 0.1.0">')
    outputs.page(tmp_path)
    (tmp_path / "my notes.txt").write_bytes(FOREIGN)
    with pytest.raises(OrbitError, match=r"holds other things; got 'my notes\.txt'"):
        outputs.page(tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny_outputs"))


def test_train_never_writes_over_another_model(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(digest: str) -> int:
        config = tiny.slice(tmp_path / "config.json", steps=2, validate_every=2)
        write_json(config, {**json.loads(config.read_text()), "hash": digest})
        with pytest.raises(SystemExit) as stop:
            main(["train", *tiny.command(config, tmp_path)])
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        return int(stop.value.code or 0)

    assert train("00000000") == 0
    before = tree(tmp_path / "model")
    assert train("11111111") == 2 and "got 'model tiny-00000000'; allowed: model tiny-11111111" in capsys.readouterr().err
    assert tree(tmp_path / "model") == before
    (tmp_path / "model/config.json").unlink()  # killed while it was written, as far as anybody can tell
    assert train("00000000") == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_the_system_refuses_is_one_line(number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object, **__: object) -> None:
        try:
            raise OSError(number, os.strerror(number), "out/x.nc")
        except OSError as error:
            raise RuntimeError("a library's own words") from error  # as netCDF, zarr and torch do

    monkeypatch.setattr("orbit2.config.load.load", refuse)
    with pytest.raises(SystemExit) as stop:
        main(["config", "check", "x.yaml"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith(f"error: out/x.nc: {os.strerror(number)}; ") and error.count("\n") == 1
