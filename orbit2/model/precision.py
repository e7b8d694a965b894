"""Which precision this device multiplies fast, and what of a network is computed in it. Never times anything: the same machine always gets
the same answer.

With bfloat16 all that passes between the rooms of a network is bfloat16, sums inside an operator are float32. Rooms that must not round
say so (`exact`): PyTorch's autocast alone would compute other ones in float32 on a GPU than on a processor, and hand float32 on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orbit2.processor import gains_by_bf16, told

PRECISIONS = ("auto", "fp32", "bf16")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 for "bf16", None (float32) for "fp32"; "auto" = bfloat16 on GPUs and on processors that multiply it faster."""
    if precision == "bf16":
        return torch.bfloat16
    if precision == "auto" and fast_bf16(device):
        return torch.bfloat16
    return None


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 faster than float32: CUDA compute capability 8+, ROCm; of processors see `gains_by_bf16`."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return gains_by_bf16(_flag("_is_amx_tile_supported"), _flag("_is_avx512_bf16_supported"), told("vendor_id"))


def disallow_tf32(dtype: torch.dtype | None, device: torch.device) -> None:
    """float32 (`dtype` None) is float32, in this process: PyTorch lets a GPU's convolutions round to TF32."""
    if device.type == "cuda" and dtype is None:
        torch.backends.cudnn.allow_tf32 = False


def _flag(name: str) -> bool:
    probe = getattr(torch.cpu, name, None)
    return bool(probe()) if callable(probe) else False


def exact(like: Tensor) -> torch.autocast:
    """Within it, operators compute in the type that they are given."""
    return torch.autocast(_device(like), enabled=False)


class ExactLinear(nn.Linear):
    """A linear layer that computes in the type of its weights, whatever the autocast."""

    def forward(self, values: Tensor) -> Tensor:
        with exact(values):
            return super().forward(values.to(self.weight.dtype))


@torch.no_grad()
def rounded(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep those weights in `dtype`, in place, that autocast would round to it in every pass: the same predictions, with half the memory
    and a third fewer operators. Rooms that are exact keep theirs. Not for training."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm)) and not isinstance(module, ExactLinear):
            for name, weight in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(weight.detach().to(dtype), requires_grad=False))


def stream(like: Tensor) -> torch.dtype:
    """What passes between rooms: the type of the autocast that is on, else that of `like`."""
    device = _device(like)
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def _device(like: Tensor) -> str:
    return "cpu" if like.is_meta else like.device.type
