"""The notebooks: each .ipynb is its text with outputs, what they call is there, and (slow, `make test-notebooks`) all of them run."""

from __future__ import annotations

import ast
import base64
import importlib
import importlib.util
import re
import time
from pathlib import Path
from typing import Any

import pytest

import orbit2
from tests.docs.blocks import ROOT

nbformat = pytest.importorskip("nbformat", reason="needs the extra `docs` (pip install -e '.[docs]')")
pytest.importorskip("jupytext", reason="needs the extra `docs` (pip install -e '.[docs]')")
FOLDER = ROOT / "docs/notebooks"
NAMES = ("quickstart", "own_data", "read_a_report", "members")


@pytest.fixture(scope="module")
def make() -> Any:
    """docs/notebooks/make.py, which writes them."""
    about = importlib.util.spec_from_file_location("make_notebooks", FOLDER / "make.py")
    assert about is not None and about.loader is not None
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    return module


def test_these_are_the_notebooks(make: Any) -> None:
    assert sorted(NAMES) == sorted(name for chain in make.CHAINS for name in chain)
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES) == {path.stem for path in FOLDER.glob("*.py")} - {"make"}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_text_with_outputs(make: Any, name: str) -> None:
    kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(kept)
    told = [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in kept.cells]
    meant = [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in make.source(name).cells]
    assert told == meant, f"python docs/notebooks/make.py {name}"
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    pictures = [base64.b64decode(output.data["image/png"]) for output in outputs if "image/png" in output.get("data", {})]
    assert pictures and max(map(len, pictures)) < 200_000
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text) < 1_000_000 and not re.search(r"/(root|home|tmp|work|opt)/", text), "a path of one machine"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_notebook_calls_is_there(make: Any, name: str) -> None:
    for cell in make.source(name).cells:
        if cell.cell_type != "code" or cell.source.startswith("!"):
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, each.name) for each in node.names), ast.unparse(node)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                known = {"orbit2": orbit2, "model": orbit2.Model, "maker": orbit2.Downscaler}.get(node.value.id)
                assert known is None or hasattr(known, node.attr), ast.unparse(node)


def test_links_of_the_notebooks_lead_somewhere() -> None:
    for name in NAMES:
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8").replace("\n# ", " ")
        for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)\s]+)?\)", text):
            assert (FOLDER / target).exists(), f"{name} links to {target}"


@pytest.mark.slow
def test_all_notebooks_run_in_minutes(make: Any, tmp_path: Path) -> None:
    start = time.monotonic()
    make.everything(tmp_path)
    print(f"all notebooks: {time.monotonic() - start:.0f} s")
