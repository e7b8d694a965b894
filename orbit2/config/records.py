"""What Snakemake remembers of its outputs (one file each, named by the path in base64), under other names: so that no input has changed.

For `orbit2 migrate`. The receipts that a store waited for were one for each source, whatever the dataset; now each dataset has its own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import read_slice, slice_text, validate
from orbit2.config.needs import asked, requests_hash
from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_text

RECEIPT = re.compile(r".*/(?P<source>\w+)/requests/[0-9a-f]{8}\.done\.json")
Remembered = dict[str, Any]


def rename(folder: Path, names: Mapping[str, str]) -> None:
    """Paths of `names` become their values, in what is remembered and of what."""

    def now(text: str) -> str:
        for old, new in names.items():
            text = text.replace(old, new)
        return text

    for path, output, content in _all(folder):
        changed = json.loads(now(json.dumps(content)))
        if changed != content:
            path.write_text(json.dumps(changed), encoding="utf-8")
        if now(output) != output:
            path.rename(path.with_name(base64.b64encode(now(output).encode(), altchars=b"-_").decode()))


def receipts(root: Path, results: Path, folder: Path, *, dry_run: bool) -> list[str]:
    """The stores below `results` (their folders) that remember receipts of a whole run; each gets its own, as old as those.

    `root` is the folder that remembered paths begin at, `folder` what Snakemake remembers. A dry run only looks.
    """
    found: dict[str, None] = {}
    today: dict[tuple[str, str], str] = {}
    for path, output, content in _all(folder):
        store = PurePosixPath(output).parent.parent
        inputs = content.get("input") if PurePosixPath(output).parent.name == "parts" else None
        old = [name for name in inputs or [] if RECEIPT.fullmatch(name)]
        slice_ = results / "data" / store.name / "config.json"
        if not old or not slice_.is_file():
            continue
        try:
            for receipt in old:
                if (slice_.parent.name, receipt) not in today:
                    today[slice_.parent.name, receipt] = _of_dataset(root, receipt, slice_, dry_run=dry_run)
        except (OrbitError, KeyError, TypeError):
            continue  # said of the folder already
        found[str(slice_.parent)] = None
        if not dry_run:
            content["input"] = sorted(today.get((slice_.parent.name, name), name) for name in inputs or [])
            path.write_text(json.dumps(content), encoding="utf-8")
    return list(found)


def _of_dataset(root: Path, receipt: str, dataset: Path, *, dry_run: bool) -> str:
    """The path of the receipt that a dataset (its slice) has today for the one of its run; it and what it asks for are written."""
    matched = RECEIPT.fullmatch(receipt)
    assert matched is not None
    told, beside = read_json(dataset), root / receipt.replace(".done.json", ".json")
    settings = validate(SourcesConfig, read_slice(beside)["settings"] if beside.is_file() else told["sources"])
    slice_ = asked(matched["source"], [validate(DatasetConfig, told["dataset"])], settings)
    digest = requests_hash(slice_)
    new = str(PurePosixPath(receipt).with_name(f"{told['name']}-{digest}.done.json"))
    if not dry_run and (root / receipt).is_file() and not (root / new).is_file():
        times = (root / receipt).stat()
        asked_for = dataset.parent / "requests" / f"{matched['source']}-{digest}.json"
        write_text(asked_for, slice_text(slice_))
        shutil.copyfile(root / receipt, root / new)
        for written in (asked_for, root / new):
            os.utime(written, ns=(times.st_atime_ns, times.st_mtime_ns))
    return new


def _all(folder: Path) -> Iterator[tuple[Path, str, Remembered]]:
    """(file, output, content); without checksums of inputs, which are of before."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        try:
            output = base64.b64decode(path.name, altchars=b"-_", validate=True).decode()
            content = {key: value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key != "input_checksums"}
        except (ValueError, OSError, AttributeError):
            continue  # another version's way to remember: then times decide alone
        yield path, output, content
