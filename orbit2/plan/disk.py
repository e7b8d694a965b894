"""What a run puts on disk and fetches: provider files, pair stores, models, checkpoints, predictions; in all, and what is not there yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from orbit2.config import slices
from orbit2.config.comparisons import predictions
from orbit2.config.needs import STATIC as STATIC_SOURCE
from orbit2.config.schema import RunConfig
from orbit2.downscale.places import attributes
from orbit2.errors import OrbitError
from orbit2.grid import Grid, named
from orbit2.model.inspect import vocabulary
from orbit2.plan.records import Stored
from orbit2.retrieve.stage import outstanding
from orbit2.sources.times import plan_times, planned_in

PACKED, STATIC, FLOAT = 2, 4, 4  # bytes of a value: of a sample in a pair store, of its static fields, of a prediction
# What is left of them when compressed, measured: pair stores of the ERA5 week that ships with orbit2 (benchmarks/pairstore_read.py),
# predictions of 7 km (benchmarks/downscale_throughput.py, rounded ones benchmarks/writer.py). Where fields are missing (the sea, in PRISM
# and Daymet) less is left.
PAIRS_LEFT = 0.67
PREDICTION_LEFT: dict[str, float] = {"exact": 0.56, "rounded": 0.38, "plain": 1.0}
STEP, BEST = 16, 4  # bytes of a parameter in a checkpoint (weights, two moments, average), and in the best weights


def stored(config: RunConfig, parameters: Mapping[str, int]) -> tuple[Stored, ...]:
    """Everything of a run that takes space; `parameters` of each of its models. Looks at what is there, here."""
    tasks = tuple(_prediction(config, task) for task in predictions(config))
    pairs = tuple(_pairs(config, name) for name in config.datasets)
    return (*_downloads(config), *pairs, *(one for name, count in parameters.items() for one in _model(config, name, count)), *tasks)


def _downloads(config: RunConfig) -> Iterator[Stored]:
    built = {name for name in config.datasets if _finalised(Path(slices.store(config, name)))}
    for source in slices.sources_of(config):
        try:
            found = outstanding(config, source)
        except OrbitError as error:
            yield Stored("download", source, 0, 0, untold=str(error))
            continue
        users = {name for name, dataset in config.datasets.items() if source in (*dataset.sources, STATIC_SOURCE)}
        missing = 0 if users <= built else found.missing  # a finished store needs no provider files
        yield Stored("download", source, found.bytes, missing, found.files, notes=found.notes)


def samples_bytes(config: RunConfig, name: str) -> tuple[int, int]:
    """Bytes of one sample of dataset `name`, both sides, before compression; and of its static fields."""
    dataset = config.datasets[name]
    coarse, fine = (named(grid) for grid in (dataset.coarse_grid, dataset.fine_grid))
    cells = [len(names) * int(np.prod(grid.shape)) for names, grid in ((dataset.inputs, coarse), (dataset.outputs, fine))]
    statics = len(dataset.statics) * int(np.prod(coarse.shape) + np.prod(fine.shape))
    return PACKED * sum(cells), STATIC * statics


def _pairs(config: RunConfig, name: str) -> Stored:
    one, statics = samples_bytes(config, name)
    size = round(PAIRS_LEFT * one * len(plan_times(config.datasets[name]))) + statics
    return Stored("store", name, size, 0 if _finalised(Path(slices.store(config, name))) else size)


def _model(config: RunConfig, name: str, parameters: int) -> Iterator[Stored]:
    """The model folder; and checkpoints: those that are kept, the best, and the one that is being written beside them."""
    if config.models[name].imported is not None:  # lies where the user has it
        return
    train, folder = config.models[name].train, Path(slices.model_folder(config, name))
    there = (folder / "model" / "weights.safetensors").is_file()
    step = STEP if train.ema else STEP - 4
    for kind, size in (("model", 4 * parameters), ("checkpoints", ((train.keep_checkpoints + 1) * step + 2 * BEST) * parameters)):
        yield Stored(kind, name, size, 0 if there else size)


def _prediction(config: RunConfig, task: str) -> Stored:
    section = predictions(config)[task]
    fine = output_grid(config, task)
    values = len(vocabulary(config, section.model)[1]) * task_samples(config, task) * max(section.members, 1) * int(np.prod(fine.shape))
    size = round(PREDICTION_LEFT[section.stored] * FLOAT * values)
    path = Path(slices.run_folder(config)) / "downscale" / f"{task}.zarr"
    return Stored("prediction", task, size, 0 if _finalised(path) else size)


def output_grid(config: RunConfig, task: str) -> Grid:
    """What a task's prediction is on: its input's grid, of a regional model the box, refined."""
    section = predictions(config)[task]
    dataset, region = config.datasets[section.dataset], config.models[section.model].region
    grid = named(dataset.fine_grid if section.input == "fine" else dataset.coarse_grid)
    return (grid if region is None else grid.crop(*grid.window(region))).refine(config.architecture_of(section.model).refinement)


def task_samples(config: RunConfig, task: str) -> int:
    """Times that a task predicts."""
    section = predictions(config)[task]
    dataset = config.datasets[section.dataset]
    count = planned_in(dataset, dataset.split.blocks[section.split])
    return min(count, section.max_samples) if section.max_samples else count


def training_samples(config: RunConfig, name: str) -> int:
    """Times of a dataset's training block."""
    return planned_in(config.datasets[name], config.datasets[name].split.train)


def _finalised(path: Path) -> bool:
    """Whether a finished Zarr store is there."""
    return bool(attributes(path).get("finalised"))
