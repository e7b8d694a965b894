"""Floating-point operations of PyTorch's operators: what `torch.utils.flop_counter` knows, and attention on the CPU, grouped convolutions.

Multiplications and additions of matrix products, convolutions and attention; pointwise functions and interpolations are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode

_torch: Any = flop_counter  # which has hardly any types


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(_torch.sdpa_flop_count(query, key, value))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(_torch.sdpa_backward_flop_count(grad, query, key, value))


def _convolution_backward(grad: Any, fields: Any, weight: Any, *rest: Any, out_shape: Any = None, **__: Any) -> int:
    """Each gradient costs what the forward pass did (PyTorch's counter forgets the groups of a depthwise convolution)."""
    wanted = rest[-1]  # output_mask: gradient of the fields, of the weight, of the bias
    return int(2 * math.prod(weight) * grad[0] * math.prod(grad[2:]) * sum(bool(x) for x in wanted[:2]))


CORRECTED: dict[Any, Callable[..., int]] = {  # formulas of shapes, for FlopCounterMode's `custom_mapping`
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten.convolution_backward: _convolution_backward,
}
_FORMULAS = {**_torch.flop_registry, **{operator: _torch.shape_wrapper(formula) for operator, formula in CORRECTED.items()}}


def count(call: Callable[[], object]) -> int:
    """FLOPs of one call, by torch's counter."""
    with flop_counter.FlopCounterMode(display=False, custom_mapping=CORRECTED) as counter:
        call()
    return int(counter.get_total_flops())


def of_operator(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """FLOPs of one operator's call, which made `result`; 0 for one without a formula."""
    formula = _FORMULAS.get(operator._overloadpacket)
    return 0 if formula is None else int(formula(*args, **kwargs, out_val=result))


class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`flops` of all operators while it is on, as FlopCounterMode has them, without a record of modules: much quicker."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.flops += of_operator(func, args, kwargs or {}, result)
        return result
