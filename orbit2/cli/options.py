"""Options that several verbs share, and what checks them. Never runs a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbit2.errors import OrbitError
from orbit2.progress import detect

Config = Annotated[Path, typer.Option("--config", "-c", help="The stage's slice of the configuration (JSON).", show_default=False)]
Store = Annotated[Path, typer.Option(help="Pair store (pairs.zarr).", show_default=False)]
Resources = Annotated[Path, typer.Option(help="Folder of the provider files that retrieve wrote.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="What is written.", show_default=False)]
Named = Annotated[list[str], typer.Option(help="dataset=path; once per dataset.", show_default=False)]
Tables = Annotated[list[Path], typer.Argument(help="Tables of single tasks (Parquet).", show_default=False)]
Memory = Annotated[int | None, typer.Option(
    "--memory-mb", min=0, help="Keep within this much memory (MiB); 0: all there is.", show_default="what is free")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to use at most.", show_default="every core")]
Outdates = Annotated[Path | None, typer.Option(help="Table of several tasks that this one makes out of date: removed first.")]
# Options of verbs that also have a sub-command: required only when the verb itself runs.
MaybeConfig = Annotated[Path | None, typer.Option("--config", "-c", help="The stage's slice of the configuration.", show_default=False)]
MaybePrediction = Annotated[Path | None, typer.Option(help="Prediction of the task (Zarr).", show_default=False)]
MaybeStore = Annotated[Path | None, typer.Option(help="Pair store (pairs.zarr) that holds the truth.", show_default=False)]
Observations = Annotated[Path | None, typer.Option(help="Store of observations to score against, on their own grid.")]
Fits = Annotated[Path | None, typer.Option(help="What `orbit2 evaluate fit` wrote for the task's dataset (baselines.nc).")]
Parent = Annotated[Path | None, typer.Option(help="Prediction of the model that the task's model was fine-tuned from.")]
Parts = Annotated[Path | None, typer.Option(
    help="Folder of what `orbit2 evaluate part` wrote (HDF5): summed, nothing is read again.", show_default="all is streamed here")]
Device = Annotated[str | None, typer.Option(
    help="Where it computes: cpu, cuda or cuda:N; default: a GPU where there is one.", show_default=False,
    callback=lambda name: known_device(name))]
MaybeOut = Annotated[Path | None, typer.Option("--out", "-o", help="What is written.", show_default=False)]


def known_device(name: str | None) -> str | None:
    """`name`, checked before anything is read. Raises OrbitError for one that is not there; of several processes each finds out once the
    others can hear of it (launch.ranks)."""
    if name is not None and detect()[1] == 1:
        from orbit2.parallel.launch import device_of

        device_of(name)
    return name


def need(**given: Path | None) -> dict[str, Path]:
    """The options, all present. Raises OrbitError naming the missing ones."""
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if missing:
        raise OrbitError(f"missing option {', '.join(missing)}", where="command line", hint="see --help")
    return {name: value for name, value in given.items() if value is not None}
