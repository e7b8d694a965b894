"""Text about models, and their export as one file. Never trains or changes a model."""

from __future__ import annotations

import zipfile
from pathlib import Path

from orbit2.errors import OrbitError
from orbit2.files import atomic


def info(path: Path, name: str | None) -> str:
    """What a model folder, or model `name` of a run's YAML (all of them by default), is. Raises OrbitError for anything else."""
    if path.is_dir():
        return _folder(path)
    from orbit2.config.load import load
    from orbit2.errors import did_you_mean
    from orbit2.model.inspect import describe

    run = load(path)
    if name is not None and name not in run.models:
        raise OrbitError("no such model", where=path, got=name, allowed=", ".join(run.models), hint=did_you_mean(name, run.models))
    return "\n\n".join(describe(run, key) for key in ([name] if name else run.models))


def _folder(path: Path) -> str:
    from orbit2.model.folder import load

    model, _, config = load(path)
    architecture = " ".join(f"{key}={value}" for key, value in config["architecture"].items())
    lines = [
        f"model folder  {path}",
        f"parameters    {sum(p.numel() for p in model.parameters()):,}",
        f"inputs        {', '.join(config['inputs'])}",
        f"outputs       {', '.join(config['outputs'])}",
        f"statics       {', '.join(config['statics'])}",
        f"refinement    {config['architecture']['refinement']}",
        f"architecture  {architecture}",
    ]
    known = {"format", "architecture", "inputs", "outputs", "statics", "parameters", "sha256"}
    lines += [f"{key:<14}{value}" for key, value in config.items() if key not in known and isinstance(value, (str, int, float, list))]
    return "\n".join(lines)


def export(path: Path, out: Path) -> Path:
    """Zip a model folder after loading it once (so that a damaged one is refused). Returns `out`.

    Raises OrbitError when the folder is not a loadable model or `out` is not a .zip name.
    """
    from orbit2.model.folder import load

    if out.suffix != ".zip":
        raise OrbitError("the archive's name must end in .zip", where="--out", got=str(out))
    load(path)
    with atomic(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.endswith(".part")):
            archive.write(file, Path("model") / file.relative_to(path))
    return out
