"""A run whose pairs come from a formula: store, statistics, a few training steps, prediction and scores, through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.load import from_mapping
from orbit2.data.augment import coarsen
from orbit2.data.store_layout import SideSpec, finalise, initialise, write_part
from orbit2.files import write_json
from orbit2.grid import named
from orbit2.sources.times import plan_times
from orbit2.variables import cell_methods, variable

SMALL = {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1}


class Formula:
    """The run `raw` below `root`, and the files of its stages. `raw` has one dataset `pairs`, one model `m`, one task `test`."""

    def __init__(self, root: Path, raw: dict[str, Any]) -> None:
        self.root, self.run = root, from_mapping(raw)
        self.dataset = self.run.datasets["pairs"]
        self.store, self.data = root / "pairs.zarr", root / "dataset.json"
        self.statistics, self.fits, self.model = root / "statistics.json", root / "baselines.nc", root / "model"
        self.prediction = root / "test.zarr"
        write_json(self.data, slices.whole(self.run, "dataset", "pairs"))
        for stage in ("downscale", "evaluate", "diagnose"):
            write_json(root / f"{stage}.json", slices.whole(self.run, stage, "test"))
        write_json(root / "model.json", slices.whole(self.run, "model", "m"))

    def field(self, name: str, when: int) -> npt.NDArray[np.float32]:
        """The truth of a sample [sH, sW]: waves that move, over the variable's range; rain with dry places, snow at high latitudes."""
        grid, about = named(self.dataset.fine_grid), variable(name)
        lat, lon = np.radians(grid.lat)[:, None], np.radians(grid.lon)[None]
        shift = 0.3 * when + sum(map(ord, name))
        share = 0.5 + 0.25 * np.cos(lat) * np.sin(3 * lon + shift) + 0.2 * np.sin(11 * lon + 5 * lat + 0.1 * when)
        low, high = about.valid
        if about.transform == "log1p":
            share = np.clip(share - 0.4, 0, None) ** 2 * 0.2
        return np.broadcast_to(low + share * (high - low), grid.shape).astype(np.float32)

    def build(self) -> None:
        """The store, as regrid would leave it."""
        coarse, fine = named(self.dataset.coarse_grid), named(self.dataset.fine_grid)
        times, factor = plan_times(self.dataset), self.dataset.refinement
        weights = torch.from_numpy(fine.lat_weights).float()
        waves = np.sin(6 * np.radians(fine.lon))[None] * np.cos(5 * np.radians(fine.lat))[:, None]
        ground = np.stack([1000 * np.clip(waves, 0, None), waves > -0.5]).astype(np.float32)  # height, land
        sides = [SideSpec(coarse, self.dataset.inputs, self.dataset.statics, coarsen(torch.from_numpy(ground), weights, factor).numpy()),
                 SideSpec(fine, self.dataset.outputs, self.dataset.statics, ground)]  # fmt: skip
        names = {*self.dataset.inputs, *self.dataset.outputs}
        initialise(self.store, *sides, times, shard=8, attributes={
            "dataset": "pairs", "config_hash": slices.dataset(self.run, "pairs")["hash"], "source": "files",
            "cell_methods": {name: cell_methods(name, self.dataset.step_hours) for name in names}})  # fmt: skip
        truth = {name: np.stack([self.field(name, k) for k in range(len(times))]) for name in names}
        averaged = {name: coarsen(torch.from_numpy(truth[name]), weights, factor).numpy() for name in self.dataset.inputs}
        for start in range(0, len(times), 8):
            part = slice(start, start + 8)
            write_part(self.store, start, *(np.stack([held[n][part] for n in wanted], 1) for held, wanted in (
                (averaged, self.dataset.inputs), (truth, self.dataset.outputs))))  # fmt: skip
        finalise(self.store, {"content": "formula"})

    def stages(self) -> dict[str, list[str]]:
        """Stage -> its command."""
        scored = ["--prediction", str(self.prediction), "--store", str(self.store), "--fits", str(self.fits)]
        return {
            "statistics": ["statistics", "-c", str(self.data), "--store", str(self.store), "--out", str(self.statistics)],
            "fit": ["evaluate", "fit", "-c", str(self.data), "--store", str(self.store), "--out", str(self.fits)],
            "train": ["train", "-c", str(self.root / "model.json"), "--store", f"pairs={self.store}", "--statistics",
                      f"pairs={self.statistics}", "--out", str(self.model), "--checkpoints", str(self.root / "checkpoints")],
            "downscale": ["downscale", "-c", str(self.root / "downscale.json"), "--store", str(self.store), "--model", str(self.model),
                          "--out", str(self.prediction)],
            "evaluate": ["evaluate", "-c", str(self.root / "evaluate.json"), *scored, "--out", str(self.root / "evaluate")],
            "diagnose": ["diagnose", "-c", str(self.root / "diagnose.json"), *scored, "--out", str(self.root / "diagnose")],
        }  # fmt: skip

    def walk(self, *stages: str) -> None:
        """Run these stages, in this process."""
        for stage in stages:
            try:
                main(self.stages()[stage])
            except SystemExit as stop:
                assert not stop.code, f"{stage} ended with {stop.code}"


def run_of(names: tuple[str, ...], split: dict[str, Any], step_hours: int, **more: Any) -> dict[str, Any]:
    """A raw configuration: all `names` in and out, 30 -> 7.5 degrees."""
    files = {"fine": ["truth.nc"], "found": {"step_hours": step_hours}}
    dataset = {"source": "files", "files": files, "inputs": list(names),
               "outputs": list(names), "statics": ["orography", "land_sea_mask"], "coarse_grid": "global_30", "fine_grid": "global_7.5",
               "split": split, "finer_than_source": True, **more.pop("dataset", {})}  # fmt: skip
    train = {"steps": 4, "batch_size": 4, "validate_every": 2, "warmup_steps": 1, "precision": "fp32", "threads": 1}
    model = {"datasets": ["pairs"], "architecture": {**SMALL, **more.pop("architecture", {})}, "train": train}
    return {"datasets": {"pairs": dataset}, "models": {"m": model},
            "downscale": {"test": {"model": "m", "dataset": "pairs"}},
            "evaluate": {"bootstrap": 20, "spectra_bands": [], "spectra_boxes": {}}, **more}  # fmt: skip
