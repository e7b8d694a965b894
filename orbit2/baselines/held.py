"""Maps that every sample wants again, held in memory: large ones packed, as at 7 km twenty of them are more than a time's fields.
Never changes a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

Map = npt.NDArray[Any]
ROWS = 64  # that are packed together: 1.5 MB of a map of 7 km
LARGE = 60 << 20  # bytes from which an array is packed: fields of 7 km; unpacking one takes 15 to 20 ms, and quantiles at 0.25 degree 40


class Packed:
    """A large map [H, ...], packed by rows: `[rows]` unpacks what it asks for."""

    def __init__(self, values: Map) -> None:
        self._shape, self._dtype = values.shape, values.dtype
        self._pieces = [blosc.compress(values[first : first + ROWS], b"lz4", 1, blosc.SHUFFLE) for first in range(0, len(values), ROWS)]
        self._open: tuple[int, Map] = (-1, values[:0].copy())  # rows are asked for one after the other

    def __getitem__(self, rows: slice) -> Map:
        first, last, _ = rows.indices(self._shape[0])
        found = [self._piece(n)[max(first - n * ROWS, 0) : last - n * ROWS] for n in range(first // ROWS, -(-last // ROWS))]
        return found[0] if len(found) == 1 else np.concatenate(found) if found else np.empty((0, *self._shape[1:]), dtype=self._dtype)

    def _piece(self, number: int) -> Map:
        if self._open[0] != number:
            made = np.empty((min(ROWS, self._shape[0] - number * ROWS), *self._shape[1:]), dtype=self._dtype)
            blosc.decompress(self._pieces[number], made)
            self._open = number, made
        return self._open[1]

    def close(self) -> None:
        """Let go of what is unpacked."""
        self._open = (-1, self._open[1][:0].copy())


class Held:
    """What was read, by key: of each the newest `edition` (a month, say) only. Nobody changes the arrays."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, Map | Packed]] = {}

    def rows(self, key: str, edition: int, read: Callable[[], Map]) -> Map | Packed:
        """The map, which `read` gives if it is not held, to take `[rows]` of."""
        if key not in self._found or self._found[key][0] != edition:
            self._found.pop(key, None)
            values = np.ascontiguousarray(read())
            self._found[key] = edition, values if values.nbytes < LARGE else Packed(values)
        return self._found[key][1]

    def get(self, key: str, edition: int, read: Callable[[], Map]) -> Map:
        """The whole map."""
        found = self.rows(key, edition, read)
        return found[:] if isinstance(found, Packed) else found

    def close(self) -> None:
        """Let go of what is unpacked of large maps."""
        for _, found in self._found.values():
            if isinstance(found, Packed):
                found.close()
