"""Is this machine ready for orbit2? Looks, and changes nothing. Never prints a credential, only whether one was found."""

from __future__ import annotations

import netrc
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

import psutil

Level = Literal["ok", "note", "missing"]
NEEDED = ("torch", "numpy", "scipy", "pandas", "pyarrow", "xarray", "dask", "zarr", "netCDF4", "h5netcdf", "pydantic", "snakemake",
          "matplotlib", "cartopy", "regionmask", "scikit-image", "safetensors")
MODULES = {"scikit-image": "skimage"}
SMALLEST_MEMORY_GB, SMALLEST_DISK_GB = 6, 5
EARTHDATA_HOST = "urs.earthdata.nasa.gov"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `missing` is needed and not there; `note` is optional or worth knowing."""

    group: str
    name: str
    level: Level
    text: str


def examine(results: Path = Path(".")) -> list[Finding]:
    """Everything the doctor looks at, in the order it is shown."""
    return [*_software(), *_devices(), *_machine(results), *_back_ends(), *_credentials()]


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


def _software() -> list[Finding]:
    python = sys.version_info >= (3, 11)
    version = platform.python_version()
    found = [Finding("Software", "python", "ok" if python else "missing", version if python else f"{version} (3.11 or newer is needed)")]
    for package in ("orbit2", *NEEDED):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            found.append(Finding("Software", package, "missing", "not installed: make install"))
            continue
        problem = _import_problem(MODULES.get(package, package))
        found.append(Finding("Software", package, "missing" if problem else "ok", problem or version))
    return found


def _import_problem(module: str) -> str | None:
    """Why `module` cannot be imported, or None. Any failure counts: a broken binary raises whatever it likes."""
    try:
        import_module(module)
    except Exception as error:
        return f"installed but cannot be imported ({type(error).__name__}: {' '.join(str(error).split())[:100]})"
    return None


def _devices() -> list[Finding]:
    try:
        import torch
    except ImportError:
        return []
    flags = _cpu_flags()
    fast = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    cpu = f"{os.cpu_count()} cores; bf16 arithmetic: {', '.join(fast) if fast else 'no (training runs in fp32)'}"
    found = [Finding("Devices", "cpu", "ok", cpu)]
    if not torch.cuda.is_available():
        found.append(Finding("Devices", "gpu", "note", "none usable by this torch build; everything runs on the CPU"))
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        kind = "ROCm" if torch.version.hip else "CUDA"
        found.append(Finding("Devices", f"gpu {index}", "ok", f"{device.name}, {device.total_memory / 2**30:.0f} GiB, {bf16} ({kind})"))
    return found


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


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


def _back_ends() -> list[Finding]:
    """Optional libraries, each imported in a process of its own: a broken binary must not take the doctor with it."""
    rows = {
        "eccodes": ("eccodes", "GRIB files cannot be read"),
        "xesmf": ("xesmf", "optional second regridding back end; only conda has ESMF (environment.yml)"),
        "flash-attn": ("flash_attn", "optional attention kernel for GPUs; torch's own is used"),
    }
    found = []
    for name, (module, otherwise) in rows.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(Finding("Back ends", name, "note", f"not installed: {otherwise}"))
            continue
        done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=120, check=False)
        reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:100]
        found.append(Finding("Back ends", name, "note" if done.returncode else "ok",
                             f"{version} cannot be imported ({reason}): {otherwise}" if done.returncode else version))
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
