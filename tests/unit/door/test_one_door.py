"""What users and providers give is opened behind one door (orbit2/door); the rest of the package opens what orbit2 has written itself."""

from __future__ import annotations

import ast
from pathlib import Path

OPENS = {"xr": "open_", "xarray": "open_", "rioxarray": "open_", "h5py": "File", "netCDF4": "Dataset", "h5netcdf": "File"}
# Of the folders that handle files of others: what is opened there, and why not through the door.
OWN = {
    "retrieve/clients/arco.py": "the ARCO store of a provider, from afar; what it writes of it",
    "retrieve/packaged.py": "the week that ships with orbit2",
    "sources/imerg.py": "HDF5 with groups, chunk by chunk; guarded by the door's `reading`",
    "sources/prism_zip.py": "rasters in zips, with a check and a line of its own for damage",
    "sources/sample/make_sample.py": "made the week that ships with orbit2",
    "sources/synthetic/provider.py": "orbit2's own test world",
    "sources/times.py": "the week that ships with orbit2",
}


def opens(path: Path) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    named = ((call.value.id, call.attr) for call in calls if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name))
    return any(library in OPENS and name.startswith(OPENS[library]) for library, name in named)


def test_sources_open_through_the_door(root: Path) -> None:
    package = root / "orbit2"
    folders = ("sources", "retrieve", "regrid", "grid", "remap", "config", "cli")
    found = {path.relative_to(package).as_posix() for folder in folders for path in (package / folder).rglob("*.py") if opens(path)}
    assert found == set(OWN)
    assert "reading(path" in (package / "sources/imerg.py").read_text(encoding="utf-8")
