"""torchrun, fit for a rule: stop signals reach the ranks, which have all the time that they need, and their exit code is its own.

python -m orbit2.parallel.torchrun --standalone --nproc-per-node=8 orbit2 train ...

Takes torchrun's options. torchrun itself ends ranks that are not done 30 s after a signal, dies of USR1 without a word to them, and
turns every code of theirs into 1.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType

import psutil

from orbit2.errors import EXIT_DONE, EXIT_RESUMABLE, EXIT_USER
from orbit2.signals import STOPS

POLL = 0.05  # seconds between two looks for ranks that a signal was early for


class Heard:
    """The stop signals of this process, each passed on to the ranks: at once, or as soon as there are some."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.over = False
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # else the ranks ignore it too
                signal.signal(number, self._received)

    def _received(self, number: int, _: FrameType | None) -> None:
        self.signals.append(number)
        if not self._pass_on(number):
            threading.Thread(target=self._wait, args=(number,), daemon=True).start()

    def _wait(self, number: int) -> None:
        while not self.over and not self._pass_on(number):
            time.sleep(POLL)

    def _pass_on(self, number: int) -> bool:
        ranks = psutil.Process().children()  # each leads a session of its own, so that no terminal tells it a second time
        for rank in ranks:
            with suppress(psutil.Error):
                rank.send_signal(number)
        return bool(ranks)


def code_of(codes: Sequence[int], heard: Sequence[int]) -> int:
    """The exit code of a run whose ranks ended so, in that order (negative: by that signal).

    What ended first counts: torchrun ends the others. A rank that a stop signal met before it could listen has begun nothing.
    """
    first = codes[0] if codes else EXIT_DONE
    if first in (EXIT_DONE, EXIT_USER, EXIT_RESUMABLE):
        return first
    if -first in heard:
        return EXIT_RESUMABLE
    return first if first > 0 else 128 - first


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the ranks and wait for them; returns the exit code: 0, 75 (stopped early, can be resumed), 2, or that of a crash."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    heard = Heard()
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.ERROR)  # torchrun calls every end but 0 an error
    asked = run.parse_args(given if "--no-python" in given else ["--no-python", *given])  # type: ignore[no-untyped-call]
    if heard.signals:
        _say(f"stopped early, can be resumed: {signal.Signals(heard.signals[0]).name} came before any rank was started")
        return EXIT_RESUMABLE
    try:
        with ThreadPoolExecutor(1) as pool:  # off the main thread torchrun leaves signals alone
            pool.submit(run.run, asked).result()
    except ChildFailedError as failed:
        ends = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        code = code_of(list(ends.values()), heard.signals)
        if code not in (EXIT_USER, EXIT_RESUMABLE):
            rank, first = next(iter(ends.items()))
            how = f"was ended by {signal.Signals(-first).name}" if first < 0 else f"ended with exit code {first}"
            _say(f"rank {rank} {how}, before the others; the same command goes on from what is saved")
        return code
    except ValueError as error:  # an option's value, such as `gpu` where there is none
        _say(f"error: {error}")
        return EXIT_USER
    finally:
        heard.over = True
    return EXIT_DONE


def _say(line: str) -> None:
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
