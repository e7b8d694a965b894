"""Predictions streamed to a CF-compliant Zarr v3 store, frame by frame, resumable. Never declares itself finalised early."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from orbit2.downscale.predictor import attributes, coordinates
from orbit2.grid import Grid

TIME_UNITS = "seconds since 1970-01-01 00:00:00"
CHUNK_EDGE = 720


class PredictionWriter:
    """One array (time, lat, lon) per variable; a frame counts as done once its name is in the attribute `frames_done`."""

    def __init__(
        self, path: str | Path, names: Sequence[str], grid: Grid, times: npt.NDArray[np.datetime64], about: Mapping[str, Any]
    ) -> None:
        self.path, self.names = Path(path), tuple(names)
        identity = json.dumps([list(names), grid.digest, [str(t) for t in times], about.get("model_hash"), about.get("weights")])
        if (self.path / "zarr.json").is_file():
            self.root = zarr.open_group(str(self.path), mode="r+")
            if self.root.attrs.get("identity") == identity:
                return
        self._create(grid, times, {**about, "identity": identity})

    def _create(self, grid: Grid, times: npt.NDArray[np.datetime64], about: Mapping[str, Any]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.init.part")
        shutil.rmtree(temporary, ignore_errors=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        root = zarr.create_group(str(temporary), zarr_format=3)
        height, width = grid.shape
        for name in self.names:
            array = root.create_array(
                name,
                shape=(len(times), height, width),
                chunks=(1, min(height, CHUNK_EDGE), min(width, CHUNK_EDGE)),
                dtype="float32",
                fill_value=float("nan"),
                dimension_names=("time", "lat", "lon"),
            )
            array.attrs.update(attributes(name))
        seconds = times.astype("datetime64[s]").astype(np.int64)
        root.create_array("time", data=seconds, dimension_names=("time",)).attrs.update(
            {"units": TIME_UNITS, "calendar": "proleptic_gregorian", "standard_name": "time", "axis": "T"}
        )
        for name, value in coordinates(grid).items():
            dims = (value[0],) if isinstance(value[0], str) else value[0]
            array = root.create_array(name, data=np.asarray(value[1]), dimension_names=dims)
            if len(value) > 2:
                array.attrs.update(value[2])
        root.attrs.update({"Conventions": "CF-1.11", **about, "finalised": False, "frames_done": []})
        shutil.rmtree(self.path, ignore_errors=True)
        temporary.rename(self.path)
        self.root = zarr.open_group(str(self.path), mode="r+")

    @property
    def done(self) -> set[int]:
        frames: Any = self.root.attrs["frames_done"]
        return {int(i) for i in frames}

    def write(self, index: int, fields: npt.NDArray[np.float32]) -> None:
        """Write frame `index` [C, H, W] and mark it done."""
        for name, values in zip(self.names, fields, strict=True):
            array = self.root[name]
            assert isinstance(array, zarr.Array)
            array[index] = values
        self.root.attrs["frames_done"] = sorted(self.done | {index})

    def finalise(self, extra: Mapping[str, Any]) -> None:
        self.root.attrs.update({**extra, "finalised": True})
