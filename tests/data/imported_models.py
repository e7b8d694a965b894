"""A run with an imported model, without its weights: what a dry run, a plan and the configuration look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orbit2.config.load import merge
from orbit2.config.network import ArchitectureConfig
from orbit2.files import write_json

RAIN, LEAST, MOST = "total_precipitation_24hr", "2m_temperature_min", "2m_temperature_max"
PERIODS = {"train": {"start": "2001-01-01", "end": "2001-02-20"}, "validation": {"start": "2001-03-01", "end": "2001-03-20"},
           "test": {"start": "2001-04-01", "end": "2001-04-30"}}  # fmt: skip


def folder(path: Path, **more: Any) -> Path:
    """config.json of a model, as `orbit2 model import` writes it."""
    network = ArchitectureConfig(kind="orbit2", embed_dim=16, depth=1, heads=2, decoder_depth=1, table_shape=(12, 24), km=28)
    write_json(path / "config.json", {
        "format": "orbit2-model-1", "architecture": network.model_dump(mode="json"), "name": "tiny", "hash": "00000000",
        "inputs": [RAIN, LEAST, MOST, "land_sea_mask"], "outputs": [RAIN, LEAST], "statics": ["land_sea_mask"],
        "sha256": {"weights.safetensors": "a" * 64, "card.md": "b" * 64}, "code_version": "1", **more})  # fmt: skip
    return path


def raw(model: Path | str, **more: Any) -> dict[str, Any]:
    return merge({
        "label": "here",
        "datasets": {"us": {"source": "prism", "inputs": [RAIN, LEAST, MOST], "outputs": [RAIN, LEAST, MOST], "coarse_grid": "us_15",
                            "fine_grid": "us_3.75", "split": PERIODS, "finer_than_source": True, "statics": ["land_sea_mask"]}},
        "models": {"theirs": {"imported": str(model)}},
        "downscale": {"test": {"model": "theirs", "dataset": "us"}},
    }, more)  # fmt: skip
