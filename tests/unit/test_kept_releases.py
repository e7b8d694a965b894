"""Stores and models of earlier minor versions open, hold the same values and predict the same (docs/compatibility.md)."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import orbit2
from orbit2 import timing
from orbit2.config.imported import FORMAT
from orbit2.data import packing, store_layout
from orbit2.data.pairs import PairStore
from orbit2.metrics import parts
from orbit2.plan import records
from tests.data import kept_release

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted(kept_release.FOLDER.glob("*.zip"))
PAGE = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_what_an_earlier_version_wrote_says_what_it_said(kept: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(kept) as archive:
        archive.extractall(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert facts["version"].startswith(f"{kept.stem}.")
    store = PairStore(tmp_path / "pairs.zarr")
    assert (store.refinement, len(store.times)) == (4, 12) and store.variables("fine") == ("2m_temperature", "precipitation_rate")
    fine = orbit2.open(tmp_path / "pairs.zarr", side="fine").isel(time=slice(0, kept_release.SAMPLES))
    found = {"stored": {name: np.asarray(fine[name]) for name in facts["stored"]},
             "predicted": kept_release.predicted(tmp_path / "pairs.zarr", tmp_path / "model")}  # fmt: skip
    for kind, tolerance in (("stored", 1e-6), ("predicted", 1e-5)):
        assert set(found[kind]) == set(facts[kind]) and facts[kind]
        for name, told in facts[kind].items():
            assert np.nanmean(found[kind][name]) == pytest.approx(told["mean"], rel=tolerance)
            np.testing.assert_allclose(found[kind][name][..., ::12, ::24], np.array(told["corner"], dtype=float), rtol=tolerance, atol=2e-6)


def test_every_minor_version_before_this_one_is_kept_and_small() -> None:
    _, minor, _ = orbit2.__version__.split(".")
    assert {path.stem for path in KEPT} >= {f"0.{k}" for k in range(1, int(minor))}
    assert all(path.stat().st_size < 300_000 for path in KEPT)


def test_the_page_names_the_formats_that_the_code_has() -> None:
    for told in (store_layout.STORE_VERSION, packing.VERSION, FORMAT, timing.FORMAT):
        assert told in PAGE, told
    assert f"| parts of scores (`*.h5`) | {parts.VERSION} |" in PAGE and f"| `plan --json` | {records.VERSION} |" in PAGE
    assert all(f"**{path.stem}**" in PAGE for path in KEPT)
