"""Starts the workflow: Snakemake, in a process of its own, on a run's YAML; for `orbit2 run` and `orbit2.train`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from orbit2 import lock, places
from orbit2.config.load import load
from orbit2.errors import EXIT_RESUMABLE, EXIT_USER, OrbitError, did_you_mean
from orbit2.signals import STOPPED

TARGETS = ("all", *places.STAGES)
_FILE, _KEYS = "the CONFIG", "--set KEY=VALUE"
OURS = {"--snakefile": "the one that orbit2 has", "-s": "the one that orbit2 has", "--configfile": _FILE, "--configfiles": _FILE,
        "--config": _KEYS, "-C": _KEYS, "--profile": "--profile, before the --"}  # fmt: skip
SNAKEMAKE = (sys.executable, "-m", "snakemake")
LOGS = ("results/logs", "results/*/logs", "results/data/*/logs", "results/models/*/logs")  # where workflow/rules have them


def words(config: str | Path, target: str = "all", overrides: Sequence[str] = (), profile: str | Path = "local",
          more: Sequence[str] = ()) -> list[str]:  # fmt: skip
    """Snakemake's arguments, once what they name was looked at. The target stands behind `--`: before, it would be one more configuration.

    Raises OrbitError for a run that is not valid, a target, profile or word that is none.
    """
    load(config, overrides)
    if target not in TARGETS:
        raise OrbitError("no such target", where="orbit2 run", got=target, allowed=", ".join(TARGETS),
                         hint=did_you_mean(target, TARGETS) or "Snakemake's own words, files too, go behind --")  # fmt: skip
    for word in more:
        if (ours := OURS.get(word.partition("=")[0])) is not None:
            raise OrbitError("a word that orbit2 gives to Snakemake itself", where="behind --", got=word, hint=f"instead: {ours}")
    laid = ["--config", f"set={json.dumps(list(overrides))}"] if overrides else []
    return ["--snakefile", str(places.SNAKEFILE), "--profile", str(places.profile(profile)),
            "--configfile", str(places.run_file(config).resolve()), *laid, *more, "--", target]  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """Start Snakemake in the current folder and wait for its end; what it prints is shown as it comes.

    Returns an exit code as everywhere in orbit2: 0 done, 2 a user's mistake (said by a line), 75 stopped early and resumable, 128 + n ended
    by signal n, 1 anything else. Signals are handed on: Ctrl-C and a lost terminal to all that it started, others to Snakemake alone.
    """
    sys.stdout.flush()
    began = time.time()
    with subprocess.Popen([*SNAKEMAKE, *arguments], process_group=0) as process, _handed_on(process) as received:
        name = lock.identity(process.pid)
        code = process.wait()
    if code in (0, EXIT_USER):
        return code
    if "refused" in (ends := _ends(name)):
        return EXIT_USER
    if "slice" in ends or (STOPPED.is_file() and STOPPED.stat().st_mtime > began - 1):  # `orbit2 stop`, meanwhile
        return EXIT_RESUMABLE
    signalled = received[0] if received else -code if code < 0 else None
    return 1 if signalled is None else 128 + signalled


def _ends(name: str) -> set[str]:
    """How jobs of the run `name` ended that did not end well: "refused" (a user's mistake), "slice" (in time, saved). Snakemake says 1 of
    both; workflow/scripts/logged.sh leaves this beside their logs."""
    found = set()
    for place in LOGS:
        for marker in (*Path().glob(f"{place}/.*.refused"), *Path().glob(f"{place}/.*.slice")):
            with suppress(OSError, UnicodeDecodeError):
                if marker.read_text(encoding="utf-8").split(maxsplit=1)[:1] == [name]:
                    found.add(marker.suffix.removeprefix("."))
    return found


@contextmanager
def _handed_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Signals that this process is sent go to Snakemake, which has a process group of its own: none comes twice. Nothing changes outside of
    the main thread, nor for what was ignored from the start. Gives the signals that came."""
    received: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        with suppress(ProcessLookupError):
            if number == signal.SIGTERM:
                process.send_signal(number)
            else:
                os.killpg(process.pid, number)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError):  # not the main thread
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, hand_on)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
