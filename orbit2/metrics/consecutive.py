"""Stretches of consecutive days, joined in whatever order they come. Never bridges a day that is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError

Fields = npt.NDArray[np.float32]
State = dict[str, npt.NDArray[Any]]


class Stretch(Protocol):
    """Days `first` to `last`, both counted."""

    @property
    def first(self) -> int: ...

    @property
    def last(self) -> int: ...


T = TypeVar("T", bound=Stretch)


class Stretches(Generic[T]):
    """Pieces that do not touch: one that does is joined to its neighbours. `join(earlier, later)` makes one of two."""

    def __init__(self, join: Callable[[T, T], T]) -> None:
        self.join, self.pieces = join, dict[int, T]()  # by first day

    def insert(self, piece: T) -> None:
        """Raises OrbitError for a day that is there already."""
        before = [p for p in self.pieces.values() if p.first <= piece.last]
        if any(p.last >= piece.first for p in before):
            raise OrbitError("a day is counted twice", where="parts", got=f"days {piece.first} to {piece.last}",
                             hint="merge every part once")  # fmt: skip
        earlier = next((p for p in before if p.last == piece.first - 1), None)
        if earlier is not None:
            piece = self.join(self.pieces.pop(earlier.first), piece)
        later = self.pieces.pop(piece.last + 1, None)
        if later is not None:
            piece = self.join(piece, later)
        self.pieces[piece.first] = piece

    @property
    def ordered(self) -> list[T]:
        return [self.pieces[first] for first in sorted(self.pieces)]


@dataclass(frozen=True)
class Ends:
    """A stretch's first and last days' fields, at most the chain's reach of each."""

    first: int
    last: int
    head: tuple[Fields, ...]
    tail: tuple[Fields, ...]


class Chain:
    """Hands each window of consecutive days to `visit(span, last day, fields)` exactly once, however the days were put together.

    `spans` are the windows' lengths in days (2 or more); fields are of one shape; NaN are passed on.
    """

    def __init__(self, spans: Sequence[int], visit: Callable[[int, int, Sequence[Fields]], None]) -> None:
        self.spans, self.visit, self.reach = tuple(spans), visit, max(spans) - 1
        self.stretches: Stretches[Ends] = Stretches(self._join)

    def update(self, day: int, fields: Fields) -> None:
        """One more day. Raises OrbitError for one that is there already."""
        self.stretches.insert(Ends(day, day, (fields,), (fields,)))

    def _join(self, a: Ends, b: Ends) -> Ends:
        for span in self.spans:
            for later in range(1, min(span - 1, len(b.head)) + 1):
                if span - later <= len(a.tail):
                    self.visit(span, b.first + later - 1, (*a.tail[len(a.tail) - (span - later):], *b.head[:later]))  # fmt: skip
        head = a.head if len(a.head) == self.reach else (*a.head, *b.head)[: self.reach]
        tail = b.tail if len(b.tail) == self.reach else (*a.tail, *b.tail)[-self.reach :]
        return Ends(a.first, b.last, head, tail)

    def covers(self, first: int, last: int) -> bool:
        """Whether one stretch holds all days from `first` to `last`."""
        return any(p.first <= first and p.last >= last for p in self.stretches.pieces.values())

    def state(self) -> State:
        """`span` [P, 2] first and last day, `head` and `tail` [P, reach, ...], those of short stretches filled with NaN."""
        pieces = self.stretches.ordered
        state: State = {"span": np.array([(p.first, p.last) for p in pieces], dtype=np.int64).reshape(-1, 2)}
        if pieces:
            state |= {"head": np.stack([self._filled(p.head) for p in pieces]), "tail": np.stack([self._filled(p.tail) for p in pieces])}
        return state

    def _filled(self, fields: tuple[Fields, ...]) -> Fields:
        filled = np.full((self.reach, *fields[0].shape), np.nan, dtype=np.float32)
        filled[: len(fields)] = fields
        return filled

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """What `state` gave; windows that lie inside another's stretches were visited there."""
        for (first, last), *ends in zip(state["span"], *(state[name] for name in ("head", "tail") if name in state), strict=True):
            count = min(int(last) - int(first) + 1, self.reach)
            head, tail = (tuple(np.asarray(x, dtype=np.float32) for x in end[:count]) for end in ends)
            self.stretches.insert(Ends(int(first), int(last), head, tail))
