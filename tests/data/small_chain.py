"""Every stage but training, in small and through the command line: two variables of the shipped week, 15 -> 5 degrees, a random model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.load import from_mapping
from orbit2.files import write_json
from tests.data.small_downscaling import random_model
from tests.data.tiny_training import NAMES

RUN: dict[str, Any] = {
    "label": "chain",
    "datasets": {
        "week": {
            "source": "sample", "inputs": list(NAMES), "outputs": list(NAMES), "statics": ["orography", "land_sea_mask"],
            "coarse_grid": "global_20", "fine_grid": "global_5", "samples_per_part": 24, "samples_per_shard": 4,
            "split": {
                "train": {"start": "2026-03-25T00:00", "end": "2026-03-25T20:00"},
                "validation": {"start": "2026-03-26T04:00", "end": "2026-03-26T08:00"},
                "test": {"start": "2026-03-27T00:00", "end": "2026-03-27T08:00"},
            },
        }
    },
    "models": {"random": {"datasets": ["week"], "architecture": {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1,
                                                                 "residual_width": 4, "residual_blocks": 1}}},
    "downscale": {"test": {"model": "random", "dataset": "week"}},
    "evaluate": {"spectra_bands": [], "spectra_boxes": {}, "bootstrap": 20},
}  # fmt: skip
MOVING = {"provenance", "seconds", "seconds_per_sample", "time", "history", "code_version", "fetched", "date_created", "modified_ns"}

VERSION = re.compile(r"\d+\.\d+\.\d+\+g[0-9a-f]+(\.dirty)?")  # moves as well, when a tree is edited meanwhile


def configure(root: Path) -> dict[str, list[str]]:
    """Write slices and the model below `root`; stage -> its command, with paths relative to `root`."""
    run = from_mapping(RUN)
    data, home, where = slices.dataset_folder(run, "week"), slices.run_folder(run), "resources"
    model, store, fits = f"{slices.model_folder(run, 'random')}/model", slices.store(run, "week"), slices.fits(run, "test")
    write_json(root / f"{data}/config.json", slices.dataset(run, "week"))
    write_json(root / f"{home}/config/report.json", slices.report(run))
    for stage in ("downscale", "evaluate", "diagnose"):
        write_json(root / f"{home}/config/{stage}_test.json", getattr(slices, stage)(run, "test"))
    for source in ("sample", "static"):
        write_json(root / f"{where}/{source}.json", slices.retrieve(run, source))
    random_model(root / model)
    scored = ["--prediction", f"{home}/downscale/test.zarr", "--store", store, *(["--fits", fits] if fits else [])]
    built = ["-c", f"{data}/config.json", "--store", store]
    commands = {f"retrieve {source}": ["retrieve", source, "-c", f"{where}/{source}.json", "--out", f"{where}/{source}/v1",
                                       "--receipt", f"{where}/{source}/done.json"] for source in ("sample", "static")}  # fmt: skip
    return commands | {
        "regrid init": ["regrid", "init", *built, "--resources", where, "--out", f"{data}/parts/init.json"],
        "regrid part": ["regrid", "part", *built, "--resources", where, "--part", "000", "--out", f"{data}/parts/000.json"],
        "regrid finalise": ["regrid", "finalise", *built, "--out", f"{data}/finalised.json", f"{data}/parts"],
        "statistics": ["statistics", *built, "--out", f"{data}/statistics.json"],
        "evaluate fit": ["evaluate", "fit", *built, "--out", fits or f"{data}/baselines.nc"],
        "downscale": ["downscale", "-c", f"{home}/config/downscale_test.json", "--store", store, "--model", model,
                      "--out", f"{home}/downscale/test.zarr"],
        "evaluate": ["evaluate", "-c", f"{home}/config/evaluate_test.json", *scored, "--out", f"{home}/evaluate/test"],
        "evaluate merge": ["evaluate", "merge", f"{home}/evaluate/test/metrics.parquet", "--out", f"{home}/evaluate/metrics.parquet"],
        "diagnose": ["diagnose", "-c", f"{home}/config/diagnose_test.json", *scored, "--out", f"{home}/diagnose/test"],
        "diagnose merge": ["diagnose", "merge", f"{home}/diagnose/test/regions.parquet", "--out", f"{home}/diagnose/metrics.parquet"],
        "report": ["report", "-c", f"{home}/config/report.json", "--out", f"{home}/report"],
    }  # fmt: skip


def call(command: list[str]) -> int:
    """In this process; the exit code."""
    try:
        main(command)
    except SystemExit as stop:
        return int(stop.code or 0)


def state(root: Path) -> dict[str, Any]:
    """What was made below `root`, without what differs from run to run; half-written files stand under their own names."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = str(path.relative_to(root))
        if path.name.endswith("timing.json"):
            found[name] = json.loads(path.read_text(encoding="utf-8"))["kind"]
        elif path.suffix == ".json":
            found[name] = _still(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".parquet":
            found[name] = pd.read_parquet(path).to_csv()
        elif path.suffix == ".nc":
            with xr.open_dataset(path) as opened:
                found[name] = str({key: array.values.tobytes() for key, array in opened.variables.items()})
        elif path.suffix == ".html":
            found[name] = VERSION.sub("", path.read_text(encoding="utf-8"))
        elif ".journal" not in name and path.name not in ("owner.json", "manifest.journal"):
            found[name] = path.read_bytes()
    return {name: held for name, held in found.items() if ".journal" not in name}


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _still(held) for key, held in value.items() if key not in MOVING}
    return [_still(held) for held in value] if isinstance(value, list) else value
