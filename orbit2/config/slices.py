"""What each stage is told: the part of the run's configuration it depends on, as plain JSON. Never more than that."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from orbit2.config.load import dataset_hash, dataset_sources, model_hash, model_slice
from orbit2.config.needs import STATIC, requests_hash, retrieve, sources_of
from orbit2.config.schema import RunConfig

__all__ = ["dataset", "diagnose", "downscale", "evaluate", "model", "report", "retrieve", "sources_of"]


def receipt(config: RunConfig, source: str) -> str:
    """The file that retrieve writes when everything that the run wants of `source` is there."""
    return str(PurePosixPath(config.sources.resources) / source / "requests" / f"{requests_hash(retrieve(config, source))}.done.json")


def receipts(config: RunConfig, name: str) -> list[str]:
    """What a dataset waits for."""
    return [receipt(config, source) for source in (*config.datasets[name].sources, STATIC)]


def store(config: RunConfig, name: str) -> str:
    """The dataset's store; one without inputs holds observations."""
    return str(PurePosixPath(dataset_folder(config, name)) / ("pairs.zarr" if config.datasets[name].inputs else "observations.zarr"))


def dataset_folder(config: RunConfig, name: str) -> str:
    """`results/data/<name>-<hash>`: shared by every run that builds the same pairs."""
    return str(PurePosixPath("results/data") / f"{name}-{dataset_hash(config, name)}")


def model_folder(config: RunConfig, name: str) -> str:
    """`results/models/<name>-<hash>`: shared by every run that trains the same model."""
    return str(PurePosixPath("results/models") / f"{name}-{model_hash(config, name)}")


def run_folder(config: RunConfig) -> str:
    return str(PurePosixPath("results") / config.label)


def dataset(config: RunConfig, name: str) -> dict[str, Any]:
    """For regrid and statistics of one dataset."""
    return {
        "name": name,
        "hash": dataset_hash(config, name),
        "dataset": config.datasets[name].model_dump(mode="json"),
        "sources": dataset_sources(config, name),
    }


def model(config: RunConfig, name: str) -> dict[str, Any]:
    """For train or finetune of one model."""
    return {**model_slice(config, name), "hash": model_hash(config, name)}


def downscale(config: RunConfig, task: str) -> dict[str, Any]:
    """For one downscaling task."""
    section = config.downscale[task]
    split = config.datasets[section.dataset].split
    return {
        "task": task,
        "downscale": section.model_dump(mode="json"),
        "model_hash": model_hash(config, section.model),
        "dataset_hash": dataset_hash(config, section.dataset),
        "observations_hash": dataset_hash(config, section.observations) if section.observations else None,
        "period": getattr(split, section.split).model_dump(mode="json"),
    }


def evaluate(config: RunConfig, task: str) -> dict[str, Any]:
    """For the scores of one task."""
    return {**downscale(config, task), "evaluate": config.evaluate.model_dump(mode="json")}


def diagnose(config: RunConfig, task: str) -> dict[str, Any]:
    """For the climate diagnostics of one task."""
    return {**downscale(config, task), "diagnose": config.diagnose.model_dump(mode="json"), "baselines": list(config.evaluate.baselines)}


def report(config: RunConfig) -> dict[str, Any]:
    """For the report: the whole run, and where its stages left their files."""
    return {
        "label": config.label,
        "run": config.model_dump(mode="json"),
        "datasets": {name: dataset_folder(config, name) for name in config.datasets},
        "models": {name: model_folder(config, name) for name in config.models},
        "folder": run_folder(config),
    }
