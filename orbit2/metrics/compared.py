"""What collectors may ask of the fields that are compared: a task's prediction (`Matched`), or any two products (orbit2/judge)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from orbit2.grid import AnyGrid
from orbit2.metrics.table import Table

if TYPE_CHECKING:
    from orbit2.metrics.matched import Scored
    from orbit2.model.tiles import Tiling

Array = npt.NDArray[np.float64]


class Compared(Protocol):
    """A prediction beside a truth and baselines: same times, same cells."""

    @property
    def task(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def variables(self) -> tuple[str, ...]: ...

    @property
    def times(self) -> npt.NDArray[Any]:
        """Of the whole task, in order."""

    @property
    def step_hours(self) -> float:
        """Between samples; 24 for daily fields."""

    @property
    def grid(self) -> AnyGrid:
        """That is scored on."""

    @property
    def native_grid(self) -> AnyGrid:
        """The prediction's own."""

    @property
    def spectra_grid(self) -> AnyGrid: ...

    @property
    def region(self) -> str:
        """`global` or `domain`."""

    @property
    def whole(self) -> bool:
        """Whether all of the dataset's grid is covered."""

    @property
    def refinement(self) -> int:
        """Cells of the prediction in one of its input, along a side."""

    @property
    def aligned(self) -> bool:
        """Whether the prediction covers whole cells of its input."""

    @property
    def tiling(self) -> Tiling | None: ...

    @property
    def has_truth(self) -> bool: ...

    @property
    def observations(self) -> object | None:
        """What the truth is when it lies on a grid of its own."""

    @property
    def land_fraction(self) -> Array:
        """Of each scored cell [H, W]. Raises OrbitError where it is not known."""

    @property
    def reference(self) -> str:
        """What the scores are relative to, in words."""

    @property
    def prediction_path(self) -> Path: ...

    @property
    def all_models(self) -> tuple[str, ...]: ...

    @property
    def members(self) -> int:
        """Of the prediction's ensemble; 0 for one field."""

    @property
    def counterpart(self) -> str | None:
        """The model of one field that an ensemble is held against; None where there is none."""

    def baselines(self, name: str) -> tuple[str, ...]: ...

    def models(self, name: str) -> tuple[str, ...]: ...

    def table(self, protocol: str) -> Table: ...

    def input_field(self, index: int, name: str) -> Array | None: ...

    def samples(self) -> Iterator[Scored]: ...

    def member_fields(self, scored: Scored) -> Iterator[Array]: ...
