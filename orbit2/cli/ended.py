"""How a command ends for who typed it: what it wrote and what can be done with that. Silent in the workflow, which goes on by itself."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress

import typer

from orbit2.progress import detect

STOPPED = "ORBIT2_STOPPED"  # names a file that is to say how far a stage came that stops early; see workflow/scripts/logged.sh


def wrote(out: object, then: str, *command: object) -> None:
    """`wrote OUT; THEN`, and the command for it on a line of its own."""
    if os.environ.get(STOPPED) or detect()[0]:
        return
    with suppress(OSError):  # nobody reads any more; the work is done
        typer.echo(f"wrote {out}; {then}" + (f":\n  {shlex.join(map(str, command))}" if command else ""))


def page(path: object) -> None:
    """A page is there to be looked at."""
    wrote(path, "open it in a browser")
