"""A trained model applied to physical fields: normalise, predict tile by tile, back to units. Never sees a truth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from orbit2.config.checks import refuse_table
from orbit2.config.imported import TRAINED_TILES
from orbit2.config.sources import SYNTHETIC, synthetic
from orbit2.data.augment import coarsen
from orbit2.data.dataset import REGION_HALO, clock
from orbit2.data.transforms import Normaliser
from orbit2.door.ingest import Reading, read_inputs
from orbit2.door.opening import opened
from orbit2.door.places import label, places
from orbit2.downscale.as_published import as_trained
from orbit2.downscale.cf import as_dataset, described_by, handed
from orbit2.downscale.cut import Cut, HostInputs, TileSize, View
from orbit2.downscale.derived import derived_from
from orbit2.downscale.lazily import stacked
from orbit2.downscale.passes import fitting_threads
from orbit2.downscale.pending import Pending, mark
from orbit2.downscale.plausible import climate, compare
from orbit2.downscale.trained import dataset_of, told
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, ProjectedGrid
from orbit2.model import folder
from orbit2.model.blend import blend as blended
from orbit2.model.build import Downscaling
from orbit2.model.carried import chosen
from orbit2.model.gaps import Gaps, MissingFlags
from orbit2.model.geometry import Geometry, complete, of_window
from orbit2.model.heap import keep_heap
from orbit2.model.precision import PRECISIONS, autocast_dtype, disallow_tf32, rounded
from orbit2.model.published_tiles import equal_tiles
from orbit2.model.site import Maps, Site, limited, of, settled
from orbit2.model.tiles import Tiling, Window, scaled, tiles
from orbit2.model.to_device import to_device
from orbit2.parallel.launch import device_of
from orbit2.provenance import code_version
from orbit2.sources.static import open_static
from orbit2.times import Time, Times
from orbit2.timing import Clock, clock_on
from orbit2.variables import carried_text

log = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float32]
Kind = TypeVar("Kind", bound="Downscaler")


@dataclass(repr=False)
class Downscaler:
    """A loaded model. `inputs` are the dynamic variables it can read, `outputs` what it predicts."""

    model: Downscaling
    normaliser: Normaliser
    about: dict[str, Any]
    device: torch.device
    dtype: torch.dtype | None = None
    folder: Path | None = None  # that it was loaded from
    clock: Clock = field(default_factory=Clock)  # lapped by what predicts
    site_memory: bool = True  # whether what it learned of single cells is added, on the grid that it was learned on
    dataset: str | None = None  # whose samples a task predicts; None for a user's data
    _sites: dict[str, tuple[Site | None, str]] = field(default_factory=dict)
    _datasets: dict[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.model.inputs if name not in self.model.statics)

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.model.outputs

    @property
    def methods(self) -> dict[str, str]:
        """CF cell methods of what the model was trained to predict (none said by models from before)."""
        return dict(self.about.get("cell_methods", {}))

    @property
    def refinement(self) -> int:
        return self.model.config.refinement

    def described(self, theirs: Mapping[str, Any] | None = None, warnings: Sequence[str] = (), how: str = "") -> dict[str, Any]:
        """What every prediction says of itself (global attributes): of this model and this arithmetic, also where the user's file, with
        the attributes `theirs`, is a prediction of another. Its warnings still hold; `warnings` follow them. `how`: for `history`."""
        lines = [*([str(theirs["warnings"])] if theirs and theirs.get("warnings") else []), *warnings]
        return {
            **described_by(self.about, theirs, how),
            "model": self.about.get("name", "model"),
            "model_hash": self.about.get("hash", ""),
            "refinement": self.refinement,
            "precision": "bf16" if self.dtype else "fp32",
            "weights": self.about.get("sha256", {}).get("weights.safetensors", ""),
            "code_version": code_version(),
            **({"warnings": "\n".join(lines)} if lines else {}),
            **carried_text([*self.inputs, *self.outputs]),
            **({"synthetic": SYNTHETIC} if synthetic(self.sources) else {}),
        }

    def site(self, grid: AnyGrid) -> tuple[Site | None, str]:
        """(the site memory for inputs on `grid`, None where there is none for it; what is to be said: on or off, and why)."""
        if not self.site_memory:
            return None, "off: as asked for"
        if grid.digest not in self._sites:
            self._sites[grid.digest] = of(self.folder, self.about, self.fine_grid(grid), grid.refine(self.refinement), self.dataset)
        return self._sites[grid.digest]

    def trained_as(self, grid: AnyGrid) -> str:
        """The dataset of the training whose output scale predictions for inputs on `grid` have; "" for none."""
        if grid.digest not in self._datasets:
            self._datasets[grid.digest] = dataset_of(self.model, self.about, grid, self.dataset)
        return self._datasets[grid.digest]

    def remembering(self, grid: AnyGrid) -> dict[str, str]:
        """What a prediction for inputs on `grid` says of the site memory, and of whose scale it has (global attributes); nothing of a model
        trained without a memory, or on one dataset."""
        memory = {"site_memory": self.site(grid)[1]} if self.about.get("site_memory") else {}
        return {**memory, **told(self.model, self.trained_as(grid), grid)}

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the fields that the model learned from came from."""
        datasets = dict(self.about.get("datasets", {})).values()
        return tuple(dict.fromkeys(name for data in datasets for name in (data.get("source", ""), *data.get("input_sources", {}))))

    @property
    def reads_maps(self) -> bool:
        """Whether it was trained on a map projection or a rotated pole: files on such grids are then predicted there."""
        try:
            return any(isinstance(grid, ProjectedGrid) for grid in folder.coarse_grids(self.about).values())
        except OrbitError:  # a name that is none any more
            return False

    @property
    def grain(self) -> int:
        """Steps of the weights in a coarse cell where tiles are mixed: one where the network conserves block means."""
        return 1 if self.model.config.conserve else self.refinement

    def __repr__(self) -> str:
        made = f"{self.about.get('name', 'model')}-{self.about.get('hash', '?')}"
        return (f"<{type(self).__name__} {made}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}, {self.refinement} times finer,"
                f" {sum(p.numel() for p in self.model.parameters()):,} parameters on {self.device}>")  # fmt: skip

    def to(self, device: str | torch.device) -> None:
        """Move the model. Raises OrbitError for a device that is not there."""
        self.device = device_of(str(device))
        self.model.to(self.device)
        self.clock = clock_on(self.device)

    def domain(self, grid: AnyGrid, trim: int = 0) -> tuple[slice, slice] | None:
        """Rows and columns of `grid` that are predicted: the box that the model was fine-tuned on, less `trim` cells at each open side of
        the grid (not at a pole, not where it closes round the globe). None: everything. Raises OrbitError where nothing is left."""
        region = self.about.get("region")
        if region is None and not trim:
            return None
        height, width = grid.shape
        rows, columns = (slice(0, height), slice(0, width)) if region is None else grid.window(region)
        at_pole = [isinstance(grid, Grid) and abs(abs(grid.lat_edges[i]) - 90) <= 1e-6 for i in (0, -1)]
        south, north = (0 if pole else trim for pole in at_pole)
        rows = slice(max(rows.start, south), min(rows.stop, height - north))
        if not grid.periodic:
            columns = slice(max(columns.start, trim), min(columns.stop, width - trim))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            raise OrbitError("nothing is left of the input", where="--trim", got=trim, allowed=f"less than half of {height}x{width}",
                             hint="trim less, or give a larger input")  # fmt: skip
        return rows, columns

    def tiling(self, grid: AnyGrid, tile: TileSize = 0, halo: int = 8, blend: int | None = None, trim: int = 0) -> Tiling:
        """Tiles over what this model covers of `grid` (see `domain`), or one for tile 0. Raises OrbitError for tiles, or a grid that it
        was not trained on, where the model knows places from a table."""
        if TRAINED_TILES in self.about and tile in (0, (0, 0)):
            if trim:
                raise OrbitError("tiles as trained cover the whole input", where="--trim", got=trim, allowed="0, or a tile size",
                                 hint="leave --trim out, or give --tile")  # fmt: skip
            return equal_tiles(grid, self.about[TRAINED_TILES], blend)
        domain = self.domain(grid, trim)
        region = self.about.get("region")
        here = grid if region is None else grid.crop(*grid.window(region))
        known = {**folder.grids(self.about), "this input": here}
        refuse_table(self.model.config, known, tile not in (0, (0, 0)), self.about.get("name", "model"))
        if tile == 0 and domain is not None:
            around = trim if self.about.get("region") is None else REGION_HALO
            return tiles(grid.shape, grid.periodic, 0, around, domain=domain)
        return tiles(grid.shape, grid.periodic, tile, halo, self.model.config.patch if tile else 1, domain, blend)

    def view(self, variables: Sequence[str], statics: FloatArray, grid: AnyGrid, window: Window) -> View:
        """What all times of a window share; `statics` [S, sh, sw] are the fine ones under it, `variables` what is read there."""
        s, near = self.refinement, torch.from_numpy(statics)
        (place, weights), (site, _) = of_window(grid, window, s), self.site(grid)
        above = self.normaliser.normalise(coarsen(near, weights, s), self.model.statics)
        return View(
            variables=tuple(variables),
            names=(*variables, *self.model.statics),
            coarse=to_device(above, self.device),
            fine=to_device(self.normaliser.normalise(near, self.model.statics), self.device),
            geometry=replace(place, dataset=self.trained_as(grid)).to(self.device),
            maps=None if site is None else site.under(window, s).to(self.device),
            missing=MissingFlags(MissingFlags.of(above[None]).coarse, not complete(near)),
        )

    def given(self, view: View, coarse: HostInputs, times: Times) -> tuple[Tensor, Geometry, Tensor, Gaps]:
        """What the network reads of T times: normalised inputs and statics (on the device), geometry, clock [T, 4]; what of them is
        missing, which the host has seen."""
        count = len(coarse)  # no transform loses a value
        gaps = self.model.gaps_from(MissingFlags((*coarse.lacks, *view.missing.coarse), view.missing.statics), view.names)
        dynamic = self.normaliser.normalise(to_device(coarse.fields, self.device), view.variables)
        every = torch.cat([dynamic, view.coarse.expand(count, -1, -1, -1)], 1)
        return every, view.geometry.expand(count), to_device(clock(times), self.device), gaps

    @torch.inference_mode()
    def submit(self, coarse: HostInputs, view: View, part: tuple[slice, slice], times: Times, batch: int = 1) -> Pending:
        """The coarse cells `part` (Tiling.kept) of the window that `view` is of: T times of `coarse` -> [T, C, sh', sw'] in canonical
        units, on their way: nobody waits for the device yet. `batch` times go through the network at once."""
        began = mark(self.device)
        self.clock.lap("copy")
        rows, columns = (scaled(cells, self.refinement) for cells in part)
        parts = []
        for begin in range(0, len(times), batch):
            chosen = slice(begin, begin + batch)
            every, geometry, when, gaps = self.given(view, coarse[chosen], times[chosen])
            physical = self.physical(every, view.fine.expand(len(every), -1, -1, -1), geometry, view.names, when, gaps, view.maps)
            parts.append(physical[..., rows, columns])
        made = Pending(parts, began)
        self.clock.lap("other")
        self.clock.read()
        return made

    def physical(
        self, coarse: Tensor, statics: Tensor, geometry: Geometry, names: Sequence[str], clock: Tensor, gaps: Gaps,
        maps: Maps | None = None,
    ) -> Tensor:  # fmt: skip
        """One pass on the device: coarse [B, V, H, W] and statics [B, S, sH, sW] (normalised, NaN = missing), clock [B, 4], what is
        missing, the site memory of the window -> [B, C, sH, sW] in canonical units, NaN where the input says nothing."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            self.clock.lap("forward")
            prediction = self.model(coarse, statics, geometry, names, clock, gaps)
        self.clock.lap("copy")
        absent = self.model.missing(coarse, names, geometry.periodic, gaps)
        return self.delivered(prediction, coarse, geometry, names, clock, maps, absent)

    def delivered(
        self, prediction: Tensor, coarse: Tensor, geometry: Geometry, names: Sequence[str], clock: Tensor, maps: Maps | None,
        absent: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """What the network said [B, C, sH, sW], with the site memory, in canonical units, NaN where `absent`. The same for every member of
        a time: the other tensors may be expanded views."""
        if maps is not None:
            moments = self.model.output_moments
            made = maps.added(limited(prediction.float(), self.outputs, moments), clock)
            prediction = settled(made, coarse.float(), names, self.outputs, geometry, self.refinement, moments, self.model.config.conserve)
        self.clock.lap("copy")
        if absent is not None:
            prediction = prediction.masked_fill(absent, torch.nan)
        return self.normaliser.denormalise(prediction.float(), self.outputs)

    def predict(
        self,
        coarse: FloatArray,
        variables: Sequence[str],
        static_fine: FloatArray,
        grid: AnyGrid,
        time: Time,
        tile: TileSize = 0,
        halo: int = 8,
        blend: int | None = None,
        trim: int = 0,
    ) -> FloatArray:
        """One frame in memory: coarse [V, H, W] (canonical units, NaN = missing) and fine statics [S, sH, sW] on `grid` and its
        refinement -> [C, sH', sW'] in canonical units, on the region the model covers. `tile`, `halo`, `blend`: see DownscaleConfig."""
        tiling, when, made = self.tiling(grid, tile, halo, blend, trim), np.array([time]), []
        with fitting_threads(self.model, self.device, tiling.padded):
            for i, window in enumerate(tiling):
                view = self.view(variables, window.take(static_fine, self.refinement), grid, window)
                made.append(self.submit(HostInputs.of(window.take(coarse)[None]), view, tiling.kept(i), when).array()[0])
        return self.joined(tiling, made)

    def joined(self, tiling: Tiling, made: Sequence[FloatArray]) -> FloatArray:
        """What was kept of every window [..., h, w] as one field [..., sH', sW'], mixed where tiles are."""
        s = self.refinement
        origin = [part.start * s for part in tiling.domain]
        out = np.empty((*made[0].shape[:-2], *((part.stop - part.start) * s for part in tiling.domain)), dtype=np.float32)
        for i, window in enumerate(tiling):
            rows, columns = (slice(o.start - first, o.stop - first) for o, first in zip(window.owned(s), origin, strict=True))
            out[..., rows, columns] = blended(tiling, i, s, self.grain, made.__getitem__)
        return out

    def statics_file(self, grid: AnyGrid, static: str | Path | None) -> tuple[Path | None, str | None]:
        """(file to make statics on the refinement of `grid` from, None for the packaged ones; what is to be said): the user's `static`
        ("packaged" names those), else what the model was trained with. Raises OrbitError where that is not at hand."""
        if static is not None:
            return (None, "statics: the packaged 0.25 degree ones, as asked for") if str(static) == "packaged" else (Path(static), None)
        return chosen(self.folder, self.about, grid.refine(self.refinement), self.model.statics)

    def fine_grid(self, grid: AnyGrid, trim: int = 0) -> AnyGrid:
        """The grid of the prediction for inputs on `grid`."""
        domain = self.domain(grid, trim)
        return (grid if domain is None else grid.crop(*domain)).refine(self.refinement)

    def downscale(
        self,
        data: xr.Dataset | xr.DataArray | str | Path | Sequence[str | Path],
        static: str | Path | None = None,
        tile: TileSize = 0,
        halo: int = 8,
        blend: int | None = None,
        *,
        rename: Mapping[str, str] | None = None,
        accumulated: str | None = None,
        time: str | None = None,
        trust_units: bool = False,
        trim: int = 0,
        members: int = 0,
        seed: int = 0,
        quantiles: Sequence[float] = (),
        probability: str | Sequence[str] = (),
        lazy: bool = False,
        progress: bool | None = False,
    ) -> xr.Dataset:
        """Downscale the model's input variables (any usual names, units, latitude order) in a Dataset, or in files (paths, patterns,
        folders, addresses) -> Dataset on the finer grid, canonical names and units, in memory (`lazy`: by dask, when its values are asked
        for; files stay open until it is closed). `progress`: a bar (None: on a terminal). A DataArray does for a model of one
        variable. `members`: so many of an ensemble, drawn with `seed`, in a dimension `member`; with `quantiles` (0 to 1) or `probability`
        ('precipitation>20') these instead, a time after the other. The other options: see `Reading` and `Settings`. What differs from the
        training is logged, and said in the attribute `warnings`. Raises OrbitError when an input is missing or unusable, for members of a
        model without noise, and for expressions that say nothing of its outputs."""
        said = Reading(dict(rename or {}), accumulated, time, trust_units)
        events = (probability,) if isinstance(probability, str) else tuple(probability)
        cut = Cut(tile, halo, blend, trim, members, seed, tuple(quantiles), events, lazy, progress)
        if isinstance(data, (str, Path, list, tuple)):
            with ExitStack() as stack:
                dataset = stack.enter_context(opened(data, self.inputs, said.rename))
                made = self._downscale(dataset, label(places(data)), static, cut, said)
                if lazy:
                    made.set_close(stack.pop_all().close)
                return made
        return self._downscale(handed(data, self.inputs), "input", static, cut, said)

    def _downscale(self, dataset: xr.Dataset, where: str, static: str | Path | None, cut: Cut, said: Reading) -> xr.Dataset:
        from orbit2.downscale import members as drawn  # which builds on this module

        derived = derived_from(self.outputs, cut.members, cut.quantiles, cut.events)
        ensemble = drawn.Ensemble(self, cut.members, cut.seed) if cut.members else None
        inputs = read_inputs(dataset, self.inputs, where, said, maps=self.reads_maps)
        inputs = as_trained(self, inputs, cut.tile, cut.halo)
        file, about_statics = self.statics_file(inputs.grid, static)
        inputs.warnings += [about_statics] if about_statics else []
        warned, outside = climate(inputs, self.about)
        compared = compare(inputs, self.about, self.normaliser, trust=said.trust_units, trim=cut.trim)
        for line in (lines := [*inputs.warnings, *compared, *warned]):
            log.warning("%s: %s", where, line)
        static_fine = open_static(inputs.grid.refine(self.refinement), self.model.statics, file)
        tiling = self.tiling(inputs.grid, cut.tile, cut.halo, cut.blend, cut.trim)

        def frame(i: int) -> FloatArray:
            sample = inputs.frame(i), inputs.names, static_fine, inputs.grid, inputs.times[i]
            if ensemble is None:
                return self.predict(*sample, cut.tile, cut.halo, cut.blend, cut.trim)
            made = ensemble.frame(*sample, tiling)
            return derived.of(made) if derived else made

        attributes, how = drawn.described(self, cut.members, cut.seed, derived)
        about = {**self.described(inputs.attrs, lines, how), **outside, **self.remembering(inputs.grid), **attributes}
        grid = self.fine_grid(inputs.grid, cut.trim)
        channels = sum(max(count, 1) for _, _, count in derived.fields) if derived else len(self.outputs)
        drawn_too = (cut.members,) if ensemble and not derived else ()
        frames = stacked(frame, len(inputs.times), (*drawn_too, channels, *grid.shape), len(drawn_too), cut.lazy, cut.progress)
        return as_dataset(frames, self.outputs, grid, inputs.times, inputs.named, about, self.methods, derived)


def load_model(path: str | Path, device: str | torch.device | None = None, precision: str = "fp32") -> Downscaler:
    """Load a model folder for inference; `precision`: fp32, bf16, or auto (bf16 where that is fast). Raises OrbitError for no model."""
    return loaded(Downscaler, path, device, precision)


def loaded(kind: type[Kind], path: str | Path, device: str | torch.device | None = None, precision: str = "fp32") -> Kind:
    """`load_model` as a class of more habits."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    since = clock_on(chosen)
    if chosen.type == "cpu":
        keep_heap()
    model, normaliser, about = folder.load(path, chosen)
    if precision not in PRECISIONS:
        raise OrbitError("unknown precision", where="precision", got=precision, allowed=", ".join(PRECISIONS), hint="fp32 works everywhere")
    disallow_tf32(dtype := autocast_dtype(precision, chosen), chosen)
    if dtype is not None:
        rounded(model, dtype)
    return kind(model, normaliser, about, chosen, dtype, Path(path), since)
