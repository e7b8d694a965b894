"""What a store that is already there holds otherwise than what is asked for. Nothing is lost because of it: never writes or deletes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from orbit2 import times as clocks
from orbit2.data import packing
from orbit2.data.store_grid import grid_of
from orbit2.files import read_json

if TYPE_CHECKING:
    from orbit2.data.store_layout import SideSpec

SHARD = "samples_per_shard"


def differences(
    path: Path, sides: Mapping[str, SideSpec], times: clocks.Times, shard: int, version: str, codec: Mapping[str, Any]
) -> dict[str, str]:
    """What differs -> what the store has and what is asked for, in words. A store whose arrays cannot be read differs as a whole."""
    try:
        root = zarr.open_group(str(path), mode="r")
        found = dict(_root(root, shard, version))
        for side, spec in sides.items():
            group = root[side]
            assert isinstance(group, zarr.Group)
            found |= {f"{side} {what}": text for what, text in _side(group, spec)}
            found |= _times(group, times)
            if spec.variables and "fields" in group and (stored := _codec(path / side / "fields")) != codec:
                found["codec"] = f"{stored}, not {dict(codec)}"
    except (KeyError, ValueError, OSError, AssertionError, AttributeError) as error:
        return {"layout": f"cannot be read ({' '.join(str(error).split())[:100]})"}
    return found


def _root(root: zarr.Group, shard: int, version: str) -> Iterator[tuple[str, str]]:
    for what, key, wanted in (("format", "orbit2_store", version), ("packing", "packing_version", packing.VERSION),
                              (SHARD, "shard", shard)):  # fmt: skip
        if root.attrs.get(key) != wanted:
            yield what, f"{root.attrs.get(key)}, not {wanted}"


def _side(group: zarr.Group, spec: SideSpec) -> Iterator[tuple[str, str]]:
    grid = grid_of(group)
    if grid.digest != spec.grid.digest:
        yield "grid", f"{grid.describe()}, not {spec.grid.describe()}"
    for what, wanted in (("variables", spec.variables), ("statics", spec.statics)):
        if tuple(group.attrs[what]) != wanted:  # type: ignore[arg-type]
            yield what, f"{', '.join(group.attrs[what])}, not {', '.join(wanted)}"  # type: ignore[arg-type]
    stored: dict[str, Any] = group.attrs["packing"]  # type: ignore[assignment]
    for name, ours in packing.describe(spec.variables).items():
        if name in stored and stored[name] != ours:
            yield f"range of {name}", f"{stored[name]}, not {ours}"
    if tuple(group.attrs["statics"]) == spec.statics and spec.statics and grid.shape == spec.grid.shape:  # type: ignore[arg-type]
        held = np.asarray(group["static"])
        for i, name in enumerate(spec.statics):
            if not np.array_equal(held[i], spec.static_values[i], equal_nan=True):
                yield f"static field {name}", f"up to {np.nanmax(np.abs(held[i] - spec.static_values[i])):.4g} apart"


def _times(group: zarr.Group, times: clocks.Times) -> dict[str, str]:
    hours = np.asarray(group["time"])
    told = str(group["time"].attrs.get("calendar", "standard"))
    wanted, calendar = clocks.seconds(times, "1940-01-01") / 3600, clocks.calendar_of(times)
    if np.array_equal(hours, wanted) and (told == calendar or clocks.real(told) == clocks.real(calendar) is True):
        return {}
    stamps = [sample[:13] for sample in clocks.stamps(clocks.from_seconds(hours * 3600, "1940-01-01", told))]
    return {"times": f"{len(hours)} from {stamps[0]} to {stamps[-1]}, not {len(times)} from {times[0]} to {times[-1]}"}


def _codec(fields: Path) -> dict[str, Any]:
    """Settings of the compressor inside the shards."""
    for outer in read_json(fields / "zarr.json")["codecs"]:
        for inner in outer.get("configuration", {}).get("codecs", ()):
            if inner["name"] == "blosc":
                return {key: value for key, value in inner["configuration"].items() if key != "blocksize"}
    return {}
