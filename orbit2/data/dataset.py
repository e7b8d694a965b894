"""Batches of a PairStore's samples, in the model's normalised space. Never decides which samples: see `steps`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2.data.augment import Raw, coarsen, flip_north_south
from orbit2.data.cutting import Cutting, cut
from orbit2.data.packing import greatest_error
from orbit2.data.pairs import SIDES, PairStore
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.model.geometry import Geometry
from orbit2.model.tiles import Window, of_box, refine_index
from orbit2.variables import variable

COMPARED = 8  # samples, at most, that tell whether the coarse fields are block means of the fine ones
REGION_HALO = 4  # coarse cells of context around a regional training box
SURFACE = {"land_sea_mask", "orography"}  # what makes one place of the Earth another, and is mirrored with the weather
SEASONS_EXCHANGED = torch.tensor([-1.0, 1.0, -1.0, 1.0])  # on `clock`: half a year on, the hour as it was


@dataclass
class Batch:
    """Normalised tensors: coarse [B, V, H, W], fine [B, C, sH, sW] (NaN = missing), statics [B, S, sH, sW],
    weights [B or 1, 1, sH, sW] (cell area, zero in the halo, mean 1 over the sample's core), clock [B, 4].

    On tiles B counts windows, `samples` names each window's, and `context` (bool, like weights) marks halo cells that other
    tiles of the sample own.
    """

    coarse: Tensor
    fine: Tensor
    statics: Tensor
    weights: Tensor
    clock: Tensor
    geometry: Geometry
    variables: tuple[str, ...]
    samples: list[str]
    context: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """On `device`; from pinned memory the copies run beside what the device is doing."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=device.type != "cpu"))

    def pin_memory(self) -> Batch:
        """In page-locked memory, which a GPU copies from by itself: what a DataLoader with `pin_memory` calls."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        """Every tensor moved; what all samples share (statics, weights, coordinates) only once, not once per sample."""

        def moved(tensor: Tensor) -> Tensor:
            shared = len(tensor) > 1 and tensor.stride(0) == 0
            return move(tensor[:1]).expand(tensor.shape) if shared else move(tensor)

        return replace(
            self,
            coarse=moved(self.coarse),
            fine=moved(self.fine),
            statics=moved(self.statics),
            weights=moved(self.weights),
            clock=moved(self.clock),
            geometry=replace(self.geometry, lat=moved(self.geometry.lat), lon=moved(self.geometry.lon)),
            context=None if self.context is None else moved(self.context),
        )


class Pairs:
    """One dataset's samples of one period, cut to a region, ready to be batched.

    `outputs` are the model's outputs; those the store lacks are NaN (never scored). `statics` are the model's fine statics
    (default: the store's own); those the store lacks are NaN too.
    `reflect`: whether augmentation may mirror the Earth. Raises OrbitError for an empty period.
    """

    def __init__(
        self,
        store: PairStore,
        period: tuple[str, str],
        normaliser: Normaliser,
        outputs: Sequence[str],
        region: Sequence[float] | None = None,
        name: str = "",
        shift_probability: float = 0.5,
        statics: Sequence[str] | None = None,
        reflect: bool = True,
    ) -> None:
        self.reflect = reflect  # not for a model that cannot be told which latitude a row is
        self.store, self.normaliser, self.outputs, self.name = store, normaliser, tuple(outputs), name
        self.shift_probability = shift_probability
        self.indices = store.indices(*period)
        if not len(self.indices):
            raise OrbitError(
                "no samples in the period",
                where=store.path,
                got=f"{period[0]} to {period[1]}",
                allowed=f"{store.times[0]} to {store.times[-1]}",
            )
        self.inputs, self.statics = store.variables("coarse"), store.statics("fine")
        self.model_statics = self.statics if statics is None else tuple(statics)
        self.factor = store.refinement
        self.window: Window = of_box(store.grid("coarse"), region, REGION_HALO)
        self.lat_weights = torch.from_numpy(store.grid("fine").lat_weights).float()
        self.min_valid = float(store.attributes.get("min_valid_fraction", 0.5))
        self.static_fine = torch.from_numpy(store.static_values("fine"))
        self.nested = self._coarse_is_block_mean()

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the V input channels: dynamic, then static."""
        return (*self.inputs, *self.statics)

    def _coarse_is_block_mean(self) -> bool:
        """Whether every dynamic input is the area mean of the store's fine field: what phase shifts rely on.

        Whole blocks of a few samples are compared; an input without any of them is not taken for one.
        """
        names = self.store.variables("fine")
        if not set(self.inputs) <= set(names):
            return False
        compared = torch.zeros(len(self.inputs), dtype=torch.bool)
        for index in self.indices[:: max(1, len(self.indices) // COMPARED)][:COMPARED]:
            coarse, fine = (torch.from_numpy(self.store.read(side, int(index))) for side in SIDES)
            again = coarsen(fine[[names.index(n) for n in self.inputs]], self.lat_weights, self.factor, 1.0)
            spread = coarse.nan_to_num().std((1, 2)).clamp_min(1e-12)[:, None, None]
            stored = torch.from_numpy(greatest_error(coarse.numpy(), self.inputs))  # on either side of the comparison
            difference = (again - coarse).abs()
            if not bool((difference.nan_to_num() <= 1e-3 * spread + 2 * stored.nan_to_num()).all()):
                return False
            compared |= torch.isfinite(difference).any(2).any(1)
            if bool(compared.all()):
                return True
        return False

    def raw(self, indices: Sequence[int], shift: tuple[int, int] = (0, 0)) -> Raw:
        """Physical fields of some samples on the window, moved by `shift` fine rows and columns.

        A shift puts the coarse grid elsewhere over the same truth and coarsens it anew (precipitation in mm), so that one
        pair gives s^2. The globe wraps in longitude; where the shifted window would leave the grid it loses a coarse row
        or column.
        """
        grid, s, window = self.store.grid("fine"), self.factor, self.window
        height, width = grid.shape
        rows, columns = window.rows, window.columns
        if (rows[-1] + 1) * s + shift[0] > height:
            rows = rows[:-1]
        fine_rows, fine_columns = refine_index(rows, s) + shift[0], refine_index(columns, s) + shift[1]
        if grid.periodic:
            fine_columns = fine_columns % width
        elif fine_columns[-1] >= width:
            columns, fine_columns = columns[:-1], fine_columns[:-s]
        names, moved = self.store.variables("fine"), shift != (0, 0)
        row_weights = self.lat_weights[torch.from_numpy(fine_rows)]
        sources = [names.index(name) for name in self.inputs] if moved else []
        known = [(i, names.index(name)) for i, name in enumerate(self.outputs) if name in names]
        targets = torch.empty(len(indices), len(self.outputs), len(fine_rows), len(fine_columns))
        targets[:, [i for i, name in enumerate(self.outputs) if name not in names]] = torch.nan
        coarse = torch.empty(len(indices), len(self.inputs), len(rows), len(columns))
        for k, index in enumerate(indices):
            fine = taken(torch.from_numpy(self.store.read("fine", int(index))), fine_rows, fine_columns)
            for i, source in known:
                targets[k, i] = fine[source]
            if moved:
                coarse[k] = coarsen(fine[sources], row_weights, s, self.min_valid)
            else:
                coarse[k] = taken(torch.from_numpy(self.store.read("coarse", int(index))), rows, columns)
        weights = torch.zeros(targets.shape[2:])
        core = window.fine_core(s)
        weights[core] = row_weights[core[0], None].expand_as(weights[core])
        static = taken(self.static_fine, fine_rows, fine_columns)
        centres = self.store.grid("coarse")
        return Raw(
            coarse=coarse,
            fine=targets,
            static_coarse=coarsen(static, row_weights, s),  # as in prediction, which knows no store
            static_fine=static,
            weights=weights,
            lat=torch.from_numpy(centres.lat[rows]).float() + shift[0] * centres.resolution / s,
            lon=torch.from_numpy(centres.lon[columns]).float() + shift[1] * float(np.median(np.diff(grid.lon_edges))),
            periodic=window.periodic,
        )

    def batch(self, indices: Sequence[int], augment: np.random.Generator | None = None) -> Batch:
        """A normalised batch of the given store indices, augmented when a generator is given."""
        return self.normalised(self.sample(indices, augment), indices)

    def pieces(self, index: int, cutting: Cutting | None) -> Iterator[Batch]:
        """One sample as it is: whole, or one tile at a time."""
        raw = self.sample([index])
        if cutting is None:
            yield self.normalised(raw, [index])
            return
        for window in cutting.tiling(raw):
            yield self.normalised(cut(raw, [(0, window)]), [index])

    def least_tiles(self, cutting: Cutting, augment: bool) -> int:
        """The fewest tiles that a step takes of one sample: a moved grid may have a row or column less."""
        moves = {0, self.factor - 1} if augment and self.nested and self.shift_probability else {0}
        empty = [self.raw([], (rows, columns)) for rows in moves for columns in moves]
        counts = [len(cutting.tiling(raw)) for raw in empty if bool((raw.weights > 0).any())]
        return min(len(cutting.draw(count, (0,))) for count in counts)

    def sample(self, indices: Sequence[int], augment: np.random.Generator | None = None) -> Raw:
        """Physical fields of some samples, augmented when a generator is given; weights have mean 1 over the core."""
        raw = self.raw(indices) if augment is None else self._augmented(indices, augment)
        return replace(raw, weights=raw.weights / raw.weights[raw.weights > 0].mean())

    def normalised(self, raw: Raw, indices: Sequence[int]) -> Batch:
        """What `sample` gave, or tiles cut from it, in network space; `indices` names the store index of each of its B.

        Uses `raw` up: its coarse and fine fields are normalised in place.
        """
        grid = self.store.grid("coarse")
        count = len(indices)
        static = self.normaliser.normalise(raw.static_coarse, self.statics)
        coarse = torch.cat([self.normaliser.normalise_(raw.coarse, self.inputs), static.expand(count, -1, -1, -1)], 1)
        return Batch(
            coarse=coarse,
            fine=self.normaliser.normalise_(raw.fine, self.outputs),
            statics=self._for_model(self.normaliser.normalise(raw.static_fine, self.statics)).expand(count, -1, -1, -1),
            weights=raw.weights[None, None] if raw.weights.ndim == 2 else raw.weights[:, None],
            clock=clock(self.store.times[list(indices)]) * (SEASONS_EXCHANGED if raw.mirrored else 1.0),
            geometry=Geometry(raw.lat.expand(count, -1), raw.lon.expand(count, -1), grid.km, grid.km / self.factor, raw.periodic),
            variables=self.variables,
            samples=[f"{self.name}:{self.store.times[i]}" for i in indices],
            context=None if raw.context is None else raw.context[:, None],
        )

    def _for_model(self, static: Tensor) -> Tensor:
        """The store's statics [..., S, sH, sW] in the model's order."""
        if self.model_statics == self.statics:
            return static
        placed = static.new_full((*static.shape[:-3], len(self.model_statics), *static.shape[-2:]), torch.nan)
        known = [name for name in self.model_statics if name in self.statics]
        placed[..., [self.model_statics.index(n) for n in known], :, :] = static[..., [self.statics.index(n) for n in known], :, :]
        return placed

    def _augmented(self, indices: Sequence[int], random: np.random.Generator) -> Raw:
        """Phase shifts where coarse inputs are block means of the truth; north-south reflection on symmetric global grids, where
        the statics say where the mirrored Earth's land and mountains lie (its position alone would say it wrongly)."""
        rows, columns = (int(k) for k in random.integers(self.factor, size=2))
        moved = self.nested and random.random() < self.shift_probability
        raw = self.raw(indices, (rows, columns) if moved else (0, 0))
        if not bool((raw.weights > 0).any()):  # a box one cell wide at the grid's end: what was moved out was all of it
            raw = self.raw(indices)
        symmetric = raw.periodic and bool(torch.allclose(raw.lat, -raw.lat.flip(0), atol=1e-3))
        if self.reflect and symmetric and set(self.statics) >= SURFACE and random.random() < 0.5:
            raw = flip_north_south(raw, *([variable(n).parity for n in names] for names in (self.inputs, self.outputs, self.statics)))
        return raw


def taken(fields: Tensor, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Tensor:
    """Neighbouring `rows` (ascending) and `columns` (ascending, perhaps past the end and on from 0) of [..., H, W]: whole runs, which
    cost a fraction of cells one by one."""
    band = fields[..., int(rows[0]) : int(rows[-1]) + 1, :]
    ends = np.flatnonzero(np.diff(columns) != 1) + 1
    runs = [band[..., int(run[0]) : int(run[-1]) + 1] for run in np.split(columns, ends)]
    return runs[0] if len(runs) == 1 else torch.cat(runs, -1)


def clock(times: npt.NDArray[np.datetime64]) -> Tensor:
    """Day of year and hour of day as angles [B, 4]: sin day, sin hour, cos day, cos hour."""
    day = (times - times.astype("datetime64[Y]")) / np.timedelta64(1, "s") / 86400 / 365.2425
    hour = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "s") / 86400
    angles = 2 * np.pi * np.stack([day, hour], -1)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], -1)).float()
