"""Opens what the stages left on disk for one run and checks that it is there. Never computes a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from orbit2 import timing
from orbit2.baselines import FITTED, METHODS, interpolate
from orbit2.baselines.fitted import BASE, Fitted
from orbit2.config import slices
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import model_hash, read_slice, validate
from orbit2.config.schema import DownscaleConfig, ModelConfig, RunConfig
from orbit2.data.pairs import PairStore, Side
from orbit2.data.store_grid import GRID
from orbit2.errors import OrbitError
from orbit2.files import read_json, read_lines
from orbit2.grid import AnyGrid, Grid, from_centres
from orbit2.metrics import predictions, table
from orbit2.metrics.predictions import grid_of, window
from orbit2.times import Times, normal
from orbit2.variables import ATTRIBUTE, adopt, floor

Array = npt.NDArray[np.float64]


@dataclass
class Task:
    """One downscaling task: its prediction, its pair store and what evaluate and diagnose wrote about it."""

    name: str
    config: DownscaleConfig
    dataset: DatasetConfig
    prediction_path: Path
    store: PairStore
    evaluate: Path
    diagnose: Path
    observations: PairStore | None = None
    timing: dict[str, Any] = field(default_factory=dict)
    fits: Path | None = None  # baselines fitted to the training block

    @cached_property
    def prediction(self) -> xr.Dataset:
        """The opened prediction. Raises OrbitError when it is missing, unreadable or unfinished."""
        path = self.prediction_path
        if not path.exists():
            raise OrbitError("prediction not found", where=path, hint="run the downscale stage first")
        try:
            opened: xr.Dataset = xr.open_zarr(str(path), consolidated=False, chunks=None)
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise OrbitError(f"prediction cannot be read ({reason})", where=path, hint="delete it and re-run the downscale stage") from None
        if not opened.attrs.get("finalised"):
            raise OrbitError("prediction is not finalised", where=path, hint="its writing was interrupted: re-run the downscale stage")
        adopt(opened.attrs.get(ATTRIBUTE), (), path)
        return opened

    @property
    def has_truth(self) -> bool:
        """Whether the pair store holds the fine fields that the prediction estimates."""
        return self.config.input == "coarse" and self.observations is None and bool(self.dataset.outputs)

    @cached_property
    def grid(self) -> AnyGrid:
        """The prediction's own grid."""
        if GRID in self.prediction.attrs:
            return grid_of(self.prediction, self.prediction_path)
        return from_centres(self.prediction["lat"].to_numpy(), self.prediction["lon"].to_numpy())

    @property
    def scored(self) -> Task:
        """The task with the grid that its scores are on, for who draws fields of evaluate and diagnose: of one with observations theirs."""
        if self.observations is None:
            return self
        grid, other = self.observations.grid("fine"), replace(self)
        other.__dict__["grid"] = grid.crop(*predictions.inside(grid, self.grid))
        return other

    @property
    def variables(self) -> list[str]:
        """Predicted variables in the dataset's order."""
        names = self.dataset.outputs or tuple(str(name) for name in self.prediction.data_vars)
        return [name for name in names if name in self.prediction.data_vars and "time" in self.prediction[name].dims]

    @cached_property
    def times(self) -> Times:
        times = normal(self.prediction["time"].to_numpy())
        return times

    @property
    def input_side(self) -> Side:
        return self.config.input

    @property
    def input_grid(self) -> AnyGrid:
        return self.store.grid(self.input_side)

    @cached_property
    def _window(self) -> tuple[slice, slice]:
        """Where the prediction lies in the grid of all fine cells."""
        whole = self.input_grid.refine(self.store.refinement)
        if not (isinstance(whole, Grid) and isinstance(self.grid, Grid)):
            return window(self.grid, whole, self.prediction_path)
        row = int(np.argmin(np.abs(whole.lat - self.grid.lat[0])))
        column = int(np.argmin(np.abs(whole.lon - self.grid.lon[0])))
        return slice(row, row + self.grid.shape[0]), slice(column, column + self.grid.shape[1])

    def frame(self, wanted: int) -> int:
        """The frame to show: `wanted`, or the last one when there are fewer."""
        return min(wanted, len(self.times) - 1)

    @property
    def observed(self) -> list[str]:
        """Predicted variables that the observations hold."""
        return [] if self.observations is None else [name for name in self.variables if name in self.observations.variables("fine")]

    def observation(self, name: str, frame: int) -> Array | None:
        """The observed field on the observations' own grid; None where that time is a gap."""
        assert self.observations is not None
        usable = self.observations.indices(str(self.times[frame]), str(self.times[frame]))
        if not len(usable):
            return None
        position = self.observations.variable_index("fine", name)
        return np.asarray(self.observations.read("fine", int(usable[0]))[position], dtype=np.float64)

    def _stored(self, side: Side, name: str, frame: int) -> Array:
        found = np.flatnonzero(self.store.times == self.times[frame])
        if not len(found):
            raise OrbitError(
                "prediction has a time that the pair store has not",
                where=self.prediction_path,
                got=str(self.times[frame]),
                hint="re-run the downscale stage",
            )
        return np.asarray(self.store.read(side, int(found[0]))[self.store.variable_index(side, name)], dtype=np.float64)

    @cached_property
    def _frames(self) -> predictions.Frames:
        return predictions.Frames(self.prediction)

    def predicted(self, name: str, frame: int) -> Array:
        """The model's field [H, W] on `grid`."""
        return self._frames.field(name, frame)

    @property
    def members(self) -> int:
        """Of the prediction's ensemble; 0 for one field."""
        return int(self.prediction.sizes.get("member", 0))

    def ensemble(self, name: str, frame: int, most: int = 3) -> tuple[Array, Array, list[Array]]:
        """Mean and standard deviation (unbiased) of the members [H, W] on `grid`, and the first `most` of them. Read one by one."""
        field, count = self.prediction[name].isel(time=frame), self.members
        mean, square, first = np.zeros(self.grid.shape), np.zeros(self.grid.shape), list[Array]()
        for member in range(count):
            values = np.asarray(field.isel(member=member).to_numpy(), dtype=np.float64)
            if member < most:
                first.append(values)
            step = values - mean
            mean += step / (member + 1)
            square += step * (values - mean)
        return mean, np.sqrt(square / max(1, count - 1)), first

    def input(self, name: str, frame: int) -> Array:
        """The input's whole field on `input_grid`. Raises OrbitError where the variable is no input."""
        return self._stored(self.input_side, name, frame)

    def truth(self, name: str, frame: int) -> Array:
        """The truth [H, W] on `grid`; only for tasks that have one."""
        return np.asarray(self._stored("fine", name, frame)[self._window], dtype=np.float64)

    def interpolated(self, name: str, frame: int, method: str = "bicubic") -> Array:
        """A baseline [H, W] on `grid`, from the input's whole field, interpolated or fitted (see has_baseline)."""
        plain, field = method if method in METHODS else BASE, self.input(name, frame)
        fine = interpolate(field, self.input_grid, self.store.refinement, plain, lower=floor(name))[self._window]
        if plain != method:
            assert self._fitted is not None
            fine = self._fitted.apply(method, name, np.asarray(fine, dtype=np.float64), field, self.prediction["time"].values[frame])
        return np.asarray(fine, dtype=np.float64)

    def has_baseline(self, name: str, method: str) -> bool:
        """Whether `interpolated` can make it of the variable: fitted ones where their file lies beside the store."""
        if not self.is_input(name):
            return False
        return method in METHODS or (self._fitted is not None and method in self._fitted.methods(name, FITTED))

    @cached_property
    def _fitted(self) -> Fitted | None:
        if self.fits is None or not self.fits.is_file():
            return None
        return Fitted(self.fits, *self._window, self.input_grid, self.store.refinement)

    def is_input(self, name: str) -> bool:
        return name in self.store.variables(self.input_side)


@dataclass
class Model:
    """One trained model's folder: config.json, provenance.json and the training curve."""

    name: str
    config: ModelConfig
    folder: Path
    hash: str
    about: dict[str, Any]
    provenance: dict[str, Any]
    curve: list[dict[str, Any]] = field(repr=False)
    timing: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def origin(self) -> str:
        """Where the weights of a model that was not trained in this run came from, and whose they are; empty for all others."""
        if self.config.imported is None:
            return ""
        said = [str(self.about.get("origin", "weights of another run")), "nothing of them was trained in this run"]
        files = dict(self.about.get("imported", {})).get("files", {})
        said += [f"made of {', '.join(files)}"] if files else []
        said += [str(self.about["weights_licence"]).rstrip(".")] if self.about.get("weights_licence") else []
        years = [f"{block} ({start} to {end})" for block, start, end, _ in self.config.imported.facts.learned]
        said.append(f"they learned from {', '.join(years)}" if years else
                    "the years that they learned from are unknown here: those of the test may be among them")  # fmt: skip
        return "; ".join(said)

    @property
    def parameters(self) -> int | None:
        value = self.about.get("parameters")
        return value if isinstance(value, int) else None


@dataclass
class Inputs:
    """Everything the report is made from."""

    config: RunConfig
    label: str
    root: Path
    folder: Path
    tasks: dict[str, Task]
    models: dict[str, Model]
    statistics: dict[str, dict[str, Any]]
    scores: pd.DataFrame  # evaluate/metrics.parquet
    regions: pd.DataFrame | None  # diagnose/metrics.parquet
    notes: dict[str, Any]  # task -> diagnose/<task>/notes.json
    resources: list[tuple[str, dict[str, Any]]]  # provider files and their entries in the manifests of retrieve

    def main_task(self) -> Task:
        """The task of the headline and maps: `report.map_task`, else the first with a truth, else the first with observations on a grid of
        their own. Raises OrbitError when there is none."""
        chosen = self.config.report.map_task
        if chosen is not None:
            if not self.tasks[chosen].has_truth:
                raise OrbitError("the mapped task has no truth", where="report.map_task", got=chosen,
                                 allowed=", ".join(n for n, t in self.tasks.items() if t.has_truth),
                                 hint="name a task with a truth, or leave the key out")  # fmt: skip
            return self.tasks[chosen]
        for task in self.tasks.values():
            if task.has_truth and self.config.models[task.config.model].region is None:
                return task
        for task in self.tasks.values():
            if task.has_truth:
                return task
        for task in self.tasks.values():
            if task.observations is not None:
                return task
        raise OrbitError("no downscaling task has a truth to compare with", where="downscale", hint="add a task with `input: coarse`")


def read(config: Path, root: Path) -> Inputs:
    """Open a run from its report slice. Raises OrbitError naming the missing file and the stage that writes it."""
    raw = read_slice(config)
    if not isinstance(raw, Mapping) or not {"label", "run", "datasets", "models", "folder"} <= set(raw):
        raise OrbitError("not the report's slice of a run", where=config, hint="it is written by the workflow from the run's configuration")
    run = validate(RunConfig, raw["run"], config)
    folder = root / str(raw["folder"])
    stores = {name: PairStore(root / slices.store(run, name)) for name in run.datasets}
    tasks = {
        name: Task(
            name,
            section,
            run.datasets[section.dataset],
            folder / "downscale" / f"{name}.zarr",
            stores[section.dataset],
            folder / "evaluate" / name,
            folder / "diagnose" / name,
            stores[section.observations] if section.observations else None,
            _timing(folder / "downscale" / f"{name}.{timing.NAME}"),
            root / fits if (fits := slices.fits(run, name)) is not None else None,
        )
        for name, section in run.downscale.items()
    }
    for task in tasks.values():
        _ = task.prediction  # missing predictions are found before any work
    regions = folder / "diagnose" / "metrics.parquet"
    sources = set(slices.sources_of(run))
    return Inputs(
        resources=_resources(root / run.sources.resources, sources),
        config=run,
        label=str(raw["label"]),
        root=root,
        folder=folder,
        tasks=tasks,
        models={name: _model(run, name, root / slices.model_path(run, name)) for name in raw["models"]},
        statistics={name: _optional(root / str(path) / "statistics.json") for name, path in raw["datasets"].items()},
        scores=table.read(folder / "evaluate" / "metrics.parquet"),
        regions=table.read(regions) if regions.is_file() else None,
        notes={name: read_json(task.diagnose / "notes.json") for name, task in tasks.items() if (task.diagnose / "notes.json").is_file()},
    )


def _model(run: RunConfig, name: str, folder: Path) -> Model:
    if not (folder / "config.json").is_file():
        stage = "finetune" if run.models[name].finetune_from else "train"
        hint = f"run the {stage} stage first" if run.models[name].imported is None else "the run names it as `imported`"
        raise OrbitError("model folder not found", where=folder, hint=hint)
    return Model(
        name,
        run.models[name],
        folder,
        model_hash(run, name),
        read_json(folder / "config.json"),
        _optional(folder / "provenance.json"),
        read_lines(folder / "metrics.jsonl"),
        _timing(folder.parent / "checkpoints" / timing.NAME) or _timing(folder / timing.NAME),
    )


def _resources(folder: Path, sources: set[str]) -> list[tuple[str, dict[str, Any]]]:
    """Entries of the manifests that retrieve wrote for these sources; none where the provider files are gone."""
    found: list[tuple[str, dict[str, Any]]] = []
    for source in sorted(sources):
        for manifest in sorted((folder / source).glob("*/manifest.json")):
            entries = _optional(manifest).get("files", [])
            found += [(f"{source}/{manifest.parent.name}/{e['file']}", e) for e in entries if isinstance(e, dict) and "file" in e]
    return found


def _optional(path: Path) -> dict[str, Any]:
    value = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _timing(path: Path) -> dict[str, Any]:
    """A record of where the time went; nothing where there is none that this version reads."""
    return _optional(path) if timing.tries(path) else {}


def ordered(inputs: Inputs) -> list[Model]:
    """The models, those that others are fine-tuned from first."""
    return sorted(inputs.models.values(), key=lambda model: (model.config.finetune_from is not None, model.name))
