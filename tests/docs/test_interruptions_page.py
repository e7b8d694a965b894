"""docs/interruptions.md: the table is what the tests on a real SLURM found, each row by a test that is there."""

from __future__ import annotations

import json
import re

from tests.data.scripts import ROOT, script


def test_the_table_is_what_was_found() -> None:
    module = script("docs/interruptions.py")
    rows = json.loads(module.TABLE.read_text(encoding="utf-8"))
    text = module.PAGE.read_text(encoding="utf-8")
    assert module.page(rows) == text and all(row["equal"] for row in rows)
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests/slurm").glob("test_*.py"))
    assert rows and all(f'"{row["what"]}"' in tests for row in rows)
    assert not re.search(r"/(tmp|root|home|work)/", text)
