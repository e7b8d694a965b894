"""The YAML of a new run, with a comment where a choice was made. Never overwrites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orbit2.errors import OrbitError
from orbit2.files import write_text
from orbit2.start.size import MODEL, TASK

Section = Sequence[tuple[str, Any, str]]  # key, value, comment


def place(name: str, folder: Path) -> Path:
    """Where the run's YAML goes. Raises OrbitError for a name that is none, and where something is already."""
    if not name or not (name[0].isalnum() and name == name.lower() and name.replace("_", "").isalnum() and name.isascii()):
        raise OrbitError("not a name of a run", where="NAME", got=name, allowed="small letters, digits and _, e.g. my_run",
                         hint="it names the YAML and the folder of results")  # fmt: skip
    path = folder / f"{name}.yaml"
    if path.exists():
        raise OrbitError("is there already, and is not overwritten", where=path, hint="choose another name, or remove it")
    return path


def flow(value: Any) -> str:
    """A value on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).removesuffix("\n...\n").strip()


def block(lines: Section, indent: int) -> list[str]:
    """`key: value # comment`, a line each; lists and mappings on one line. Without a value the key is a comment too."""
    return [" " * indent + (f"# {key}: {comment}" if value is None else f"{key}: {flow(value)}" + (f" # {comment}" if comment else ""))
            for key, value, comment in lines]  # fmt: skip


def text(name: str, head: Sequence[str], dataset: str, source: str, files: Section, keys: Section, split: Section,
         models: Mapping[str, tuple[Any, str]], task: Mapping[str, Any]) -> str:  # fmt: skip
    """The file. `head`: comments above; `files`: the section of one's own files; `models`: `architecture` and `train` with comments."""
    lines = [*(f"# {line}".rstrip() for line in head), f"label: {name}", "datasets:", f"  {dataset}:", f"    source: {source}"]
    if files:
        lines += ["    files:", *block(files, 6)]
    lines += [*block(keys, 4), "    split: # the last block is the test: it is not looked at before; gaps between, as weather has a memory",
              *block(split, 6), "models:", f"  {MODEL}:", f"    datasets: [{dataset}]"]  # fmt: skip
    lines += block([(key, value, comment) for key, (value, comment) in models.items()], 4)
    lines += ["downscale:", f"  {TASK}: {flow({'model': MODEL, 'dataset': dataset, **task})}"]
    return "\n".join(lines) + "\n"


def command(path: Path) -> str:
    """What runs it."""
    return f"orbit2 run {path}"


def write(path: Path, content: str) -> None:
    """All of it or nothing."""
    write_text(path, content)
