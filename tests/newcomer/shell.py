"""One shell of somebody new: an empty home, no environment, no variable that the pages do not name; what was typed before still holds."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

KEPT = ("LANG", "LC_ALL", "TERM", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy")
PREFIXES = ("PIP_", "UV_")  # where packages come from is the machine's affair


@dataclass(frozen=True)
class Outcome:
    code: int
    seconds: float
    printed: str


def environment(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Without a virtual environment's folder in PATH, and without what this process was told."""
    active = given.get("VIRTUAL_ENV", "")
    path = [folder for folder in given.get("PATH", "").split(os.pathsep)
            if folder and not (active and folder.startswith(active)) and not (Path(folder).parent / "pyvenv.cfg").exists()]  # fmt: skip
    kept = {key: value for key, value in given.items() if key in KEPT or key.startswith(PREFIXES)}
    return {**kept, "HOME": str(home), "PATH": os.pathsep.join(path)}


class Shell:
    """Bash in `folder`; `say` hears each line that is printed. Use as a context manager."""

    def __init__(self, folder: Path, home: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._bash = subprocess.Popen(["bash", "--noprofile", "--norc"], cwd=folder, env=environment(home, os.environ), text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      start_new_session=True)  # fmt: skip
        self._say = say

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        try:
            self._bash.wait(10)
        except subprocess.TimeoutExpired:
            self._end()

    def _end(self) -> None:
        """The shell and what it started."""
        os.killpg(self._bash.pid, signal.SIGKILL)

    def type(self, words: str, language: str = "bash", limit: float = 7200.0) -> Outcome:
        """`words` until they are done; after `limit` seconds the shell is ended (code 124)."""
        assert self._bash.stdin is not None and self._bash.stdout is not None
        end, began = f"done-{uuid.uuid4().hex}", time.monotonic()
        text = words.rstrip("\n")
        if language == "python":
            text = f"python - <<'{end}-python'\n{text}\n{end}-python"
        # nobody answers questions: what is asked must stand on the page. The trailing newline ends a last line without one.
        self._bash.stdin.write(f"{{\n{text}\n}} {'' if language == 'python' else '< /dev/null'}\nprintf '\\n{end} %d\\n' \"$?\"\n")
        self._bash.stdin.flush()
        watch = threading.Timer(limit, self._end)
        watch.start()
        printed: list[str] = []
        code = 124
        for line in self._bash.stdout:
            if line.startswith(end):
                code = int(line.split()[1])
                break
            printed.append(line)
            self._say(line)
        watch.cancel()
        return Outcome(code, time.monotonic() - began, "".join(printed))
