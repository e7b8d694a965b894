"""mypy --strict, where `make test` asks for it: beside the other tests, because alone it would leave the other cores idle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif("ORBIT2_TYPES" not in os.environ, reason="`make test` asks for it, and `make lint` runs mypy")
def test_types_are_right() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
