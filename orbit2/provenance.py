"""Where an artefact came from: code revision, versions, config hash, input checksums. Never records credentials."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from orbit2.files import sha256
from orbit2.version import __version__

PACKAGES = ("orbit2", "torch", "numpy", "xarray", "dask", "zarr", "pandas", "snakemake", "regionmask")


@cache
def code_version() -> str:
    """`<version>+g<revision>[.dirty]`; only the version where there is no git checkout."""
    root = Path(__file__).resolve().parents[1]
    version = _version("orbit2")
    try:
        revision = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+g{revision.replace('-', '.')}" if revision else version


def _version(package: str) -> str:
    """Of what is installed; of orbit2 that of the code that runs."""
    if package == "orbit2":
        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


@cache
def versions() -> dict[str, str]:
    return {name: _version(name) for name in PACKAGES}


def record(
    stage: str,
    *,
    config: Mapping[str, Any] | None = None,
    config_hash: str | None = None,
    inputs: Mapping[str, str | Path] | None = None,
) -> dict[str, Any]:
    """The provenance of one artefact, ready for JSON. `inputs` maps a name to a file; files are checksummed."""
    checksums = {name: sha256(path) if Path(path).is_file() else str(Path(path).name) for name, path in (inputs or {}).items()}
    return {
        "stage": stage,
        "code_version": code_version(),
        "python": platform.python_version(),
        "platform": sys.platform,
        "packages": versions(),
        "config_hash": config_hash,
        "config": dict(config) if config is not None else None,
        "inputs": checksums,
    }
