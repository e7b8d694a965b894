"""A few numbers of two products in memory or in files: `Model.score`. The whole comparison is `orbit2 evaluate A B`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from orbit2.door.ingest import Reading
from orbit2.door.places import label, places
from orbit2.errors import OrbitError
from orbit2.judge.judged import Judged
from orbit2.judge.product import Product, known, on_real_days
from orbit2.metrics.binning import Bins
from orbit2.metrics.deterministic import bias, mae, pearson_r, rmse
from orbit2.metrics.statistics import Moments, moments
from orbit2.metrics.weighting import area_weights
from orbit2.variables import variable

Given = str | Path | Sequence[str | Path] | xr.Dataset
SCORES = {"rmse": rmse, "mae": mae, "bias": bias, "pearson_r": pearson_r}


def score(prediction: Given, truth: Given, only: Sequence[str] = ()) -> pd.DataFrame:
    """Area-weighted scores, pooled over times and cells, of the variables that both products hold (of `only` these): a row each, with
    units and the number of fields. On the coarser of the two grids, at the times of both. Raises OrbitError where they share none."""
    with ExitStack() as stack:
        products = [_product(name, each, stack) for name, each in (("prediction", prediction), ("truth", truth))]
        matched = Judged(products)
        weights = area_weights(matched.grid)
        bins = Bins(("all",), np.zeros(matched.grid.shape, np.int16))
        sums: dict[str, Moments] = {}
        fields: dict[str, int] = {}
        for each in matched.samples():
            if only and each.variable not in only:
                continue
            (made,) = each.models.values()
            found = moments(made, each.truth, weights, bins)
            sums[each.variable] = sums[each.variable] + found if each.variable in sums else found
            fields[each.variable] = fields.get(each.variable, 0) + 1
    if not sums:
        raise OrbitError("no cell has a value in both products", where="score", got=", ".join(matched.variables), allowed=", ".join(only),
                         hint="give products whose values lie in the same region and at the same times")  # fmt: skip
    rows = {name: {"units": variable(name).units, **{key: float(of(total)[0]) for key, of in SCORES.items()}, "fields": fields[name]}
            for name, total in sums.items()}  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variable")


def _product(name: str, given: Given, stack: ExitStack) -> Product:
    if isinstance(given, xr.Dataset):
        notes: list[str] = []
        return Product(name, Path(name), on_real_days(given, name, notes), Reading(), notes)
    if not isinstance(given, (str, Path, list, tuple)):
        raise OrbitError("not a product that can be scored", where=name, got=type(given).__name__, allowed="an xarray Dataset, or files",
                         hint="open it with orbit2.open or xarray.open_dataset, or give its path")  # fmt: skip
    from orbit2.door.opening import opened

    return Product(name, Path(label(places(given))), on_real_days(stack.enter_context(opened(given, known())), name, []), Reading(), [])
