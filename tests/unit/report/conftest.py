"""A tiny but complete run folder, written as the stages' contracts say, and scored by the real evaluate and diagnose stages."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from orbit2 import diagnose, evaluate
from orbit2.baselines import interpolate
from orbit2.baselines.interpolation import block_mean
from orbit2.config import slices
from orbit2.config.load import from_mapping
from orbit2.config.schema import RunConfig
from orbit2.data import pairs
from orbit2.files import write_json
from orbit2.grid import Grid, named
from orbit2.metrics import table
from orbit2.report import run
from orbit2.variables import is_precipitation, variable

VARIABLES = ["2m_temperature", "10m_u_component_of_wind", "mean_sea_level_pressure", "precipitation_rate"]
REGION = (15.0, 60.0, 225.0, 300.0)


def configuration(title: str = "A tiny run") -> RunConfig:
    """Global 15 -> 3.75 degrees, a regional model and a zero-shot task: the demo in small."""
    return from_mapping(
        {
            "label": "tiny",
            "datasets": {
                "week": {
                    "source": "sample",
                    "inputs": VARIABLES,
                    "outputs": VARIABLES,
                    "coarse_grid": "global_15",
                    "fine_grid": "global_3.75",
                    "split": {
                        "train": {"start": "2026-03-25T00:00", "end": "2026-03-25T05:00"},
                        "validation": {"start": "2026-03-26T00:00", "end": "2026-03-26T05:00"},
                        "test": {"start": "2026-03-27T00:00", "end": "2026-03-27T23:00"},
                    },
                }
            },
            "models": {
                "reslim": {"datasets": ["week"], "architecture": {"embed_dim": 16, "depth": 1, "heads": 2}, "train": {"steps": 60}},
                "conus": {
                    "datasets": ["week"],
                    "finetune_from": "reslim",
                    "region": REGION,
                    "outputs": ["2m_temperature", "precipitation_rate"],
                    "train": {"steps": 20},
                },
            },
            "downscale": {
                "test": {"model": "reslim", "dataset": "week"},
                "finer": {"model": "reslim", "dataset": "week", "input": "fine", "max_samples": 1},
                "conus": {"model": "conus", "dataset": "week"},
            },
            "evaluate": {"spectra_boxes": {"america": (10.0, 55.0, 230.0, 300.0)}},
            "report": {"title": title, "frame": 1},
        }
    )


def fields(grid: Grid, times: int, seed: int) -> np.ndarray:
    """Plausible weather [T, V, H, W]: smooth noise on the variables' usual ranges."""
    generator = np.random.default_rng(seed)
    noise = np.stack(
        [
            [
                ndimage.gaussian_filter(generator.standard_normal(grid.shape), sigma, mode=("nearest", "wrap")) * sigma * 3
                for sigma in (1.2, 1.6, 2.5, 1.1)
            ]
            for _ in range(times)
        ]
    )
    lat = np.radians(grid.lat)[None, :, None]
    noise[:, 0] = 300 - 45 * np.sin(lat) ** 2 + 4 * noise[:, 0]
    noise[:, 1] = 6 * noise[:, 1]
    noise[:, 2] = 101300 + 900 * noise[:, 2]
    noise[:, 3] = np.maximum(0, np.expm1(1.5 * noise[:, 3]))
    return noise.astype(np.float32)


def write_prediction(path: Path, task: str, grid: Grid, times: np.ndarray, values: dict[str, np.ndarray]) -> None:
    data = {name: (("time", "lat", "lon"), array.astype(np.float32), {"units": variable(name).units}) for name, array in values.items()}
    dataset = xr.Dataset(
        data, coords={"time": times, "lat": grid.lat, "lon": grid.lon}, attrs={"finalised": True, "task": task, "seconds_per_sample": 0.125}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.to_zarr(path, zarr_format=3, consolidated=False)


def between(
    store: pairs.PairStore, index: int, side: str, rows: slice, columns: slice, names: list[str], share: float
) -> dict[str, np.ndarray]:
    """A prediction that lies `share` of the way from bicubic interpolation to the truth (or, without one, plain bicubic)."""
    found = {}
    for name in names:
        field = store.read(side, index)[store.variable_index(side, name)].astype(np.float64)  # type: ignore[arg-type]
        lower = 0.0 if is_precipitation(name) else None
        base = interpolate(field, store.grid(side), store.refinement, "bicubic", lower=lower)  # type: ignore[arg-type]
        if side == "coarse":
            truth = store.read("fine", index)[store.variable_index("fine", name)]
            base = base + share * (truth - base)
        found[name] = base[rows, columns]
    return found


def fabricate(root: Path, config: RunConfig) -> Path:
    """Write the run under `root`; returns the report's slice."""
    data = root / slices.dataset_folder(config, "week")
    coarse, fine = named("global_15"), named("global_3.75")
    times = np.datetime64("2026-03-25T00", "s") + np.array([0, 4, 24, 28, 48, 52, 56, 60], dtype="timedelta64[h]")
    values = fields(fine, len(times), 0)
    means = block_mean(values.astype(np.float64), fine.lat_weights, 4).astype(np.float32)
    statics = [((grid.lon[None, :] + 2 * grid.lat[:, None]) % 90 < 40).astype(np.float32)[None] for grid in (coarse, fine)]  # "land"
    specs = [
        pairs.SideSpec(grid, tuple(VARIABLES), ("land_sea_mask",), static) for grid, static in zip((coarse, fine), statics, strict=True)
    ]
    store_path = data / "pairs.zarr"
    pairs.initialise(store_path, *specs, times)
    pairs.write_part(store_path, 0, means, values)
    pairs.finalise(store_path, {"inputs": {"sample.nc": "ab" * 32}})
    write_json(data / "statistics.json", {"provenance": {"inputs": {"pairs": "cd" * 32}}})
    run_folder, store = root / slices.run_folder(config), pairs.PairStore(store_path)
    test = store.indices("2026-03-27T00:00", "2026-03-27T23:00")
    whole = slice(0, 48), slice(0, 96)
    for task, share, window, count in (("test", 0.3, whole, 4), ("conus", 0.4, fine.window(REGION), 4), ("finer", 0.0, None, 1)):
        section = config.downscale[task]
        names = list(config.models[section.model].outputs or VARIABLES)
        rows, columns = window or (slice(None), slice(None))
        side = section.input
        made = [between(store, int(i), side, rows, columns, names, share) for i in test[:count]]
        grid = fine.crop(rows, columns) if window else fine.refine(4)
        write_prediction(
            run_folder / "downscale" / f"{task}.zarr",
            task,
            grid,
            store.times[test[:count]].astype("datetime64[ns]"),
            {name: np.stack([m[name] for m in made]) for name in names},
        )
    for name, steps in (("reslim", 60), ("conus", 20)):
        fabricate_model(root / slices.model_folder(config, name) / "model", config, name, steps)
    write_json(data / "config.json", slices.dataset(config, "week"))
    evaluate.fit(config=data / "config.json", store=store_path, out=data / "baselines.nc")
    for stage, entry in (("evaluate", evaluate.run), ("diagnose", diagnose.run)):
        for task in config.downscale:
            slice_path = run_folder / "config" / f"{stage}_{task}.json"
            write_json(slice_path, getattr(slices, stage)(config, task))
            beside = {"fits": root / slices.fits(config, task)} if slices.fits(config, task) else {}
            if (parent := slices.parent(config, task)) is not None:
                beside["parent"] = run_folder / "downscale" / f"{parent['prediction']}.zarr"
            prediction = run_folder / "downscale" / f"{task}.zarr"
            entry(config=slice_path, prediction=prediction, store=store_path, out=run_folder / stage / task, **beside)
    table.merge(
        [run_folder / "evaluate" / task / "metrics.parquet" for task in config.downscale], run_folder / "evaluate" / "metrics.parquet"
    )
    table.merge(
        [run_folder / "diagnose" / task / "regions.parquet" for task in config.downscale], run_folder / "diagnose" / "metrics.parquet"
    )
    files = [{"file": "week.zip", "sha256": "0123abcd" * 8, "attribution": "Thanks to <b>someone</b>."}]
    write_json(root / "resources/sample/v1/manifest.json", {"files": files})
    report_slice = run_folder / "config" / "report.json"
    write_json(report_slice, slices.report(config))
    return report_slice


def fabricate_model(folder: Path, config: RunConfig, name: str, steps: int) -> None:
    """A model folder's JSON files and a training curve (no weights: the report never loads them)."""
    outputs = config.models[name].outputs or tuple(VARIABLES)
    curve: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        curve.append({"step": step, "loss": 1 / step + 0.2, "lr": 1e-3, "samples_per_second": 8.5})
        if step % 10 == 0:
            curve.append({"step": step, "validation_loss": 0.9, "validation_ratio": dict.fromkeys(outputs, 1 - 0.004 * step)})
    write_json(
        folder / "config.json",
        {
            "parameters": 123_457,
            "training_seconds": 12.5,
            "best_step": steps,
            "steps": steps,
            "batch_size": 4,
            "seed": 0,
            "precision": "torch.bfloat16",
            "origin": "scratch",
            "sha256": {"weights.safetensors": "ef" * 32},
        },
    )
    write_json(folder / "provenance.json", {"code_version": "0.1.0+gabc"})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in curve) + '{"step": 61, "lo', encoding="utf-8")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One report of the tiny run: `root`, `slice`, `out`, `html`. Its title is an attack."""
    root = tmp_path_factory.mktemp("run")
    config = configuration(title='<script>alert("x")</script> & "quoted"')
    report_slice = fabricate(root, config)
    out = root / "results" / "tiny" / "report"
    run(config=report_slice, out=out, root=root)
    return SimpleNamespace(root=root, slice=report_slice, out=out, html=(out / "index.html").read_text(encoding="utf-8"), config=config)
