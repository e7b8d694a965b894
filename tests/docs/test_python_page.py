"""Every block of the page on Python works, on a small model; training is stood in for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from orbit2.config import slices
from orbit2.config.load import load
from orbit2.data.transforms import Normaliser
from orbit2.model import folder
from orbit2.start import workflow
from tests.data import own_archive
from tests.data.quick_sizes import quick
from tests.data.small_models import OUTPUTS, STATICS, demo_model
from tests.docs.blocks import ROOT, blocks


def test_the_page_on_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    quick(monkeypatch)
    names = {"mean": 280.0, "std": 20.0, "min": 200.0, "max": 320.0, "log1p_mean": 0.5, "log1p_std": 0.7, "count": 10}
    facts = {**{side: dict.fromkeys(OUTPUTS, names) for side in ("coarse", "fine")},
             "static": {side: {n: {"mean": 300.0, "std": 500.0} for n in STATICS} for side in ("coarse", "fine")}}  # fmt: skip
    # untrained, the model is plain interpolation
    folder.save(tmp_path / "model", demo_model(), Normaliser.from_statistics(facts, 0.0), {"name": "small", "hash": "00000000"})
    own_archive.write(tmp_path / "my_data", last="2001-03-31")
    text = (ROOT / "config/runs/own_data.yaml").read_text(encoding="utf-8")
    for old, new in (("2001-03-31", "2001-02-10"), ("2001-04-08", "2001-02-18"), ("2001-04-30", "2001-03-01"), ("2001-05-08", "2001-03-09"),
                     ("2001-05-31", "2001-03-31")):  # fmt: skip
        text = text.replace(old, new)
    (tmp_path / "my_run.yaml").write_text(text, encoding="utf-8")

    def trained(words: Sequence[str]) -> int:
        assert words[-2:] == ["--", "train"]
        run = load(words[words.index("--configfile") + 1])
        shutil.copytree(tmp_path / "model", slices.model_path(run, "reslim"))
        return 0

    monkeypatch.setattr(workflow, "run", trained)
    known: dict[str, object] = {}
    for language, block in blocks(ROOT / "docs/python.md"):
        assert language == "python"
        exec(compile(block, "python.md", "exec"), known)
    printed = capsys.readouterr().out
    assert "('time', 'lat', 'lon') (2, 40, 360) K" in printed and "pearson_r" in printed and "<Model small-00000000" in printed
    assert (tmp_path / "mine.yaml").is_file()
