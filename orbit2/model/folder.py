"""A self-describing model folder: config.json, weights.safetensors, normalisation.json, card.md. Loadable with no YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from orbit2.config.imported import FORMAT
from orbit2.config.load import validate
from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.files import atomic, read_json, sha256, to_text
from orbit2.grid import AnyGrid, from_attributes, named
from orbit2.model import carried
from orbit2.model.build import Downscaling, build
from orbit2.model.reslim import Reslim
from orbit2.variables import ATTRIBUTE, adopt
from orbit2.variables import carried as carried_rows

WEIGHTS = "weights.safetensors"


def save(
    folder: str | Path, model: Downscaling, normaliser: Normaliser, about: Mapping[str, Any],
    statics: Mapping[str, xr.Dataset] | None = None, more: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write the folder beside what is there; only when all is on disk it takes its place, config.json with the checksums last.

    `statics`: fields that the model carries, by dataset (see `carried`). `more`: writers of other files, by their path in the folder.
    """
    folder = Path(folder)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with ExitStack() as stack:  # the contexts end from the last to the first: nothing is replaced before everything is written
        config, moments, data = (stack.enter_context(atomic(folder / name)) for name in ("config.json", "normalisation.json", WEIGHTS))
        save_file(weights, data)
        moments.write_text(to_text(normaliser.to_json()), encoding="utf-8")
        writers = dict(more or {})
        others = {name: stack.enter_context(atomic(folder / name)) for name in (*carried.names(statics or {}), *writers)}
        for fields, place in zip((statics or {}).values(), others.values(), strict=False):
            carried.write(place, fields)
        for name, write in writers.items():
            write(others[name])
        facts = {
            "format": FORMAT,
            "architecture": model.config.model_dump(mode="json"),
            "inputs": list(model.inputs),
            "outputs": list(model.outputs),
            "statics": list(model.statics),
            **(_scales(model) if model.output_scale.ndim == 2 else {}),
            **({"noise_scale": model.noise_scale} if isinstance(model, Reslim) and model.config.noise.channels else {}),
            **carried_rows([*model.inputs, *model.outputs, *model.statics]),
            "parameters": sum(p.numel() for p in model.parameters()),
            "sha256": {WEIGHTS: sha256(data), "normalisation.json": sha256(moments), **{n: sha256(file) for n, file in others.items()}},
            **about,
        }
        config.write_text(to_text(facts), encoding="utf-8")


def _scales(model: Downscaling) -> dict[str, Any]:
    """What the rows of `output_scale` belong to."""
    return {"scale_km": list(model.scale_km), **({"scale_datasets": list(model.scale_datasets)} if model.scale_datasets else {})}


def unnamed(grids: Mapping[str, AnyGrid], datasets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What config.json is to say of the coarse `grids` that the names in its `datasets` do not: see `coarse_grids`."""
    told = {}
    for key, grid in grids.items():
        try:
            if named(datasets[key]["coarse_grid"]).same_as(grid):
                continue
        except (OrbitError, KeyError):
            pass
        told[key] = grid.to_attributes()
    return told


def coarse_grids(config: Mapping[str, Any]) -> dict[str, AnyGrid]:
    """Coarse grids of the datasets that a config.json names. Raises OrbitError for a name that is none."""
    told = config.get("grids", {})
    return {key: from_attributes(told[key]) if key in told else named(data["coarse_grid"])
            for key, data in (config.get("datasets") or {}).items() if key in told or "coarse_grid" in data}  # fmt: skip


def grids(config: Mapping[str, Any]) -> dict[str, AnyGrid]:
    """`coarse_grids`, cut to the model's region."""
    found = coarse_grids(config)
    if config.get("region"):
        return {key: grid.crop(*grid.window(config["region"])) for key, grid in found.items()}
    return found


def load(
    folder: str | Path, device: str | torch.device = "cpu", weights: bool = True
) -> tuple[Downscaling, Normaliser, dict[str, Any]]:
    """(model in eval mode, normaliser, config.json). Raises OrbitError for a missing, foreign or damaged folder.

    The variables that it declares are known to the process afterwards. Without `weights` the model is on the meta device: what it is, for
    a process that another one gives its values.
    """
    folder = Path(folder)
    inner = folder / "model"
    hint = f"did you mean {inner}?" if (inner / "config.json").is_file() else "give the `model/` folder that the train stage writes"
    if not (folder / "config.json").is_file():
        raise OrbitError("not a model folder (no config.json)", where=folder, hint=hint)
    config: dict[str, Any] = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise OrbitError("not an orbit2 model", where=folder / "config.json", got=got, allowed=FORMAT, hint=hint)
    for name, expected in config["sha256"].items():
        if not (folder / name).is_file():
            raise OrbitError("file missing from the model folder", where=folder / name,
                             hint="copy the whole folder again, or train or import the model again")  # fmt: skip
        if (weights or name != WEIGHTS) and sha256(folder / name) != expected:
            raise OrbitError(
                "file damaged (checksum differs from config.json)", where=folder / name, hint="copy the folder again or re-train"
            )
    adopt(config.get(ATTRIBUTE), [*config["inputs"], *config["outputs"], *config["statics"]], folder)
    architecture = validate(ArchitectureConfig, config["architecture"], folder / "config.json")
    with nullcontext() if weights else torch.device("meta"):
        model = build(architecture, config["inputs"], config["outputs"], config["statics"])
    if known := [float(km) for km in config.get("scale_km", [])]:
        model.set_scale(known, torch.ones(len(known), len(model.outputs)), config.get("scale_datasets", ()))
    if isinstance(model, Reslim):
        model.noise_scale = float(config.get("noise_scale", 1.0))
    normaliser = Normaliser.from_json(read_json(folder / "normalisation.json"))
    if not weights:
        return model.eval(), normaliser, config
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        found = " ".join(str(error).split()[:24])
        hint = "re-train, or use the orbit2 that wrote it"
        raise OrbitError("weights do not fit this version's architecture", where=folder, got=found, hint=hint) from None
    return model.eval().to(device), normaliser, config
