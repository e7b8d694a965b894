"""A model folder with random weights and tasks on the tiny store (12 x 24 -> 48 x 96, 12 hours), without training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.threaded
import numpy as np
import torch
import zarr

from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.downscale import Settings
from orbit2.grid import Grid
from orbit2.model import folder
from orbit2.model.reslim import Reslim
from orbit2.variables import variable
from tests.data.small_models import wake
from tests.data.tiny_training import NAMES, STATICS, Tiny

MOMENTS = {"2m_temperature": (270.0, 20.0), "precipitation_rate": (1.0, 1.0), "orography": (200.0, 300.0)}


def random_model(
    out: Path, region: tuple[float, ...] | None = None, about: dict[str, Any] | None = None, **architecture: Any
) -> Path:
    """A small Reslim whose every path does something."""
    settings = {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1, **architecture}
    torch.manual_seed(3)
    model = wake(Reslim(ArchitectureConfig.model_validate(settings), (*NAMES, *STATICS), NAMES, STATICS))
    model.output_moments.copy_(torch.tensor([MOMENTS[name] for name in NAMES]))
    folder.save(out, model, Normaliser(MOMENTS, 0.1), {"name": "random", "hash": "00000000", "region": region, **(about or {})})
    return out


def task(path: Path, first: str = "00", last: str = "11", **settings: Any) -> Path:
    """The slice of a task on the tiny store, from hour `first` to hour `last`."""
    section = {"model": "random", "dataset": "tiny", "precision": "fp32", **settings}
    period = {"start": f"2026-01-01T{first}:00", "end": f"2026-01-01T{last}:00"}
    path.write_text(json.dumps({"task": "test", "downscale": section, "model_hash": "0", "dataset_hash": "0", "period": period}))
    return path


def arguments(tiny: Tiny, model: Path, config: Path, out: Path) -> dict[str, Path]:
    return {"config": config, "model": model, "store": tiny.store, "out": out}


def shards(store: Path) -> dict[str, bytes]:
    """Every chunk file of a store, coordinates too, but no metadata (they hold times of day)."""
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file() and "/c/" in str(file)}


def computed(store: Path) -> list[int]:
    """Items in the journals, once for each time that they (of blended tiles: their windows) were computed."""
    lines = [line for file in store.parent.glob(f".{store.name}.*.journal/*.jsonl") for line in file.read_text().splitlines()]
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    windows = [entry["window"] for entry in entries if "window" in entry]
    return sorted(windows or [entry["item"] for entry in entries])


def forked(act: Callable[[], object]) -> int:
    """Start `act` in a child of this process (no imports: quick); its exit code is 0, or 1 after printing a traceback."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            dask.threaded.default_pool = None  # its threads were the parent's: a fork has none of them, and would wait for ever
            dask.threaded.pools.clear()
            act()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def lazy_input(path: Path, grid: Grid) -> None:
    """One time of constant fields on `grid`, in chunks that were never written: it takes no disk."""
    root = zarr.create_group(str(path), zarr_format=3)
    for name, value in (("2m_temperature", 280.0), ("precipitation_rate", 1.0)):
        array = root.create_array(name, shape=(1, *grid.shape), chunks=(1, 180, 180), dtype="float32", fill_value=value,
                                  dimension_names=("time", "lat", "lon"))  # fmt: skip
        array.attrs["units"] = variable(name).units
    for name, values in (("lat", grid.lat), ("lon", grid.lon), ("time", np.zeros(1))):
        root.create_array(name, data=values, dimension_names=(name,))
    root["time"].attrs["units"] = "days since 2026-01-01"


def growth(source: Path, model: Path, out: Path, settings: Settings, block: str) -> float:
    """Megabytes that resident memory peaks above where it started while a block of a file is downscaled, nothing of it kept whole.

    In a new process: what a fork finds free in its parent's heap would not show.
    """
    work = (
        "from pathlib import Path\nfrom orbit2.downscale import Settings, downscale_file, samples\n"
        "from tests.data.small_downscaling import kilobytes\nsamples.KEPT_BYTES = 0\nbefore = kilobytes('VmRSS')\n"
        f"downscale_file(input=Path({str(source)!r}), model=Path({str(model)!r}), out=Path({str(out)!r}), block={block!r},\n"
        f"    settings=Settings(tile={settings.tile!r}, halo={settings.halo!r}))\n"
        "print((kilobytes('VmHWM') - before) / 1024)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", work], cwd=root, env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def kilobytes(key: str) -> int:
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)))


def exit_code(pid: int) -> int:
    """Of a child; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
