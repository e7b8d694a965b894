"""What a training run is, for its checkpoints: the science keys of its slice. Never the machine that it runs on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orbit2.config.base import Kind, kind_of, science, section_in
from orbit2.config.dataset import DatasetConfig
from orbit2.config.network import ArchitectureConfig
from orbit2.config.schema import ModelConfig

_SECTIONS: dict[str, type[BaseModel]] = {"model": ModelConfig, "architecture": ArchitectureConfig}


def identity(slice_: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model's slice, old or new: its sections without machine keys, keys that did not exist yet at their defaults."""
    result = {key: slice_[key] for key in ("model", "architecture", "datasets", "parent") if key in slice_}
    for key, section in _SECTIONS.items():
        if isinstance(result.get(key), Mapping):
            result[key] = comparable(result[key], section)
    if isinstance(result.get("datasets"), Mapping):
        result["datasets"] = {name: comparable(raw, DatasetConfig) for name, raw in result["datasets"].items()}
    return result


def comparable(raw: Mapping[str, Any], section: type[BaseModel]) -> dict[str, Any]:
    """The plain JSON of a `section` without its machine and place keys, with the defaults of keys that it lacks."""
    fields = section.model_fields
    result = {key: value for key, value in raw.items() if key not in fields}
    for name, field in fields.items():
        if kind_of(field) != Kind.SCIENCE:
            continue
        if name in raw:
            inner = section_in(field.annotation)[0]
            result[name] = comparable(raw[name], inner) if inner is not None and isinstance(raw[name], Mapping) else raw[name]
        elif (default := field.get_default(call_default_factory=True)) is not PydanticUndefined:
            result[name] = json.loads(json.dumps(science(default)))  # tuples as lists, as in JSON
    return result
