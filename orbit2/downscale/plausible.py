"""A user's fields beside those that the model was trained on: what cannot be is refused, what differs is said. Reads a sample only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orbit2 import times as clocks
from orbit2.data.ranges import Outside, Quantiles, chosen, outside
from orbit2.data.ranges import lines as lines_of
from orbit2.data.transforms import Normaliser
from orbit2.door.ingest import Inputs
from orbit2.downscale.samples import Samples
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid
from orbit2.model.folder import coarse_grids
from orbit2.model.tiles import Window
from orbit2.variables import is_precipitation, transform_of, variable

FloatArray = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
FRAMES, EDGE, PLACES = 3, 48, 4  # sampled: times, cells of a window's edge, windows along each direction
RATIO = 1.3  # of resolutions beyond which the difference is said
FAR = 3.0  # training standard deviations between the means
SECONDS = 86400.0
MONTH = 28 * 24  # hours
RIM_CELLS = 2


def compare(inputs: Inputs, about: Mapping[str, Any], normaliser: Normaliser, *, trust: bool = False, trim: int = 0) -> list[str]:
    """One line for each way in which the input differs from what the model `about` (config.json) was trained on, with numbers.

    Raises OrbitError for values that cannot be what their units say, unless `trust`.
    """
    sample = _sample(inputs)
    lines: list[str] = []
    for i, name in enumerate(inputs.names):
        values = sample[:, i][np.isfinite(sample[:, i])]
        if values.size:
            if is_precipitation(name) and not trust:
                _rain(values, name, inputs)
            lines += _climate(values, name, normaliser)
    grid = inputs.grid
    lines += [*_resolution(grid, about), *_period(inputs, about), *_methods(inputs, about)]
    return [*lines, *_rim(grid, about, trim), *_region(grid, about)]


def _sample(inputs: Inputs) -> FloatArray:
    """[T, V, 1, n] of some times and windows spread over the grid: all of it where that is small."""
    times = np.unique(np.linspace(0, len(inputs.times) - 1, FRAMES).astype(int))
    return np.stack([_cells(inputs, int(t))[:, None] for t in times])


def _windows(grid: AnyGrid) -> list[tuple[Index, Index]]:
    """(rows, columns) of windows spread over a grid: all of it where that is small."""
    places = []
    for cells in grid.shape:
        if cells <= EDGE * PLACES:
            places.append([np.arange(cells)])
        else:
            places.append([start + np.arange(EDGE) for start in np.linspace(0, cells - EDGE, PLACES).astype(int)])
    return [(down, along) for down in places[0] for along in places[1]]


def _cells(inputs: Inputs, time: int) -> FloatArray:
    """[V, n] of one time in the windows."""
    return np.concatenate([inputs.cells(time, *window).reshape(len(inputs.names), -1) for window in _windows(inputs.grid)], -1)


def trained_range(about: Mapping[str, Any]) -> list[Quantiles]:
    """Quantiles of the inputs in each of a model's datasets; none of a model of an older orbit2."""
    return [each["coarse"] for each in (about.get("input_quantiles") or {}).values()]


def climate(inputs: Inputs, about: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """(lines to be said, global attribute) of how far the input's values lie outside the climate that the model `about` was trained in.

    Reads a few fields of each season, in windows of them where they are large.
    """
    trained = trained_range(about)
    if not trained:
        return [], {}
    area = inputs.grid.area_km2
    weights = np.concatenate([area[np.ix_(*window)].ravel() for window in _windows(inputs.grid)])
    samples = ((inputs.times[t], _cells(inputs, t), weights) for t in chosen(inputs.times))
    return _told(*outside(trained, inputs.names, samples))


def climate_of_task(about: Mapping[str, Any], samples: Samples, times: clocks.Times, grid: AnyGrid) -> tuple[list[str], dict[str, str]]:
    """The same of a task's samples."""
    trained, (height, width) = trained_range(about), grid.shape
    whole = Window(np.arange(height), np.arange(width), slice(0, height), slice(0, width), grid.periodic, (0, 0))
    if not trained:
        return [], {}
    fields = ((times[t], samples.read(t, 1, whole)[0].reshape(len(samples.names), -1), grid.area_km2.ravel()) for t in chosen(times))
    return _told(*outside(trained, samples.names, fields))


def _told(found: list[Outside], strange: list[str]) -> tuple[list[str], dict[str, str]]:
    return lines_of(found, strange), {"training_range": json.dumps({"outside": [each.as_dict() for each in found], "new_seasons": strange})}


def _rain(values: FloatArray, name: str, inputs: Inputs) -> None:
    """Rain whose every value is that of a rate per second, although the label says per day."""
    wet = values[values > 0]
    most = float(wet.max()) if wet.size else 0.0
    if wet.size > 0.1 * values.size and wet.size >= 20 and most < 2000 / SECONDS and most * SECONDS > 0.5 and float(wet.mean()) > 1e-7:
        theirs, attrs = inputs.named[name]
        raise OrbitError(
            f"values of '{theirs}' are not plausible as precipitation: they look like kg m-2 s-1",
            where=inputs.where,
            got=f"at most {most:.3g} {variable(name).units} as labelled ('{attrs.get('units')}'), {most * SECONDS:.3g} if it is per second",
            allowed="values of the units that the file names",
            hint="correct the units attribute; if it is that dry, add --trust-units (in Python trust_units=True)",
        )


def _climate(values: FloatArray, name: str, normaliser: Normaliser) -> list[str]:
    if name not in normaliser.moments:
        return []
    scaled = normaliser.normalise(torch.from_numpy(values.reshape(1, 1, 1, -1)), [name])
    away = float(scaled.mean())
    if abs(away) <= FAR:
        return []
    mean, std = normaliser.moments[name]
    space = {"log1p": f"ln(1 + {variable(name).units})", "logit": "(logit)"}.get(transform_of(name), variable(name).units)
    here = mean + away * std
    return [f"climate: {name} is {here:.4g} {space} on average, in training {mean:.4g} with a standard deviation of {std:.3g}"]


def _trained(about: Mapping[str, Any]) -> dict[str, tuple[AnyGrid, Mapping[str, Any]]]:
    """Coarse grid and settings of each dataset that a model was trained on; none in a folder that does not say."""
    found: dict[str, tuple[AnyGrid, Mapping[str, Any]]] = {}
    for key, data in (about.get("datasets") or {}).items():
        try:
            grids = coarse_grids({"grids": about.get("grids", {}), "datasets": {key: data}})
        except (OrbitError, KeyError, TypeError):
            continue
        for grid in grids.values():
            found[key] = grid, data
    return found


def _resolution(grid: AnyGrid, about: Mapping[str, Any]) -> list[str]:
    one = {float(about["coarse_km"])} if "coarse_km" in about else set()
    known = sorted({round(trained.km, 3) for trained, _ in _trained(about).values()} or one)
    if not known or min(max(grid.km / km, km / grid.km) for km in known) <= RATIO:
        return []
    return [f"resolution: trained on cells of {', '.join(f'{km:.3g}' for km in known)} km, given {grid.km:.3g} km; "
            "what the model adds at other scales is not learned"]  # fmt: skip


def _period(inputs: Inputs, about: Mapping[str, Any]) -> list[str]:
    """Instantaneous, hourly, daily or monthly: by the file's own words, else by the step between its times."""
    trained = about.get("step_hours")
    if trained is None:
        return []
    words = [str(attrs.get("cell_methods", "")) + " " + str(attrs.get("GRIB_stepType", "")) for _, attrs in inputs.named.values()]
    steps = clocks.steps(inputs.times)
    step = float(np.median(steps)) if len(steps) else None
    monthly = any(w.split()[-1:] in (["avgua"], ["avgad"], ["avgid"]) for w in words) or (step is not None and step >= MONTH)
    daily = not monthly and (step is not None and step >= 24) and any("mean" in w or not w.strip() for w in words)
    given = "monthly" if monthly else "daily" if daily else "hourly" if step == 1 and float(trained) >= 24 else None
    learned = "monthly" if clocks.months(float(trained)) else "daily" if float(trained) >= 24 else "hourly"
    if given is None or given == learned:
        return []
    apart = "" if step is None else f" (a step of {step:g} h)"
    return [f"averaging period: the input looks like {given} fields{apart}, the model was trained on {learned} ones"]


_METHOD = re.compile(r"time: (point|mean|sum|maximum|minimum)\b(?:[^(]*\(interval: (\d+(?:\.\d+)?) (hour|day|month)s?)?")
_SECONDS = {"hour": 1.0, "day": 24.0, "month": 730.5}


def _methods(inputs: Inputs, about: Mapping[str, Any]) -> list[str]:
    """What values are over time, where both the file and the training say it: a moment for a mean, a mean over 6 h for one over 1 h. A mean
    over the time between stamps that says no more has that as its period."""
    steps = clocks.steps(inputs.times)
    spacing = float(np.median(steps)) if len(steps) else None
    lines = []
    for name, trained in (about.get("input_cell_methods") or {}).items():
        theirs = str(inputs.named[name][1].get("cell_methods", "")) if name in inputs.named else ""
        given, learned = _METHOD.search(theirs), _METHOD.search(str(trained))
        if given is None or learned is None:
            continue
        amount = {given[1], learned[1]} == {"mean", "sum"}  # a rate is a mean, its amount a sum: units were converted
        kinds, periods = given[1] != learned[1] and not amount, [_hours(given, spacing), _hours(learned, about.get("step_hours"))]
        apart = None not in periods and max(periods) > RATIO * min(periods)  # type: ignore[type-var,operator]
        if kinds or (apart and given[1] != "point"):
            over = [f"{match[1]}{'' if match[1] == 'point' or hours is None else f' over {hours:g} h'}"
                    for match, hours in zip((given, learned), periods, strict=True)]  # fmt: skip
            lines.append(f"cell methods: {name} is '{over[0]}' in time in the input, '{over[1]}' in training")
    return lines


def _hours(method: re.Match[str], spacing: float | None) -> float | None:
    """The period of a statistic, hours."""
    return float(method[2]) * _SECONDS[method[3]] if method[2] else spacing


def _rim(grid: AnyGrid, about: Mapping[str, Any], trim: int) -> list[str]:
    trained = _trained(about)
    if grid.periodic or trim >= RIM_CELLS or about.get("region") is not None or not any(g.periodic for g, _ in trained.values()):
        return []
    return [f"box: the model was trained on the whole globe; near the rim of a box it lacks surroundings, and about {RIM_CELLS} coarse"
            f" cells there are worse (0.85 K instead of 0.20 K in a measured case); --trim {RIM_CELLS} leaves them out"]  # fmt: skip


def _region(grid: AnyGrid, about: Mapping[str, Any]) -> list[str]:
    region = about.get("region")
    if region is None:
        return []
    covers = "the input does not cover all of it" if not grid.holds(region) else "the output is cut to it"
    return [f"region: the model covers {', '.join(f'{side:g}' for side in region)} (south, north, west, east); {covers}"]
