"""`us_finetune` and `imerg_global` as they ship, in small: the same files of configuration with what tests/data/miniature.py lays over them
(services, boxes, days, sizes, steps) and nothing else. Here they are planned, not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orbit2.config.load import load
from tests.data import miniature
from tests.workflow.conftest import ROOT, Project

SET = {  # all that may differ from the shipped run, by the last words of its keys
    "label", "coarse_grid", "fine_grid", "split", "samples_per_part", "samples_per_shard", "embed_dim", "depth", "heads", "decoder_depth",
    "residual_width", "residual_blocks", "batch_size", "workers", "threads", "warmup_steps", "precision", "validate_every", "steps",
    "tile", "halo", "spectra_bands", "spectra_boxes", "zoom", "map_task", "relief", "source", "url", "cmr", "backoff_seconds",
    "timeout_seconds", "max_gaps", "start", "end", "gap_days", "train", "validation", "test", "conus",
}  # fmt: skip


def differing(one: Any, other: Any, key: str = "") -> set[str]:
    """Keys whose values differ, those of mappings within."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {found for k in one.keys() | other.keys() for found in differing(one.get(k), other.get(k), k)}
    return set() if one == other else {key}


@pytest.mark.parametrize("name", ["us_finetune", "imerg_global"])
def test_nothing_but_what_is_stated_is_laid_over_the_shipped_run(tmp_path: Path, name: str) -> None:
    with miniature.Providers() as providers:
        (tmp_path / "mini.yaml").write_text(yaml.safe_dump(providers.shipped(name, "mini")), encoding="utf-8")
    small, whole = (load(path).model_dump(mode="json") for path in (tmp_path / "mini.yaml", ROOT / f"config/runs/{name}.yaml"))
    for part in ("datasets", "models", "downscale"):
        assert small[part].keys() == whole[part].keys()
    found = differing(small, whole)
    assert found - SET == set() and {"embed_dim", "coarse_grid", "steps"} <= found


@pytest.mark.slow
def test_the_shipped_chain_is_planned_in_small(project: Project) -> None:
    with miniature.Providers() as providers:
        (project.folder / "mini.yaml").write_text(yaml.safe_dump(providers.shipped("imerg_global", "mini")), encoding="utf-8")
    planned = project.planned("all", "--configfile", "mini.yaml")
    assert planned["retrieve_source"] == 15 and planned["regrid_finalise"] == 7 and planned["train_model"] == planned["finetune_model"] == 1
    assert planned["evaluate_task"] == planned["diagnose_task"] == 6 and planned["report_page"] == 1
