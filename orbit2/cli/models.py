"""Text about models, and their export as a folder to publish. Never trains or changes a model."""

from __future__ import annotations

import os
import shutil
import uuid
import zipfile
from pathlib import Path
from typing import Any

from orbit2.errors import OrbitError, one_of
from orbit2.files import atomic, sha256, write_text

PUBLISHED = ("config.json", "weights.safetensors", "normalisation.json", "card.md")


def info(path: Path, name: str | None) -> str:
    """What a model folder, or model `name` of a run's YAML (all of them by default), is. Raises OrbitError for anything else."""
    if path.is_dir():
        return _folder(path)
    from orbit2.config.load import load
    from orbit2.model.inspect import describe

    run = load(path)
    if name is not None and name not in run.models:
        raise OrbitError("no such model", where=path, got=name, allowed=", ".join(run.models), hint=one_of(name, run.models))
    return "\n\n".join(describe(run, key) for key in ([name] if name else run.models))


def _folder(path: Path) -> str:
    from orbit2.model.folder import grids, load
    from orbit2.model.inspect import table

    model, _, config = load(path)
    architecture = " ".join(f"{key}={value}" for key, value in config["architecture"].items())
    lines = [
        f"model folder  {path}",
        f"inputs        {', '.join(config['inputs'])}",
        f"outputs       {', '.join(config['outputs'])}",
        f"statics       {', '.join(config['statics'])}",
        f"refinement    {config['architecture']['refinement']}",
        f"architecture  {architecture}",
    ]
    known = {"format", "architecture", "inputs", "outputs", "statics", "parameters", "sha256"}
    lines += [f"{key:<13} {value}" for key, value in config.items() if key not in known and isinstance(value, (str, int, float, list))]
    lines += [f"{'statics from':<13} {key}: {told['source']}{', carried' if told['carried'] else ''}"
              for key, told in config.get("statics_from", {}).items()]  # fmt: skip
    return "\n".join([*lines, *table(model.to("meta"), grids(config))])


def export(path: Path, out: Path, archive: Path | None = None) -> list[Path]:
    """Copy a model folder to a new folder `out` that is ready to publish, with licence, attribution of its data and SHA256SUMS.

    `archive` (.zip) packs it too. Returns what was written. Raises OrbitError when the folder is not a whole model, has no card,
    `out` or `archive` exists, or they cannot be written: then nothing is left behind.
    """
    from orbit2.model import folder

    if os.path.lexists(out) or out.suffix == ".zip":
        hint = "give a new folder; --zip FILE packs it" if out.suffix == ".zip" else "give a new folder"
        raise OrbitError("the folder to write must not exist yet", where="--out", got=str(out), hint=hint)
    if archive is not None and archive.suffix != ".zip":
        raise OrbitError("the archive's name must end in .zip", where="--zip", got=str(archive), hint="e.g. --zip model.zip")
    if archive is not None and os.path.lexists(archive):
        raise OrbitError("the archive to write must not exist yet", where="--zip", got=str(archive), hint="give a new name")
    for option, place in (("--out", out), ("--zip", archive)):
        if place is not None and {path.resolve(), out.resolve()} & set(place.resolve().parents):
            raise OrbitError("cannot be written into the model or the exported folder", where=option, got=str(place),
                             hint="give another place")  # fmt: skip
    _, _, config = folder.load(path)
    if "weights_licence" in config:
        raise OrbitError("imported weights are their publisher's: orbit2 writes no folder with its own licence for them", where=path,
                         hint="pass on the checkpoint's page and the command that imported it")  # fmt: skip
    if not (path / "card.md").is_file():
        raise OrbitError("the model has no card", where=path / "card.md", hint="give the `model/` folder that the train stage writes")
    part = out.with_name(f".{out.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.part")
    try:
        part.mkdir(parents=True)
        for name in dict.fromkeys((*PUBLISHED, *config["sha256"])):  # and the statics that it carries
            (part / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path / name, part / name)
        shutil.copyfile(Path(folder.__file__).with_name("LICENSE.txt"), part / "LICENSE")
        write_text(part / "ATTRIBUTION.md", _attribution(config))
        names = sorted(str(p.relative_to(part)) for p in part.rglob("*") if p.is_file())
        write_text(part / "SHA256SUMS", "".join(f"{sha256(part / name)}  {name}\n" for name in names))
        folder.load(part)
        part.rename(out)
        if archive is None:
            return [out]
        with atomic(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(out.rglob("*")):
                packed.write(file, Path(out.name) / file.relative_to(out))
    except OSError as error:
        raise OrbitError(f"cannot be written ({error.strerror or error})", where=error.filename or out,
                         hint="free some space, or give a place where you may write") from None  # fmt: skip
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [out, archive]


def _attribution(config: dict[str, Any]) -> str:
    from orbit2.sources.sample import ATTRIBUTION
    from orbit2.train.card import LICENCE, credits

    lines = ["# Attribution", "", LICENCE, "", *(f"- {credit}" for credit in credits(config.get("datasets", {}))), ""]
    shipped = ["`orbit2/sources/sample/ATTRIBUTION.md`, the fields that ship with orbit2:", "", ATTRIBUTION.read_text(encoding="utf-8")]
    return "\n".join([*lines, *(shipped if "ATTRIBUTION.md" in "".join(lines) else [])])
