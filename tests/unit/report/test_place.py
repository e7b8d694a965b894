"""Where a report is written nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbit2.errors import OrbitError
from orbit2.report import run


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    (folder / "figures").mkdir(parents=True)
    (folder / "thesis.tex").write_text("precious")
    for out in (folder, folder / "thesis.tex"):
        with pytest.raises(OrbitError, match=r"holds other things; got .thesis"):
            run(config=tmp_path / "none.json", out=out)
    assert (folder / "thesis.tex").read_text() == "precious" and (folder / "figures").is_dir()
    (folder / "thesis.tex").unlink()
    with pytest.raises((OrbitError, FileNotFoundError), match=r"none\.json"):  # an older report: on to the configuration
        run(config=tmp_path / "none.json", out=folder)
