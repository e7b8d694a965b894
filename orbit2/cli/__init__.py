"""The `orbit2` command. Loads nothing before signals are held back: one that comes while a stage's libraries load is not lost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from orbit2 import ends, signals
from orbit2.places import STAGES


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code: 0 done, 2 a user's mistake, 75 stopped early and resumable, 130 interrupted."""
    if arguments is None and sys.argv[1:2] and sys.argv[1] in STAGES:
        signals.hold()  # until the stage listens; before there is another thread, which would hear them
    if arguments is None:
        ends.begin()
    if arguments is None and sys.argv[1:2] == ["doctor"] and not {"-h", "--help"} & set(sys.argv):
        from orbit2.plan import doctor

        doctor.begin()  # what takes longest
    from orbit2.cli.command import run

    run(arguments)
