"""The downscale stage: a task of the pipeline, or a user's own file. Streams frame by frame; an interrupted run resumes."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm import tqdm

from orbit2.config.load import validate
from orbit2.config.schema import DownscaleConfig
from orbit2.data.pairs import PairStore
from orbit2.downscale.ingest import read_inputs
from orbit2.downscale.predictor import Downscaler, load_model
from orbit2.downscale.writer import PredictionWriter
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_json
from orbit2.model.compiled import replay_model
from orbit2.provenance import code_version, record
from orbit2.sources.static import open_static

log = logging.getLogger(__name__)


def run(*, config: Path, model: Path, store: Path, out: Path) -> None:
    """Downscale a task's samples (slice file `config`) to the Zarr store `out`, and write `out` with suffix .json as its receipt.

    Raises OrbitError when store and model do not fit.
    """
    section = read_json(config)
    task = validate(DownscaleConfig, section["downscale"], config)
    downscaler, pairs = load_model(model), PairStore(store)
    if task.cuda_graphs:
        replay_model(downscaler.model, downscaler.device, downscaler.dtype)
    grid = pairs.grid(task.input)
    names = pairs.variables(task.input)
    missing = [name for name in downscaler.inputs if name not in names]
    if len(missing) == len(downscaler.inputs):
        raise OrbitError(
            "the store has none of the model's inputs", where=store, got=", ".join(names), allowed=", ".join(downscaler.inputs)
        )
    used = tuple(name for name in names if name in downscaler.inputs)
    positions = [names.index(name) for name in used]
    indices = pairs.indices(section["period"]["start"], section["period"]["end"])
    if task.max_samples:
        indices = indices[: task.max_samples]
    if not len(indices):
        raise OrbitError(
            "no samples in the period", where=store, got=str(section["period"]), allowed=f"{pairs.times[0]} to {pairs.times[-1]}"
        )
    static_fine = _statics(downscaler, pairs, task.input)
    about = {
        "task": section["task"],
        "dataset": task.dataset,
        "split": task.split,
        "input": task.input,
        "model": task.model,
        "model_hash": section["model_hash"],
        "weights": downscaler.about["sha256"]["weights.safetensors"],
        "refinement": downscaler.refinement,
        "code_version": code_version(),
        "source": "orbit2",
        "history": json.dumps(record("downscale", config_hash=section["model_hash"])),
    }
    writer = PredictionWriter(out, downscaler.outputs, downscaler.fine_grid(grid), pairs.times[indices], about)
    seconds = 0.0
    count = 0
    for position, index in enumerate(tqdm(indices, unit="frame", disable=not sys.stderr.isatty())):
        if position in writer.done:
            continue
        began = time.perf_counter()
        coarse = np.ascontiguousarray(pairs.read(task.input, int(index))[positions])
        writer.write(position, downscaler.predict(coarse, used, static_fine, grid, pairs.times[index], task.tile, task.halo))
        seconds += time.perf_counter() - began
        count += 1
        log.info("%s: frame %d of %d (%.2f s)", section["task"], position + 1, len(indices), seconds / count)
    per_sample = seconds / count if count else float(writer.root.attrs.get("seconds_per_sample", 0.0))  # type: ignore[arg-type]
    writer.finalise({"seconds_per_sample": per_sample})
    write_json(
        out.with_suffix(".json"),
        {"store": out.name, "frames": len(indices), "seconds_per_sample": per_sample, "code_version": code_version()},
    )


def _statics(downscaler: Downscaler, pairs: PairStore, side: str) -> npt.NDArray[np.float32]:
    """Fine statics of the prediction's grid: the store's own, or remapped from the packaged fields for a finer grid."""
    if side == "coarse":
        values, names = pairs.static_values("fine"), pairs.statics("fine")
        absent = [name for name in downscaler.model.statics if name not in names]
        if not absent:
            return values[[names.index(name) for name in downscaler.model.statics]]
    return open_static(pairs.grid("coarse" if side == "coarse" else "fine").refine(downscaler.refinement), downscaler.model.statics, None)


def downscale_file(*, input: Path, model: Path, out: Path, static: Path | None = None, tile: int = 0, halo: int = 8) -> None:
    """Downscale a user's NetCDF or Zarr to `out` (.zarr or .nc).

    Raises OrbitError when the file cannot be read, a needed variable is missing or `out` has another suffix.
    """
    if out.suffix not in (".zarr", ".nc"):
        raise OrbitError("unknown output format", where=out, got=out.suffix or "no suffix", allowed=".zarr or .nc")
    downscaler = load_model(model)
    with _open(input) as dataset:
        inputs = read_inputs(dataset, downscaler.inputs, input)
        static_fine = open_static(inputs.grid.refine(downscaler.refinement), downscaler.model.statics, static)
        about = {
            "input_file": input.name,
            "model": downscaler.about["name"],
            "model_hash": downscaler.about["hash"],
            "refinement": downscaler.refinement,
            "weights": downscaler.about["sha256"]["weights.safetensors"],
            "code_version": code_version(),
            "source": "orbit2",
            "history": json.dumps(record("downscale", inputs={"input": input} if input.is_file() else None)),
        }
        store = out if out.suffix == ".zarr" else out.with_name(f".{out.name}.zarr")
        writer = PredictionWriter(store, downscaler.outputs, downscaler.fine_grid(inputs.grid), inputs.times, about)
        for index in tqdm(range(len(inputs.times)), unit="frame", disable=not sys.stderr.isatty()):
            if index not in writer.done:
                writer.write(
                    index, downscaler.predict(inputs.frame(index), inputs.names, static_fine, inputs.grid, inputs.times[index], tile, halo)
                )
        writer.finalise({})
    if out.suffix == ".nc":
        temporary = out.with_name(f".{out.name}.part")
        with xr.open_zarr(str(store), consolidated=False, chunks={}) as result:
            result.drop_attrs(deep=False).assign_attrs(
                {k: v for k, v in result.attrs.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool)}
            ).to_netcdf(
                temporary,
                engine="netcdf4",
                encoding={name: {"zlib": True, "complevel": 1} for name in result.data_vars if result[name].ndim == 3},
            )
        temporary.replace(out)
        shutil.rmtree(store)
    height, width = downscaler.fine_grid(inputs.grid).shape
    log.info("wrote %s: %d frames of %d x %d cells, %s", out, len(inputs.times), height, width, ", ".join(downscaler.outputs))


def _open(path: Path) -> xr.Dataset:
    if not path.exists():
        raise OrbitError("input not found", where=path)
    try:
        if path.is_dir():
            return xr.open_dataset(path, engine="zarr", chunks={}, consolidated=False)
        engine = "cfgrib" if path.suffix in (".grib", ".grb", ".grib2") else "h5netcdf" if _magic(path) == b"\x89HDF" else "netcdf4"
        return xr.open_dataset(path, engine=engine, chunks={})
    except OrbitError:
        raise
    except Exception as error:
        raise OrbitError(
            f"cannot be read as NetCDF, GRIB or Zarr ({type(error).__name__}: {' '.join(str(error).split())[:160]})", where=path
        ) from None


def _magic(path: Path) -> bytes:
    with open(path, "rb") as handle:
        return handle.read(4)
