"""What was begun on disk keeps the machine keys that it was begun with; what is not begun takes the configuration's. Never writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orbit2.config import slices
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import validate
from orbit2.config.schema import DownscaleConfig, RunConfig

PARTS = ("samples_per_part", "samples_per_shard")


def as_begun(run: RunConfig, root: Path = Path()) -> RunConfig:
    """The run with its stores cut into the parts that they were begun with, and finished predictions in the blocks that made them."""
    datasets = {name: _dataset(section, root / slices.dataset_folder(run, name)) for name, section in run.datasets.items()}
    tasks = {name: _task(run, name, section, root) for name, section in run.downscale.items()}
    return run.model_copy(update={"datasets": datasets, "downscale": tasks})


def _dataset(section: DatasetConfig, folder: Path) -> DatasetConfig:
    marker = folder / "parts/init.json"
    cut = {key: value for key, value in _read(marker).items() if key in PARTS}
    return validate(DatasetConfig, {**section.model_dump(mode="json"), **cut}, marker) if cut else section


def _task(run: RunConfig, name: str, section: DownscaleConfig, root: Path) -> DownscaleConfig:
    """Another number of blocks re-runs nothing that is finished: its receipt is younger than what it was told and its model."""
    folder = root / slices.run_folder(run)
    receipt, told = folder / "downscale" / f"{name}.json", folder / "config" / f"downscale_{name}.json"
    model = root / slices.model_path(run, section.model) / "config.json"
    blocks = _read(receipt).get("blocks")
    if not isinstance(blocks, int) or blocks < 1 or _read(told) != json.loads(json.dumps(slices.downscale(run, name))):
        return section
    made = receipt.stat().st_mtime_ns
    older = all(not path.is_file() or path.stat().st_mtime_ns <= made for path in (told, model))
    return section.model_copy(update={"blocks": blocks}) if older else section


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
