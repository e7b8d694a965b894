"""The Python of the page "Bring your own data" runs as it stands, on a rotated file of the usual kind."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docs.blocks import ROOT, blocks, execute


def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests/cases/cordex-2d-latlon/input.nc", tmp_path / "input.nc")
    (text,) = [text for language, text in blocks(ROOT / "docs/own_data.md") if language == "python"]
    printed = execute("python", text, tmp_path)
    assert "20x20 cells of 0.44 degrees, rlat -9.22..-0.42" in printed and "lat: 10, lon: 13" in printed
