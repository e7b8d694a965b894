"""A self-describing model folder: config.json, weights.safetensors, normalisation.json, card.md. Loadable with no YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from orbit2.config.load import validate
from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.files import atomic, read_json, sha256, write_json
from orbit2.model.build import Downscaling, build

FORMAT = "orbit2-model-1"


def save(folder: str | Path, model: Downscaling, normaliser: Normaliser, about: Mapping[str, Any]) -> None:
    """Write the folder file by file, each atomically; config.json, which lists checksums, comes last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    weights = folder / "weights.safetensors"
    with atomic(weights) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, temporary)
    write_json(folder / "normalisation.json", normaliser.to_json())
    write_json(
        folder / "config.json",
        {
            "format": FORMAT,
            "architecture": model.config.model_dump(mode="json"),
            "inputs": list(model.inputs),
            "outputs": list(model.outputs),
            "statics": list(model.statics),
            **({"scale_km": list(model.scale_km)} if model.output_scale.ndim == 2 else {}),
            "parameters": sum(p.numel() for p in model.parameters()),
            "sha256": {name: sha256(folder / name) for name in ("weights.safetensors", "normalisation.json")},
            **about,
        },
    )


def load(folder: str | Path, device: str | torch.device = "cpu") -> tuple[Downscaling, Normaliser, dict[str, Any]]:
    """(model in eval mode, normaliser, config.json). Raises OrbitError for a missing, foreign or damaged folder."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise OrbitError("not a model folder (no config.json)", where=folder, hint="give the `model/` folder that the train stage writes")
    config: dict[str, Any] = read_json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise OrbitError("not an orbit2 model", where=folder / "config.json", got=config.get("format"), allowed=FORMAT)
    for name, expected in config["sha256"].items():
        if not (folder / name).is_file():
            raise OrbitError("file missing from the model folder", where=folder / name)
        if sha256(folder / name) != expected:
            raise OrbitError(
                "file damaged (checksum differs from config.json)", where=folder / name, hint="copy the folder again or re-train"
            )
    architecture = validate(ArchitectureConfig, config["architecture"], folder / "config.json")
    model = build(architecture, config["inputs"], config["outputs"], config["statics"])
    if known := [float(km) for km in config.get("scale_km", [])]:
        model.set_scale(known, torch.ones(len(known), len(model.outputs)))
    try:
        model.load_state_dict(load_file(folder / "weights.safetensors"))
    except RuntimeError as error:
        found = " ".join(str(error).split()[:24])
        hint = "re-train, or use the orbit2 that wrote it"
        raise OrbitError("weights do not fit this version's architecture", where=folder, got=found, hint=hint) from None
    return model.eval().to(device), Normaliser.from_json(read_json(folder / "normalisation.json")), config
