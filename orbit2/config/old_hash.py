"""The hashes of folders made before machine keys were apart: every key of a slice was in them. For `orbit2 migrate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orbit2.files import short_hash


def old_dataset_hash(slice_: Mapping[str, Any]) -> str:
    """Of the `config.json` of a folder of results/data."""
    return short_hash({"dataset": slice_["dataset"], "sources": slice_["sources"]})


def old_model_hash(slice_: Mapping[str, Any]) -> str:
    """Of the `config.json` of a folder of results/models."""
    return short_hash({key: slice_[key] for key in ("name", "model", "architecture", "datasets", "parent")})
