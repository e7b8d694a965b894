"""A run on ERA5 for one region and a few years: what it fetches, in how many requests, and what it takes. Talks to no provider."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from orbit2 import times as clocks
from orbit2.config.files import DAY
from orbit2.config.load import from_mapping
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.plan.machine import Machine
from orbit2.plan.text import duration, verdict
from orbit2.retrieve import stage
from orbit2.retrieve.progress import human
from orbit2.start import write
from orbit2.start.asking import Said
from orbit2.start.size import sized
from orbit2.start.split import blocks

SPACING = 0.25  # degrees, of ERA5
DATASET = "era5"
INPUTS = ("2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure", "total_precipitation_24hr")
OUTPUTS = ("2m_temperature", "total_precipitation_24hr")
YEARS = "2015-2020"
FACTOR = 4
FIRST = 1940  # ERA5 begins
QUEUE = (5.0, 30.0)  # minutes that a request may wait and be made; nobody can say it before: days are as bad as that, and worse


def new(name: str, region: str, years: str, said: Said, hours: float, on: Machine, folder: Path, say: Callable[[str], None]) -> Path:
    """Write `folder/NAME.yaml`: `region` is south,north,west,east in degrees, `years` FIRST-LAST. Raises OrbitError for what is none."""
    path = write.place(name, folder)
    factor = said.get("factor") or FACTOR
    box = _box(region, SPACING * factor)
    first, last = _years(years)
    days = np.arange(np.datetime64(f"{first}-01-01"), np.datetime64(f"{last + 1}-01-01")).astype("datetime64[s]")
    split = blocks(clocks.seconds(days), DAY, "standard")
    inputs, outputs = (list(said.get(key) or default) for key, default in (("inputs", INPUTS), ("outputs", OUTPUTS)))
    coarse, fine = (f"global_{size:g}@{box}" for size in (SPACING * factor, SPACING))
    periods = {key: dict(zip(("start", "end"), getattr(split, key), strict=True)) for key in ("train", "validation", "test")}
    dataset = {"source": "era5", "inputs": inputs, "outputs": outputs, "frequency": "daily", "coarse_grid": coarse, "fine_grid": fine,
               "split": periods}  # fmt: skip
    raw: dict[str, Any] = {"label": name, "datasets": {DATASET: dataset}}
    conserve = set(outputs) <= set(inputs)
    chosen = sized(raw, DATASET, hours, on, conserve=conserve)
    told = volume(chosen.config)
    for line in (f"region {box}: {coarse} to {fine}, factor {factor}; days of {first} to {last}", f"  split {split.why}",
                 *told, *chosen.notes, *verdict(chosen.plan)):  # fmt: skip
        say(line)
    models = {
        "architecture": (chosen.architecture, "conserve: block means of the output are the input, which is made of the truth"),
        "train": (chosen.train, f"as many steps as {hours:g} hours allow here; {chosen.notes[-1]}"),
    }  # fmt: skip
    head = [f"ERA5 over one region, written by `orbit2 new` for {hours:g} hours on {'this machine' if on.device == 'this' else on.device}; "
            "every line may be changed (docs/configuration.md).", *told, "The account of the Climate Data Store: docs/sources.md. What is "
            f"fetched: orbit2 retrieve -c {path} --dry-run; run it:", f"  {write.command(path)}"]  # fmt: skip
    keys = [("inputs", inputs, ""), ("outputs", outputs, ""), ("frequency", "daily", "means of the day; rain in mm"),
            ("coarse_grid", coarse, f"factor {factor}: the input is the truth's own block means"),
            ("fine_grid", fine, "south, north, west, east"), ("statics", ["land_sea_mask", "orography", "slope"], "")]  # fmt: skip
    dates = [(key, value, split.why if key == "train" else "") for key, value in periods.items()]
    content = write.text(name, head, DATASET, "era5", (), keys, dates, models, chosen.task)
    from_mapping(yaml.safe_load(content), where=path)
    write.write(path, content)
    return path


def volume(config: RunConfig) -> list[str]:
    """What the run fetches, in words: gigabytes, requests of the queue, hours of it."""
    told = []
    for source in ("era5", "static"):
        found = stage.outstanding(config, source)
        if not found.missing:
            continue
        line = f"{source}: {human(found.missing)} in {found.files:,} files"
        if "cds" in found.clients:
            low, high = (60 * minutes * found.files / config.sources.transfer.per_host for minutes in QUEUE)
            line += (f", a request of the Climate Data Store's queue each: {duration(low)} to {duration(high)} at {QUEUE[0]:g} to "
                     f"{QUEUE[1]:g} minutes a request, {config.sources.transfer.per_host} at once")  # fmt: skip
        told += [line, *found.notes]
    return told


def _box(region: str, cell: float) -> str:
    """The region, outward to whole coarse cells."""
    try:
        south, north, west, east = (float(side) for side in region.split(","))
        good = -90 <= south < north <= 90 and west < east <= west + 360 and abs(west) <= 360
    except ValueError:
        good = False
    if not good:
        raise OrbitError("not a region", where="--region", got=region, allowed="SOUTH,NORTH,WEST,EAST in degrees, e.g. 35,60,-10,30",
                         hint="four numbers with commas between: south below north")  # fmt: skip
    if 180 / cell % 1:
        raise OrbitError("the globe does not divide into such cells", where="--factor", got=f"{cell:g} degrees", allowed="2, 4, 8, ...",
                         hint="choose another factor")  # fmt: skip
    sides = (max(-90.0, math.floor(south / cell) * cell), min(90.0, math.ceil(north / cell) * cell), math.floor(west / cell) * cell,
             math.ceil(east / cell) * cell)  # fmt: skip
    return ",".join(f"{side:g}" for side in sides)


def _years(years: str) -> tuple[int, int]:
    first, _, last = years.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and FIRST <= int(first) <= int(last or first)):
        raise OrbitError("not years", where="--years", got=years, allowed=f"FIRST-LAST from {FIRST} on, e.g. {YEARS}",
                         hint="a single year is enough: 2015")  # fmt: skip
    return int(first), int(last or first)
