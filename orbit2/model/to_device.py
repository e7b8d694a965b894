"""A GPU copies from page-locked memory by itself, in the order of its own work; a plain copy waits until all of that is done."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(here: Tensor, device: torch.device | str) -> Tensor:
    """`here` on `device`; nobody waits for a GPU."""
    if torch.device(device).type != "cuda" or here.device.type != "cpu":
        return here.to(device)
    return here.pin_memory().to(device, non_blocking=True)  # torch keeps the pinned memory until the copy is done
