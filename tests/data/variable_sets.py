"""Two tiny datasets that share little: other grids, resolutions, inputs, statics (in another order) and outputs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbit2.data.augment import coarsen
from orbit2.data.pairs import SideSpec, finalise, initialise, write_part
from orbit2.grid import Grid, global_grid, uniform

SAMPLES = 6
WIDE = {  # a reanalysis
    "inputs": ("2m_temperature", "mean_sea_level_pressure", "total_precipitation_24hr"),
    "outputs": ("2m_temperature", "total_precipitation_24hr"),
    "statics": ("orography", "land_sea_mask"),
}
LAND = {  # a station product of one country
    "inputs": ("total_precipitation_24hr", "2m_temperature_max"),
    "outputs": ("2m_temperature_max", "total_precipitation_24hr"),
    "statics": ("slope", "orography"),
}


@dataclass
class Made:
    store: Path
    statistics: Path


def build(folder: Path, grid: Grid, names: dict[str, tuple[str, ...]], coast: bool, spread: float = 3.0) -> Made:
    """Fields of one dataset below `folder`, each cell by itself; with `coast` a tenth of the cells is missing in every field."""
    random = np.random.default_rng(len(names["inputs"]))
    fine_grid = grid.refine(4)
    weights = torch.from_numpy(fine_grid.lat_weights).float()
    every = tuple(dict.fromkeys((*names["inputs"], *names["outputs"])))
    fields = random.gamma(2.0, spread, size=(SAMPLES, len(every), *fine_grid.shape)).astype(np.float32)
    fields += np.array([0 if "precipitation" in n else 1e5 if "pressure" in n else 280 for n in every], np.float32)[:, None, None]
    if coast:
        fields[..., : fine_grid.shape[1] // 8] = np.nan
    static = random.random((len(names["statics"]), *fine_grid.shape), dtype=np.float32)
    coarse = coarsen(torch.from_numpy(fields), weights, 4).numpy()
    sides = [fields[:, [every.index(n) for n in names["outputs"]]], coarse[:, [every.index(n) for n in names["inputs"]]]]
    made = Made(folder / "pairs.zarr", folder / "statistics.json")
    folder.mkdir(parents=True)
    times = np.datetime64("2026-01-01T00", "s") + np.arange(SAMPLES) * np.timedelta64(86400, "s")
    initialise(
        made.store,
        SideSpec(grid, names["inputs"], names["statics"], coarsen(torch.from_numpy(static), weights, 4).numpy()),
        SideSpec(fine_grid, names["outputs"], names["statics"], static),
        times,
        shard=SAMPLES,
    )
    write_part(made.store, 0, sides[1], sides[0])
    finalise(made.store)

    def moments(values: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
        rows = {}
        for i, name in enumerate(labels):
            plain, log = values[:, i], np.log1p(values[:, i])
            rows[name] = {"mean": np.nanmean(plain), "std": np.nanstd(plain), "log1p_mean": np.nanmean(log), "log1p_std": np.nanstd(log)}
        return {name: {k: float(v) for k, v in row.items()} for name, row in rows.items()}

    fixed = moments(static[None], names["statics"])
    facts = {"coarse": moments(sides[1], names["inputs"]), "fine": moments(sides[0], names["outputs"])}
    made.statistics.write_text(json.dumps({**facts, "static": {"coarse": fixed, "fine": fixed}}))
    return made


def build_both(folder: Path, spread: float = 3.0) -> dict[str, Made]:
    """`spread` is that of the station product's fields."""
    return {
        "wide": build(folder / "wide", global_grid(30.0), WIDE, coast=False),
        "land": build(folder / "land", uniform(30, 42, 240, 258, 6, 10), LAND, coast=True, spread=spread),
    }


def section(loss: str = "bayesian_tv", kind: str = "reslim", **train: Any) -> dict[str, Any]:
    """The slice of a model on both."""
    architecture: dict[str, Any] = {"kind": kind}
    if kind in ("reslim", "vit"):
        architecture |= {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1}
    if kind == "reslim":
        architecture |= {"residual_width": 4, "residual_blocks": 1}
    days = {"train": ("2026-01-01", "2026-01-04"), "validation": ("2026-01-05", "2026-01-05"), "test": ("2026-01-06", "2026-01-06")}
    split = {name: {"start": a, "end": b} for name, (a, b) in days.items()}
    settings = {"steps": 6, "batch_size": 2, "validate_every": 3, "warmup_steps": 1, "precision": "fp32", "threads": 1, **train}
    grids = {"source": "sample", "coarse_grid": "global_15.0", "fine_grid": "global_3.75"}
    return {
        "name": "both",
        "hash": "00000000",
        "parent": None,
        "architecture": architecture,
        "model": {"datasets": ["wide", "land"], "train": {**settings, "loss": loss}, "region": None, "outputs": None, "finetune_from": None,
                  "architecture": architecture},
        "datasets": {name: {"hash": "0", **grids, "split": split} for name in ("wide", "land")},
    }  # fmt: skip
