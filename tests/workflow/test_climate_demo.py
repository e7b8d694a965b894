"""`make demo-climate` in small: two years of the test world through every stage, and its marks wherever the numbers go. Marked slow."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numba
import pandas as pd
import pytest
import xarray as xr

from orbit2 import ahead
from orbit2.config.sources import SYNTHETIC

FEW = ["models.reslim.train.steps=4", "models.reslim.train.validate_every=2", "datasets.world.split.test.end=2001-12-31",
       "sources.synthetic.degrees=7.5", "datasets.world.coarse_grid=global_22.5", "datasets.world.fine_grid=global_7.5",
       "evaluate.bootstrap=50"]  # fmt: skip


def not_foreseen(cache: Path) -> list[tuple[str, str]]:
    """Calls of orbit2's loops that were compiled into numba's `cache`, other than those that `make install` compiles ahead."""
    foreseen: dict[str, set[Any]] = {}
    for made, signatures in ahead.known():
        name = f"{made.py_func.__module__.rpartition('.')[2]}.{made.py_func.__name__}"
        foreseen[name] = {numba.core.sigutils.normalize_signature(f"({one},)")[0] for one in signatures}
    found = []
    for index in cache.rglob("*.nbi"):
        with index.open("rb") as file:
            pickle.load(file)  # numba's version
            _, kept = pickle.loads(file.read())
        of = foreseen.get(index.name.partition("-")[0])  # none: a loop within others
        found += [(index.name, str(key[0])) for key in kept if of and key[0] not in of]
    return found


@pytest.mark.slow
def test_two_years_of_the_test_world_become_a_report_that_says_what_they_are(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "loops"))
    overrides = "set=[" + ",".join(f'"{item}"' for item in FEW) + "]"
    project("all", "--configfile", "config/runs/demo_climate.yaml", "--config", overrides, timeout=1800)
    run = project.folder / "results/demo_climate"
    page = (run / "report/index.html").read_text(encoding="utf-8")
    assert f'<p class="banner" role="note">{SYNTHETIC}</p>' in page and "SYNTHETIC" in page.split("</h1>")[0]
    assert pd.read_csv(run / "report/tables/contents.csv")["caption"].str.startswith(SYNTHETIC).all()
    given = ("--configfile", "config/runs/demo_climate.yaml", "--config", overrides)
    project("--report", "results/demo_climate/snakemake.html", "all", *given)
    assert SYNTHETIC.capitalize() in (run / "snakemake.html").read_text(encoding="utf-8")
    for stage in ("evaluate", "diagnose"):
        scores = pd.read_parquet(run / stage / "metrics.parquet")
        assert scores["reference"].str.contains("synthetic test world").all() and len(scores) > 100
    assert sorted(path.stem for path in (run / "evaluate/test/parts").glob("*.h5")) == ["2000", "2001"]
    assert xr.open_zarr(run / "downscale/test.zarr", consolidated=False).attrs["synthetic"] == SYNTHETIC
    (model,) = (project.folder / "results/models").glob("reslim-*/model")
    assert SYNTHETIC in (model / "card.md").read_text() and json.loads((model / "config.json").read_text())["datasets"]["world"]
    assert len(list((tmp_path / "loops").rglob("*.nbi"))) > 50 and not not_foreseen(tmp_path / "loops")
