"""`orbit2 evaluate A B -o DIR`: products that need no run and no store. Turns paths into one call and never holds science."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orbit2.allowance import allow
from orbit2.cli import ended
from orbit2.door.places import address, places

VERB = "judge"
OWN = ("--baseline", "-b", "--rename", "--accumulated")  # options that only products have


class OrProducts(TyperGroup):
    """A stage's verb that also takes two products instead of a sub-command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [VERB, *args] if names_products(args, self.commands) else args)


def names_products(words: Sequence[str], commands: Collection[str]) -> bool:
    """Whether a command line is about products: it begins with a path, or has an option that only they have. A word that is nearly a
    sub-command and no path is taken for a slip."""
    if not words or words[0] in commands or {"-h", "--help"} & set(words):
        return False
    if words[0].startswith("-"):
        return any(word.partition("=")[0] in OWN for word in words)
    return Path(words[0]).exists() or not get_close_matches(words[0], commands)


def judge(
    judged: Annotated[Path, typer.Argument(help="The product to judge: NetCDF, Zarr, GRIB, or a zip of them.", show_default=False)],
    truth: Annotated[Path, typer.Argument(help="The product that is taken as the truth.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables, maps and the page.", show_default=False)],
    baseline: Annotated[list[Path] | None, typer.Option(
        "--baseline", "-b", help="Another product beside it, to be better than; may be repeated.", show_default=False)] = None,
    rename: Annotated[list[str] | None, typer.Option(
        help="THEIRS=OURS: which of a file's variables is which, e.g. tg=2m_temperature; may be repeated.")] = None,
    accumulated: Annotated[str | None, typer.Option(
        help="Over how long amounts of precipitation (mm, m) are taken, e.g. 24h, where no file says.")] = None,
    memory_mb: Annotated[int | None, typer.Option(
        "--memory-mb", min=0, help="Keep within this much memory (MiB); 0: all there is.", show_default="what is free")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads to use.", show_default="every core")] = None,
) -> None:
    """Judge one product against another, made by orbit2 or not: `orbit2 evaluate A B -o DIR` is the same."""
    for path in (judged, truth, *(baseline or ())):
        if address(path) is None:
            places(path)  # before what takes seconds to load
    allow(memory_mb, threads)
    from orbit2.cli.stages import renamed
    from orbit2.downscale import Reading
    from orbit2.judge import run

    for line in run(judged, truth, baseline or (), out, Reading(renamed(rename or ()), accumulated)):
        typer.echo(f"note: {line}")
    ended.page(out / "report/index.html")


def add(verb: typer.Typer) -> None:
    """Let a verb take products."""
    verb.info.cls = OrProducts
    verb.command(VERB)(judge)
