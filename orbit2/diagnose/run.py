"""The entry point of `diagnose`: one prediction in, region scores, Hovmöller diagrams and notes out. Never leaves half of them behind."""

from __future__ import annotations

from pathlib import Path

from orbit2.config.load import read_slice, validate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.diagnose.hovmoller import Hovmoller
from orbit2.diagnose.notes import notes
from orbit2.diagnose.regions import ATTRIBUTION, ar6, land_mask
from orbit2.diagnose.skill import RegionSkill
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.metrics import table
from orbit2.metrics.binning import band_name
from orbit2.metrics.matched import Matched
from orbit2.metrics.netcdf import write_netcdf
from orbit2.progress import counted


def run(
    *, config: Path, prediction: Path, store: Path, out: Path, observations: Path | None = None, fits: Path | None = None,
    parent: Path | None = None,
) -> None:
    """Diagnose a downscale task's `prediction` against the pair store (or `observations`) and the baselines.

    `config` is the task's diagnose slice (JSON); `fits` and `parent` are as for evaluate.
    Writes into the folder `out`: `regions.nc` (AR6 region maps and skill),
    `hovmoller.nc`, `notes.json` (what needs a longer record) and, last, `regions.parquet` (long table). Without a truth the region
    scores are conservation residuals against the input. Raises OrbitError for a prediction or store that does not fit.
    """
    slice_ = read_slice(config)
    for key in ("task", "downscale", "diagnose", "baselines"):
        if key not in slice_:
            raise OrbitError("not the configuration of a diagnose task", where=config, got=f"no key '{key}'",
                             hint="use the slice that the workflow writes beside the results")
    settings = validate(DiagnoseConfig, slice_["diagnose"], config)
    baselines = validate(EvaluateConfig, {"baselines": slice_["baselines"]}, config).baselines
    matched = Matched(slice_, Path(prediction), Path(store), baselines, observations, fits, parent)
    regions = ar6()
    land = land_mask(matched.truth_store, *matched.truth_window, matched.truth_side)
    skill = RegionSkill(matched, regions, regions.on(matched.grid), land)
    diagrams = Hovmoller(matched, settings.hovmoller_band)
    for scored in counted(matched.samples(), "diagnose", len(matched.times) * len(matched.variables), "field"):
        skill.update(scored)
        diagrams.update(scored)
    scores = matched.table("standard")
    skill.rows(scores)
    diagrams.rows(scores)
    out = Path(out)
    about = f"{matched.model} and baselines, task {matched.task}"
    write_netcdf(skill.dataset(), out / "regions.nc", f"Scores by AR6 region of {about}. Regions: {ATTRIBUTION}")
    write_netcdf(diagrams.dataset(), out / "hovmoller.nc", f"Hovmöller diagrams of {about}")
    write_json(out / "notes.json", notes(matched, None if diagrams.in_band else band_name(*settings.hovmoller_band)))
    table.write(scores.frame(), out / "regions.parquet")
