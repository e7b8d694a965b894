"""What each stage is told: the science keys of the run's configuration that it depends on, as plain JSON. Never more than that.

Machine keys reach a stage through a second file beside its slice (`machine_keys`, `load.read_slice`), which nothing depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from orbit2.config import comparisons
from orbit2.config.base import machine, science
from orbit2.config.comparisons import fitted_on, parents, predictions
from orbit2.config.load import dataset_hash, dataset_sources, dataset_variables, declared, merge, model_hash, model_slice
from orbit2.config.needs import STATIC, requests_hash, retrieve, sources_of
from orbit2.config.schema import RunConfig
from orbit2.config.variables import VariableConfig, named_in
from orbit2.errors import OrbitError

__all__ = [
    "dataset", "diagnose", "downscale", "evaluate", "fits", "machine_keys", "mapped_onto", "model", "parent", "part", "predictions",
    "region_files", "report", "retrieve", "sources_of", "whole",
]


# Keys of sections that only matter once the parts are summed: of what the parts hold, other rows are made, and none of them anew.
AFTERWARDS: dict[str, tuple[str, ...]] = {"evaluate": ("bootstrap",), "diagnose": ("regions", "domains")}


def receipt(config: RunConfig, source: str, name: str) -> str:
    """The file that retrieve writes when everything that dataset `name` wants of `source` is there. No other dataset waits for it."""
    request = f"{name}-{requests_hash(retrieve(config, source, name))}"
    return str(PurePosixPath(config.sources.resources) / source / "requests" / f"{request}.done.json")


def receipts(config: RunConfig, name: str) -> dict[str, str]:
    """What a dataset waits for: source -> receipt."""
    return {source: receipt(config, source, name) for source in (*config.datasets[name].sources, STATIC)}


def store(config: RunConfig, name: str) -> str:
    """The dataset's store; one without inputs holds observations."""
    return str(PurePosixPath(dataset_folder(config, name)) / ("pairs.zarr" if config.datasets[name].inputs else "observations.zarr"))


def dataset_folder(config: RunConfig, name: str) -> str:
    """`results/data/<name>-<hash>`: shared by every run that builds the same pairs."""
    return str(PurePosixPath("results/data") / f"{name}-{dataset_hash(config, name)}")


def model_folder(config: RunConfig, name: str) -> str:
    """`results/models/<name>-<hash>`: shared by every run that trains the same model."""
    return str(PurePosixPath("results/models") / f"{name}-{model_hash(config, name)}")


def model_path(config: RunConfig, name: str) -> str:
    """The model's own folder: `model_folder` holds it beside its checkpoints, an imported one lies where the user has it."""
    imported = config.models[name].imported
    return str(PurePosixPath(model_folder(config, name)) / "model") if imported is None else imported.folder


def run_folder(config: RunConfig) -> str:
    return str(PurePosixPath("results") / config.label)


def dataset(config: RunConfig, name: str) -> dict[str, Any]:
    """For regrid and statistics of one dataset."""
    return {
        "name": name,
        "hash": dataset_hash(config, name),
        "dataset": science(config.datasets[name]),
        "sources": dataset_sources(config, name),
        **declared(config, dataset_variables(config, name)),
    }


def model(config: RunConfig, name: str) -> dict[str, Any]:
    """For train or finetune of one model."""
    return {**model_slice(config, name), "hash": model_hash(config, name), **declared(config, _of_model(config, name))}


def mapped_onto(config: RunConfig, task: str) -> str:
    """The dataset to whose training inputs those of a task with `map_climate` are mapped."""
    section = predictions(config)[task]
    asked = section.map_climate.onto if section.map_climate is not None else None
    return asked or config.models[section.model].datasets[0]


def downscale(config: RunConfig, task: str) -> dict[str, Any]:
    """For one downscaling task."""
    section = predictions(config)[task]
    split = config.datasets[section.dataset].split
    return {
        "task": task,
        "downscale": science(section),
        "model_hash": model_hash(config, section.model),
        "dataset_hash": dataset_hash(config, section.dataset),
        **({"climate_hash": dataset_hash(config, mapped_onto(config, task))} if section.map_climate else {}),
        "observations_hash": dataset_hash(config, section.observations) if section.observations else None,
        "period": science(getattr(split, section.split)),
        **declared(config, _of_task(config, task)),
    }


def _of_model(config: RunConfig, name: str) -> list[str]:
    """The variables that training a model meets."""
    return [variable for data in config.models[name].datasets for variable in dataset_variables(config, data)]


def _of_task(config: RunConfig, task: str) -> list[str]:
    """The variables that one task, its scores and diagnostics meet."""
    section = predictions(config)[task]
    beside = comparisons.others(config, task) if task in config.downscale else ()
    stores = [section.dataset, *([section.observations] if section.observations else []), *beside]
    return [*_of_model(config, section.model), *(variable for data in stores for variable in dataset_variables(config, data)),
            *(threshold.variable for threshold in config.report.thresholds.values())]  # fmt: skip


def parent(config: RunConfig, task: str) -> dict[str, str] | None:
    """The model that a task's model was fine-tuned from, of members their reference, and the name of its prediction; None where there is
    nothing to compare with. `model` is what it is called beside the task's own: that one without noise is `<model>_no_noise`."""
    found = parents(config).get(task)
    if found is None:
        return None
    own = found[0] == config.downscale[task].model
    return {"model": f"{found[0]}_no_noise" if own else found[0], "prediction": found[1], "model_hash": model_hash(config, found[0])}


def fits(config: RunConfig, task: str) -> str | None:
    """The file of the baselines fitted to the training block of a task's dataset; None where there is none."""
    name = fitted_on(config, task)
    return None if name is None else str(PurePosixPath(dataset_folder(config, name)) / "baselines.nc")


def others(config: RunConfig, task: str) -> dict[str, str]:
    """The stores of other products that a task's truth is compared with, by dataset."""
    return {name: store(config, name) for name in comparisons.others(config, task)}


def evaluate(config: RunConfig, task: str) -> dict[str, Any]:
    """For the scores of one task."""
    return {**downscale(config, task), "parent": parent(config, task), "others": others(config, task), "evaluate": science(config.evaluate)}


def part(config: RunConfig, task: str) -> dict[str, Any]:
    """For the parts of one task's scores and diagnostics: what is gathered, not what is made of it afterwards."""
    sections = {"evaluate": config.evaluate, "diagnose": config.diagnose}
    gathered = {stage: {key: value for key, value in science(section).items() if key not in AFTERWARDS[stage]}
                for stage, section in sections.items()}  # fmt: skip
    return {**downscale(config, task), "parent": parent(config, task), "others": others(config, task), **gathered}


def region_files(config: RunConfig) -> list[str]:
    """The files of the user's regions. Raises OrbitError for one that is not there."""
    for name, path in config.diagnose.regions.items():
        if not Path(path).is_file():
            raise OrbitError("file of regions not found", where=f"diagnose.regions.{name}", got=path,
                             hint="paths are those seen from the folder that the workflow runs in")  # fmt: skip
    return list(config.diagnose.regions.values())


def diagnose(config: RunConfig, task: str) -> dict[str, Any]:
    """For the climate diagnostics of one task."""
    left_out = config.models[config.downscale[task].model].leave_out
    return {
        **downscale(config, task),
        **({"left_out": list(left_out)} if left_out is not None else {}),
        "parent": parent(config, task),
        "diagnose": science(config.diagnose),
        "thresholds": science(config.report.thresholds),
        "baselines": list(config.evaluate.baselines),
        "bootstrap": config.evaluate.bootstrap,
    }


def report(config: RunConfig) -> dict[str, Any]:
    """For the report: the whole run, and where its stages left their files."""
    run = science(config)
    if not config.variables:
        del run["variables"]  # what declares nothing stays as it was before anything could be declared
    return {
        "label": config.label,
        "run": run,
        "datasets": {name: dataset_folder(config, name) for name in config.datasets},
        "models": {name: model_folder(config, name) for name in config.models},
        "folder": run_folder(config),
    }


def machine_keys(config: RunConfig, stage: str, name: str = "", *_: str) -> dict[str, Any]:
    """The machine and place keys of a `stage`'s slice (a function above, its second argument `name`), in the slice's own shape.

    retrieve is told here how to fetch, and what the run wants of the source in all: what several datasets want is then one file.
    """
    if stage == "retrieve":
        return {"settings": config.sources.model_dump(mode="json"), "together": retrieve(config, name)["needs"]}

    def labels(names: Iterable[str]) -> dict[str, dict[str, VariableConfig]]:
        return {"variables": named_in(config, names)}

    sections: dict[str, Any] = {
        "dataset": lambda: {"dataset": config.datasets[name], **labels(dataset_variables(config, name))},
        "model": lambda: {"model": config.models[name], "architecture": config.architecture_of(name), "data": config.data,
                          **labels(_of_model(config, name))},
        "downscale": lambda: {"downscale": predictions(config)[name], **labels(_of_task(config, name))},
        "evaluate": lambda: {"downscale": config.downscale[name], "evaluate": config.evaluate, **labels(_of_task(config, name))},
        "diagnose": lambda: {"downscale": config.downscale[name], "diagnose": config.diagnose, **labels(_of_task(config, name))},
        "part": lambda: {"downscale": config.downscale[name], "evaluate": config.evaluate, "diagnose": config.diagnose,
                         **labels(_of_task(config, name))},
        "report": lambda: {"run": config},
    }
    return machine(sections[stage]())


def whole(config: RunConfig, stage: str, name: str = "") -> dict[str, Any]:
    """A stage's slice with its machine keys in it, for who runs a stage without files between."""
    made: dict[str, Callable[[RunConfig, str], dict[str, Any]]]
    made = {"retrieve": retrieve, "dataset": dataset, "model": model, "downscale": downscale, "evaluate": evaluate, "diagnose": diagnose}
    return merge(report(config) if stage == "report" else made[stage](config, name), machine_keys(config, stage, name))
