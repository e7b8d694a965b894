"""What all samples of a dataset share (statics, areas, coordinates, scales), once on each device, and with it a loader's integers become
the model's fields there. Never reads a store."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from orbit2.areas import relative_areas
from orbit2.data.augment import coarsen, mirror, turn_signs
from orbit2.data.batch import Batch, Core, Packed
from orbit2.data.packing import Packing, unpack_into
from orbit2.data.transforms import Normaliser
from orbit2.data.view import Box, View, box_of
from orbit2.grid import AnyGrid, Grid
from orbit2.model.gaps import MissingFlags
from orbit2.model.geometry import Geometry, select
from orbit2.model.heap import in_large_pages
from orbit2.model.tiles import Window
from orbit2.model.to_device import to_device

KEPT = 4  # views of a dataset on a device: the grid as it is, mirrored, and the last that were moved
_known: WeakValueDictionary[str, Ground] = WeakValueDictionary()  # so that a worker's batch meets what its process has on the device


@dataclass(frozen=True)
class Place:
    """One view on one device: statics [S, H, W] and [S', sH, sW] of the model (normalised), weights [sH, sW], centres [H], [W] (or
    [H, W] each) in degrees; `areas` [sH] of the fine rows (or [sH, sW]), in the store's order; `cells` [sH, sW]: see `Geometry.areas`."""

    static_coarse: Tensor
    statics: Tensor
    weights: Tensor
    lat: Tensor
    lon: Tensor
    areas: Tensor
    cells: Tensor | None


@dataclass(eq=False)
class Ground:
    """`inputs` of the model that this dataset has, `truth`: the store's fine variables, `outputs` and `statics` of the model, the store's
    own statics [S, sH, sW] in their units; grids and packings of both sides, coarse first; `name` of the dataset."""

    normaliser: Normaliser
    inputs: tuple[str, ...]
    truth: tuple[str, ...]
    outputs: tuple[str, ...]
    own_statics: tuple[str, ...]
    statics: tuple[str, ...]
    grids: tuple[AnyGrid, AnyGrid]
    packings: tuple[tuple[Packing, ...], tuple[Packing, ...]]
    static_fine: Tensor
    min_valid: float
    name: str = ""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        _known[self.token] = self
        self._fields: dict[torch.device, Tensor] = {}
        self._places: dict[torch.device, OrderedDict[View, Place]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A loader's worker sends the name alone with its batches; into a worker that was not forked goes everything, once."""
        sent = {} if torch.utils.data.get_worker_info() else {part.name: getattr(self, part.name) for part in fields(self)}
        return _found, (self.token, sent)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        return (*self.inputs, *self.own_statics)

    @cached_property
    def areas(self) -> Tensor:
        """Of the fine rows [sH], or of the fine cells [sH, sW]."""
        return torch.from_numpy(relative_areas(self.grids[1])).float()

    @cached_property
    def complete(self) -> bool:
        """Whether no static field misses anything."""
        return bool(torch.isfinite(self.static_fine).all())

    @property
    def factor(self) -> int:
        return self.grids[1].shape[0] // self.grids[0].shape[0]

    def channels(self, moved: bool) -> tuple[int, ...]:
        """Fine variables of the store that a batch needs: the outputs, in their order; for a moved grid also what inputs are made of."""
        outputs = [self.truth.index(name) for name in self.outputs if name in self.truth]
        return tuple(sorted({*outputs, *(self.truth.index(name) for name in self.inputs)}) if moved else outputs)

    def place(self, view: View, device: torch.device) -> Place:
        kept = self._places.setdefault(device, OrderedDict())
        if view not in kept:
            kept[view] = self._placed(view, device)
            if len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(view)
        return kept[view]

    def _placed(self, view: View, device: torch.device) -> Place:
        if device not in self._fields:
            self._fields[device] = self.static_fine.to(device)
        fine = view.fine
        own = _under(fine, self.areas)
        statics, areas = fine.of(self._fields[device]), to_device(own, device)
        coarse = coarsen(statics, areas, view.factor, complete=self.complete)  # as in prediction, which knows no store
        lat, lon = self._centres(view)
        if view.mirrored:
            statics, coarse, lat, own = mirror(statics, self.own_statics), mirror(coarse, self.own_statics), -lat.flip(0), own.flip(0)
        rows, columns = view.fine_domain
        weights = torch.zeros(fine.rows, fine.columns, device=device)
        inside = _window(own, rows, columns)
        inside = to_device(inside / float(inside.double().mean()), device)
        weights[rows, columns] = inside[:, None] if own.ndim == 1 else inside
        return Place(
            static_coarse=self.normaliser.normalise(coarse, self.own_statics),
            statics=self._for_model(self.normaliser.normalise(statics, self.own_statics)),
            weights=weights,
            lat=to_device(lat, device),
            lon=to_device(lon, device),
            areas=areas,
            cells=None if own.ndim == 1 else to_device(own / float(own.double().mean()), device),
        )

    def _centres(self, view: View) -> tuple[Tensor, Tensor]:
        """Latitudes and longitudes of a view's coarse cells: [H] and [W], or [H, W] each."""
        coarse, fine = self.grids
        if not isinstance(coarse, Grid):
            box = view.fine
            moved = fine.crop(slice(box.south, box.south + box.rows), slice(box.west, box.west + box.columns)).coarsen(view.factor)
            return torch.from_numpy(moved.lat2d.astype(np.float32)), torch.from_numpy(moved.lon2d.astype(np.float32))
        assert isinstance(fine, Grid)
        lat = torch.from_numpy(coarse.lat).float() + view.shift[0] * coarse.resolution / view.factor
        lat = lat[view.box.south : view.box.south + view.box.rows]
        lon = Box(0, view.box.west, 1, view.box.columns).of(torch.from_numpy(coarse.lon).float()[None])[0]
        return lat, lon + view.shift[1] * float(np.median(np.diff(fine.lon_edges)))

    def _for_model(self, static: Tensor) -> Tensor:
        """The store's statics [S, sH, sW] in the model's order, NaN where it has none."""
        if self.statics == self.own_statics:
            return static
        placed = static.new_full((len(self.statics), *static.shape[1:]), torch.nan)
        for i, name in enumerate(self.statics):
            if name in self.own_statics:
                placed[i] = static[self.own_statics.index(name)]
        return placed

    def ready(self, packed: Packed, device: torch.device) -> Batch:
        """The batch in network space. Raises KeyError where a dataset's scales are unknown."""
        place, factor, count = self.place(packed.view, device), self.factor, len(packed)
        coarse, fine = self.physical(packed, device, room=len(self.own_statics))
        dynamic = len(self.inputs)
        self.normaliser.normalise_(coarse[:, :dynamic], self.inputs)
        self.normaliser.normalise_(fine, self.outputs)
        context = None
        if packed.windows is None:
            coarse[:, dynamic:], statics = place.static_coarse, place.statics.expand(count, -1, -1, -1)
            weights, periodic = place.weights[None, None], packed.view.periodic
            lat, lon = (each.expand(count, *each.shape) for each in (place.lat, place.lon))
            cells = None if place.cells is None else place.cells.expand(count, -1, -1)
        else:
            boxes = [box_of(window) for window in packed.windows]
            for k, box in enumerate(boxes):
                coarse[k, dynamic:] = box.of(place.static_coarse)
            statics = torch.stack([box.finer(factor).of(place.statics) for box in boxes])
            parts = [_masked(place.weights, window, factor) for window in packed.windows]
            weights, context = (torch.stack(kind)[:, None] for kind in zip(*parts, strict=True))
            lat, lon = (torch.stack(each) for each in zip(*(_centres_of(box, place) for box in boxes), strict=True))
            cells = None if place.cells is None else torch.stack([box.finer(factor).of(place.cells) for box in boxes])
            periodic = packed.windows[0].periodic
        km = self.grids[0].km
        return Batch(
            coarse=coarse,
            fine=fine,
            statics=statics,
            weights=weights if packed.counted else torch.zeros_like(weights),
            clock=packed.clock.to(device, non_blocking=device.type != "cpu"),
            geometry=Geometry(lat, lon, km, km / factor, periodic, cells, self.name),
            variables=self.variables,
            samples=packed.samples,
            context=context,
            missing=self.missing(packed),
            cores=tuple(_core(packed.view, window, factor) for window in packed.windows or (None,)),
            noise=None if packed.noise is None else packed.noise.to(device, non_blocking=device.type != "cpu"),
        )

    def missing(self, packed: Packed) -> MissingFlags:
        """What may be missing: of a moved grid wherever the truth that inputs are made of misses anything, on tiles in any of them."""
        gaps, holes = packed.gaps
        if packed.coarse is None:
            lacks = dict(zip(packed.channels, holes, strict=True))
            gaps = tuple(lacks[self.truth.index(name)] for name in self.inputs)
        static = not self.complete
        return MissingFlags((*gaps, *(static for _ in self.own_statics)), static or not set(self.statics) <= set(self.own_statics))

    def physical(self, packed: Packed, device: torch.device, room: int = 0) -> tuple[Tensor, Tensor]:
        """Fields in canonical units, NaN where missing: coarse [B, V + `room`, H, W] (`room` channels are left as they are), fine
        [B, C, sH, sW]."""

        def sent(codes: Tensor) -> Tensor:
            return codes.to(device, non_blocking=device.type != "cpu")

        view, dynamic, (gaps, holes) = packed.view, len(self.inputs), packed.gaps
        count, _, height, width = packed.fine.shape
        coarse = in_large_pages(torch.empty(count, dynamic + room, height // self.factor, width // self.factor, device=device))
        fine = in_large_pages(torch.empty(count, len(self.outputs), height, width, device=device))
        known = [i for i, name in enumerate(self.outputs) if name in self.truth]
        if len(known) < len(self.outputs):
            fine.fill_(torch.nan)
        packings, codes = [self.packings[1][c] for c in packed.channels], sent(packed.fine)
        if packed.coarse is None:
            self._moved(packed, codes, coarse[:, :dynamic], fine, packings)
        else:
            given = sent(packed.coarse)
            unpack_into(given.flip(-2) if view.mirrored else given, self.packings[0], coarse[:, :dynamic], gaps)
            whole = fine if len(known) == len(self.outputs) else fine.new_empty(codes.shape)
            unpack_into(codes.flip(-2) if view.mirrored else codes, packings, whole, holes)
            if whole is not fine:
                for k, i in enumerate(known):
                    fine[:, i] = whole[:, k]
        if view.mirrored:
            turn_signs(coarse, self.inputs)
            turn_signs(fine, self.outputs)
        return coarse, fine

    def _moved(self, packed: Packed, codes: Tensor, coarse: Tensor, fine: Tensor, packings: list[Packing]) -> None:
        """Coarse fields anew from the truth, a sample at a time: the truth of all inputs is large."""
        view, factor = packed.view, self.factor
        names = [self.truth[c] for c in packed.channels]
        sources, complete = [names.index(name) for name in self.inputs], not any(packed.gaps[1])
        areas = self.place(view, codes.device).areas
        truth = torch.empty(codes.shape[1:], device=codes.device)
        for k in range(len(codes)):
            unpack_into(codes[k], packings, truth, packed.gaps[1])
            rows = areas
            if packed.windows is not None:
                box = view.under(packed.windows[k]).finer(factor)
                rows = _under(replace(box, south=box.south - view.box.south * factor, west=box.west - view.box.west * factor), areas)
            made = coarsen(select(truth, sources, 0), rows, factor, self.min_valid, complete=complete)
            coarse[k] = made.flip(-2) if view.mirrored else made
            for i, name in enumerate(self.outputs):
                if name in names:
                    plane = truth[names.index(name)]
                    fine[k, i] = plane.flip(-2) if view.mirrored else plane


def _under(box: Box, areas: Tensor) -> Tensor:
    """`Ground.areas` of the fine cells of a box."""
    return areas[box.south : box.south + box.rows] if areas.ndim == 1 else box.of(areas)


def _window(areas: Tensor, rows: slice, columns: slice) -> Tensor:
    return areas[rows] if areas.ndim == 1 else areas[rows, columns]


def _centres_of(box: Box, place: Place) -> tuple[Tensor, Tensor]:
    """Latitudes and longitudes of a window's coarse cells."""
    if place.lat.ndim == 2:
        return box.of(place.lat), box.of(place.lon)
    return place.lat[box.south : box.south + box.rows], Box(0, box.west, 1, box.columns).of(place.lon[None])[0]


def _core(view: View, window: Window | None, factor: int) -> Core:
    """Fine rows and columns of a view, or of a window of it, that count."""
    if window is None:
        return view.fine_domain
    box, width = box_of(window).finer(factor), view.shape[1] * factor
    shown = np.arange(box.south, box.south + box.rows), np.arange(box.west, box.west + box.columns) % width
    found = []
    for cells, core, domain in zip(shown, window.fine_core(factor), view.fine_domain, strict=True):
        here = np.flatnonzero((cells[core] >= domain.start) & (cells[core] < domain.stop))
        found.append(slice(core.start + int(here[0]), core.start + int(here[-1]) + 1) if len(here) else slice(0, 0))
    return found[0], found[1]


def _masked(weights: Tensor, window: Window, factor: int) -> tuple[Tensor, Tensor]:
    """(weights of the window's core, zero around it; which other cells belong to other tiles), [sh, sw] each."""
    seen, inside = box_of(window).finer(factor).of(weights), window.fine_core(factor)
    own = torch.zeros_like(seen)
    own[inside] = seen[inside]
    return own, (seen > 0) & (own == 0)


def _found(token: str, parts: dict[str, Any]) -> Ground:
    """The dataset of that name in this process."""
    found = _known.get(token)
    if found is None:
        if not parts:
            raise RuntimeError("a batch of a dataset that this process does not have")
        found = Ground(**parts)
    return found
