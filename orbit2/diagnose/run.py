"""The entry point of `diagnose`: one prediction in, region scores, Hovmöller diagrams and notes out. Never leaves half of them behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from orbit2.config.load import read_slice, validate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig, ReportConfig
from orbit2.diagnose import afterwards
from orbit2.diagnose.afterwards import CLIMATE, Answer
from orbit2.diagnose.climate import analyse, joined
from orbit2.diagnose.collectors import COLLECTORS
from orbit2.diagnose.kept import KeptDays
from orbit2.diagnose.notes import notes
from orbit2.diagnose.regions import ATTRIBUTION
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.hands import apart
from orbit2.metrics import table
from orbit2.metrics.binning import band_name, latitudes
from orbit2.metrics.collector import Collector, Settings
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Matched
from orbit2.metrics.netcdf import write_netcdf
from orbit2.metrics.stream import filled
from orbit2.metrics.table import Table

Asked = Callable[[Table], Answer]
TITLES = {"regions.nc": f"Scores by AR6 region of {{}}. Regions: {ATTRIBUTION}", "hovmoller.nc": "Hovmöller diagrams of {}",
          CLIMATE: "Extreme days, cells, seasons of rain, sections and waves of {}"}  # fmt: skip


def run(
    *, config: Path, prediction: Path, store: Path, out: Path, observations: Path | None = None, fits: Path | None = None,
    parent: Path | None = None, parts: Path | None = None,
) -> None:
    """Diagnose a downscale task's `prediction` against the pair store (or `observations`) and the baselines.

    `config` is the task's diagnose slice (JSON); `fits` and `parent` are as for evaluate.
    Writes into the folder `out`: `regions.nc` (AR6 region maps and skill), `hovmoller.nc`, `climate.nc` (extreme days, maps of
    cells; of years of rain, seasons), `notes.json` (what needs a longer record) and, last, `regions.parquet` (long table). Without a
    truth the region scores are conservation residuals against the input. With `parts` nothing is streamed: what the jobs of
    `orbit2 evaluate part` left in that folder is summed. Raises OrbitError for a prediction or store that does not fit.
    """
    slice_ = read_slice(config)
    for key in ("task", "downscale", "diagnose", "baselines"):
        if key not in slice_:
            raise OrbitError("not the configuration of a diagnose task", where=config, got=f"no key '{key}'",
                             hint="use the slice that the workflow writes beside the results")
    told = {key: slice_[key] for key in ("baselines", "bootstrap") if key in slice_}
    baselines = validate(EvaluateConfig, told, config)
    thresholds = validate(ReportConfig, {"thresholds": slice_.get("thresholds", {})}, config).thresholds
    settings = Settings(baselines, validate(DiagnoseConfig, slice_["diagnose"], config), thresholds,
                        tuple(slice_["left_out"]) if slice_.get("left_out") else None)  # fmt: skip
    matched = Matched(slice_, Path(prediction), Path(store), settings.evaluate.baselines, observations, fits, parent)
    write(matched, settings, filled(COLLECTORS, "diagnose", matched, slice_, settings, parts), Path(out))


def write(matched: Compared, settings: Settings, collectors: list[Collector], out: Path) -> None:
    """The table and the files of what was gathered, by as many processes as may be used."""
    scores, about = matched.table("standard"), f"{matched.model} and baselines, task {matched.task}"
    days = afterwards.kept_days(collectors)
    work: list[Asked] = [*(partial(_gathered, collector) for collector in collectors), partial(_climate, days, matched, settings)]
    if days is not None:
        work += (partial(one, days.closed(), matched, settings) for one in afterwards.ASKED)
    made = apart([partial(_answered, one, matched.table("standard")) for one in work])
    scores.rows += [row for rows, _ in made for row in rows]
    for files, _ in (found for _, found in made[: len(collectors)]):
        for name, dataset in files.items():
            write_netcdf(dataset, out / name, TITLES[name].format(about))
    fields = [files[CLIMATE] for _, (files, _) in made[len(collectors) :] if CLIMATE in files]
    write_netcdf(joined(fields[0], fields[1:]), out / CLIMATE, TITLES[CLIMATE].format(about))
    band = settings.diagnose.hovmoller_band
    latitude = latitudes(matched.grid)
    covered = ((latitude >= band[0]) & (latitude <= band[1])).any()
    found = notes(matched, None if covered else band_name(*band))
    drawn = afterwards.outlines(scores, settings)
    every = [*found["notes"], *(note for _, (_, more) in made for note in more)]
    write_json(out / "notes.json", {**found, "notes": every, **({"outlines": drawn} if drawn else {})})
    table.write(scores.frame(), out / "regions.parquet")


def _answered(asked: Asked, into: Table) -> tuple[list[dict[str, Any]], Answer]:
    """The rows that a piece of work adds, and what else it gives: it may be at work in another process."""
    answer = asked(into)
    return into.rows, answer


def _gathered(collector: Collector, table: Table) -> Answer:
    collector.rows(table, "standard")
    return collector.datasets(), []


def _climate(days: KeptDays | None, matched: Compared, settings: Settings, table: Table) -> Answer:
    found = analyse(days, matched, settings, table)
    return {CLIMATE: found.file}, found.missing
