"""What a GPU's autocast computes in float32 and a CPU's does not: a rehearsal runs on the CPU's operators, whatever it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

# Of PyTorch's list "CUDA Ops that can autocast to float32" (docs, Automatic Mixed Precision) those that the CPU's list has not.
FLOAT32 = {
    "cumprod", "cumsum", "exp", "expm1", "group_norm", "layer_norm", "log", "log10", "log1p", "log2", "log_softmax", "logsumexp", "norm",
    "normalize", "pow", "reciprocal", "rsqrt", "softmax", "softplus", "sum",
}  # fmt: skip
BLAS_BYTES = 32 << 20  # a handle's workspace on Hopper (aten/src/ATen/cuda/CublasHandlePool.cpp), from the same allocator as tensors
THREADS = 2  # of training: the backward pass has a thread, and a handle, of its own


class GpuCasts(TorchFunctionMode):
    """While autocast is on, functions of FLOAT32 get and give float32, as on a GPU."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        given = (tuple(args), kwargs or {})
        if getattr(func, "__name__", "") in FLOAT32 and torch.is_autocast_enabled("cpu"):
            given = tree_map_only(Tensor, lambda tensor: tensor.float() if tensor.dtype == torch.bfloat16 else tensor, given)
        return func(*given[0], **given[1])
