"""Batches of a PairStore's samples, in the model's normalised space. Never decides which samples: see `steps`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2 import longitudes
from orbit2 import times as clocks
from orbit2.areas import relative_areas
from orbit2.data.augment import coarsen
from orbit2.data.batch import Batch, Packed
from orbit2.data.cutting import Cutting
from orbit2.data.ground import Ground
from orbit2.data.packing import MISSING, greatest_error
from orbit2.data.pairs import SIDES, PairStore, Side
from orbit2.data.transforms import Normaliser
from orbit2.data.view import Box, View
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid
from orbit2.model.heap import in_large_pages
from orbit2.model.tiles import Window, of_box

__all__ = ["COMPARED", "CPU", "REGION_HALO", "Batch", "Packed", "Pairs", "clock"]

COMPARED = 8  # samples, at most, that tell whether the coarse fields are block means of the fine ones
REGION_HALO = 4  # coarse cells of context around a regional training box
SURFACE = {"land_sea_mask", "orography"}  # what makes one place of the Earth another, and is mirrored with the weather
SEASONS_EXCHANGED = torch.tensor([-1.0, 1.0, -1.0, 1.0])  # on `clock`: half a year on, the hour as it was
CPU = torch.device("cpu")


class Pairs:
    """One dataset's samples of one period, cut to a region, ready to be batched.

    `outputs` are the model's outputs; those the store lacks are NaN (never scored). `statics` are the model's fine statics
    (default: the store's own); those the store lacks are NaN too.
    `reflect`: whether augmentation may mirror the Earth. `leave_out`: a box (south, north, west, east) of which the truth is missing, as
    if it had never been observed; grids are not moved then, since moved inputs are made of the truth.
    Raises OrbitError for an empty period.
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
        leave_out: tuple[float, float, float, float] | None = None,
    ) -> None:
        self.reflect = reflect  # not for a model that cannot be told which latitude a row is
        self.store, self.normaliser, self.outputs, self.name = store, normaliser, tuple(outputs), name
        self.shift_probability = shift_probability
        self.indices = store.indices(*period)
        if not len(self.indices):
            raise OrbitError("no samples in the period", where=store.path, got=f"{period[0]} to {period[1]}",
                             allowed=f"{store.times[0]} to {store.times[-1]}", hint="choose a period within the store's")  # fmt: skip
        self.inputs, self.statics = store.variables("coarse"), store.statics("fine")
        self.model_statics = self.statics if statics is None else tuple(statics)
        self.window: Window = of_box(store.grid("coarse"), region, REGION_HALO)
        self.whole = View.of(self.window, store.refinement)
        self.left_out = None if leave_out is None else _cells(store, leave_out)
        self.nested = leave_out is None and self._coarse_is_block_mean()
        self.ground = Ground(
            normaliser=normaliser,
            inputs=self.inputs,
            truth=store.variables("fine"),
            outputs=self.outputs,
            own_statics=self.statics,
            statics=self.model_statics,
            grids=(store.grid("coarse"), store.grid("fine")),
            packings=(store.packings("coarse"), store.packings("fine")),
            static_fine=torch.from_numpy(store.static_values("fine")),
            min_valid=float(store.attributes.get("min_valid_fraction", 0.5)),
            name=name,
        )

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
        compared, areas = torch.zeros(len(self.inputs), dtype=torch.bool), torch.from_numpy(relative_areas(self.store.grid("fine"))).float()
        for index in self.indices[:: max(1, len(self.indices) // COMPARED)][:COMPARED]:
            coarse, fine = (torch.from_numpy(self.store.read(side, int(index))) for side in SIDES)
            again = coarsen(fine[[names.index(n) for n in self.inputs]], areas, self.store.refinement, 1.0)
            spread = coarse.nan_to_num().std((1, 2)).clamp_min(1e-12)[:, None, None]
            stored = torch.from_numpy(greatest_error(coarse.numpy(), self.inputs))  # on either side of the comparison
            difference = (again - coarse).abs()
            if not bool((difference.nan_to_num() <= 1e-3 * spread + 2 * stored.nan_to_num()).all()):
                return False
            compared |= torch.isfinite(difference).any(2).any(1)
            if bool(compared.all()):
                return True
        return False

    def batch(self, indices: Sequence[int], augment: np.random.Generator | None = None) -> Batch:
        """A normalised batch of the given store indices on the CPU, augmented when a generator is given."""
        return self.packed(indices, self.drawn(augment)).to(CPU)

    def pieces(self, index: int, cutting: Cutting | None) -> Iterator[Packed]:
        """One sample as it is: whole, or one tile at a time."""
        if cutting is None:
            yield self.packed([index])
            return
        tiles = self.packed([index], pieces=[(0, window) for window in cutting.tiling(self.whole)])
        yield from (tiles.part(k, k + 1) for k in range(len(tiles)))

    def least_tiles(self, cutting: Cutting, augment: bool) -> int:
        """The fewest tiles that a step takes of one sample: a moved grid may have a row or column less."""
        moves = {0, self.whole.factor - 1} if augment and self.nested and self.shift_probability else {0}
        views = [self.whole.moved((rows, columns), self.store.grid("coarse")) for rows in moves for columns in moves]
        return min(len(cutting.draw(len(cutting.tiling(view)), (0,))) for view in views if not view.empty)

    def packed(self, indices: Sequence[int], view: View | None = None, pieces: Sequence[tuple[int, Window]] | None = None) -> Packed:
        """Codes of some samples on a view (default: the window as it is), or of `pieces` of them: (position among `indices`, window of
        the view), in the order of their samples."""
        view = view or self.whole
        parts: Sequence[tuple[int, Window | None]] = [(k, None) for k in range(len(indices))] if pieces is None else pieces
        boxes = [(indices[k], view.under(window)) for k, window in parts]
        moved = view.shift != (0, 0)
        channels = self.ground.channels(moved)
        fine, holes = self._codes("fine", channels, [(index, box.finer(view.factor, view.shift)) for index, box in boxes])
        coarse, gaps = (None, ()) if moved else self._codes("coarse", tuple(range(len(self.inputs))), boxes)
        times = self.store.times[[index for index, _ in boxes]]
        return Packed(
            coarse=coarse,
            fine=fine,
            channels=channels,
            gaps=(gaps, holes),
            clock=clock(times) * (SEASONS_EXCHANGED if view.mirrored else 1.0),
            samples=[f"{self.name}:{time}" for time in times],
            view=view,
            ground=self.ground,
            windows=None if pieces is None else [window for _, window in pieces],
        )

    def _codes(self, side: Side, channels: tuple[int, ...], boxes: Sequence[tuple[int, Box]]) -> tuple[Tensor, tuple[bool, ...]]:
        """(codes [B, K, h, w] of boxes of samples, whether each channel misses anything): a sample that is wanted as it is stored is
        unpacked to where it belongs."""
        shape, count = self.store.grid(side).shape, len(self.store.variables(side))
        rows, columns = boxes[0][1].rows, boxes[0][1].columns
        codes = in_large_pages(torch.empty(len(boxes), len(channels), rows, columns, dtype=torch.int16))
        if not channels:
            return codes, ()
        out = codes.numpy()
        hidden = self.left_out if side == "fine" else None
        as_stored = channels == tuple(range(count)) and boxes[0][1] == Box(0, 0, *shape)
        whole, held = None if as_stored else np.empty((count, *shape), dtype=np.int16), -1
        for k, (index, box) in enumerate(boxes):
            if whole is None:
                self.store.read_packed(side, index, out[k])
                if hidden is not None:
                    out[k][:, hidden] = MISSING
                continue
            if index != held:
                self.store.read_packed(side, index, whole)
                held = index
                if hidden is not None:
                    whole[:, hidden] = MISSING
            for channel, plane in zip(channels, out[k], strict=True):
                box.copy(whole[channel], plane)
        return codes, tuple(bool(out[:, i].min() == MISSING) for i in range(len(channels)))

    def drawn(self, random: np.random.Generator | None) -> View:
        """A view as augmentation draws it: phase shifts where coarse inputs are block means of the truth, so that one pair gives s^2;
        north-south reflection on symmetric global grids, where the statics say where the mirrored Earth's land and mountains lie (its
        position alone would say it wrongly)."""
        view, factor, grid = self.whole, self.whole.factor, self.store.grid("coarse")
        if random is None:
            return view
        rows, columns = (int(k) for k in random.integers(factor, size=2))
        if self.nested and random.random() < self.shift_probability:
            moved = view.moved((rows, columns), grid)
            view = view if moved.empty else moved  # a box one cell wide at the grid's end: what was moved out was all of it
        if self.reflect and _symmetric(view, grid) and set(self.statics) >= SURFACE and random.random() < 0.5:
            view = replace(view, mirrored=True)
        return view


def _symmetric(view: View, grid: AnyGrid) -> bool:
    """Whether the rows go round the globe and the mirrored Earth has the same ones."""
    if not view.periodic or not isinstance(grid, Grid):
        return False
    lat = grid.lat[view.box.south : view.box.south + view.box.rows] + view.shift[0] * grid.resolution / view.factor
    return bool(np.allclose(lat, -lat[::-1], atol=1e-3))


def _cells(store: PairStore, box: tuple[float, float, float, float]) -> npt.NDArray[np.bool_]:
    """[H, W]: fine cells whose centres lie in a box."""
    grid = store.grid("fine")
    return longitudes.in_box(grid.lat2d, grid.lon2d, box)


def clock(times: clocks.Times) -> Tensor:
    """Day of year and hour of day as angles [B, 4]: sin day, sin hour, cos day, cos hour."""
    day, hour = clocks.clock(times)
    angles = 2 * np.pi * np.stack([day, hour], -1)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], -1)).float()
