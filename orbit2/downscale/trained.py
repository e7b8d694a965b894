"""Which dataset of its training a prediction belongs to: whose output scale it has. Never reads a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orbit2.grid import AnyGrid
from orbit2.model import folder
from orbit2.model.build import Downscaling
from orbit2.model.scale import SAME
from orbit2.model.site import positions


def dataset_of(model: Downscaling, about: Mapping[str, Any], grid: AnyGrid, dataset: str | None) -> str:
    """The dataset of the training whose scale predictions for inputs on `grid` have: a task's own `dataset`; of a user's file (None) the
    one on whose cells it lies; "" where that is none or several, and the scale is that of the spacing."""
    known = dict(zip(model.scale_datasets, model.scale_km, strict=False))
    known = {name: km for name, km in known.items() if abs(km - grid.km) < SAME * km}  # not its fine fields, that are to be refined
    if dataset is not None or not known:
        return dataset if dataset in known else ""
    found = [name for name, other in folder.coarse_grids(about).items()
             if name in known and min(index.min() for index in positions(other, grid)) >= 0]  # fmt: skip
    return found[0] if len(found) == 1 else ""


def told(model: Downscaling, name: str, grid: AnyGrid) -> dict[str, str]:
    """What a prediction says of it (global attribute); nothing of a model that has one scale."""
    if not model.scale_datasets:
        return {}
    return {"output_scale": f"of dataset {name}" if name else f"of its spacing, {grid.km:.4g} km"}
