"""The JSON schema and the key tables that people read, generated from the configuration model. Never written by hand."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from orbit2.config.base import kind_of, section_in
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.files import write_if_changed

SCHEMA = "workflow/schemas/config.schema.json"
PAGES = ("config/README.md", "docs/configuration.md")
COMMAND = "orbit2 config generate"

_README = """# Configuration

A run is one YAML file; everything scientific is in it, everything about machines is in [`profiles/`](../profiles/README.md).

| file | what it is |
|---|---|
| `config.yaml` | what the workflow runs when nothing else is named; the default is the demo |
| `runs/*.yaml` | complete runs: the demo; the paper's Table I, part by part; `orbit2.yaml`, all of it as one DAG |
| `datasets/*.yaml` | the paper's datasets, to be included under `datasets:` |
| `train/*.yaml` | optimisation for a published size, to be included under `train:` |
| `models/*.yaml` | networks of published sizes, to be included under `architecture:` |

- `include: FILE` (a name or a list) lays the keys beside it over that file; paths are relative to the including file, then to `config/`.
- `orbit2 config check FILE` names the first problem in one line and exits with 2; `orbit2 config show FILE` prints every key and value.
- `--set key=value` overrides one key of these two commands; for the workflow it is
  `snakemake --profile profiles/local all --config set='["models.reslim.train.steps=100"]'`.
- Unknown keys are errors. Changing a science key re-runs only the stages that use it, a machine key none (column `kind` below).
"""

_KINDS = """Units are given in the meaning; `<name>` is a name that you choose. The kind of a key says what changing it does:

- `science`: it decides what is computed. Changing it re-runs the stages that use it; stores and models get another folder (their hash).
- `machine`: how fast, with how much memory, for how long; at most the rounding changes. It never moves a path and never re-runs
  what is finished; what is not finished goes on with it.
- `place`: where files lie. With another one everything is looked for, and made, there.
"""


class Key(NamedTuple):
    """One configuration key: its dotted path, type, default (None: required), kind ("" for a section of several) and description."""

    path: str
    type: str
    default: str | None
    kind: str
    description: str


def keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[Key]:
    """Every key of the configuration, in the order of the model; `<name>` stands for names the user chooses."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        nested, mapped = section_in(field.annotation)
        kind = "" if nested is not None else str(kind_of(field))
        yield Key(path + (".<name>" if nested and mapped else ""), _type(field, nested), _default(field), kind, field.description or "")
        if nested is not None:
            yield from keys(nested, f"{path}.<name>." if mapped else f"{path}.")


def _type(field: FieldInfo, nested: type[BaseModel] | None) -> str:
    text = "section" if nested is not None else _name(field.annotation)
    limits = []
    for item in field.metadata:
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if getattr(item, attribute, None) is not None:
                limits.append(f"{sign} {getattr(item, attribute):g}")
    return f"{text}, {', '.join(limits)}" if limits else text


def _name(annotation: Any) -> str:
    """A type as a reader of YAML would say it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_name(a) for a in arguments if a is not type(None))
    if origin is tuple:
        inner = [a for a in arguments if a is not Ellipsis]
        return f"list of {_name(inner[0])}" if Ellipsis in arguments else f"{len(inner)} x {_name(inner[0])}"
    if origin is dict:
        return f"mapping of names to {_name(arguments[1])}"
    words = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.default
    if value is PydanticUndefined or value is None:
        return ""
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def schema() -> str:
    """The JSON schema of a complete run (`include:` already resolved), as text."""
    content = RunConfig.model_json_schema()
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": f"Generated by `{COMMAND}`; do not edit.", **content}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def table() -> str:
    """All keys as one Markdown table per top-level section."""
    lines: list[str] = []
    section = ""
    for key in keys():
        top = key.path.split(".")[0]
        if top != section:
            section = top
            lines += ["", f"### `{top}`", "", "| key | type | default | kind | meaning |", "|---|---|---|---|---|"]
        default = "**required**" if key.default is None else f"`{key.default}`" if key.default else ""
        lines.append(f"| `{key.path}` | {_cell(key.type)} | {_cell(default)} | {key.kind} | {_cell(key.description)} |")
    return "\n".join(lines).strip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def pages() -> dict[str, str]:
    """Relative path -> text of every generated file."""
    notice = f"<!-- Generated by `{COMMAND}` from orbit2/config/schema.py; do not edit. -->\n"
    body = f"\n## Keys\n\n{_KINDS}\n{table()}"
    return {SCHEMA: schema(), PAGES[0]: notice + _README + body, PAGES[1]: notice + _README + body}


def generate(root: Path = Path("."), *, check: bool = False) -> list[Path]:
    """Write the generated files that differ, and return them. With `check`, write nothing and raise OrbitError instead.

    Raises OrbitError when `root` is not the top of the repository.
    """
    if not (root / "config").is_dir() or not (root / "workflow").is_dir():
        raise OrbitError("not the top of the orbit2 repository (no config/ and workflow/)", where=root,
                         hint="run it where README.md of the checkout lies")  # fmt: skip
    if not check:
        return [root / name for name, text in pages().items() if write_if_changed(root / name, text)]
    for name, text in pages().items():
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text:
            raise OrbitError("differs from what the configuration model says", where=root / name, hint=f"run `{COMMAND}`")
    return []
