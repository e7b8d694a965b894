"""Is this machine ready for orbit2? Looks, and changes nothing. Never prints a credential, only whether one was found."""

from __future__ import annotations

import netrc
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from orbit2 import processor
from orbit2.importing import Asked
from orbit2.version import __version__

Level = Literal["ok", "note", "missing"]
NEEDED = ("torch", "numpy", "scipy", "pandas", "pyarrow", "xarray", "dask", "zarr", "netCDF4", "h5netcdf", "pydantic", "snakemake",
          "matplotlib", "cartopy", "regionmask", "scikit-image", "safetensors")
MODULES = {"scikit-image": "skimage"}
SMALLEST_MEMORY_GB, SMALLEST_DISK_GB = 6, 5
# Optional: what it is called, its module, and what is so without it.
BACK_ENDS = {
    "eccodes": ("eccodes", "GRIB files cannot be read"),
    "xesmf": ("xesmf", "optional second regridding back end; only conda has ESMF (environment.yml)"),
    "flash-attn": ("flash_attn", "optional attention kernel for GPUs; torch's own is used"),
}
WITH_TORCH = ("torch", "flash_attn")  # imported by one process, all others by a second one
EARTHDATA_HOST = "urs.earthdata.nasa.gov"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `missing` is needed and not there; `note` is optional or worth knowing."""

    group: str
    name: str
    level: Level
    text: str


@dataclass(frozen=True)
class Libraries:
    """Who was asked for them. Optional ones come last: one that ends its process leaves nobody else without an answer."""

    torch: Asked
    others: Asked

    def problem(self, module: str) -> str | None:
        return (self.torch if module in WITH_TORCH else self.others).problem(module)


_begun: list[Libraries] = []


def begin() -> None:
    """Ask for the libraries already, while the command itself loads: two processes import them side by side."""
    packages = [*NEEDED, *BACK_ENDS]
    modules = [_module(package) for package in packages if _version(package)]
    parts = [[module for module in modules if (module in WITH_TORCH) is with_torch] for with_torch in (True, False)]
    _begun.append(Libraries(*map(Asked, parts)))


def examine(results: Path = Path(".")) -> list[Finding]:
    """Everything the doctor looks at, in the order it is shown."""
    if not _begun:
        begin()
    libraries = _begun.pop()
    machine, credentials = _machine(results), _credentials()
    return [*_software(libraries), *_devices(libraries.torch), *machine, *_back_ends(libraries), *credentials]


def render(findings: list[Finding]) -> str:
    """Findings as text, one per line under their group; the last line is the verdict."""
    lines: list[str] = []
    group = ""
    marks = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += [*([""] if lines else []), group]
        lines.append(f"  {marks[finding.level]}  {finding.name:<32}{finding.text}")
    missing = [finding.name for finding in findings if finding.level == "missing"]
    verdict = f"Not ready: {', '.join(missing)}" if missing else "Ready."
    return "\n".join([*lines, "", verdict])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _module(package: str) -> str:
    return BACK_ENDS[package][0] if package in BACK_ENDS else MODULES.get(package, package)


def _software(libraries: Libraries) -> list[Finding]:
    python = sys.version_info >= (3, 11)
    version = platform.python_version()
    found = [Finding("Software", "python", "ok" if python else "missing", version if python else f"{version} (3.11 or newer is needed)")]
    for package in ("orbit2", *NEEDED):
        if (known := _version(package)) is None:
            found.append(Finding("Software", package, "missing", "not installed: make install"))
            continue
        problem = None if package == "orbit2" else libraries.problem(_module(package))
        if package == "orbit2" and known != __version__:
            known = f"{__version__} (installed as {known}: install it again)"
        text = f"installed but cannot be imported ({problem})" if problem else known
        found.append(Finding("Software", package, "missing" if problem else "ok", text))
    return found


def _devices(asked: Asked) -> list[Finding]:
    told = asked.devices()
    if told is None:
        return []
    flags = processor.told("flags").split()
    has = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    gains = processor.gains_by_bf16("amx_bf16" in has, "avx512_bf16" in has, processor.told("vendor_id"))
    text = ", ".join(has) if gains else f"{has[0]}, no faster than fp32, which training runs in" if has else "no (training runs in fp32)"
    cpu = f"{os.cpu_count()} cores; bf16 arithmetic: {text}"
    found = [Finding("Devices", "cpu", "ok", cpu)]
    if not told["gpus"]:
        found.append(Finding("Devices", "gpu", "note", "none usable by this torch build; everything runs on the CPU"))
    for index, gpu in enumerate(told["gpus"]):
        text = f"{gpu['name']}, {gpu['gib']:.0f} GiB, {'bf16' if gpu['bf16'] else 'no bf16'} ({told['kind']})"
        found.append(Finding("Devices", f"gpu {index}", "ok", text))
    return found


def _machine(results: Path) -> list[Finding]:
    memory = psutil.virtual_memory().total / 2**30
    place = next(p for p in (results.absolute(), *results.absolute().parents) if p.exists())
    disk = shutil.disk_usage(place).free / 2**30
    return [
        Finding("Machine", "memory", "ok" if memory >= SMALLEST_MEMORY_GB else "note",
                f"{memory:.0f} GiB" + ("" if memory >= SMALLEST_MEMORY_GB else f" (the demo needs up to {SMALLEST_MEMORY_GB})")),
        Finding("Machine", "disk", "ok" if disk >= SMALLEST_DISK_GB else "missing",
                f"{disk:.0f} GiB free at {place}" + ("" if disk >= SMALLEST_DISK_GB else f" (at least {SMALLEST_DISK_GB} are needed)")),
        Finding("Machine", "writable", "ok" if os.access(place, os.W_OK) else "missing", str(place)),
        Finding("Machine", "slurm", "ok" if shutil.which("sbatch") else "note",
                "sbatch found" if shutil.which("sbatch") else "no sbatch: use profiles/local"),
    ]


def _back_ends(libraries: Libraries) -> list[Finding]:
    found = []
    for name, (module, otherwise) in BACK_ENDS.items():
        if (known := _version(name)) is None:
            found.append(Finding("Back ends", name, "note", f"not installed: {otherwise}"))
            continue
        problem = libraries.problem(module)
        text = f"{known} cannot be imported ({problem}): {otherwise}" if problem else known
        found.append(Finding("Back ends", name, "note" if problem else "ok", text))
    return found


def _credentials() -> list[Finding]:
    cds = bool(os.environ.get("CDSAPI_KEY")) or Path(os.environ.get("CDSAPI_RC", "~/.cdsapirc")).expanduser().is_file()
    token = bool(os.environ.get("EARTHDATA_TOKEN")) or bool(os.environ.get("EARTHDATA_USERNAME") and os.environ.get("EARTHDATA_PASSWORD"))
    rows = {"Copernicus CDS (ERA5)": cds, "NASA Earthdata (DAYMET, IMERG)": token or _netrc_knows(EARTHDATA_HOST)}
    return [Finding("Credentials", name, "ok" if there else "note", "found" if there else "not found (the demo needs none)")
            for name, there in rows.items()]


def _netrc_knows(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
