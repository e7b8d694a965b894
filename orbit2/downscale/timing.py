"""timing.json of a prediction: what each process that took part tells, beside the journal, and the record of all of them in the end."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from orbit2 import energy, timing
from orbit2.downscale.passes import of_window
from orbit2.downscale.work import Spent
from orbit2.errors import OrbitError
from orbit2.files import read_json, to_text
from orbit2.parallel.launch import Ranks
from orbit2.progress import detect
from orbit2.provenance import code_version
from orbit2.timing import PARTS, device_name

if TYPE_CHECKING:
    from orbit2.downscale.job import Job


def meter_of(ranks: Ranks) -> energy.Meter:
    return energy.meter(detect()[2] == 0, timing.own_gpu(ranks.device))


def keep(job: Job, ranks: Ranks, folder: Path, spent: Spent, meter: energy.Meter) -> None:
    """Write what this process did into the `folder` of the journal, under a name of its own.

    Where the folder is gone another process has just found the store complete: nothing is kept, and the folder stays gone.
    """
    downscaler, settings = job.downscaler, job.settings
    seconds, took = downscaler.clock.split(), job.samples.took()
    meter.look(now=True)
    elapsed = downscaler.clock.elapsed
    device, precision = device_name(ranks.device), str(downscaler.dtype or torch.float32).removeprefix("torch.")
    loader = {**took, "packing": max(0.0, spent.read - sum(took.values()))}
    told = {
        "began": round(time.time() - elapsed, 3),
        "elapsed": round(elapsed, 3),
        "rank": ranks.rank,
        "ranks": 1,  # of this entry
        "device": device,
        "precision": precision,
        "batch": settings.batch,
        "threads": torch.get_num_threads(),
        "code_version": code_version(),
        "torch": torch.__version__,
        "items": spent.items,
        "samples": spent.fields,
        "seconds": {part: round(seconds[part], 4) for part in PARTS if seconds.get(part)},
        "loader": {part: round(value, 4) for part, value in loader.items()},
        "writing": round(spent.write, 4),
        "flops": _work(job, spent),
        "rate": job.rate and job.rate(device, precision),
        "communication": 0.0,  # whoever shares a prediction exchanges nothing
        "joules": None if meter.joules is None else round(meter.joules, 1),
        "joules_of": meter.of or None,
        "host_bytes": timing.host_bytes(),
        "device_bytes": timing.device_bytes(ranks.device),
        "process": f"{os.getpid()} on {socket.gethostname()}",
    }
    name = f"timing-{uuid.uuid4().hex[:12]}"
    with suppress(FileNotFoundError):
        (folder / f"{name}.part").write_text(to_text(told), encoding="utf-8")
        (folder / f"{name}.part").rename(folder / f"{name}.json")


def _work(job: Job, spent: Spent) -> float | None:
    """Floating-point operations of the model in the windows of the items that were computed (the trunk of members once for all of a
    place's); None where a kernel cannot be counted."""
    model, tiling, members = job.downscaler.model, job.layout.tiling, job.settings.members

    def count() -> float:
        whole, member = of_window(model, tiling.padded)
        if not members:
            return spent.windows * whole
        places = spent.windows / max(job.layout.items.members, 1)
        return places * (whole - member + members * member)

    return timing.operations(count)


def told_in(folder: Path) -> list[dict[str, Any]]:
    """What all processes told, in the order in which they began."""
    found = []
    for path in folder.glob("timing-*.json"):
        with suppress(OrbitError):  # gone: another process has just finished
            found.append(read_json(path))
    return [{"try": number, **one} for number, one in enumerate(sorted(found, key=lambda one: one["began"]), 1)]


def gather(folder: Path, path: Path, about: Mapping[str, Any]) -> None:
    """Write the record of a prediction at `path` from what its processes told; where none told anything, an earlier one stays."""
    if told := told_in(folder):
        timing.write(path, told, {**about, "kind": "prediction", "state": "done"})
