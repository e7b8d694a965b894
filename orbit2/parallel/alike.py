"""What must be the same on all ranks of a job, as each finds it on its own node: code, libraries, device, environment, files."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from orbit2.parallel.reduce import Fact
from orbit2.provenance import versions

# what changes numbers, speed, or how ranks talk to each other
VARIABLES = (
    "OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCHDYNAMO_DISABLE",
    "TORCH_COMPILE_DISABLE", "NCCL_ALGO", "NCCL_PROTO", "NCCL_NET", "NCCL_NET_GDR_LEVEL", "NCCL_CROSS_NIC", "RCCL_MSCCL_ENABLE",
    "HSA_OVERRIDE_GFX_VERSION",
)  # fmt: skip


def of_process(device: torch.device) -> list[Fact]:
    """The process itself, before it reads anything."""
    found = versions()
    made = {"python": platform.python_version(), "torch": torch.__version__, "numpy": found["numpy"], "zarr": found["zarr"]}
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return [
        Fact("the code", {"orbit2": found["orbit2"], "sha256 of its sources": sources()}, "install one orbit2 for all nodes"),
        Fact("their libraries", made, "start all ranks in the same environment"),
        Fact("the device", {"": device.type}, "give --device, or start as many ranks on each node as it has GPUs"),
        Fact("the environment", environment, "set these variables alike on all nodes"),
    ]


@cache
def sources() -> str:
    """The first digits of the sha256 of orbit2's own modules, by name and content."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def flat(section: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """The keys of a configuration with their values as text: `train.steps` -> `100`."""
    result: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{before}{key}.")
        else:
            result[f"{before}{key}"] = str(value)
    return result
