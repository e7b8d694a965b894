"""docs/costs.md against the program: every key of the JSON is named."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass

from orbit2.plan import records
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs/costs.md"


def test_every_key_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text(encoding="utf-8").split("## Keys of the JSON")[1]))
    kinds = [kind for kind in vars(records).values() if isinstance(kind, type) and is_dataclass(kind)]
    keys = {one.name for kind in kinds for one in fields(kind)}
    assert len(kinds) > 6 and keys <= named, keys - named
