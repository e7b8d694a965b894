"""The `orbit2` command: one verb per stage, plus plan, doctor, config and model. Never computes anything itself.

Exit codes: 0 done, 2 a user's mistake (one readable line on stderr), 75 stopped early and resumable, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from orbit2.cli import stages, tools
from orbit2.errors import EXIT_RESUMABLE, EXIT_USER, Interrupted, OrbitError

VERBS = ("retrieve", "regrid", "statistics", "train", "finetune", "downscale", "evaluate", "diagnose", "report",
         "plan", "doctor", "unlock", "config", "model")


class InOrder(TyperGroup):
    """Lists the verbs in the order of the pipeline."""

    def list_commands(self, ctx: object) -> list[str]:
        return [verb for verb in VERBS if verb in self.commands]


app = typer.Typer(
    name="orbit2",
    cls=InOrder,
    help="Climate downscaling with Reslim: retrieve, regrid, statistics, train, finetune, downscale, evaluate, diagnose, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
stages.register(app)
tools.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from orbit2.provenance import code_version

        typer.echo(f"orbit2 {code_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Climate downscaling with Reslim: retrieve, regrid, statistics, train, finetune, downscale, evaluate, diagnose, report."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; a user's mistake becomes one line, never a traceback."""
    code = 0
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: threads that wait must not starve others of a core
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("orbit2").setLevel(logging.INFO)
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="orbit2")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
    except OrbitError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = EXIT_USER
    except Interrupted as stop:
        print(f"stopped early, can be resumed: {' '.join(str(stop).split())}", file=sys.stderr)
        code = EXIT_RESUMABLE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.exit(code)
