"""Where a prediction may go: never over what it is made from, never over anything else unless that is asked for. Never writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbit2.errors import OrbitError

REPLACE = "choose another --out, or add --overwrite to replace it"
ELSEWHERE = "choose another --out"


def check_out(out: Path, sources: Mapping[str, Path | None], *, overwrite: bool = False, hint: str = REPLACE) -> Path:
    """The place that `out` really is (links followed), once it is sure that nothing is lost there.

    `sources`: what the prediction is made from ("the input": path, ...). A prediction of orbit2 (a Zarr store, or a NetCDF file with a
    signature) may be there: whether it is the same one is for `begin` and `finished` to say. Raises OrbitError when `out` is one of the
    sources, inside one or around one; when a folder that is no Zarr store is there; and, without `overwrite`, when anything is there
    that orbit2 did not write.
    """
    if out.suffix not in (".zarr", ".nc"):
        raise OrbitError("unknown output format", where=out, got=out.suffix or "no suffix", allowed=".zarr or .nc",
                         hint="end the name of --out in one of these")  # fmt: skip
    try:
        place = out.resolve()
    except (OSError, RuntimeError) as error:
        raise OrbitError(f"not a place to write to ({error})", where=out, hint=ELSEWHERE) from None
    for what, source in sources.items():
        if source is not None and os.path.lexists(source):
            _apart(out, place, what, source)
    if place.exists():
        _replaceable(out, place, overwrite, hint)
    return place


def _apart(out: Path, place: Path, what: str, source: Path) -> None:
    there = source.resolve()
    hint = "choose another --out: what a prediction is made from is never overwritten"
    if place == there or (place.exists() and there.exists() and os.path.samefile(place, there)):
        raise OrbitError(f"the output is {what}", where=out, got=str(source), hint=hint)
    for folder, inner, how in ((there, place, f"inside {what}"), (place, there, f"around {what}")):
        if any(_same(folder, parent) for parent in inner.parents):
            raise OrbitError(f"the output would be {how}", where=out, got=str(source), hint=hint)


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False


def _replaceable(out: Path, place: Path, overwrite: bool, hint: str) -> None:
    zarr = any((place / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"))
    if place.is_dir() and (out.suffix == ".nc" or (not zarr and any(place.iterdir()))):
        raise OrbitError("a folder is there that is no Zarr store: it is never replaced", where=out, hint=ELSEWHERE)
    if not place.is_dir() and out.suffix == ".zarr":
        raise OrbitError("a file is there, not a Zarr store: it is never replaced", where=out, hint=ELSEWHERE)
    if place.is_file() and place.stat().st_size == 0:
        return  # as mktemp leaves one
    ours = is_prediction(place)
    if not overwrite and not ours and not (place.is_dir() and not zarr):
        kind = "a Zarr store" if place.is_dir() else "a file"
        raise OrbitError(f"{kind} is there that orbit2 did not write", where=out, hint=hint)


def is_prediction(place: Path) -> bool:
    """Whether a prediction of orbit2, finished or not, is at this place."""
    return is_ours(attributes(place))


def is_ours(found: Mapping[str, Any]) -> bool:
    """Whether these are the attributes of a prediction (pair stores have a signature, too)."""
    return {"signature", "refinement", "weights"} <= set(found)


def attributes(place: Path) -> dict[str, Any]:
    """The attributes of a Zarr store or NetCDF file as they are on disk now; none where it cannot be read or is neither."""
    if place.is_dir():
        try:
            return dict(json.loads((place / "zarr.json").read_text(encoding="utf-8"))["attributes"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
    import h5py

    try:
        with h5py.File(place, "r") as file:
            return {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}
    except (OSError, KeyError):
        return {}


def described(found: Mapping[str, Any]) -> str:
    """What a prediction says of itself, in a few words."""
    made = [f"of {found['input_file']}" if "input_file" in found else f"of task {found.get('task', '?')}"]
    return " ".join([*made, f"by model {found.get('model', '?')}-{found.get('model_hash', '?')}",
                     "(finished)" if found.get("finalised") in (True, "true", 1) else "(unfinished)"])  # fmt: skip


def check_receipt(path: Path | None) -> None:
    """Raises OrbitError when anything but a receipt of this stage is at `path`."""
    if path is None or not os.path.lexists(path):
        return
    try:
        if {"store", "code_version"} <= set(json.loads(path.read_text(encoding="utf-8"))):
            return
    except (OSError, ValueError, TypeError):
        pass
    raise OrbitError("a file is there that is no receipt of this stage: it is never replaced", where=path, hint="move it away")
