"""Multi-head self-attention over token sets, dense [B, N, D] or packed [T, D]. Never mixes tokens of two samples.

A packed set holds samples of different token counts one after the other, without padding (`Packing` says where each lies).
Kernels: scaled_dot_product_attention everywhere; flash-attn where it is installed and fits. Both compute the same function.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import FLASH_HEAD_DIM, ArchitectureConfig, flash_heads
from orbit2.errors import FAULT, OrbitError

log = logging.getLogger(__name__)
Kernel = Literal["auto", "sdpa", "flash"]
INSTALLED = importlib.util.find_spec("flash_attn") is not None


@functools.cache
def broken() -> str | None:
    """Why flash-attn cannot be imported where it is installed; None when it can. It often does not fit the torch beside it."""
    try:
        importlib.import_module("flash_attn")
    except Exception as error:  # an undefined symbol, a CUDA library that is not there
        reason = f"flash-attn cannot be imported ({' '.join(str(error).split())})"
        log.warning("%s: attention runs without it", reason)
        return reason
    return None


@dataclass(frozen=True)
class Packing:
    """Where each sample's tokens lie in a packed set: rows offsets[b] to offsets[b + 1].

    offsets int32 [B + 1] on the tokens' device (flash-attn's cu_seqlens); lengths the same counts on the host;
    mask [B, N] True at the real tokens of the padded form.
    """

    offsets: Tensor
    lengths: tuple[int, ...]
    mask: Tensor

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    def per_token(self, values: Tensor) -> Tensor:
        """One value per sample [B, ...] -> one per packed token [T, ...]."""
        return values.repeat_interleave((self.offsets[1:] - self.offsets[:-1]).long(), 0, output_size=sum(self.lengths))


def pack(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Packing]:
    """Padded tokens [B, N, D] and mask [B, N] (True = real) -> packed [T, D] and where everything lies.

    Raises OrbitError when the mask does not fit or a sample has no token.
    """
    if mask.dtype != torch.bool or mask.shape != tokens.shape[:2]:
        raise OrbitError("a token mask must be boolean [B, N]", where="attention", got=f"{mask.dtype} {list(mask.shape)}",
                         allowed=f"{list(tokens.shape[:2])}", hint=FAULT)  # fmt: skip
    counts = mask.sum(1)
    lengths = tuple(int(n) for n in counts.tolist())
    if 0 in lengths:
        raise OrbitError("a sample has no token", where="attention", got=f"sample {lengths.index(0)} of {len(lengths)}",
                         hint="keep at least one leaf")  # fmt: skip
    offsets = F.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
    return tokens[mask], Packing(offsets, lengths, mask)


def unpack(packed: Tensor, packing: Packing) -> Tensor:
    """Packed tokens [T, D] -> padded [B, N, D], zero where there is none. Differentiable."""
    padded = packed.new_zeros(*packing.mask.shape, packed.shape[-1])
    return padded.masked_scatter(packing.mask[..., None], packed)


class Attention(nn.Module):
    """Self-attention with qkv bias. Raises OrbitError for a head size that the kernel asked for cannot do.

    One matrix makes queries, keys and values, head by head: its rows are [heads, 3, d]. Contiguous shares of them are whole heads, and
    how many there are is read off what it gives, so that a process may hold some heads only (`output` then has their columns).
    `core` is all that happens between the two matrices, where tokens meet: what else is to happen there can be put round it.
    """

    def __init__(self, embed_dim: int, heads: int, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.heads, self.head_dim = heads, embed_dim // heads
        if kernel == "flash":
            check_head_dim(embed_dim, heads)
        self.qkv_by_head = nn.Linear(embed_dim, 3 * embed_dim)
        with torch.no_grad():  # drawn in the order that weights had before: a seed's model stays the same function
            for parameter in self.qkv_by_head.parameters():
                parameter.copy_(by_head(parameter, heads))
        self.core: nn.Module = Core(kernel)
        self.output = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Tensor, packing: Packing | None = None) -> Tensor:
        """tokens [B, N, D], or packed [T, D] with `packing` -> the same shape."""
        qkv = self.qkv_by_head(tokens).unflatten(-1, (-1, 3, self.head_dim))  # [..., h, 3, d]
        result: Tensor = self.output(self.core(qkv, packing).flatten(-2))
        return result

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Weights from before rows went by head are put in order."""
        old = [name for name in state_dict if name.startswith(f"{prefix}qkv.")]
        state_dict.update(converted({name: state_dict.pop(name) for name in old}, self.heads))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def by_head(rows: Tensor, heads: int) -> Tensor:
    """Rows [3 h d, ...] in the order [3, h, d] -> [h, 3, d]."""
    return rows.reshape(3, heads, -1, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape)


def converted(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Tensors by parameter name from before rows went by head -> as they are named and ordered now; others stay as they are.

    For weights and for what else has their shape: averages, an optimiser's moments (those of AdamW, keyed by name). `heads` is the
    model's. Models convert what `load_state_dict` gives them by themselves.
    """
    old = re.compile(r"(^|\.)qkv\.(weight|bias)$")
    found = {}
    for name, tensor in state.items():
        new = old.sub(r"\1qkv_by_head.\2", name)
        found[new] = tensor if new == name or tensor.ndim == 0 else by_head(tensor, heads)
    return found


class Core(nn.Module):
    """softmax(Q K^T / sqrt(d)) V for however many heads there are. No weights, nothing between heads."""

    def __init__(self, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.kernel = kernel
        # looked at here, not in `forward`, which torch.compile reads
        self.reason = broken() if INSTALLED and kernel != "sdpa" and torch.cuda.is_available() else None

    def forward(self, qkv: Tensor, packing: Packing | None = None) -> Tensor:
        """[B, N, h, 3, d], or packed [T, h, 3, d] with `packing` -> [B, N, h, d] or [T, h, d]."""
        flash = uses_flash(self.kernel, qkv, self.training, self.reason)
        if packing is None:
            return _flash(qkv) if flash else _sdpa(qkv)
        return _flash_packed(qkv, packing) if flash else _sdpa_packed(qkv, packing)


def _sdpa(qkv: Tensor) -> Tensor:
    """[B, N, h, 3, d] -> [B, N, h, d]."""
    query, key, value = qkv.permute(3, 0, 2, 1, 4)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def _sdpa_packed(qkv: Tensor, packing: Packing) -> Tensor:
    """[T, h, 3, d] -> [T, h, d]: each sample by itself, so that no work is done on padding or across samples."""
    return torch.cat([_sdpa(part[None])[0] for part in torch.split(qkv, list(packing.lengths))])


def _flash(qkv: Tensor) -> Tensor:
    from flash_attn import flash_attn_func  # type: ignore[import-not-found, unused-ignore]

    mixed: Tensor = flash_attn_func(*qkv.unbind(-2))
    return mixed


def _flash_packed(qkv: Tensor, packing: Packing) -> Tensor:
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found, unused-ignore]

    offsets, longest = packing.offsets, packing.longest
    mixed: Tensor = flash_attn_varlen_func(*qkv.unbind(-2), offsets, offsets, longest, longest)
    return mixed


def uses_flash(kernel: Kernel, qkv: Tensor, training: bool, reason: str | None = None) -> bool:
    """Whether flash-attn runs on this tensor [..., d]; `reason`: why it cannot be used anywhere.

    `auto` takes it where it can. `flash` asked for is obeyed or refused (OrbitError) while training; prediction takes
    what the machine has, so that a published model runs anywhere.
    """
    if kernel == "sdpa":
        return False
    reason = unfit(qkv) or reason
    if reason is None:
        return True
    if kernel == "flash" and training:
        raise OrbitError("attention: flash cannot be used here", where="train.attention", got=reason,
                         hint="install flash-attn on a GPU machine and train in bf16, or use auto")  # fmt: skip
    return False


def require(architecture: ArchitectureConfig, device: torch.device, dtype: torch.dtype | None) -> None:
    """Raises OrbitError where `attention: flash` cannot be trained on this device in `dtype` (None: float32)."""
    if architecture.attention == "flash":
        probe = torch.empty(0, architecture.embed_dim // architecture.heads, device=device, dtype=dtype or torch.float32)
        uses_flash("flash", probe, True, broken() if INSTALLED else None)


def unfit(qkv: Tensor) -> str | None:
    """Why flash-attn cannot take this tensor [..., d]; None when it can."""
    if qkv.device.type != "cuda":
        return f"tokens are on the {qkv.device.type}, flash-attn needs CUDA or ROCm"
    if qkv.dtype not in (torch.float16, torch.bfloat16):
        return f"{qkv.dtype}, flash-attn needs float16 or bfloat16 (train.precision: bf16)"
    if qkv.shape[-1] % 8 or qkv.shape[-1] > FLASH_HEAD_DIM:
        return f"head size {qkv.shape[-1]}, flash-attn needs a multiple of 8 up to {FLASH_HEAD_DIM}"
    return None if INSTALLED else "flash-attn is not installed"


def check_head_dim(embed_dim: int, heads: int) -> None:
    """Raises OrbitError, naming the nearest valid head counts, when flash-attn cannot do embed_dim / heads."""
    valid = flash_heads(embed_dim)
    if heads not in valid:
        nearest = sorted(sorted(valid, key=lambda h: abs(h - heads))[:3])
        raise OrbitError(f"flash-attn needs a head size (embed_dim / heads) that is a multiple of 8, at most {FLASH_HEAD_DIM}",
                         where="architecture.heads", got=f"{embed_dim} / {heads}",
                         allowed=f"heads of {', '.join(map(str, nearest))}" if nearest else "no number of heads",
                         hint="an embed_dim that is a multiple of 8 has such numbers; attention: auto takes any")  # fmt: skip
