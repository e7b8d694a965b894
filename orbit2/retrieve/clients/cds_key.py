"""The user's key for the Climate Data Store: found where `cdsapi` looks for it. Never printed."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from orbit2.errors import OrbitError


def key(url: str) -> str:
    """The user's key from CDSAPI_KEY, else from ~/.cdsapirc (or the file that CDSAPI_RC names). The configured `url` is the one used.

    Raises OrbitError saying what to do where there is none or it is of the old kind.
    """
    page = f"{site(url)}/profile"
    found = os.environ.get("CDSAPI_KEY", "").strip()
    path = Path(os.environ.get("CDSAPI_RC") or Path.home() / ".cdsapirc")
    where: object = "CDSAPI_KEY"
    if not found and path.is_file():
        where = path
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise OrbitError("cannot be read", where=path, hint=f"write two lines: `url: {url}` and `key: ...` (from {page})") from None
        pairs = [line.split(":", 1) for line in lines if ":" in line]
        found = next((value.strip() for name, value in pairs if name.strip() == "key"), "")
    if not found:
        raise OrbitError("no key for the Climate Data Store", where=where if path.is_file() else f"CDSAPI_KEY or {path}",
                         hint=f"sign in, copy your token from {page}, and put it into CDSAPI_KEY or as `key: ...` into ~/.cdsapirc")
    if ":" in found:
        raise OrbitError("the key is of the old kind (UID:KEY)", where=where, hint=f"copy the new token from {page}")
    return found


def site(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def licences(url: str, dataset: str) -> str:
    """The page where a dataset's licences are accepted, once and by hand."""
    return f"{site(url)}/datasets/{dataset}?tab=download#manage-licences"
