"""The user's own files taken into the manifest where they lie. Never copies, moves or changes one of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbit2.errors import OrbitError
from orbit2.files import short_hash, write_json
from orbit2.progress import number
from orbit2.retrieve.progress import human
from orbit2.sources import manifest, receipts
from orbit2.sources.files import records

log = logging.getLogger(__name__)


def run(source: str, needs: Sequence[Mapping[str, Any]], out: Path, receipt: Path | None, *, dry_run: bool = False) -> None:
    """Enter all files that `needs` (of a retrieve slice) name into the manifest of `out`, as they are now.

    Raises OrbitError where a pattern matches nothing, or a file cannot be read.
    """
    found = listed(source, needs)
    size = sum(int(record["bytes"]) for record in found)
    if dry_run:
        print(f"{source}: {number(len(found), 'file')}, {human(size)}, taken where they lie; nothing is fetched")
        return
    with manifest.ledger(out, source) as ledger:
        changed = 0
        for record in found:
            if ledger.files.get(str(record["file"])) != record:
                ledger.add(record)
                changed += 1
        if changed:
            print(f"{source}: {number(changed, 'file')} ({human(size)}) adopted where they lie")
        else:
            print(f"{source}: complete, nothing to do")
    if receipt is not None:
        write_json(receipt, {
            "source": source, "files": len(found), "bytes": size, "gaps": [], "plan": short_hash(list(needs), 16),
            "content": short_hash([[r["file"], r["sha256"]] for r in found], 16), "held": receipts.held(found)})  # fmt: skip


def listed(source: str, needs: Sequence[Mapping[str, Any]]) -> list[manifest.Record]:
    """The files that needs of adopted files name, each once. Raises OrbitError for a need of another form."""
    found: dict[str, manifest.Record] = {}
    for need in needs:
        try:
            patterns, rename, names = need["files"]["patterns"], need["files"]["rename"], need["variables"]
        except (KeyError, TypeError):
            raise OrbitError("not a need of adopted files", where=source, allowed='"files": {"patterns": [...], "rename": {}}',
                             hint="write the configuration anew: a dry run of the workflow does") from None  # fmt: skip
        found |= {str(record["file"]): record for record in records(source, patterns, names, list(rename))}
    return [found[key] for key in sorted(found)]
