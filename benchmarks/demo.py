"""The demo's data, and what a model trained on it scores against bicubic: shared by the benchmarks of skill. Not a benchmark."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from orbit2.baselines import interpolate
from orbit2.config import slices
from orbit2.config.schema import RunConfig
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.files import write_json
from orbit2.train import run
from orbit2.variables import is_precipitation

ROOT = Path(__file__).resolve().parents[1]


def first_dataset(config: RunConfig) -> tuple[str, Path, dict[str, str]]:
    """(name, folder of pairs.zarr and statistics.json, test period) of a run's first dataset."""
    name = next(iter(config.datasets))
    return name, ROOT / slices.dataset_folder(config, name), config.datasets[name].split.test.model_dump()


def first_model(config: RunConfig) -> dict[str, Any]:
    """The slice of a run's first model that is trained from scratch."""
    return slices.whole(config, "model", next(key for key, value in config.models.items() if value.finetune_from is None))


class Test:
    """The test frames, their bicubic RMSE, and the ratio of any prediction to it."""

    def __init__(self, store: PairStore, period: dict[str, str]) -> None:
        self.store, self.names = store, store.variables("fine")
        self.indices = store.indices(period["start"], period["end"])
        self.weights = store.grid("fine").lat_weights[:, None]
        coarse = np.stack([store.read("coarse", int(i)) for i in self.indices]).astype(np.float64)
        self.truth = np.stack([store.read("fine", int(i)) for i in self.indices]).astype(np.float64)
        self.coarse = coarse
        grid = store.grid("coarse")
        plain = interpolate(coarse, grid, store.refinement, "bicubic")
        self.bicubic = self.rmse(plain)
        for i, name in enumerate(self.names):
            if is_precipitation(name):
                logs = np.expm1(interpolate(np.log1p(coarse[:, i]), grid, store.refinement, "bicubic"))
                other = plain.copy()
                other[:, i] = logs
                self.bicubic[name] = min(self.bicubic[name], self.rmse(other)[name])

    def rmse(self, prediction: np.ndarray) -> dict[str, float]:
        result = {}
        for i, name in enumerate(self.names):
            p, t = prediction[:, i], self.truth[:, i]
            if is_precipitation(name):
                p, t = np.log1p(np.clip(p, 0, None)), np.log1p(t)
            result[name] = float(np.sqrt((self.weights * (p - t) ** 2).mean() / self.weights.mean()))
        return result

    def ratio(self, prediction: np.ndarray) -> dict[str, float]:
        return {name: value / self.bicubic[name] for name, value in self.rmse(prediction).items()}


def train_and_score(section: dict[str, Any], out: Path, store: Path, name: str, period: dict[str, str]) -> dict[str, Any]:
    """Train the model of `section` as it says, on one thread; score it on the test frames.

    -> RMSE / bicubic RMSE of every variable, and what the training took: wall clock and core seconds.
    """
    section["model"]["train"]["threads"] = 1
    write_json(out / "config.json", section)
    began, spent = time.perf_counter(), time.process_time()
    run(
        config=out / "config.json",
        stores={name: store / "pairs.zarr"},
        statistics={name: store / "statistics.json"},
        out=out / "model",
        checkpoints=out / "checkpoints",
    )
    seconds, core_seconds = time.perf_counter() - began, time.process_time() - spent
    test = Test(PairStore(store / "pairs.zarr"), period)
    model, pairs, statics = load_model(out / "model"), test.store, test.store.static_values("fine")
    frames = [
        model.predict(test.coarse[k].astype(np.float32), pairs.variables("coarse"), statics, pairs.grid("coarse"), pairs.times[i])
        for k, i in enumerate(test.indices)
    ]
    return {"seconds": seconds, "core_seconds": core_seconds, "ratio": test.ratio(np.stack(frames).astype(np.float64))}
