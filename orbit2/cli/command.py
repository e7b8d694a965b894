"""The verbs of the `orbit2` command: one per stage, new, run, plan, doctor, config, model, a few more. Never computes anything itself.

Exit codes: 0 done, 2 a user's mistake (one readable line on stderr), 75 stopped early and resumable, 130 interrupted.
"""

from __future__ import annotations

import errno
import faulthandler
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from orbit2 import ends
from orbit2.cli import run as running
from orbit2.cli import stages, start, tools
from orbit2.cli.ended import STOPPED
from orbit2.errors import EXIT_RESUMABLE, EXIT_USER, Interrupted, OrbitError
from orbit2.files import write_text
from orbit2.places import STAGES
from orbit2.progress import detect, telling
from orbit2.signals import STOPS, StopRequest, release

LONG = ("new", "plan", "map-climate", "clean", "migrate", "model")  # may take a while too
SAVING = ("train", "finetune", "downscale")  # they have an ear of their own for signals, from the start on
TEARDOWN = 60.0  # seconds that a rank's process has to end in, once everything is done
VERBS = (*STAGES, "new", "run", "plan", "doctor", "stop", "unlock", "migrate", "clean", "map-climate", "config", "model", "profile",
         "completion")  # fmt: skip


_ROOM = "free some space; the same command then goes on or starts again, nothing half-written counts"
_PLACE = "give a place that can be written"
REFUSED = {errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EROFS: _PLACE, errno.EACCES: _PLACE, errno.EPERM: _PLACE,
           errno.ENOTDIR: _PLACE, errno.EISDIR: _PLACE}  # fmt: skip


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
start.register(app)
running.register(app)


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


@functools.cache
def _command() -> Callable[..., object]:
    """All verbs with their options, made once in a process: it takes typer a sixth of a second."""
    return typer.main.get_command(app)


class Ended(BaseException):
    """A signal ended a stage that has nothing of its own to save first. What it had begun to write is removed on the way out."""


def waiting(arguments: Sequence[str]) -> None:
    """How OpenMP's threads wait for each other, unless the environment says it; before torch loads, which reads it once.

    They sleep, so as not to starve others of a core. A training has its cores to itself, and its threads meet at every operator: they look
    for each other some microseconds longer before they sleep, which makes the demo's step 1.2 times as fast (benchmarks/threads.py).
    """
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb in ("train", "finetune"):
        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    elif verb != "run":  # whose stages have other needs
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def run(arguments: Sequence[str] | None) -> NoReturn:
    """Run the command line and exit with its code; a user's mistake becomes one line, never a traceback."""
    code = 0
    running.asked_by_a_shell()
    waiting(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("orbit2").setLevel(logging.INFO)
    logging.raiseExceptions = False  # a log that nobody reads any more ends no work
    try:
        with _as_a_stage(sys.argv[1:]) if arguments is None else nullcontext():
            _command()(args=list(arguments) if arguments is not None else None, prog_name="orbit2")
        sys.stdout.flush()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
        if code == 1 and type(sys.stdout).__name__ == "PacifyFlushWrapper":  # typer's way to say that nobody reads any more
            code = 128 + signal.SIGPIPE
        if code == 130:  # typer has turned a KeyboardInterrupt into this, without a word
            _say("interrupted; the same command goes on or starts again", code)
    except OrbitError as error:
        code = _say("" if error.everywhere and detect()[0] else f"error: {error}", EXIT_USER)
    except Interrupted as stop:  # of all ranks together: the first one says so
        code = _say("" if detect()[0] else f"stopped early, can be resumed: {stop}", EXIT_RESUMABLE)
        _tell(stop)
    except KeyboardInterrupt:
        code = _say("interrupted; the same command goes on or starts again", 130)
    except Ended as stop:
        code = _say(f"ended by {stop}; the same command goes on or starts again", 128 + signal.Signals[str(stop)])
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    except Exception as error:
        if (line := _of_the_system(error)) is None:
            raise
        code = _say(f"error: {line}", EXIT_USER)
    try:
        sys.stdout.flush()
    except OSError:  # who read it is gone; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 128 + signal.SIGPIPE
    if arguments is None and detect()[1] > 1:
        for number in STOPS:  # another rank that ends makes srun send them to all, and this one's own code is to count
            with suppress(ValueError):  # not the main thread
                signal.signal(number, signal.SIG_IGN)
        faulthandler.dump_traceback_later(TEARDOWN, exit=True)  # threads of a collective library may never end
    if arguments is None:
        ends.end(code)
    sys.exit(code)


def _say(line: str, code: int) -> int:
    if line:
        with suppress(OSError):
            print(" ".join(line.split()), file=sys.stderr, flush=True)
    return code


def _tell(stop: Interrupted) -> None:
    """The first process of a stage that stopped early says how far it came, to who asked for it: "BEGAN DONE OF UNIT asked|limit"."""
    place, at = os.environ.get(STOPPED), stop.reached
    if place and at is not None and detect()[0] == 0:
        with suppress(OSError):
            write_text(Path(place), f"{at.began} {at.done} {at.of} {at.unit} {'asked' if stop.asked else 'limit'}\n")


@contextmanager
def _as_a_stage(words: Sequence[str]) -> Iterator[None]:
    """For a stage's verb: lines that say that it lives, and signals that end it tidily where it has no ear of its own for them."""
    if not words or words[0] not in STAGES or {"-h", "--help"} & set(words):
        release()
        with telling(words[0], brief=True) if words and words[0] in LONG else nullcontext():
            yield
        return

    if words[0] in SAVING:
        with StopRequest(), telling(words[0]):
            release()
            yield
        return

    def end(number: int, _: object) -> None:
        raise Ended(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
    release()
    with telling(words[0]):
        yield


def _of_the_system(error: BaseException | None) -> str | None:
    """What the system refused, in a line: a full disk, a place that may not be written, a file where a folder must be. None: a bug."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in REFUSED:
            return f"{error.filename or 'writing'}: {os.strerror(error.errno)}; {REFUSED[error.errno]}"
        error = error.__cause__ or error.__context__
    return None
