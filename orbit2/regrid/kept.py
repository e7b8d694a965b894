"""What finished parts said, under second names: Snakemake deletes the receipts of a whole group of jobs when one of them fails.

Never vouches for samples by itself: the caller compares them with the record, digest by digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orbit2.errors import OrbitError
from orbit2.files import read_json, short_hash, write_json
from orbit2.sources import manifest
from orbit2.sources.receipts import DAY
from orbit2.sources.source import Window
from orbit2.times import shifted

FOLDER = ".built"  # beside the receipts; Snakemake knows nothing of it


def made_from(resources: Path, sources: Sequence[str], window: Window) -> str:
    """The provider files in `window` (first and last sample), as their manifests tell them apart: fetched anew, they are others."""
    first, last = shifted(window[0], -DAY), shifted(window[1], DAY)
    told = {}
    for name in sources:
        records = manifest.select(manifest.read(resources / name / manifest.VERSION)["files"], None, first, last)
        told[name] = sorted((str(record["file"]), str(record.get("sha256"))) for record in records)
    return short_hash(told, 16)


def keep(receipt: Path, files: str) -> None:
    """Remember what a part said when it was done; `files`: see `made_from`."""
    write_json(_place(receipt), {"made_from": files, "receipt": read_json(receipt)})


def restore(receipt: Path, files: str) -> bool:
    """Write the receipt of a part as it was, when it was made from the same files; whether there is one now."""
    try:
        saved = read_json(_place(receipt))
        if saved["made_from"] != files:
            return False
        write_json(receipt, saved["receipt"])
    except (OrbitError, KeyError, TypeError):
        return False
    return True


def forget(receipt: Path) -> None:
    _place(receipt).unlink(missing_ok=True)


def forget_all(parts: Path) -> None:
    """The build is complete: a receipt that somebody deletes from here on is built again."""
    for path in (parts / FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)
    if (parts / FOLDER).is_dir() and not any((parts / FOLDER).iterdir()):
        (parts / FOLDER).rmdir()


def _place(receipt: Path) -> Path:
    return receipt.parent / FOLDER / receipt.name
