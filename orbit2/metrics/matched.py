"""A prediction beside what it is scored against: same times, same cells, the baselines, and the model it was fine-tuned from. Never more
than one sample in memory.

A task with a truth (input: coarse) is scored on the prediction's own grid against the store's fine group; one with observations on
the observations' own grid, to which prediction and baselines are averaged conservatively. A task without a truth is scored for
consistency only: area-weighted block means of the prediction against its own input.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orbit2 import times
from orbit2.areas import relative_areas
from orbit2.baselines import BASELINES, FITTED
from orbit2.baselines.fitted import Fitted
from orbit2.baselines.interpolation import block_mean, interpolate, methods_for
from orbit2.baselines.training import Training
from orbit2.config.comparisons import PRODUCTS
from orbit2.config.imported import TRAINED_TILES
from orbit2.data.pairs import PairStore, Side
from orbit2.errors import OrbitError, one_of
from orbit2.grid import AnyGrid
from orbit2.metrics import kernels
from orbit2.metrics.months import ONWARDS
from orbit2.metrics.others import Product
from orbit2.metrics.predictions import Frames, Parent, all_of, grid_of, inside, land_fraction, open_prediction, spacing, window
from orbit2.metrics.table import Table
from orbit2.provenance import code_version
from orbit2.remap import Regridder
from orbit2.times import Time
from orbit2.variables import floor, log_scored, variable

if TYPE_CHECKING:
    from orbit2.metrics.compared import Compared
    from orbit2.model.tiles import Tiling

Array = npt.NDArray[np.float64]
SINGLE = 1 << 19  # cells of a prediction beyond which fields are kept in single precision, as files hold them: half the memory, and faster


@dataclass(frozen=True, eq=False)
class Scored:
    """One variable of one sample. `truth` [H, W]; `models` maps a model's or baseline's name to its field [H, W] on the scored grid;
    `native` maps it to the field on the prediction's own grid; all NaN-masked alike on the scored grid, in physical units. `index` is the
    sample's place in the task's store, `position` that among the task's times, whatever the part. Nobody changes the arrays: they are
    shared."""

    index: int
    time: Time
    variable: str
    truth: Array
    models: dict[str, Array]
    native: dict[str, Array]
    position: int = 0
    _members: list[npt.NDArray[np.float32]] = made(default_factory=list, repr=False)
    cells: dict[str, Array] = made(default_factory=dict, repr=False)  # field -> what its members' scores are in each cell, [OF_CELLS, H, W]

    @cached_property
    def sample(self) -> str:
        """The key of its time in statistics."""
        return times.stamp(self.time)

    def members(self, compared: Compared) -> npt.NDArray[np.float32]:
        """The members [M, H, W] of the prediction, in single precision as they are stored; read once for all who ask."""
        if not self._members:
            self._members.append(np.stack([field.astype(np.float32) for field in compared.member_fields(self)]))
        return self._members[0]

    def forget(self) -> None:
        """Let go of all fields but the truth: a loop's variable, or a progress bar, may hold this while the next one is made."""
        for each in (self.models, self.native, self._members, self.cells):
            each.clear()


class Matched:
    """Opens and checks a prediction and its pair store, then streams samples.

    `times` are those of the whole task; with `part` only the samples of a calendar month (`202603`) or year (`2026`) are streamed, or of
    it and all later ones (`202603on`).
    Raises OrbitError when the prediction is missing, unfinalised, of another task, on a grid or at times that the store does not
    have, or holds a variable that the store does not; when baselines that are fitted are wanted without their `fits`, or `parent` (the
    prediction of the slice's `parent` model) does not hold what is scored.
    """

    def __init__(
        self, config: Mapping[str, Any], prediction: Path, store: Path, baselines: Sequence[str], observations: Path | None = None,
        fits: Path | None = None, parent: Path | None = None, part: str | None = None,
    ) -> None:
        section = config["downscale"]
        self.task, self.model, self.dataset = str(config["task"]), str(section["model"]), str(section["dataset"])
        self._input: Side = "coarse" if section["input"] == "coarse" else "fine"
        size = section.get("tile", 0)
        self._tile, self._halo = (tuple(size) if isinstance(size, list) else size), int(section.get("halo", 0))
        self._blend = section.get("blend", 0)  # absent: made before tiles were blended
        self.prediction_path, self.store = Path(prediction), PairStore(store)
        self.observations = None if observations is None else PairStore(observations)
        self.truth_store = self.observations or self.store
        paired = self._input == "coarse" and bool(self.store.variables("fine"))
        self.has_truth = paired or self.observations is not None
        self.truth_side: Side = "fine" if self.has_truth else self._input
        self.prediction = open_prediction(self.prediction_path, self.task)
        self._predicted = Frames(self.prediction)
        self._input_dims = self.store.grid(self._input).dims
        self.variables = self._variables()
        self.refinement = self.store.refinement
        self.native_grid = grid_of(self.prediction, self.prediction_path)
        self._input_grid = self.store.grid(self._input)
        whole = self._input_grid.refine(self.refinement)
        self._rows, self._columns = window(self.native_grid, whole, self.prediction_path)
        self._to_observations: Regridder | None = None
        if self.observations is not None:
            self._truth_rows, self._truth_columns = inside(self.observations.grid("fine"), self.native_grid)
            self.grid: AnyGrid = self.observations.grid("fine").crop(self._truth_rows, self._truth_columns)
            least = all_of(self.native_grid, self.grid)
            self._to_observations = Regridder(self.native_grid, self.grid, "conservative", min_valid_fraction=least)
        elif self.has_truth:
            self.grid = self.native_grid
            self._truth_rows, self._truth_columns = self._rows, self._columns
        else:
            self.grid = self._coarsened(self.native_grid)
            self._truth_rows, self._truth_columns = (slice(s.start // self.refinement, s.stop // self.refinement)
                                                     for s in (self._rows, self._columns))
        self.whole = self.native_grid.shape == whole.shape
        self.region = "global" if self.whole and whole.periodic else "domain"
        self.indices = self._indices()
        self.times = self.store.times[self.indices]
        self.stamps = times.stamps(self.times)
        self.streamed: list[int] = []
        self.stream(part)
        self.fitted = self._fits(paired, baselines, fits)
        known = fits is not None and self.observations is None and self.truth_side == "fine"
        self.training = Training(fits, *self.truth_window, self.store.grid("fine")) if known and fits is not None else None
        self._baselines = {name: self._methods(name, baselines) for name in self.variables}
        self.parent = Parent(self, dict(config.get("parent") or {}), parent) if parent is not None else None
        for name in (self.model, *([self.parent.model] if self.parent else [])):
            if name in BASELINES:
                raise OrbitError("a model has the name of a baseline", where=f"task {self.task}", got=name, hint="rename the model")
        self.others = {name: Product(Path(path), self.grid) for name, path in dict(config.get("others") or {}).items()
                       } if self.has_truth else {}  # fmt: skip
        self._frames = {time: i for i, time in enumerate(times.normal(self.prediction["time"].values))}
        self._cache: dict[tuple[Path, Side], tuple[int, npt.NDArray[np.float32]]] = {}

    def stream(self, part: str | None) -> None:
        """Give the samples of this part (None: all) from now on."""
        self.streamed = [i for i, sample in enumerate(self.stamps) if part is None or _belongs(sample, part)]

    def _fits(self, paired: bool, baselines: Sequence[str], fits: Path | None) -> Fitted | None:
        """What was fitted to the training block; None for a task that has no training pairs on its grid, and where none is wanted."""
        wanted = [name for name in baselines if name in FITTED]
        if not paired or not wanted:
            return None
        if fits is None:
            raise OrbitError("baselines that are fitted need their fits", where=f"task {self.task}", got=", ".join(wanted),
                             hint="run `orbit2 evaluate fit` and give its file as --fits, or leave them out of evaluate.baselines")
        return Fitted(fits, self._rows, self._columns, self._input_grid, self.refinement)

    def _methods(self, name: str, baselines: Sequence[str]) -> tuple[str, ...]:
        if name not in self.store.variables(self._input):
            return ()
        fitted = self.fitted.methods(name, baselines) if self.fitted is not None else ()
        return (*methods_for(baselines, log_scored(name)), *fitted)

    def baselines(self, name: str) -> tuple[str, ...]:
        """The interpolations and the fitted baselines scored for variable `name`."""
        return self._baselines[name]

    def models(self, name: str) -> tuple[str, ...]:
        """All that is scored for variable `name`: the model, the baselines, and the model it was fine-tuned from where that predicts it."""
        parent = (self.parent.model,) if self.parent is not None and name in self.parent.variables else ()
        return (self.model, *self._baselines[name], *parent)

    @property
    def all_models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(model for name in self.variables for model in self.models(name)))

    @property
    def reference(self) -> str:
        """What the scores are relative to, in words."""
        grid = self.truth_store.grid(self.truth_side)
        source = str(self.truth_store.attributes.get("source") or self.dataset)
        label = f"{PRODUCTS.get(source, source)} {spacing(grid)}"
        if not self.has_truth:
            return f"{label} ({self.truth_side}), as input: consistency only, no truth"
        return f"{label} (own grid)" if self.observations is not None else f"{label} (fine)"

    def table(self, protocol: str) -> Table:
        """An empty table with this task's common columns."""
        first, last = (times.stamp(t)[:16] for t in (self.times[0], self.times[-1]))
        return Table(self.task, self.dataset, protocol, self.reference, f"{first}/{last}", code_version())

    @property
    def truth_window(self) -> tuple[slice, slice]:
        """Rows and columns of the scored cells in the truth's grid."""
        return self._truth_rows, self._truth_columns

    @property
    def step_hours(self) -> float:
        """Between samples of the store."""
        return self.store.step_hours

    @property
    def land_fraction(self) -> Array:
        """Of each scored cell [H, W]. Raises OrbitError when the truth's store has no such field."""
        return land_fraction(self.truth_store, self.truth_side)[self.truth_window]

    @property
    def aligned(self) -> bool:
        """Whether the prediction covers whole cells of its input."""
        return not any(s.start % self.refinement or s.stop % self.refinement for s in (self._rows, self._columns))

    @property
    def tiling(self) -> Tiling | None:
        """Tiles that the prediction was made of; None without (a window that cuts input cells cannot be tiled)."""
        cells = (self._rows, self._columns)
        told = self.prediction.attrs.get(TRAINED_TILES)
        if told and self._tile in (0, (0, 0)):
            from orbit2.model.published_tiles import equal_tiles

            return equal_tiles(self._input_grid, json.loads(str(told)), self._blend) if self.whole else None
        if self._tile in (0, (0, 0)) or not self.aligned:
            return None
        from orbit2.model.tiles import tiles  # brings torch, which only tiled tasks need

        rows, columns = (slice(s.start // self.refinement, s.stop // self.refinement) for s in cells)
        return tiles(self._input_grid.shape, self._input_grid.periodic, self._tile, self._halo, domain=(rows, columns), blend=self._blend)

    @property
    def spectra_grid(self) -> AnyGrid:
        """The grid that spectra of the models are computed on: the scored one, or without a truth their own."""
        return self.grid if self.has_truth else self.native_grid

    @property
    def _precision(self) -> type[np.floating[Any]]:
        """What fields are kept in: what files hold in any case where they are large, else what is interpolated is not rounded either. Sums
        are in double precision always."""
        return np.float32 if np.prod(self.native_grid.shape) > SINGLE else np.float64

    def truth(self, index: int, name: str) -> Array:
        """The truth (or, without one, the input) of sample `index` of the task's store on the scored grid."""
        store, side = self.truth_store, self.truth_side
        position = index if self.observations is None else int(np.searchsorted(store.times, self.store.times[index]))
        field = self._read(store, side, position)[store.variable_index(side, name), self._truth_rows, self._truth_columns]
        cropped: Array = field.astype(self._precision)
        return cropped

    def _scored(self, native: Array) -> Array:
        """A field of the prediction's grid on the scored grid."""
        if self._to_observations is not None:
            return self._to_observations(native)
        return native if self.has_truth else block_mean(native, relative_areas(self.native_grid), self.refinement)

    def input_field(self, index: int, name: str) -> Array | None:
        """The input of sample `index` in the window, on the input's grid; None where it has no such field or is cut by the window."""
        cells = (self._rows, self._columns)
        if name not in self.store.variables(self._input) or any(s.start % self.refinement or s.stop % self.refinement for s in cells):
            return None
        rows, columns = (slice(s.start // self.refinement, s.stop // self.refinement) for s in cells)
        field = self._read(self.store, self._input, index)[self.store.variable_index(self._input, name)].astype(np.float64)
        cropped: Array = field[rows, columns]
        return cropped

    def samples(self) -> Iterator[Scored]:
        """Every sample (of the part) and variable in turn. Raises OrbitError for a field that is missing everywhere."""
        for position in self.streamed:
            for name in self.variables:
                yield self._sample(position, name)

    def _sample(self, position: int, name: str) -> Scored:
        """What it holds is gone with it, but what it gives."""
        index, time = self.indices[position], self.times[position]
        native = {self.model: self._predicted.field(name, self._frames[time], self._precision)}
        truth = self.truth(int(index), name)
        if self.has_truth and name == self.variables[-1]:
            self._cache.pop((self.truth_store.path, self.truth_side), None)  # its fields of this time are all read
        for label, field in (("prediction", native[self.model]), ("truth", truth)):
            if not np.isfinite(field).any():
                raise OrbitError(f"{label} is missing everywhere", where=f"{self.prediction_path}", got=f"{name} at {time}",
                                 hint="re-run the stage that wrote it")
        native.update(self._interpolated(int(index), name))
        if self.parent is not None and name in self.parent.variables:
            native[self.parent.model] = self.parent.field(name, time, self._precision)
        fields = {key: self._scored(x) for key, x in native.items()}
        if not all(kernels.complete(np.ascontiguousarray(x)) for x in (truth, *fields.values())):  # else nothing is copied
            valid = np.isfinite(truth)
            for field in fields.values():
                valid &= np.isfinite(field)  # every model is scored on the same cells
            truth, fields = np.where(valid, truth, np.nan), {key: np.where(valid, x, np.nan) for key, x in fields.items()}
        return Scored(int(index), time, name, truth, fields, native, position)

    @property
    def samples_streamed(self) -> list[str]:
        """Keys of the samples that `samples` gives."""
        return [self.stamps[i] for i in self.streamed]

    @property
    def members(self) -> int:
        """Members of the prediction's ensemble, 0 for one field."""
        return int(self.prediction.sizes.get("member", 0))

    @property
    def counterpart(self) -> str | None:
        """The model that a prediction with members is held against: `reference` of its task, or what its model was fine-tuned from."""
        return None if self.parent is None else self.parent.model

    def member_fields(self, scored: Scored) -> Iterator[Array]:
        """The prediction's members [H, W] of one sample and variable on the scored grid, one by one, missing where `scored` is."""
        known = np.isfinite(scored.truth)
        field = self.prediction[scored.variable].isel(time=self._frames[scored.time])
        for member in range(self.members):
            yield np.where(known, self._scored(field.isel(member=member).to_numpy().astype(np.float64)), np.nan)

    def _interpolated(self, index: int, name: str) -> dict[str, Array]:
        """Baselines from the input's whole field (so that a box has its surroundings), cropped to the prediction's window; the fitted ones
        from that field and its area-conserving interpolation."""
        methods = self._baselines[name]
        if not methods:
            return {}
        field = self._read(self.store, self._input, index)[self.store.variable_index(self._input, name)].astype(np.float64)
        fitted = [method for method in methods if method in FITTED]
        found: dict[str, Array] = {}
        if fitted and self.fitted is not None:  # they start from what is not rounded, and give that too
            found = self.fitted.applied(fitted, name, field, self.store.times[index], self._precision)
        for method in methods:
            if method not in found:
                fine = interpolate(field, self._input_grid, self.refinement, method, lower=floor(name), precision=self._precision)
                found[method] = fine[self._rows, self._columns]
        return {method: found[method] for method in methods}

    def _read(self, store: PairStore, side: Side, index: int) -> npt.NDArray[np.float32]:
        key = (store.path, side)
        if key not in self._cache or self._cache[key][0] != index:
            self._cache[key] = (index, store.read(side, index))
        return self._cache[key][1]

    def _variables(self) -> tuple[str, ...]:
        known = self.truth_store.variables(self.truth_side)
        names = tuple(str(name) for name in self.prediction.data_vars if self.prediction[name].dims[-3:] == ("time", *self._input_dims))
        if not names:
            raise OrbitError(f"prediction has no field with dimensions time, {', '.join(self._input_dims)}", where=self.prediction_path,
                             hint="give a prediction of `orbit2 downscale`")  # fmt: skip
        if self.observations is not None:
            names = tuple(name for name in names if name in known) or names  # a product observes some variables only
        for name in names:
            if name not in known:
                raise OrbitError("predicted variable has no counterpart in the pair store", where=self.prediction_path, got=name,
                                 allowed=", ".join(known), hint=one_of(name, known))
            units = self.prediction[name].attrs.get("units")
            if units is not None and units != variable(name).units:
                raise OrbitError("prediction has the wrong units", where=f"{self.prediction_path}: {name}", got=str(units),
                                 allowed=variable(name).units, hint="convert it, or downscale again")  # fmt: skip
        return tuple(name for name in known if name in names)  # a fixed order, whatever the file lists first

    def _indices(self) -> npt.NDArray[np.int64]:
        found = np.sort(times.normal(self.prediction["time"].values))
        if not len(found):
            raise OrbitError("prediction has no times", where=self.prediction_path, hint="downscale again: the prediction is empty")
        lookup = {time: i for i, time in enumerate(self.store.times)}
        absent = [str(time) for time in found if time not in lookup]
        if absent:
            raise OrbitError("prediction has times that the pair store has not", where=self.prediction_path, got=absent[0],
                             allowed=f"{self.store.times[0]} to {self.store.times[-1]}", hint=f"{len(absent)} of {len(found)} times")
        usable = self.truth_store.times[self.truth_store.usable]
        observed = found[np.isin(found, usable)]
        if not len(observed):
            raise OrbitError("the truth has none of the prediction's times", where=self.truth_store.path, got=f"{found[0]} to {found[-1]}",
                             allowed=f"{usable[0]} to {usable[-1]}" if len(usable) else "nothing: every sample is a gap",
                             hint="choose a period of the task that the truth covers")  # fmt: skip
        return np.array([lookup[time] for time in observed], dtype=np.int64)

    def _coarsened(self, native: AnyGrid) -> AnyGrid:
        for cells in (self._rows, self._columns):
            if cells.start % self.refinement or cells.stop % self.refinement:
                raise OrbitError("prediction does not cover whole cells of its input", where=self.prediction_path, got=native.describe(),
                                 hint="trim or cut it at edges of coarse cells")  # fmt: skip
        return native.coarsen(self.refinement)


def _belongs(sample: str, part: str) -> bool:
    """Whether a sample is of a part: a month, `202603`, a year, `2026`, or that and all later ones, `202603on`."""
    known = part.removesuffix(ONWARDS)
    name = times.month_name(sample)[: len(known)]
    return name == known or (part.endswith(ONWARDS) and name > known)
