"""What figures and pages read from the stages' small NetCDF files, and what fields are called. Never draws."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import xarray as xr

from orbit2.errors import OrbitError
from orbit2.report.tables import label
from orbit2.variables import VARIABLES


def open_netcdf(path: Path, stage: str) -> xr.Dataset:
    """Load a small NetCDF file of a stage. Raises OrbitError when it is missing or unreadable."""
    if not path.is_file():
        raise OrbitError("file not found", where=path, hint=f"run the {stage} stage first")
    try:
        now = path.stat()
        return _read(path, now.st_mtime_ns, now.st_size).copy()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OrbitError(f"not a readable NetCDF file ({reason})", where=path, hint=f"delete it and re-run the {stage} stage") from None


@lru_cache(maxsize=8)
def _read(path: Path, mtime_ns: int, size: int) -> xr.Dataset:
    """Once for all figures of a page: a file of some hundred variables takes half a second to open."""
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        return opened.load()


def split_field(name: str) -> tuple[str, str]:
    """`precipitation_rate_log1p` -> ("precipitation_rate", "log1p")."""
    if name in VARIABLES:
        return name, "physical"
    base, _, space = name.rpartition("_")
    return base, space


def field_title(name: str) -> str:
    """A field's name for people."""
    variable_name, space = split_field(name)
    return label(variable_name) + (", ln(1 + x)" if space == "log1p" else "")


def leading(names: list[str]) -> list[str]:
    """One field per variable: precipitation only in ln(1 + x)."""
    return [name for name in names if not (split_field(name)[1] == "physical" and f"{name}_log1p" in names)]
