"""Every command of the page on one's own data works, or refuses as it says, on an archive in small."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from orbit2.config.dataset import DatasetConfig
from orbit2.config.files import FilesConfig
from tests.data import own_archive
from tests.docs.blocks import ROOT, blocks
from tests.docs.test_own_file_page import run

PAGE = ROOT / "docs/own_data.md"


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    own_archive.write(tmp_path / "my_data")
    (tmp_path / "archive").mkdir()
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lines = [line for language, text in blocks(PAGE) for line in text.splitlines() if language == "bash" and line.startswith("orbit2")]
    assert len(lines) == 3
    for line in lines:
        run(line)
    printed = capsys.readouterr()
    assert "files: 5 files" in printed.out and "nothing is fetched" in printed.out and "no provider's file" in printed.err


def test_every_key_that_the_page_names_exists() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for key in ("rename", "accumulated", "statics", "day_starts"):
        assert f"files.{key}" in page and key in FilesConfig.model_fields
    assert {"coarse_grid", "fine_grid", "input_sources", "files"} <= set(DatasetConfig.model_fields)
    shipped = yaml.safe_load((ROOT / "config/runs/own_data.yaml").read_text(encoding="utf-8"))
    assert set(shipped["datasets"]["mine"]["files"]) <= set(FilesConfig.model_fields)
