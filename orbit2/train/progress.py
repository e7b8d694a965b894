"""What a training run tells: a bar on a terminal or a line a minute in a log, JSON lines, TensorBoard, and status.json."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from orbit2.errors import Interrupted, OrbitError
from orbit2.files import read_json, write_json, write_text
from orbit2.progress import LINE_SECONDS, hand_over


class Progress:
    """One try of a run: records in `folder`/metrics.jsonl and `folder`/tensorboard, how it stands in `folder`/status.json.

    Use as a context manager, from before the slow set-up on: on a log a thread says at least once a minute what is going on.
    Everything but the first rank (`enabled`) is silent. `attempt` counts the tries of this folder. `sure` raises when the folder has
    become another process's: nothing is recorded twice.
    """

    def __init__(self, folder: Path, steps: int, enabled: bool, sure: Callable[[], None] = lambda: None) -> None:
        self.folder, self.steps, self.enabled, self.attempt = folder, steps, enabled, 1
        self.step, self.path, self._sure = 0, folder / "metrics.jsonl", sure
        self._terminal = sys.stderr.isatty()
        self._last_line = time.monotonic()
        self._doing = ("setting up", time.monotonic())
        self._stepped = ""  # what the step that ended last came to
        self._closed = threading.Event()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.enabled:
            hand_over()
            self.attempt = 1 + _tries(self.folder / "status.json")
            self.status("running")
            if not self._terminal:
                threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is not None and not isinstance(error, Interrupted):
            with suppress(OSError):
                self.status("failed", reason=" ".join(f"{type(error).__name__}: {error}".split())[:500])
        self.close()

    def begin(self, step: int, scored: bool) -> None:
        """The set-up is over: records that this try writes again are dropped, and the bar appears.

        It goes on after `step`, whose validation it has (`scored`) or does again.
        """
        self.step = step
        if not self.enabled:
            return
        records = [json.loads(line) for line in _lines(self.path)]
        kept = [r for r in records if r["step"] < step or (r["step"] == step and (scored or "validation_loss" not in r))]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)
        self._bar = tqdm(total=self.steps, initial=step, unit="step", disable=not self._terminal, dynamic_ncols=True)
        self.status("running")
        self.doing("training")

    def status(self, state: str, **facts: Any) -> None:
        """Write status.json: `state` is running, resumable, failed or done."""
        if self.enabled:
            about = {"state": state, "try": self.attempt, "step": self.step, "of": self.steps, **facts}
            if state == "running":
                about["process"] = f"{os.getpid()} on {socket.gethostname()}"
            write_json(self.folder / "status.json", about)

    def doing(self, what: str) -> None:
        """What goes on from now on, for the line of a minute in which nothing else is said."""
        self._doing = (what, time.monotonic())

    def log(self, record: dict[str, Any]) -> None:
        """Append one record; scalars also go to TensorBoard."""
        if not self.enabled:
            return
        self._sure()
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in record.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, record["step"])

    def advance(self, step: int, text: str) -> None:
        self.step = step
        if not self.enabled:
            return
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix_str(text)
        self._stepped = text
        self.doing("training")
        if not self._terminal and (time.monotonic() - self._last_line > LINE_SECONDS or step == self.steps):
            self.say(f"step {step}/{self.steps}  {text}")

    def say(self, text: str) -> None:
        if self.enabled:
            self._last_line = time.monotonic()
            with suppress(OSError):  # whoever read the log may be gone; the run goes on
                tqdm.write(time.strftime("%H:%M:%S ") + text, file=sys.stderr)
                sys.stderr.flush()

    def close(self) -> None:
        self._closed.set()
        if self._bar is not None:
            self._bar.close()
            self._file.close()
            self._board.close()
            self._bar = None

    def _watch(self) -> None:
        while not self._closed.wait(LINE_SECONDS / 10):
            if time.monotonic() - self._last_line > LINE_SECONDS:
                what, since = self._doing
                seconds = time.monotonic() - since
                steps_come = what == "training" and self._stepped and seconds < LINE_SECONDS  # this thread was first to look at the clock
                self.say(f"step {self.step}/{self.steps}  {self._stepped if steps_come else f'{what}, {seconds:.0f} s so far'}")


def _tries(path: Path) -> int:
    """How many tries a status.json knows of."""
    with suppress(OrbitError, AttributeError, TypeError, ValueError):
        return int(read_json(path).get("try", 1))
    return 0


def _lines(path: Path) -> list[str]:
    """Whole JSON lines of a file that a killed process may have left with half a line at its end."""
    if not path.is_file():
        return []
    good = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            json.loads(line)
        except json.JSONDecodeError:
            break
        good.append(line)
    return good
