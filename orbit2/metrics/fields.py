"""What is scored: a variable in a space (physical, or ln(1 + x) for precipitation). Never touches missing data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2.logarithms import log1p
from orbit2.variables import is_precipitation, log_scored, variable

DRY = 0.1  # mm/day: the least amount of rain that gauges and members tell from none (WMO-No. 8)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Field:
    """A variable in the space it is scored in."""

    variable: str
    space: str

    @property
    def label(self) -> str:
        return self.variable if self.space == "physical" else f"{self.variable}_{self.space}"

    @property
    def units(self) -> str:
        return variable(self.variable).units if self.space == "physical" else "1"

    @property
    def dry(self) -> float:
        """What is below it is no rain, in this space; of anything else nothing is."""
        return float(self.of(np.array(DRY))) if is_precipitation(self.variable) else -np.inf

    def of(self, values: Array, out: Array | None = None) -> Array:
        """`values` in this space, into `out` where they change; negative precipitation counts as none in ln(1 + x).

        Single precision stays single, to 6e-8.
        """
        if self.space == "physical":
            return values
        if values.dtype == np.float32 and values.ndim:
            return np.asarray(log1p(values, out))
        positive = np.asarray(np.maximum(values, 0.0, out=out))
        result: Array = np.log1p(positive, out=positive)
        return result


def fields_of(variables: Sequence[str]) -> list[Field]:
    """Every variable in physical space, precipitation also in ln(1 + x)."""
    return [Field(name, space) for name in variables for space in (("physical", "log1p") if log_scored(name) else ("physical",))]
