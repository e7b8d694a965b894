"""`orbit2.train` for real: the workflow it starts, in a folder that is no checkout, and the model that it gives back."""

from __future__ import annotations

from pathlib import Path

import pytest

import orbit2
from tests.docs.blocks import ROOT, blocks


@pytest.mark.slow
def test_a_run_is_trained_where_the_notebook_is_and_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = blocks(ROOT / "docs/tutorial.md")[0][1]
    (tmp_path / "my_run.yaml").write_text(text.split("<<'YAML'\n")[1].split("\nYAML")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    few = ["models.small.train.steps=4", "models.small.train.validate_every=2"]
    made = orbit2.train("my_run.yaml", overrides=few)
    assert made.outputs == ("2m_temperature", "precipitation_rate") and made.about["steps"] == 4
    weights = next(tmp_path.glob("results/models/small-*/model/weights.safetensors"))
    before = weights.stat().st_mtime_ns
    assert orbit2.train("my_run.yaml", overrides=few).about["hash"] == made.about["hash"] and weights.stat().st_mtime_ns == before
    assert orbit2.load_model("small").about["hash"] == made.about["hash"]
    assert not list(tmp_path.glob("results/*/report"))
