"""Read a run's YAML: defaults <- included files <- the file <- --set. Never executes or guesses anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from orbit2 import places
from orbit2.config.base import science
from orbit2.config.schema import RunConfig
from orbit2.config.variables import meanings, named_in, of_slice
from orbit2.errors import OrbitError, did_you_mean, nearest, one_of
from orbit2.files import read_json, short_hash

Model = TypeVar("Model", bound=BaseModel)
CONFIG_ROOT = places.CONFIG


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Load and check a run configuration: a file, or the name of a shipped run. `overrides` are `dotted.key=yaml-value` strings.

    Raises OrbitError (file, key, value, allowed, hint) for anything that is not a valid run.
    """
    path = places.run_file(path)
    return from_mapping(read_yaml(path), overrides, base=path.parent, where=path)


def from_mapping(raw: Mapping[str, Any], overrides: Sequence[str] = (), *, base: Path | None = None, where: object = "config") -> RunConfig:
    """Build a RunConfig from a mapping that may hold `include:` keys (relative to `base`, then to config/)."""
    resolved = _include(dict(raw), base or CONFIG_ROOT, (where,))
    known = {section: list(names) for section, names in resolved.items() if isinstance(names, dict)}
    for item in overrides:
        _override(resolved, item)
    try:
        return validate(RunConfig, resolved, where)
    except OrbitError as error:
        section, _, rest = error.what.partition(".")
        name = re.split("[.:]", rest)[0]
        little = "Field required" in error.what or "give `datasets`" in error.what
        if little and name not in known.get(section, [name]):  # made by --set alone: a slip, or half a new one
            raise OrbitError(f"no '{name}' among {section}, and too little to make one ({error.what})", where="--set", got=name,
                             allowed=", ".join(known[section]), hint=one_of(name, known[section])) from None  # fmt: skip
        raise


def read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        shipped = places.runs() if path.parent == Path() else []
        raise OrbitError("configuration file not found", where=path, hint=did_you_mean(path.name, [*siblings, *shipped])
                         or f"runs that ship, by name: {', '.join(places.runs())}")  # fmt: skip
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise OrbitError(f"not valid YAML ({' '.join(str(error).split())})", where=path,
                         hint="mend the line that is named; keys are indented with blanks, not with tabs") from None  # fmt: skip
    if not isinstance(content, dict):
        raise OrbitError("the file must hold a mapping of keys to values", where=path, got=type(content).__name__,
                         hint="`orbit2 new` writes a file to begin with")  # fmt: skip
    return content


def merge(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """`update` over `base`, mappings merged key by key, everything else replaced."""
    result = dict(base)
    for key, value in update.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _include(node: Any, base: Path, chain: tuple[object, ...]) -> Any:
    if isinstance(node, list):
        return [_include(item, base, chain) for item in node]
    if not isinstance(node, dict):
        return node
    names = node.get("include", [])
    own = {key: _include(value, base, chain) for key, value in node.items() if key != "include"}
    merged: dict[str, Any] = {}
    for name in [names] if isinstance(names, str) else names:
        path = next((p for p in (base / name, CONFIG_ROOT / name) if p.is_file()), base / name)
        if path in chain:
            raise OrbitError("files include each other in a circle", where=path, got=" -> ".join(map(str, chain)),
                             hint="take one `include` of the circle out")  # fmt: skip
        merged = merge(merged, _include(read_yaml(path), path.parent, (*chain, path)))
    return merge(merged, own)


def _override(config: dict[str, Any], item: str) -> None:
    key, separator, value = item.partition("=")
    if not separator or not key:
        raise OrbitError("an override must read key=value", where="--set", got=item, hint="e.g. --set models.reslim.train.steps=100")
    *parents, last = key.split(".")
    node = config
    for part in parents:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise OrbitError("override goes below a plain value", where="--set", got=item,
                             hint="name a key that holds others, or set the whole section")  # fmt: skip
        node = child
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise OrbitError("override value is not valid YAML", where="--set", got=item,
                         hint="a colon or a bracket in a text takes quotes of its own: --set 'label=\"north: 1\"'") from None  # fmt: skip


def validate(schema: type[Model], raw: Mapping[str, Any], where: object = "config") -> Model:
    """Validate `raw`, turning Pydantic's findings into one OrbitError about the first of them."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        more = f" ({len(found) - 1} more problems)" if len(found) > 1 else ""
        if first["type"] == "extra_forbidden":
            valid = _keys_at(schema, first["loc"][:-1])
            close = nearest(str(first["loc"][-1]), valid)
            raise OrbitError(
                f"unknown key '{key}'{more}", where=where, hint=f"did you mean '{close}'?" if close else f"valid keys: {', '.join(valid)}"
            ) from None
        message = first["msg"].removeprefix("Value error, ")
        value = first.get("input")
        shown = value if isinstance(value, (str, int, float, bool)) else None
        if isinstance(shown, str):
            shown = re.sub(r"//[^/@]*@", "//***@", shown)  # a password in a URL is not repeated
        raise OrbitError(f"{key}: {message}{more}", where=where, got=shown, hint="docs/configuration.md describes the key") from None


def _keys_at(schema: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Field names valid at `location` inside `schema`."""
    current: Any = schema
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            arguments = getattr(current, "__args__", ())
            current = arguments[-1] if arguments else None
        while current is not None and not (isinstance(current, type) and issubclass(current, BaseModel)):
            models = [a for a in getattr(current, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
            if not models or getattr(current, "__origin__", None) is dict:
                break
            current = models[0]
    return sorted(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def dataset_hash(config: RunConfig, name: str) -> str:
    """8 hex digits of the science keys that dataset `name` depends on."""
    declared = meanings(config, dataset_variables(config, name))
    own = {"dataset": science(config.datasets[name]), "sources": dataset_sources(config, name)}
    return short_hash({**own, "variables": declared} if declared else own)


def dataset_variables(config: RunConfig, name: str) -> tuple[str, ...]:
    """Every variable of dataset `name`, static ones too."""
    dataset = config.datasets[name]
    return (*dataset.inputs, *dataset.outputs, *dataset.statics)


def declared(config: RunConfig, names: Iterable[str]) -> dict[str, Any]:
    """The declarations of `names` as a slice carries them; nothing where there are none."""
    found = named_in(config, names)
    return {"variables": science(found)} if found else {}


def dataset_sources(config: RunConfig, name: str) -> dict[str, Any]:
    """The keys of `sources` that change the values of dataset `name`."""
    return config.sources.values((*config.datasets[name].sources, "static"))


def model_hash(config: RunConfig, name: str) -> str:
    """8 hex digits of the science keys that model `name`, its ancestors and their datasets depend on."""
    return short_hash(model_slice(config, name))


def model_slice(config: RunConfig, name: str) -> dict[str, Any]:
    """What training model `name` depends on: the science keys of its own section and its datasets, its parent's hash; of one that is not
    trained what lies in its folder, wherever that is."""
    model = config.models[name]
    if model.imported is not None:
        return {"imported": science(model.imported.facts)}
    return {
        "name": name,
        "model": science(model),
        "architecture": science(config.architecture_of(name)),
        "datasets": {key: {"hash": dataset_hash(config, key), **science(config.datasets[key])} for key in model.datasets},
        "parent": model_hash(config, model.finetune_from) if model.finetune_from else None,
    }


def read_slice(path: Path) -> Any:
    """A stage's slice with this machine's keys laid over it; what is not there keeps its default. The variables that it declares are known
    to this process afterwards. Raises OrbitError when it is no JSON, or declares what means something else here."""
    content = read_json(path)
    beside = machine_file(path)
    if isinstance(content, dict):
        content = merge(content, read_json(beside)) if beside.is_file() else content
        of_slice(content, path)
    return content


def dataset_slice(path: Path) -> dict[str, Any]:
    """The slice that regrid, statistics and fits of one dataset are told. Raises OrbitError when it is not one."""
    content = read_slice(path)
    if not isinstance(content, dict) or not {"name", "hash", "dataset"} <= set(content):
        raise OrbitError("not a dataset configuration slice", where=path, allowed="keys name, hash, dataset, sources",
                         hint="give the file that the workflow wrote beside the store")  # fmt: skip
    return content


def machine_file(path: Path) -> Path:
    """Where the machine keys of the slice `path` stand: `config.json` -> `config.machine.json`. Nothing depends on this file."""
    return path.with_suffix(".machine.json")


def slice_text(content: Mapping[str, Any]) -> str:
    """A slice as the workflow writes it."""
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
