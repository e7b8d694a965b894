"""Both ends of a command: garbage is looked for again once its libraries are loaded; nothing that others do at the end is lost."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time

import pytest

from orbit2 import ends
from tests.data.small_downscaling import exit_code, forked

PROGRAM = """
import sys
from orbit2 import ends
ends.begin()
import atexit, logging, tempfile, threading, time, weakref

class Held:
    def __del__(self):
        print("taken apart")

held, folder = Held(), tempfile.TemporaryDirectory(dir=sys.argv[1])
atexit.register(print, "registered")
threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
logging.basicConfig(stream=sys.stdout)
logging.getLogger("x").warning("logged")
if sys.argv[2] == "raises":
    raise ValueError("a bug")
ends.end(int(sys.argv[2]))
sys.exit(int(sys.argv[2]))
"""


def test_garbage_is_looked_for_after_the_libraries_and_at_once_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "LIBRARIES", 0.2)
    monkeypatch.setattr(ends.atexit, "register", lambda act: act)
    try:
        ends.begin()
        assert not gc.isenabled()
        assert exit_code(forked(lambda: os._exit(0 if gc.isenabled() else 1))) == 0
        until = time.monotonic() + 10
        while not gc.isenabled() and time.monotonic() < until:
            time.sleep(0.02)
        assert gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("way, code, last", [("0", 0, "registered"), ("75", 75, "registered"), ("raises", 1, "taken apart")])
def test_threads_and_what_is_registered_come_first(tmp_path, way: str, code: int, last: str) -> None:  # type: ignore[no-untyped-def]
    made = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), way], capture_output=True, text=True, timeout=60)
    assert made.returncode == code and made.stdout.split("\n")[:3] == ["WARNING:x:logged", "thread", "registered"]
    assert made.stdout.strip().endswith(last) and not list(tmp_path.iterdir())
    assert ("a bug" in made.stderr) == (way == "raises")
