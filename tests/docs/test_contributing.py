"""CONTRIBUTING.md: every example runs, and every place that it names is there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "CONTRIBUTING.md"
EXAMPLES = [text for language, text in blocks(PAGE) if language == "python"]


@pytest.mark.parametrize("text", EXAMPLES, ids=["source", "loss", "metric", "region"])
def test_an_example_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("orbit2.train.losses.terms")  # the package has a function of that name
    monkeypatch.setattr(module, "POINTWISE", dict(module.POINTWISE))
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "CONTRIBUTING.md", "exec"), {})


def test_places_and_targets_that_it_names_are_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for place in set(re.findall(r"`((?:orbit2|tests|docs|containers|\.github)/[\w./-]*)`", text)) - {"orbit2/sources/<name>.py"}:
        assert (ROOT / place).exists(), place
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {word for line in re.findall(r"`make ([a-z -]+)`", text) for word in line.split()} <= targets
