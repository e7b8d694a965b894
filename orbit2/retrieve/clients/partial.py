"""Which version of a file a partial download belongs to, so that it is continued or thrown away. Never mixes two versions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from orbit2.files import write_json

Headers = Mapping[str, str]  # of an answer, names in any case (as httpx and requests keep them)


def note_path(target: Path) -> Path:
    """Beside a partial: its URL and version."""
    return target.with_name(f"{target.name}.resume.part")


def remember(target: Path, url: str, headers: Headers) -> None:
    """Write down what is about to arrive in `target`."""
    write_json(note_path(target), {"url": url, "validator": _validator(headers)})


def forget(target: Path) -> None:
    note_path(target).unlink(missing_ok=True)


def held(target: Path, url: str) -> tuple[int, str]:
    """How many bytes of this very URL lie in `target`, and what identifies their version; (0, "") where that is not known."""
    try:
        known = json.loads(note_path(target).read_text(encoding="utf-8"))
        size = target.stat().st_size
    except (OSError, ValueError):
        return 0, ""
    if not isinstance(known, dict) or known.get("url") != url or not known.get("validator"):
        return 0, ""
    return size, str(known["validator"])


def continues(headers: Headers, have: int, validator: str) -> bool:
    """True when a 206 is the rest of the same version, from byte `have` on."""
    begins = re.match(r"bytes\s*(\d+)-", headers.get("Content-Range", ""))
    same = {headers.get("ETag"), headers.get("Last-Modified")} - {None}
    return begins is not None and int(begins[1]) == have and (not same or validator in same)


def complete(headers: Headers, have: int) -> bool:
    """True when a 416 says that the file ends where the partial does."""
    return have > 0 and headers.get("Content-Range", "").replace(" ", "") == f"bytes*/{have}"


def _validator(headers: Headers) -> str | None:
    """A strong ETag, else the time of change: what If-Range may carry."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")
