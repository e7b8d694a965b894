"""Statistics of one pair store. Never reads a sample outside the training period: that would leak the test into training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2 import allowance
from orbit2.data.curves import CURVED, transformed
from orbit2.data.packing import unpack
from orbit2.data.pairs import SIDES, PairStore, Side
from orbit2.data.ranges import LEVELS, Ranges
from orbit2.data.training import open_training
from orbit2.files import write_json
from orbit2.progress import counted
from orbit2.provenance import record
from orbit2.statistics.accumulator import Moments
from orbit2.variables import transform_of

BLOCK = 32  # samples
FIELD_BYTES = 56  # a cell of the field in hand: seven float64 arrays


def run(*, config: Path, store: Path, out: Path) -> None:
    """Write statistics.json: per side and variable the area-weighted mean, std, min, max in canonical units; of what a network sees
    through a logarithm or logit also mean and std of that (`log1p_mean`, `logit_std`); mean and std of static fields; the training
    period and number of samples; `quantiles` of the inputs by variable and season (DJF ...), see `data.ranges`.

    Raises OrbitError as `open_training`.
    """
    block = open_training(config, store)
    opened, samples = block.store, block.samples
    ranges = Ranges(opened.variables("coarse"), opened.packings("coarse"), opened.grid("coarse").area_km2)
    result: dict[str, Any] = {
        "dataset": block.name, "hash": block.hash, "period": block.period.model_dump(mode="json"), "samples": len(samples),
        "first": str(opened.times[samples[0]]), "last": str(opened.times[samples[-1]]), "weighting": "cell area",
        "static": {side: static_statistics(opened, side) for side in SIDES},
        **{side: side_statistics(opened, side, samples, ranges=ranges if side == "coarse" else None) for side in SIDES},
        "quantiles": {"levels": list(LEVELS), "coarse": ranges.quantiles()},
        "provenance": record("statistics", config=block.dataset.model_dump(mode="json"), config_hash=block.hash),
    }
    write_json(out, result)


def side_statistics(
    store: PairStore, side: Side, samples: npt.NDArray[np.int64], threads: int = 0, ranges: Ranges | None = None
) -> dict[str, dict[str, float]]:
    """Statistics per variable over `samples`: blocks side by side (0 threads: see `workers`), one sample a thread in memory. Their codes
    are added to `ranges`.

    Blocks and the order they are merged in do not depend on the number of threads: the same bits every time.
    """
    blocks = [samples[i : i + BLOCK] for i in range(0, len(samples), BLOCK)]
    with ThreadPoolExecutor(threads or workers(store, side)) as pool:
        parts = list(counted(pool.map(lambda block: block_moments(store, side, block, ranges), blocks), side, len(blocks), "block"))
    moments = reduce(add, parts, Tallies({}, {}))
    result = {name: found.as_dict(f"{store.path}/{side}: {name}") for name, found in moments.fields.items()}
    for name, found in moments.transformed.items():
        result[name] |= {f"{transform_of(name)}_mean": found.mean, f"{transform_of(name)}_std": found.std}
    return result


def workers(store: PairStore, side: Side) -> int:
    """The threads that the job was given, fewer where their samples would take more than half of its memory."""
    return max(1, min(allowance.threads(), allowance.memory_bytes() // 2 // sample_bytes(store, side)))


def sample_bytes(store: PairStore, side: Side) -> int:
    """At most in one thread: a sample as codes and as float32, and what the moments of one field take in float64."""
    rows, columns = store.grid(side).shape
    return rows * columns * (len(store.variables(side)) * (2 + 4) + FIELD_BYTES)


@dataclass(frozen=True)
class Tallies:
    """Moments of each variable, and of its transform where it has one; they merge exactly."""

    fields: dict[str, Moments]
    transformed: dict[str, Moments]

    def __add__(self, other: Tallies) -> Tallies:
        return Tallies(_merged(self.fields, other.fields), _merged(self.transformed, other.transformed))


def block_moments(store: PairStore, side: Side, block: npt.NDArray[np.int64], ranges: Ranges | None = None) -> Tallies:
    """The moments of some samples, read one at a time."""
    names, weights = store.variables(side), store.grid(side).area_km2
    moments = {name: Moments() for name in names}
    curved = {name: Moments() for name in names if transform_of(name) in CURVED}
    for index in block:
        codes = store.read_packed(side, int(index))
        if ranges is not None:
            ranges.add(store.times[index], codes)
        for name, field in zip(names, unpack(codes, store.packings(side)), strict=True):
            moments[name] += Moments.of(field, weights)
            if name in curved:
                curved[name] += Moments.of(transformed(field, name), weights)
    return Tallies(moments, curved)


def _merged(one: dict[str, Moments], other: dict[str, Moments]) -> dict[str, Moments]:
    return {name: one.get(name, Moments()) + other.get(name, Moments()) for name in (*one, *(n for n in other if n not in one))}


def static_statistics(store: PairStore, side: Side) -> dict[str, dict[str, float]]:
    weights = store.grid(side).area_km2
    result = {}
    for name, field in zip(store.statics(side), store.static_values(side), strict=True):
        found = Moments.of(field, weights)
        result[name] = {"mean": found.mean, "std": found.std}
    return result
