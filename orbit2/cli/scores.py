"""The verbs of evaluate and diagnose. Each turns file paths into one call of its stage and never holds science."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from orbit2 import outputs
from orbit2.allowance import allow
from orbit2.cli import ended, judge
from orbit2.cli.options import (
    Config,
    Fits,
    MaybeConfig,
    MaybeOut,
    MaybePrediction,
    MaybeStore,
    Memory,
    Observations,
    Out,
    Outdates,
    Parent,
    Parts,
    Store,
    Tables,
    Threads,
    need,
)


def scoring(what: str, more: str, run: Callable[..., None], files: Mapping[str, tuple[str, ...]]) -> typer.Typer:
    """The verb of a stage that reads predictions: `run` for a task, `merge` for the tables of several. `files`: see `outputs.files`."""
    verb = typer.Typer(help=f"{what}; {more}")

    @verb.callback(invoke_without_command=True, help=f"{what}; {more}")
    def task(
        context: typer.Context, config: MaybeConfig = None, prediction: MaybePrediction = None, store: MaybeStore = None,
        observations: Observations = None, fits: Fits = None, parent: Parent = None, out: MaybeOut = None,
        parts: Parts = None, outdates: Outdates = None, memory_mb: Memory = None, threads: Threads = None,
    ) -> None:  # fmt: skip
        if context.invoked_subcommand is None:
            options = need(config=config, prediction=prediction, store=store, out=out)
            outputs.files(options["out"], files)
            outputs.file(outdates)
            allow(memory_mb, threads)
            if outdates is not None:
                outdates.unlink(missing_ok=True)
            run(**options, observations=observations, fits=fits, parent=parent, parts=parts)
            ended.wrote(options["out"], "the report draws it", "orbit2", "report", "--help")

    @verb.command("merge")
    def merge(tables: Tables, out: Out) -> None:
        """One table from those of the tasks."""
        outputs.file(out)
        from orbit2.metrics.table import merge as merged

        merged(tables, out)

    return verb


def _evaluate(**given: Any) -> None:
    from orbit2.evaluate import run

    run(**given)


def _diagnose(**given: Any) -> None:
    from orbit2.diagnose import run

    run(**given)


evaluate = scoring(
    "Score a prediction beside its baselines",
    "`A B -o DIR` judges any two products, `part` is one month of it, `fit` fits what learns, `merge` joins tables.", _evaluate,
    dict.fromkeys(("metrics.parquet", "maps.nc", "spectra.nc", "density.nc", "seams.nc"), ()),
)
diagnose = scoring(
    "Climate diagnostics of a prediction", "`merge` joins the tables of several tasks.", _diagnose,
    {**dict.fromkeys(("regions.parquet", "regions.nc", "hovmoller.nc", "climate.nc"), ()), "notes.json": ("record", "notes")},
)


@evaluate.command("part")
def evaluate_part(
    config: Config, store: Store,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the part (HDF5); of several parts: their folder, a file each.",
                                      show_default=False)],
    prediction: Annotated[Path, typer.Option(help="Prediction of the task (Zarr).", show_default=False)],
    part: Annotated[list[str], typer.Option(
        help="Calendar month or year: 202603, 2026; 202603on: and later ones. Several are made one after the other.", show_default=False)],
    observations: Observations = None, fits: Fits = None, parent: Parent = None,
    receipt: Annotated[Path | None, typer.Option(help="Written once all parts are there (JSON); whole ones are kept.")] = None,
    memory_mb: Memory = None, threads: Threads = None,
) -> None:  # fmt: skip
    """Stream one month of a prediction once, for evaluate and diagnose; their --parts sum the months."""
    parts = {part[0]: out} if len(part) == 1 else {name: out / f"{name}.h5" for name in part}
    if len(part) > 1:
        outputs.files(out, {path.name: () for path in parts.values()})
    else:
        outputs.file(out)
    outputs.file(receipt, "part", "samples")
    allow(memory_mb, threads)
    from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSTICS
    from orbit2.evaluate.collectors import COLLECTORS as SCORES
    from orbit2.metrics.stream import run_several

    run_several(config=config, prediction=prediction, store=store, parts=parts, kinds=(*SCORES, *DIAGNOSTICS), observations=observations,
                fits=fits, parent=parent, receipt=receipt)  # fmt: skip
    ended.wrote(out, "once every part is there, they are summed: --parts of", "orbit2", "evaluate", "--help")


@evaluate.command("fit")
def evaluate_fit(config: Config, store: Store, out: Out) -> None:
    """Fit a dataset's baselines to its training block: delta, lapse rate, regression, quantile mapping, BCSD; and describe its truth."""
    outputs.file(out)
    from orbit2.evaluate import fit

    fit(config=config, store=store, out=out)
    ended.wrote(out, "predictions are scored beside these baselines: --fits of", "orbit2", "evaluate", "--help")


judge.add(evaluate)
