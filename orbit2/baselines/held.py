"""Maps that every sample wants again, held in memory: large ones packed, as at 7 km twenty of them are more than a time's fields.
Never changes a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

Map = npt.NDArray[Any]
LARGE = 60 << 20  # bytes from which an array is packed: fields of 7 km; unpacking one takes 15 to 20 ms, and quantiles at 0.25 degree 40


@dataclass(frozen=True)
class _Packed:
    data: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def unpacked(self) -> Map:
        result = np.empty(self.shape, dtype=self.dtype)
        blosc.decompress(self.data, result)
        return result


class Held:
    """What was read, by key: of each the newest `edition` (a month, say) only. Nobody changes the arrays."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, Map | _Packed]] = {}

    def get(self, key: str, edition: int, read: Callable[[], Map]) -> Map:
        """The map, which `read` gives if it is not held."""
        if key in self._found and self._found[key][0] == edition:
            found = self._found[key][1]
            return found.unpacked() if isinstance(found, _Packed) else found
        self._found.pop(key, None)
        values = np.ascontiguousarray(read())
        if values.nbytes < LARGE:
            self._found[key] = edition, values
        else:
            self._found[key] = edition, _Packed(blosc.compress(values, b"lz4", 1, blosc.SHUFFLE), values.dtype, values.shape)
        return values
