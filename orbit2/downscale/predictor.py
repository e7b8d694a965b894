"""A trained model applied to physical fields: normalise, predict tile by tile, back to units. Never sees a truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from orbit2.data.augment import coarsen
from orbit2.data.dataset import REGION_HALO, clock
from orbit2.data.transforms import Normaliser
from orbit2.downscale.ingest import read_inputs
from orbit2.errors import OrbitError
from orbit2.grid import Grid
from orbit2.model import folder
from orbit2.model.build import Downscaling
from orbit2.model.geometry import Geometry
from orbit2.model.tiles import Window, of_box, tiles
from orbit2.sources.static import open_static
from orbit2.variables import variable

FloatArray = npt.NDArray[np.float32]


@dataclass
class Downscaler:
    """A loaded model. `inputs` are the dynamic variables it can read, `outputs` what it predicts."""

    model: Downscaling
    normaliser: Normaliser
    about: dict[str, Any]
    device: torch.device
    dtype: torch.dtype | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.model.inputs if name not in self.model.statics)

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.model.outputs

    @property
    def refinement(self) -> int:
        return self.model.config.refinement

    def region_window(self, grid: Grid) -> Window:
        """What this model covers of `grid`: the box it was fine-tuned on, else everything."""
        return of_box(grid, self.about.get("region"), REGION_HALO)

    @torch.inference_mode()
    def predict(
        self,
        coarse: FloatArray,
        variables: Sequence[str],
        static_fine: FloatArray,
        grid: Grid,
        time: np.datetime64,
        tile: int = 0,
        halo: int = 8,
    ) -> FloatArray:
        """One frame: coarse [V, H, W] (canonical units, NaN = missing) and fine statics [S, sH, sW] on `grid` and its
        refinement -> [C, sH', sW'] in canonical units, on the region the model covers."""
        s = self.refinement
        region = self.region_window(grid)
        regional = self.about.get("region") is not None
        windows = [region] if regional else tiles(grid.shape, grid.periodic, tile, halo, self.model.config.patch if tile else 1)
        fields = torch.from_numpy(coarse)
        statics = torch.from_numpy(static_fine)
        weights = torch.from_numpy(grid.refine(s).lat_weights).float()
        when = clock(np.array([time])).to(self.device)
        out = np.empty((len(self.outputs), grid.shape[0] * s, grid.shape[1] * s), dtype=np.float32)
        for window in windows:
            rows, columns = (torch.from_numpy(i) for i in (window.rows, window.columns))
            fine_rows, fine_columns = (torch.from_numpy(i) for i in window.fine(s))
            near = statics[:, fine_rows[:, None], fine_columns]
            static_coarse = self.normaliser.normalise(coarsen(near, weights[fine_rows], s), self.model.statics)
            dynamic = self.normaliser.normalise(fields[:, rows[:, None], columns], variables)
            geometry = Geometry(
                torch.from_numpy(grid.lat[window.rows]).float()[None],
                torch.from_numpy(grid.lon[window.columns]).float()[None],
                grid.km,
                grid.km / s,
                window.periodic,
            )
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                coarse_all = torch.cat([dynamic, static_coarse])[None].to(self.device)
                names = (*variables, *self.model.statics)
                prediction = self.model(
                    coarse_all,
                    self.normaliser.normalise(near, self.model.statics)[None].to(self.device),
                    geometry.to(self.device),
                    names,
                    when,
                )
            absent = self.model.missing(coarse_all, names, window.periodic)
            if absent is not None:
                prediction = prediction.masked_fill(absent, torch.nan)
            physical = self.normaliser.denormalise(prediction[0].float().cpu(), self.outputs).numpy()
            core = window.fine_core(s)
            r, c = window.rows[window.core_rows][0] * s, window.columns[window.core_columns][0] * s
            height, width = core[0].stop - core[0].start, core[1].stop - core[1].start
            if regional:
                return np.ascontiguousarray(physical[:, core[0], core[1]])
            out[:, r : r + height, c : c + width] = physical[:, core[0], core[1]]
        return out

    def fine_grid(self, grid: Grid) -> Grid:
        """The grid of the prediction for inputs on `grid`."""
        if self.about.get("region") is None:
            return grid.refine(self.refinement)
        rows, columns = grid.window(self.about["region"])
        return grid.crop(rows, columns).refine(self.refinement)

    def downscale(self, dataset: xr.Dataset, static: str | Path | None = None, tile: int = 0, halo: int = 8) -> xr.Dataset:
        """Downscale a Dataset with the model's input variables (any usual names, units, latitude order) -> Dataset on the
        finer grid, canonical names and units. Raises OrbitError when an input is missing or unusable."""
        inputs = read_inputs(dataset, self.inputs)
        static_fine = open_static(inputs.grid.refine(self.refinement), self.model.statics, Path(static) if static else None)
        grid = self.fine_grid(inputs.grid)
        frames = np.stack(
            [
                self.predict(inputs.frame(i), inputs.names, static_fine, inputs.grid, inputs.times[i], tile, halo)
                for i in range(len(inputs.times))
            ]
        )
        return as_dataset(frames, self.outputs, grid, inputs.times)


def as_dataset(frames: FloatArray, names: Sequence[str], grid: Grid, times: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """[T, C, H, W] in canonical units as a CF Dataset."""
    data = {name: (("time", "lat", "lon"), frames[:, i], attributes(name)) for i, name in enumerate(names)}
    return xr.Dataset(data, coords={"time": times.astype("datetime64[ns]"), **coordinates(grid)}, attrs={"Conventions": "CF-1.11"})


def attributes(name: str) -> dict[str, str]:
    """CF attributes of a variable."""
    facts = variable(name)
    return {"units": facts.units, "standard_name": facts.standard_name, "long_name": facts.long_name, "cell_methods": facts.cell_methods}


def coordinates(grid: Grid) -> dict[str, Any]:
    """CF latitude and longitude with bounds."""
    result: dict[str, Any] = {}
    for axis, long, centres, edges in (("lat", "latitude", grid.lat, grid.lat_edges), ("lon", "longitude", grid.lon, grid.lon_edges)):
        units = "degrees_north" if axis == "lat" else "degrees_east"
        result[axis] = (
            axis,
            centres,
            {"units": units, "standard_name": long, "axis": "Y" if axis == "lat" else "X", "bounds": f"{axis}_bnds"},
        )
        result[f"{axis}_bnds"] = ((axis, "bnds"), np.stack([edges[:-1], edges[1:]], -1))
    return result


def load_model(path: str | Path, device: str | None = None, precision: str = "fp32") -> Downscaler:
    """Load a model folder for inference. Raises OrbitError when it is not one."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model, normaliser, about = folder.load(path, chosen)
    if precision not in ("fp32", "bf16"):
        raise OrbitError("unknown precision", got=precision, allowed="fp32, bf16")
    return Downscaler(model, normaliser, about, chosen, torch.bfloat16 if precision == "bf16" else None)
