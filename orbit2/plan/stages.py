"""What the stages beside training and prediction take: fetching, regridding, statistics, scores. What nobody measured is not told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from orbit2.config.comparisons import fitted_on, parents
from orbit2.config.needs import names_from
from orbit2.config.recipes import DAY, recipes
from orbit2.config.schema import RunConfig
from orbit2.config.sources import traits
from orbit2.errors import OrbitError
from orbit2.metrics.months import plan_jobs
from orbit2.metrics.months import plan_parts as task_months
from orbit2.model.inspect import vocabulary
from orbit2.plan.disk import output_grid, samples_bytes, task_samples, training_samples
from orbit2.plan.machine import Machine
from orbit2.plan.records import Stored, Work
from orbit2.regrid.parts import plan_parts
from orbit2.sources import manifest
from orbit2.sources.times import plan_times

PAUSE = 1800.0  # seconds between two files of one transfer, at most
LEAST = 8  # files that a rate is told from
STATISTICS_THREADS = 8  # of its rule
FIT_SAMPLES = 2000  # that baselines are fitted to, at most


@dataclass(frozen=True)
class Rates:
    """Core seconds, one thread of the AMD EPYC that the benchmark `basis` ran on: of a raw field of a source's file (read, reduced over the
    day, averaged to both grids) or of a value of a sample, `each`; and of a job, whatever its length (`start`)."""

    each: float
    start: float
    basis: str


STORED = 37.4e-9  # core seconds of a value that is packed, compressed and written: benchmarks/pairstore_read.py
SOURCES = "benchmarks/regrid_sources.py"
# Of sources' raw fields, whole, as the provider's files have them. era5_year.py knows the clock of both cores only: at most this.
REGRID = {
    "era5": Rates(0.0585, 0.0, "benchmarks/era5_year.py"),
    "prism": Rates(0.0474, 1.92, SOURCES),
    "daymet": Rates(2.10, 1.22, SOURCES),  # of a box of 10 x 18 degrees, by cells for the whole
    "imerg": Rates(0.202, 2.86, SOURCES),
}
# Of values: of both sides (statistics, evaluate fit); of a prediction, for each of MODELS beside the truth: of a part (evaluate: one stream
# for that stage and for diagnose), of the structure of its samples (SSIM, FSS, SAL, spectra: of every `evaluate.every`-th), of what the
# merges of both stages take of a part, whatever its samples. Beyond LARGE cells a part holds no more.
MEASURED = "benchmarks/stages.py"
STAGES = {
    "statistics": Rates(2.47e-08, 1.10, MEASURED),
    "evaluate fit": Rates(1.02e-07, 10.9, MEASURED),
    "evaluate": Rates(4.37e-07, 11.2, MEASURED),
    "structure": Rates(5.62e-06, 0.0, MEASURED),
    "merge": Rates(7.05e-07, 10.9, MEASURED),
}
LARGE = 720 * 1440  # what was measured
MODELS = 10  # the model and nine baselines, as shipped
UNTOLD = "not measured"


def works(config: RunConfig, on: Machine, stored: tuple[Stored, ...]) -> tuple[Work, ...]:
    """All of a run's stages but trainings and predictions, on the cores of `on`'s nodes; `stored` tells what is there already."""
    return (*_fetched(config, stored), *_built(config, on, stored), *_scored(config, on),
            Work("report", "", 1, untold="not measured: minutes, by the number of figures"))  # fmt: skip


def cores_of(on: Machine) -> int:
    """Of all its nodes."""
    return max(on.nodes * on.sheet.cores, 1)


def _spread(stage: str, name: str, jobs: int, seconds: float, on: Machine, basis: str, threads: int = 1) -> Work:
    """`seconds` of core time in equal jobs, as many at a time as there are cores for."""
    cores = cores_of(on)
    threads = min(threads, cores)
    rounds = math.ceil(jobs / max(cores // threads, 1))
    return Work(stage, name, jobs, seconds, rounds * seconds / jobs / threads, basis)


def _fetched(config: RunConfig, stored: tuple[Stored, ...]) -> Iterator[Work]:
    """Downloads at the rate at which the source's files came so far, where any did."""
    for one in stored:
        if one.kind != "download":
            continue
        if traits(one.name).packaged or not one.missing:
            yield Work("retrieve", one.name, one.files or 0, 0.0, 0.0, "there, or ships with orbit2")
            continue
        rate = measured_rate(Path(config.sources.resources) / one.name / manifest.VERSION)
        if rate is None:
            yield Work("retrieve", one.name, one.files or 0, untold="the provider's queue and line: told once a few files have come")
        else:
            yield Work("retrieve", one.name, one.files or 0, 0.0, one.missing / rate, f"{rate / 1e6:,.1f} MB/s, as files came so far")


def measured_rate(folder: Path) -> float | None:
    """Bytes a second of the files that came one after another into a provider's folder; None for fewer than LEAST of them."""
    try:
        files = manifest.read(folder)["files"]
    except OrbitError:
        return None
    came = sorted((float(np.datetime64(each["fetched"].rstrip("Z"), "s").astype(np.int64)), int(each["bytes"]))
                  for each in files if "fetched" in each)  # fmt: skip
    steps = [(after - before, size) for (before, _), (after, size) in pairwise(came) if after - before <= PAUSE]
    seconds = sum(took for took, _ in steps)
    return sum(size for _, size in steps) / seconds if len(steps) >= LEAST and seconds > 0 else None


def _built(config: RunConfig, on: Machine, stored: tuple[Stored, ...]) -> Iterator[Work]:
    """Stores, their statistics, and the baselines that are fitted to them."""
    there = {one.name for one in stored if one.kind == "store" and not one.missing}
    trained = dict.fromkeys(key for model in config.models.values() for key in model.datasets)
    fitted = dict.fromkeys(key for task in config.downscale if (key := fitted_on(config, task)) is not None)
    for name in config.datasets:
        parts = len(plan_parts(config.datasets[name]))
        if name in there:
            yield Work("regrid", name, parts, 0.0, 0.0, "there")
        elif untold := [source for source in config.datasets[name].sources if _raw(source) not in REGRID]:
            yield Work("regrid", name, parts, untold=f"fields of {', '.join(untold)}: {UNTOLD}")
        else:
            basis = dict.fromkeys(REGRID[_raw(source)].basis for source in config.datasets[name].sources)
            yield _spread("regrid", name, parts, regridding(config, name, parts), on, ", ".join(basis))
    for name in trained:
        yield _valued("statistics", name, _values(config, name) * training_samples(config, name), on, STATISTICS_THREADS)
    for name in fitted:
        yield _valued("evaluate fit", name, _values(config, name) * min(training_samples(config, name), FIT_SAMPLES), on)


def _raw(source: str) -> str:
    """Whose files they are like: the packaged ones are ERA5's."""
    return "era5" if traits(source).packaged else source


def _valued(stage: str, name: str, values: float, on: Machine, threads: int = 1, jobs: int = 1) -> Work:
    """Jobs that work through `values` together."""
    if (rates := STAGES.get(stage)) is None:
        return Work(stage, name, jobs, untold=UNTOLD)
    return _spread(stage, name, jobs, jobs * rates.start + rates.each * values, on, rates.basis, threads)


def regridding(config: RunConfig, name: str, parts: int) -> float:
    """Core seconds of a dataset's store: raw fields read, parts begun, values stored."""
    dataset, samples = config.datasets[name], len(plan_times(config.datasets[name]))
    seconds = STORED * _values(config, name) * samples
    for source in dataset.sources:
        raw = {made.raw for made in recipes(source, names_from(dataset, source), config.sources).values()}
        hours = DAY if traits(source).hourly and dataset.step_hours == DAY else 1  # read for a sample, of each raw field
        rates = REGRID[_raw(source)]
        seconds += samples * hours * len(raw) * rates.each + parts * rates.start
    return seconds


def _scored(config: RunConfig, on: Machine) -> Iterator[Work]:
    """Scores and diagnostics of every task, by month; the model that a fine-tuned one started from is one more beside the baselines."""
    beside = parents(config)
    for task, section in config.downscale.items():
        models = 1 + sum(name != "parent" for name in config.evaluate.baselines) + (task in beside)
        cells, outputs = math.prod(output_grid(config, task).shape), len(vocabulary(config, section.model)[1])
        months, samples, share = len(task_months(config, task)), task_samples(config, task), outputs * models / MODELS
        plain, structure = STAGES["evaluate"], STAGES["structure"]
        values = cells * share * (samples + structure.each / plain.each * math.ceil(samples / config.evaluate.every))
        yield _valued("evaluate", task, values, on, jobs=len(plan_jobs(config, task)))
        yield _valued("merge", task, min(cells, LARGE) * share * months, on)


def _values(config: RunConfig, name: str) -> int:
    """Of one sample, both sides."""
    return samples_bytes(config, name)[0] // 2


def summed(found: Sequence[Work], cores: int) -> dict[str, tuple[int, float, float]]:
    """stage -> (jobs, core seconds, seconds on the clock where its datasets or tasks share `cores`), of what is told."""
    sums: dict[str, tuple[int, float, float]] = {}
    for one in found:
        if one.untold is None:
            jobs, work, longest = sums.get(one.stage, (0, 0.0, 0.0))
            sums[one.stage] = (jobs + one.jobs, work + (one.core_seconds or 0.0), max(longest, one.wall or 0.0))
    return {stage: (jobs, work, max(longest, work / cores)) for stage, (jobs, work, longest) in sums.items()}
