"""How the values of a prediction are kept: as they were computed, or rounded to what pairs are stored in, and how they are compressed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from zarr.codecs import BloscCodec

from orbit2.data.packing import packing_of

FloatArray = npt.NDArray[np.float32]
Stored = Literal["exact", "rounded", "plain"]
CODECS: dict[Stored, dict[str, Any] | None] = {
    "exact": {"cname": "zstd", "clevel": 3, "shuffle": "shuffle", "typesize": 4},
    "rounded": {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 4},  # of digits that are zeros
    "plain": None,
}
MANTISSA = 23  # bits of a float32


def compressor(stored: Stored) -> BloscCodec | None:
    codec = CODECS[stored]
    return None if codec is None else BloscCodec(**codec)


@dataclass(frozen=True)
class Rounding:
    """To multiples of `step` (a power of two), or where `bits` is given, 1 + x to that many bits behind its first: 0 stays 0."""

    step: float
    bits: int = 0

    def of(self, values: FloatArray) -> FloatArray:
        """The nearest of each; what is missing stays so."""
        if not self.bits:
            found = values * np.float32(1 / self.step)  # exact, as is the way back
            np.rint(found, out=found)
            found *= np.float32(self.step)
            return found
        found = values + np.float32(1)
        missing = np.isnan(found)
        whole, dropped = found.view(np.int32), MANTISSA - self.bits
        whole += ((whole >> dropped) & 1) + ((1 << (dropped - 1)) - 1)  # half goes to the even one
        whole &= ~((1 << dropped) - 1)
        found -= np.float32(1)
        found[missing] = np.nan
        return found

    def told(self, units: str) -> str:
        """In words: by how much a value may be off."""
        if self.bits:
            return f"1 + x to {1 + self.bits} bits: off by at most {2.0 ** -(self.bits + 1):.2g} x (1 + x) {units}; 0 is exact"
        return f"to multiples of {self.step:g} {units}: off by at most {self.step / 2:.2g} {units}"


@lru_cache(maxsize=256)
def rounding_of(name: str) -> Rounding:
    """Of a canonical variable: never coarser than the steps in which pair stores hold it (`orbit2.data.packing`), which the model was
    trained on. Raises OrbitError for an unknown name."""
    packing = packing_of(name)
    power = math.floor(math.log2(packing.step))
    return Rounding(2.0**power, min(-power, MANTISSA - 1) if packing.logarithmic else 0)
