"""Execute the notebooks (docs/notebooks/*.py, the truth) and write each with its outputs beside it, as .ipynb.

    python docs/notebooks/make.py [NAME ...]
    python docs/notebooks/make.py --texts          # nothing is run: outputs stay, where only words have changed

They run in a folder of their own (`--folder`, default a temporary one); progress of long commands is left out, pictures are made small.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHAINS = (("quickstart", "members", "read_a_report"), ("own_data",))  # a chain's notebooks use what the first one trained
WIDE = 900  # pixels of a picture, at most
PROGRESS = "progress"  # the tag of cells whose words are those of a workflow at work


def source(name: str) -> nbformat.NotebookNode:
    """The notebook without outputs, cells numbered instead of named by chance."""
    made = jupytext.read(HERE / f"{name}.py", fmt="py:percent")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for place, cell in enumerate(made.cells):
        cell["id"] = f"{name.replace('_', '-')}-{place}"
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    return made


def executed(name: str, folder: Path) -> nbformat.NotebookNode:
    """Run in `folder`, with this environment's commands; raises CellExecutionError for a cell that fails."""
    made = source(name)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    NotebookClient(made, timeout=1200, resources={"metadata": {"path": str(folder)}}, kernel_name="python3").execute()
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            quiet = ("stdout", "stderr") if PROGRESS in cell.metadata.get("tags", []) else ("stderr",)
            cell.outputs = [small(output) for output in cell.outputs if output.get("name") not in quiet]
    return made


def small(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A picture no wider than WIDE pixels, packed well; anything else as it is."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
        if picture.width > WIDE:
            picture = picture.resize((WIDE, round(picture.height * WIDE / picture.width)), Image.Resampling.LANCZOS)
        kept = io.BytesIO()
        picture.save(kept, "png", optimize=True)
        data["image/png"] = base64.b64encode(kept.getvalue()).decode()
    return output


def retold(name: str) -> None:
    """The .ipynb with the words of its source and the outputs that it has. Raises SystemExit where the code has changed: run it."""
    path = HERE / f"{name}.ipynb"
    old, new = nbformat.read(path, as_version=4), source(name)
    before, after = ([cell for cell in each.cells if cell.cell_type == "code"] for each in (old, new))
    if [cell.source for cell in before] != [cell.source for cell in after]:
        raise SystemExit(f"the code of {name} has changed: python docs/notebooks/make.py {name}")
    for kept, cell in zip(before, after, strict=True):
        cell.outputs, cell.execution_count = kept.outputs, kept.execution_count
    nbformat.write(new, path)


def chain(names: tuple[str, ...], folder: Path, keep: bool) -> None:
    """One after the other in `folder`; `keep`: the .ipynb beside the source is written."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "week.yaml", folder)
    for name in names:
        made = executed(name, folder)
        if keep:
            nbformat.write(made, HERE / f"{name}.ipynb")


def everything(folder: Path, names: tuple[str, ...] = (), keep: bool = False) -> None:
    """All chains (or those of them that are named), side by side."""
    chosen = {each[0]: tuple(name for name in each if not names or name in names) for each in CHAINS}
    with ThreadPoolExecutor(len(chosen)) as pool:
        for done in [pool.submit(chain, each, folder / first, keep) for first, each in chosen.items() if each]:
            done.result()


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("names", nargs="*")
    reader.add_argument("--folder", type=Path)
    reader.add_argument("--texts", action="store_true")
    asked = reader.parse_args()
    if asked.texts:
        for each in asked.names or [name for names in CHAINS for name in names]:
            retold(each)
        raise SystemExit
    with tempfile.TemporaryDirectory() as temporary:
        everything(asked.folder or Path(temporary), tuple(asked.names), keep=True)
