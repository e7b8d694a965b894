"""Floating-point operations of a PyTorch call, attention on the CPU included. Not a benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


def _convolution_backward(grad: Any, fields: Any, weight: Any, *rest: Any, out_shape: Any = None, **__: Any) -> int:
    """Each gradient costs what the forward pass did (PyTorch's counter forgets the groups of a depthwise convolution)."""
    wanted = rest[-1]  # output_mask: gradient of the fields, of the weight, of the bias
    return 2 * math.prod(weight) * grad[0] * math.prod(grad[2:]) * sum(bool(x) for x in wanted[:2])


CORRECTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten.convolution_backward: _convolution_backward,
}


def count(call: Callable[[], object]) -> int:
    """FLOPs of one call: matrix products, convolutions and attention (a multiplication and an addition are two)."""
    with FlopCounterMode(display=False, custom_mapping=CORRECTED) as counter:
        call()
    return int(counter.get_total_flops())
