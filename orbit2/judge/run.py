"""The entry point of `orbit2 evaluate A B`: products in, tables, maps and a page out. Never trains, never changes a product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from orbit2 import outputs
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.config.thresholds import DEFAULT
from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSE
from orbit2.diagnose.run import write as write_diagnostics
from orbit2.door.ingest import Reading
from orbit2.errors import OrbitError
from orbit2.evaluate.collectors import COLLECTORS as EVALUATE
from orbit2.evaluate.run import write as write_scores
from orbit2.files import write_json
from orbit2.grid import Grid
from orbit2.judge import page
from orbit2.judge.judged import Judged
from orbit2.judge.product import Product
from orbit2.metrics.collector import Settings, gather
from orbit2.progress import counted
from orbit2.provenance import code_version

DRAWS = 1000
FILES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("metrics.parquet", "maps.nc", "spectra.nc", "density.nc", "seams.nc"), ()),
    **dict.fromkeys(("regions.parquet", "regions.nc", "hovmoller.nc", "climate.nc"), ()),
    "notes.json": ("record", "notes"), "judged.json": ("products", "left_out"),
}  # fmt: skip


def run(judged: Path, truth: Path, baselines: Sequence[Path], out: Path, said: Reading | None = None) -> list[str]:
    """Score the product `judged` against `truth`, with `baselines` beside it, on the coarser of the first two grids and the times of all.

    NetCDF, Zarr, GRIB or a zip of them, of any usual names and units; `said` is what the files do not say (names, accumulation). Writes
    into the folder `out` what `evaluate` and `diagnose` write for a task, `judged.json` (what was compared, and what was left out) and
    `report/index.html`. Returns the lines about what was left out. Raises OrbitError for files that cannot be used or compared.
    """
    outputs.files(out, FILES)
    outputs.page(out / "report")
    paths = [judged, truth, *baselines]
    said = said or Reading()
    with ExitStack() as stack:
        products = [Product.open(name, path, said, stack) for name, path in zip(page.names_of(paths), paths, strict=True)]
        _all_used(said, products)
        matched = Judged(products)
        settings = Settings(settings_of(matched), DiagnoseConfig(), DEFAULT)
        scores, diagnostics = ([kind(matched, settings) for kind in kinds] for kinds in (EVALUATE, DIAGNOSE))
        total = len(matched.times) * len(matched.variables)
        gather(matched, [*scores, *diagnostics], lambda samples: counted(samples, "scoring", total, "field"))
        if all(matched.empty.get(name, 0) == len(matched.times) for name in matched.variables):
            raise OrbitError("no cell has a value in all products at any time", where=judged, hint="are their missing values declared?")
        write_diagnostics(matched, settings, diagnostics, out)
        write_scores(matched, settings, scores, out)
        page.write(matched, out)
        left = page.left_out(matched)
        write_json(out / "judged.json", {
            "products": [{"name": p.name, "path": str(p.path), "grid": each.grid.describe(), "times": len(each.times),
                          "variables": p.fields}
                         for p, each in zip(matched.products, matched.inputs, strict=True)],
            "grid": matched.grid.describe(), "times": [str(matched.times[0]), str(matched.times[-1]), len(matched.times)],
            "matched_by": "date" if matched.clock.by_date else "instant", "left_out": left, "code_version": code_version(),
        })  # fmt: skip
    return left


def settings_of(matched: Judged) -> EvaluateConfig:
    """The run's defaults with intervals; on a region the radial spectrum is of all of it."""
    if matched.region == "global":
        return EvaluateConfig(bootstrap=DRAWS)
    if not isinstance(matched.grid, Grid):  # its spectra are of the whole domain in any case
        return EvaluateConfig(bootstrap=DRAWS)
    lat, lon = matched.grid.lat_edges, matched.grid.lon_edges
    return EvaluateConfig(bootstrap=DRAWS, spectra_boxes={"whole": (float(lat[0]), float(lat[-1]), float(lon[0]), float(lon[-1]))})


def _all_used(said: Reading, products: Sequence[Product]) -> None:
    """Raise OrbitError for a name that none of the products has."""
    unused = [theirs for theirs in said.rename if not any(theirs in product.dataset.data_vars for product in products)]
    if unused:
        held = sorted({str(name) for product in products for name in product.dataset.data_vars})
        raise OrbitError("--rename names a variable that is not there", where="--rename", got=unused[0], allowed=", ".join(held),
                         hint="give the name that the file has")  # fmt: skip


