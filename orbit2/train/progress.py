"""What a training run tells: a bar on a terminal or one line a minute in a log, JSON lines, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from orbit2.files import write_text

LINE_SECONDS = 60.0


class Progress:
    """Records of one run in `folder`/metrics.jsonl and `folder`/tensorboard; earlier records past `step` are dropped on resume."""

    def __init__(self, folder: Path, steps: int, step: int, enabled: bool) -> None:
        self.enabled, self.steps = enabled, steps
        self.path = folder / "metrics.jsonl"
        self._last_line = time.monotonic()
        if not enabled:
            return
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(self.path) if json.loads(line)["step"] <= step]
        write_text(self.path, "".join(line + "\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)

    def log(self, record: dict[str, Any]) -> None:
        """Append one record; scalars also go to TensorBoard."""
        if not self.enabled:
            return
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in record.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, record["step"])

    def advance(self, step: int, text: str) -> None:
        if not self.enabled:
            return
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix_str(text)
        if self._bar.disable and (time.monotonic() - self._last_line > LINE_SECONDS or step == self.steps):
            self._last_line = time.monotonic()
            self.say(f"step {step}/{self.steps}  {text}")

    def say(self, text: str) -> None:
        if self.enabled:
            with suppress(OSError):  # whoever read the log may be gone; the run goes on
                tqdm.write(text, file=sys.stderr)
                sys.stderr.flush()

    def close(self) -> None:
        if self.enabled:
            self._bar.close()
            self._file.close()
            self._board.close()


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
