"""The entry point of `evaluate`: one prediction in, one table and four NetCDF files out. Never leaves half of them behind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from orbit2.config.load import read_slice, validate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.errors import OrbitError
from orbit2.evaluate.collectors import COLLECTORS
from orbit2.hands import apart
from orbit2.metrics import table
from orbit2.metrics.collector import Collector, Settings
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Matched
from orbit2.metrics.netcdf import write_netcdf
from orbit2.metrics.stream import filled

TITLES = {"maps.nc": "Error maps", "spectra.nc": "Power spectra", "density.nc": "Joint density", "seams.nc": "Differences at tile borders"}


def run(
    *, config: Path, prediction: Path, store: Path, out: Path, observations: Path | None = None, fits: Path | None = None,
    parent: Path | None = None, parts: Path | None = None,
) -> None:
    """Score `prediction` (a downscale task's Zarr) and the configured baselines against the pair store, or against `observations`.

    `config` is the task's evaluate slice (JSON); `fits` is what `fit` wrote for its dataset, `parent` the prediction of the model that the
    task's model was fine-tuned from. Writes `metrics.parquet` (long table), `maps.nc`, `spectra.nc`, `density.nc` and
    `seams.nc` into the folder `out`; the table last, so that its presence means the others are there. A task without a truth gets
    conservation residuals instead of scores; a tiled one gets the seam test as well. Raises OrbitError for a prediction or store that
    does not fit. With `parts` nothing is streamed: what the jobs of `orbit2 evaluate part` left in that folder is summed.
    """
    slice_ = read_slice(config)
    settings = Settings(evaluate_settings(slice_, config), DiagnoseConfig())
    matched = Matched(slice_, Path(prediction), Path(store), settings.evaluate.baselines, observations, fits, parent)
    write(matched, settings, filled(COLLECTORS, "evaluate", matched, slice_, settings, parts), Path(out))


def write(matched: Compared, settings: Settings, collectors: list[Collector], out: Path) -> None:
    """The table and the files of what was gathered, by as many processes as may be used."""
    protocols = settings.evaluate.protocols
    made = apart([partial(_gathered, collector, [matched.table(protocol) for protocol in protocols]) for collector in collectors])
    for _, files in made:
        for name, dataset in files.items():
            write_netcdf(dataset, out / name, f"{TITLES[name]} of {matched.model} and baselines, task {matched.task}")
    frames = []
    for i, protocol in enumerate(protocols):
        scores = matched.table(protocol)
        scores.rows += [row for tables, _ in made for row in tables[i].rows]
        frames.append(scores.frame())
    table.write(table.concatenate(frames), out / "metrics.parquet")


def _gathered(collector: Collector, tables: list[table.Table]) -> tuple[list[table.Table], Mapping[str, xr.Dataset]]:
    """What a collector adds to the table of each protocol, and its files: it may be at work in another process."""
    for scores in tables:
        collector.rows(scores, scores.protocol)
    return tables, collector.datasets()


def evaluate_settings(slice_: Mapping[str, Any], where: object) -> EvaluateConfig:
    """The checked `evaluate` section of a slice. Raises OrbitError when the slice is not one of this stage."""
    for key in ("task", "downscale", "evaluate"):
        if key not in slice_:
            raise OrbitError("not the configuration of an evaluate task", where=where, got=f"no key '{key}'",
                             hint="use the slice that the workflow writes beside the results")
    return validate(EvaluateConfig, slice_["evaluate"], where)
