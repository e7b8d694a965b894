"""A tiny paired dataset (15 -> 3.75 degrees, analytic fields) and the slice of a tiny model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbit2.areas import relative_areas
from orbit2.data.augment import coarsen
from orbit2.data.dataset import CPU, Batch
from orbit2.data.pairs import SideSpec, finalise, initialise, write_part
from orbit2.data.steps import Steps
from orbit2.grid import AnyGrid, global_grid

NAMES = ("2m_temperature", "precipitation_rate")
STATICS = ("orography",)
SAMPLES = 12


class Tiny:
    """Paths of the fixture, and its model slice with changed settings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.statistics = folder, folder / "pairs.zarr", folder / "statistics.json"

    def slice(self, path: Path, *, model: dict[str, Any] | None = None, **train: Any) -> Path:
        settings = {
            "steps": 8,
            "batch_size": 3,
            "validate_every": 4,
            "learning_rate": 2e-3,
            "warmup_steps": 2,
            "precision": "fp32",
            "threads": 1,
            **train,
        }
        split = {
            "train": ["2026-01-01T00:00", "2026-01-01T07:00"],
            "validation": ["2026-01-01T09:00", "2026-01-01T09:00"],
            "test": ["2026-01-01T11:00", "2026-01-01T11:00"],
        }
        architecture: dict[str, Any] = {
            "embed_dim": 16,
            "depth": 1,
            "heads": 2,
            "decoder_depth": 1,
            "residual_width": 4,
            "residual_blocks": 1,
            "dropout": 0.1,
            "drop_path": 0.1,
        }
        if train.get("loss") == "crps":
            architecture["noise"] = {"channels": 1}
        section = {"datasets": ["tiny"], "train": settings, **(model or {})}
        if "finetune_from" not in section:
            section["architecture"] = architecture
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                {
                    "name": "tiny",
                    "hash": "00000000",
                    "parent": None,
                    "architecture": architecture,
                    "model": {"region": None, "outputs": None, "finetune_from": None, "architecture": None, **section},
                    "datasets": {
                        "tiny": {
                            "hash": "0",
                            "source": "sample",
                            "coarse_grid": "global_15.0",
                            "fine_grid": "global_3.75",
                            "split": {k: {"start": a, "end": b} for k, (a, b) in split.items()},
                        }
                    },
                }
            )
        )
        return path

    def command(self, slice_path: Path, out: Path) -> list[str]:
        return [
            "--config",
            str(slice_path),
            "--store",
            f"tiny={self.store}",
            "--statistics",
            f"tiny={self.statistics}",
            "--out",
            str(out / "model"),
            "--checkpoints",
            str(out / "checkpoints"),
        ]


def batch_of(steps: Steps, step: int) -> Batch:
    """The one batch of a step, ready on the CPU."""
    (part,) = steps[step]
    return part.to(CPU)


def build(folder: Path, coarse_grid: AnyGrid | None = None) -> Tiny:
    """Write the store (of the globe, or on `coarse_grid`) and its statistics below `folder`."""
    made = Tiny(folder)
    coarse_grid = global_grid(15.0) if coarse_grid is None else coarse_grid
    fine_grid = coarse_grid.refine(4)
    lat, lon = np.radians(fine_grid.lat2d), np.radians(fine_grid.lon2d)
    height = 1000 * np.clip(np.sin(6 * lon) * np.cos(5 * lat), 0, None)
    fields = []
    for k in range(SAMPLES):
        temperature = 250 + 40 * np.cos(lat) ** 2 - 6e-3 * height + 5 * np.sin(2 * lon + 0.7 * k) * np.cos(lat)
        rain = np.clip(20 * np.sin(5 * lon + k) * np.cos(3 * lat + 0.3 * k), 0, None)
        fields.append(np.stack([temperature, rain]))
    fine = np.stack(fields).astype(np.float32)
    weights = torch.from_numpy(relative_areas(fine_grid)).float()
    coarse = coarsen(torch.from_numpy(fine), weights, 4).numpy()
    static = height[None].astype(np.float32)
    times = np.datetime64("2026-01-01T00", "s") + np.arange(SAMPLES) * np.timedelta64(3600, "s")
    initialise(
        made.store,
        SideSpec(coarse_grid, NAMES, STATICS, coarsen(torch.from_numpy(static), weights, 4).numpy()),
        SideSpec(fine_grid, NAMES, STATICS, static),
        times,
        shard=4,
    )
    for start in range(0, SAMPLES, 4):
        write_part(made.store, start, coarse[start : start + 4], fine[start : start + 4])
    finalise(made.store)

    def side(values: np.ndarray) -> dict[str, dict[str, float]]:
        logs = np.log1p(values)
        return {
            n: {
                "mean": float(values[:, i].mean()),
                "std": float(values[:, i].std()),
                "log1p_mean": float(logs[:, i].mean()),
                "log1p_std": float(logs[:, i].std()),
            }
            for i, n in enumerate(NAMES)
        }

    statics = {"orography": {"mean": float(static.mean()), "std": float(static.std())}}
    made.statistics.write_text(
        json.dumps({"coarse": side(coarse[:8]), "fine": side(fine[:8]), "static": {"coarse": statics, "fine": statics}})
    )
    return made


def tiny_run(depth: int, train: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a run with one small model on the shape of such a store, to plan with."""
    architecture = {"embed_dim": 16, "depth": depth, "heads": 2, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1}
    split = {
        "train": {"start": "2026-01-01T00:00", "end": "2026-01-01T07:00"},
        "validation": {"start": "2026-01-01T09:00", "end": "2026-01-01T09:00"},
        "test": {"start": "2026-01-01T11:00", "end": "2026-01-01T11:00"},
        "gap_days": 0,
    }
    dataset = {"source": "era5", "inputs": list(NAMES), "outputs": list(NAMES), "statics": ["orography"],
               "coarse_grid": "global_15.0", "fine_grid": "global_3.75", "split": split}  # fmt: skip
    small = {"datasets": ["tiny"], "architecture": architecture, "train": train}
    return {"label": "tiny", "datasets": {"tiny": dataset}, "models": {"small": small}}
