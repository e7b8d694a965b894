"""`orbit2 new`: options into one call, and questions on a terminal. Never holds science."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbit2.errors import OrbitError

if TYPE_CHECKING:
    from orbit2.start.asking import Question

Patterns = list[str] | None


def new(
    name: Annotated[str, typer.Argument(help="Name of the run; NAME.yaml is written here.", show_default=False)],
    others: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    fine: Annotated[Patterns, typer.Option(help="Files of the truth: a path or a pattern in quotes; may be repeated.")] = None,
    coarse: Annotated[Patterns, typer.Option(help="Files of the input; none: block means of the truth are the input.")] = None,
    statics: Annotated[Patterns, typer.Option(help="Files of orography and land mask; none: what orbit2 brings along.")] = None,
    source: Annotated[str | None, typer.Option("--from", help="Instead of files: era5, fetched for --region.", show_default=False)] = None,
    region: Annotated[str | None, typer.Option(help="SOUTH,NORTH,WEST,EAST in degrees, of --from era5.", show_default=False)] = None,
    years: Annotated[str | None, typer.Option(help="FIRST-LAST, of --from era5.", show_default="2015-2020")] = None,
    hours: Annotated[float, typer.Option(min=0, help="Hours that the whole run may take on this machine.")] = 2.0,
    device: Annotated[str, typer.Option(help="Device it is sized for, as in `orbit2 plan`: this, a100, h200 ...")] = "this",
    inputs: Annotated[str | None, typer.Option(help="Variables to use, with commas; default: all that the coarse files hold.")] = None,
    outputs: Annotated[str | None, typer.Option(help="Variables to make; default: all that the fine files hold.")] = None,
    factor: Annotated[str | None, typer.Option(help="Fine cells along a side of a coarse one, where files do not say.")] = None,
    fine_grid: Annotated[str | None, typer.Option(help="Named grid to average the fine files to, where their own cannot serve.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS: which field is which variable; may be repeated.")] = None,
    accumulated: Annotated[str | None, typer.Option(help="Over how long amounts of rain are taken, e.g. 24h, where no file says.")] = None,
    coarse_day: Annotated[str | None, typer.Option(help="When days of the coarse files begin, hours after 00:00 UTC of the date.")] = None,
    fine_day: Annotated[str | None, typer.Option(help="The same of the fine files (-12: noon of the day before).")] = None,
    coarse_stamp: Annotated[str | None, typer.Option(help="What of its hour a time of the coarse files names: end, begin, middle.")] = None,
    fine_stamp: Annotated[str | None, typer.Option(help="The same of the fine files.")] = None,
    credit: Annotated[str | None, typer.Option(help="Who made the files, and their licence: stands in the report.")] = None,
) -> None:
    """Write a run for files of your own, or for a region of ERA5: looks, splits, sizes for this machine, says what runs it."""
    if others:
        raise OrbitError("more words than a name", where="command line", got=" ".join(others[:3]),
                         hint="put patterns in quotes: --fine 'wrf/*.nc'")  # fmt: skip
    if (source is None) == (not fine):
        raise OrbitError("say what the run is made of", where="command line", got="both" if fine else "nothing",
                         allowed="--fine 'FILES' (and --coarse 'FILES'), or --from era5 --region 35,60,-10,30",
                         hint="your own files are named with --fine, a region of ERA5 with --from")  # fmt: skip
    from orbit2.notebook import NOTEBOOK
    from orbit2.plan.machine import machine
    from orbit2.progress import doing
    from orbit2.start import era5, own, write
    from orbit2.start.asking import QUESTIONS, no_one

    given = {"factor": factor, "fine_grid": fine_grid, "accumulated": accumulated, "rename": ",".join(rename or ()) or None,
             "day_starts.coarse": coarse_day, "day_starts.fine": fine_day,
             "stamps.coarse": coarse_stamp, "stamps.fine": fine_stamp}  # fmt: skip
    said: dict[str, Any] = {key: QUESTIONS[key].read(text) for key, text in given.items() if text is not None}
    said |= {key: _names(key, text) for key, text in (("inputs", inputs), ("outputs", outputs)) if text is not None}
    if credit:
        said["credit"] = credit
    doing("measuring this machine" if device == "this" else "starting")
    on = machine(device)
    with NOTEBOOK.opened():
        if source is not None:
            path = _fetched(era5, name, source, region, years or era5.YEARS, said, hours, on)
        elif region is not None or years is not None:
            raise OrbitError("--region and --years go with --from era5", where="command line",
                             hint="files have a region and years of their own")  # fmt: skip
        else:
            files = {"coarse": coarse or [], "fine": fine or [], "statics": statics or []}
            ask = _asked if sys.stdin.isatty() and sys.stderr.isatty() else no_one
            path = own.new(name, files, said, hours, on, Path(), ask, typer.echo)
    typer.echo(f"wrote {path}; run it:\n  {write.command(path)}")


def _fetched(era5: Any, name: str, source: str, region: str | None, years: str, said: dict[str, Any], hours: float, on: Any) -> Path:
    if source != "era5":
        raise OrbitError("not a source that a run can be begun with", where="--from", got=source, allowed="era5",
                         hint="files of your own, of any source, are named with --fine and --coarse")  # fmt: skip
    if region is None:
        raise OrbitError("no region is given", where="--region", got="nothing", allowed="SOUTH,NORTH,WEST,EAST, e.g. 35,60,-10,30",
                         hint="name the box that is to be fetched")  # fmt: skip
    found: Path = era5.new(name, region, years, said, hours, on, Path(), typer.echo)
    return found


def _names(key: str, text: str) -> list[str]:
    """Variables, by name. Raises OrbitError for one that is none."""
    from orbit2.variables import variable

    try:
        return [variable(name.strip()).name for name in text.split(",") if name.strip()]
    except OrbitError as error:
        raise OrbitError(error.what, where=f"--{key}", got=error.got, allowed=error.allowed, hint=error.hint) from None


def _asked(question: Question, error: OrbitError) -> str:
    """The answer of who sits at the terminal, once it is one that is allowed."""
    typer.echo(str(error), err=True)
    while True:
        answer: str = typer.prompt(f"{question.text} ({question.allowed})", err=True)
        try:
            question.read(answer)
        except OrbitError as slip:
            typer.echo(str(slip), err=True)
            continue
        return answer


def register(app: typer.Typer) -> None:
    app.command("new")(new)
