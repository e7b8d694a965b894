"""pyproject.toml, environment.yml and constraints.txt name the same packages, and only packages that are used."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAME = {"arch": "arch-py", "playwright": "playwright-python", "torch": "pytorch", "eccodes": "python-eccodes"}
# Packages that no module imports by name, and what they are there for.
NOT_IMPORTED = {
    "cfgrib": "xarray's engine for GRIB",
    "gcsfs": "fsspec's file system for it",
    "h5netcdf": "xarray's engine for NetCDF",
    "snakemake": "runs the workflow",
    "snakemake-executor-plugin-slurm": "runs it on SLURM",
    "tensorboard": "torch.utils.tensorboard needs it",
}
OPTIONAL_IMPORTS = {"xesmf", "flash_attn", "pynvml", "zarrs"}  # extras, guarded where they are imported
# The packages that the project was asked to be built with: none goes, however quick it would be without.
ASKED_FOR = {"snakemake", "torch", "xarray", "dask", "cdsapi", "rioxarray", "xesmf", "flash-attn", "pandas", "seaborn"}
BUILD_SCRIPTS = {"make_sample.py"}  # run once by a maintainer, never by a user


def project() -> dict[str, list[Requirement]]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"main": table["dependencies"], **table["optional-dependencies"]}
    return {name: [Requirement(text) for text in items] for name, items in groups.items()}


def imported() -> set[str]:
    """Distributions that orbit2's own modules import."""
    owners = metadata.packages_distributions()
    found: set[str] = set()
    for path in (ROOT / "orbit2").rglob("*.py"):
        if path.name in BUILD_SCRIPTS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in {n.split(".")[0] for n in names} - OPTIONAL_IMPORTS - {"orbit2"} - set(sys.stdlib_module_names):
                found.add(canonicalize_name(owners[name][0]))
    return found - {"pydantic-core", "typing-extensions"}  # parts of pydantic


def test_everything_imported_is_declared_and_everything_declared_is_used() -> None:
    declared = {canonicalize_name(r.name) for r in project()["main"]}
    used = imported()
    assert used - declared == set()
    assert declared - used == set(NOT_IMPORTED)


def test_the_packages_asked_for_are_there() -> None:
    groups = project()
    assert {canonicalize_name(r.name) for name in ("main", "gpu", "esmf") for r in groups[name]} >= ASKED_FOR


def test_environment_is_in_step() -> None:
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = {text for text in content["dependencies"] if isinstance(text, str)}
    groups = project()
    expected = {"python>=3.11"}
    for requirement in [*groups["main"], *groups["dev"], *groups["docs"], *groups["esmf"]]:
        name = canonicalize_name(requirement.name)
        expected.add(f"{CONDA_NAME.get(name, name)}{requirement.specifier}")
    assert conda == expected


def test_constraints_pin_what_is_installed_and_allowed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    pins = {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in requirements}
    assert not any("+" in version for version in pins.values()), "local versions exist on one machine only"
    groups = project()
    for requirement in [*groups["main"], *groups["dev"], *groups["docs"], *groups["fast"]]:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_torch_goes_first_and_without_cuda_where_there_is_no_gpu() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^\.venv/\.installed: \.venv/\.torch ", text, flags=re.MULTILINE)
    assert "torch==2.13.0+cpu torch==2.13.0" in text


def test_a_build_of_torch_that_is_asked_for_replaces_another(tmp_path: Path) -> None:
    """The install page's `make install TORCH=...`, also where everything is installed; what was asked for once is not asked for again."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    for name in (".created", ".torch", ".installed", ".kernels"):
        (tmp_path / ".venv" / name).touch()

    def made(*words: str, **variables: str) -> str:
        environment = {key: value for key, value in os.environ.items() if key not in ("TORCH", "MAKEFLAGS")} | variables
        done = subprocess.run(["make", "-n", "install", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert "Nothing to be done" in made()
    for asked in (made("TORCH=torch==2.9.1"), made(TORCH="torch==2.9.1")):
        assert re.search(r"for build in 'torch==2\.9\.1'.*pip install", asked, flags=re.DOTALL) and "-e '.[dev,docs,fast]'" in asked
    (tmp_path / ".venv" / ".torch").write_text("torch==2.9.1\n", encoding="utf-8")
    assert "orbit2.ahead" in made()  # what is installed anew may compile anew
    for name in (".installed", ".kernels"):
        (tmp_path / ".venv" / name).touch()
    assert "Nothing to be done" in made("TORCH=torch==2.9.1") and "Nothing to be done" in made()
    assert "torch==2.8.0" in made("TORCH=torch==2.8.0")


def test_no_package_registry_or_machine_path_is_named() -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/run", "environment.yml", "README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"(index-url|find-links|pypi\.|/opt/|/work/|/root/|/home/)", text), name


def test_versions_agree() -> None:
    import orbit2

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert version == orbit2.__version__ == cff["version"]
