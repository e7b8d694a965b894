"""Which precision this device multiplies fast. Never times anything: the same machine always gets the same answer."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "fp32", "bf16")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 for "bf16", None (float32) for "fp32"; "auto" = bfloat16 on GPUs and CPUs with bf16 matrix instructions."""
    if precision == "bf16":
        return torch.bfloat16
    if precision == "auto" and fast_bf16(device):
        return torch.bfloat16
    return None


def fast_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 multiply instructions (CUDA compute capability 8+, ROCm, x86 AMX or AVX512-BF16)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(_flag(name) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))


def _flag(name: str) -> bool:
    probe = getattr(torch.cpu, name, None)
    return bool(probe()) if callable(probe) else False
