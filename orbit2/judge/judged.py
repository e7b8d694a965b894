"""Two products and any number of baselines on common ground: the same cells, the same times, one stream of fields for the collectors of
both scoring stages. Never more than one time in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid
from orbit2.judge.grids import coarser, larger, shared
from orbit2.judge.product import Placed, Product, known
from orbit2.metrics.matched import Scored
from orbit2.metrics.predictions import spacing
from orbit2.metrics.table import Table
from orbit2.provenance import code_version
from orbit2.sources.static import open_static

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
TASK = "judged"
DAY = "datetime64[D]"


@dataclass(frozen=True)
class Clock:
    """The times that are compared, and where each product has them."""

    times: Times
    positions: list[dict[np.datetime64, int]]  # by product
    by_date: bool


class Judged:
    """Has what collectors ask of a `Matched`. `products`: the judged one, what it is judged against, then the baselines.

    Raises OrbitError where the first two share no variable, no cell or no time.
    """

    task, has_truth, observations, tiling, refinement, aligned, whole, members = TASK, True, None, None, 1, False, True, 0
    counterpart: str | None = None

    def __init__(self, products: Sequence[Product]) -> None:
        self.products, self.notes = list(products), [note for product in products for note in product.notes]
        judged, truth, *others = self.products
        self.model, self.dataset, self.prediction_path = judged.name, judged.name, judged.path
        self.variables = self._variables(judged, truth)
        held = [tuple(name for name in self.variables if name in product.fields) for product in self.products]
        for product, names in zip(others, held[2:], strict=True):
            if not names:
                raise OrbitError("the baseline has none of the variables that are judged", where=product.path,
                                 got=", ".join(product.fields) or "no known variable", allowed=", ".join(self.variables),
                                 hint="--rename THEIRS=OURS says which of its fields is which")  # fmt: skip
        self.inputs = [product.inputs(names) for product, names in zip(self.products, held, strict=True)]
        for product, each in zip(self.products, self.inputs, strict=True):
            self.notes += [f"{product.name}: {line}" for line in each.warnings]
        grids = [each.grid for each in self.inputs]
        self.grid = shared(coarser(grids[0], grids[1]), grids)
        self.placed = [Placed(each, self.grid) for each in self.inputs]
        self._baselines = {name: tuple(p.name for p in others if name in p.fields) for name in self.variables}
        self.clock = clock(self.products, [each.times for each in self.inputs], self.notes)
        self.times, self.streamed = self.clock.times, list(range(len(self.clock.times)))
        whole = isinstance(self.grid, Grid) and self.grid.periodic and np.abs(self.grid.lat_edges[[0, -1]]).min() > 90 - 1e-3
        self.region = "global" if whole else "domain"
        self.empty: dict[str, int] = {}
        self._say_grids(grids)

    def _variables(self, judged: Product, truth: Product) -> tuple[str, ...]:
        """Those of both; an array that could be two of them counts as the first. Raises OrbitError when there are none."""
        names = [name for name in known() if name in judged.fields and name in truth.fields]
        common = [n for i, n in enumerate(names) if judged.fields[n] not in {judged.fields[m] for m in names[:i]}]
        if not common:
            theirs, ours = (", ".join(map(str, product.dataset.data_vars)) or "no field" for product in (judged, truth))
            raise OrbitError("the products share no variable that orbit2 knows", where=judged.path, got=theirs, allowed=ours,
                             hint="say which is which with --rename NAME=CANONICAL, e.g. --rename rain=precipitation_rate")  # fmt: skip
        for product in (judged, truth):
            left = sorted(set(map(str, product.dataset.data_vars)) - {product.fields[name] for name in common})
            left = [name for name in left if product.dataset[name].ndim >= 2 and not name.endswith(("_bnds", "_bounds"))]
            if left:
                self.notes.append(f"of {product.name} only {', '.join(common)} was judged: {', '.join(left)} have no counterpart")
        return tuple(common)

    def _say_grids(self, grids: Sequence[AnyGrid]) -> None:
        for product, placed, grid in zip(self.products, self.placed, grids, strict=True):
            if placed.as_it_is:
                continue
            how = "averaged by area" if larger(self.grid, grid) else "laid by area"
            self.notes.append(f"{product.name} ({grid.describe()}) was {how} onto {self.grid.describe()}; a cell that it covers in part is "
                              "missing")  # fmt: skip
        whole = coarser(grids[0], grids[1])
        if self.grid.shape != whole.shape:
            self.notes.append(f"only {self.grid.describe()} is covered by all: {np.prod(self.grid.shape)} of {np.prod(whole.shape)} cells")

    @property
    def native_grid(self) -> AnyGrid:
        return self.grid

    @property
    def spectra_grid(self) -> AnyGrid:
        return self.grid

    def baselines(self, name: str) -> tuple[str, ...]:
        """The other products that have variable `name`."""
        return self._baselines[name]

    def models(self, name: str) -> tuple[str, ...]:
        """All that is scored for variable `name`."""
        return (self.model, *self._baselines[name])

    @property
    def all_models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(model for name in self.variables for model in self.models(name)))

    @property
    def reference(self) -> str:
        """What the scores are relative to, in words."""
        own = self.inputs[1].grid
        moved = "" if self.placed[1].as_it_is else f" at {spacing(self.grid)}"
        return f"{self.products[1].name} {spacing(own)}{moved}"

    def table(self, protocol: str) -> Table:
        """An empty table with the comparison's common columns."""
        first, last = (np.datetime_as_string(t, unit="m") for t in (self.times[0], self.times[-1]))
        return Table(self.task, self.dataset, protocol, self.reference, f"{first}/{last}", code_version())

    @cached_property
    def land_fraction(self) -> Array:
        """[H, W], from the packaged land mask."""
        land: Array = open_static(self.grid, ("land_sea_mask",))[0].astype(np.float64)
        return land

    @cached_property
    def step_hours(self) -> float:
        """Between compared times, the most common step; 24 where they were matched by date."""
        steps = np.diff(self.times).astype(np.int64) / 3600
        return 24.0 if self.clock.by_date or not len(steps) else float(np.median(steps))

    def member_fields(self, scored: Scored) -> Iterator[Array]:
        """None: a product is one field."""
        return iter(())

    def input_field(self, index: int, name: str) -> Array | None:
        """None: what a product was made from is not known here."""
        return None

    def samples(self) -> Iterator[Scored]:
        """Every time and variable in turn; one that somebody misses everywhere is left out, and counted in `empty`."""
        for position, time in enumerate(self.times):
            at = [where.get(time) for where in self.clock.positions]
            for name in self.variables:
                fields = {
                    product.name: placed.field(name, index)
                    for product, placed, index in zip(self.products, self.placed, at, strict=True)
                    if name in placed.inputs.arrays and index is not None
                }
                valid = np.logical_and.reduce([np.isfinite(field) for field in fields.values()])
                if not valid.any():
                    self.empty[name] = self.empty.get(name, 0) + 1
                    continue
                masked = {model: np.where(valid, field, np.nan) for model, field in fields.items()}
                truth = masked.pop(self.products[1].name)
                models = {model: masked[model] for model in self.models(name)}
                yield Scored(position, time, name, truth, models, dict(models), position)


def clock(products: Sequence[Product], times: Sequence[Times], notes: list[str]) -> Clock:
    """The times that all products have: the same dates where each has at most one field a day (whatever the hour that it is stamped with),
    else the same instants. `notes` say what was left out. Raises OrbitError when there are none."""
    daily = [len(np.unique(each.astype(DAY))) == len(each) for each in times]
    by_date = all(daily)
    keys = [each.astype(DAY if by_date else "datetime64[s]") for each in times]
    common = keys[0]
    for each in keys[1:]:
        common = common[np.isin(common, each)]
    common = np.sort(common)
    if not len(common):
        spans = "; ".join(f"{product.name}: {each[0]} to {each[-1]} ({len(each)})" for product, each in zip(products, keys, strict=True))
        raise OrbitError("the products have no time in common", where="products", got=spans,
                         allowed="the same dates where all have one field a day, else the same instants",
                         hint="give files of the same times")  # fmt: skip
    for product, each in zip(products, keys, strict=True):
        if (gone := len(each) - len(common)) > 0:
            first = each[~np.isin(each, common)].min()
            notes.append(f"{gone} of {len(each)} times of {product.name} have no counterpart and were left out (the first: {first})")
    if not by_date and any(daily) and any(len(each) > 1 for each, one in zip(times, daily, strict=True) if one):
        once = ", ".join(product.name for product, one in zip(products, daily, strict=True) if one)
        notes.append(f"{once} has one field a day and the others have several: they were compared at equal instants; a mean over a day is "
                     "no match for an instant")  # fmt: skip
    shifts = {int(np.median((each.astype("datetime64[s]") - key.astype("datetime64[s]")).astype(np.int64)) // 3600)
              for each, key in zip(times, keys, strict=True)}  # fmt: skip
    if by_date and len(shifts) > 1:
        notes.append(f"days are stamped at different hours ({', '.join(f'{h:02d}' for h in sorted(shifts))} h): they were matched by date; "
                     "products that count days from different hours cannot agree fully")  # fmt: skip
    places = [{time: i for i, time in enumerate(key)} for key in keys]
    stamps = common.astype("datetime64[s]")
    positions = [{stamp: place[time] for stamp, time in zip(stamps, common, strict=True)} for place in places]
    return Clock(stamps, positions, by_date)
