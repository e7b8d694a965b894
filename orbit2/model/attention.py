"""Multi-head self-attention over token sets, dense [B, N, D] or packed [T, D]. Never mixes tokens of two samples.

A packed set holds samples of different token counts one after the other, without padding (`Packing` says where each lies).
Kernels: scaled_dot_product_attention everywhere; flash-attn where it is installed and fits. Both compute the same function.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import FLASH_HEAD_DIM, ArchitectureConfig, flash_heads
from orbit2.errors import OrbitError

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
        raise OrbitError("a token mask must be boolean [B, N]", got=f"{mask.dtype} {list(mask.shape)}", allowed=f"{list(tokens.shape[:2])}")
    counts = mask.sum(1)
    lengths = tuple(int(n) for n in counts.tolist())
    if 0 in lengths:
        raise OrbitError("a sample has no token", got=f"sample {lengths.index(0)} of {len(lengths)}", hint="keep at least one leaf")
    offsets = F.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
    return tokens[mask], Packing(offsets, lengths, mask)


def unpack(packed: Tensor, packing: Packing) -> Tensor:
    """Packed tokens [T, D] -> padded [B, N, D], zero where there is none. Differentiable."""
    padded = packed.new_zeros(*packing.mask.shape, packed.shape[-1])
    return padded.masked_scatter(packing.mask[..., None], packed)


class Attention(nn.Module):
    """Self-attention with qkv bias. Raises OrbitError for a head size that the kernel asked for cannot do."""

    def __init__(self, embed_dim: int, heads: int, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.heads, self.kernel, self.head_dim = heads, kernel, embed_dim // heads
        if kernel == "flash":
            check_head_dim(embed_dim, heads)
        # looked at here, not in `forward`, which torch.compile reads
        self.reason = broken() if INSTALLED and kernel != "sdpa" and torch.cuda.is_available() else None
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Tensor, packing: Packing | None = None) -> Tensor:
        """tokens [B, N, D], or packed [T, D] with `packing` -> the same shape."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, self.head_dim))  # [..., 3, h, d]
        flash = uses_flash(self.kernel, qkv, self.training, self.reason)
        if packing is None:
            mixed = _flash(qkv) if flash else _sdpa(qkv)
        else:
            mixed = _flash_packed(qkv, packing) if flash else _sdpa_packed(qkv, packing)
        result: Tensor = self.output(mixed.flatten(-2))
        return result


def _sdpa(qkv: Tensor) -> Tensor:
    """[B, N, 3, h, d] -> [B, N, h, d]."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def _sdpa_packed(qkv: Tensor, packing: Packing) -> Tensor:
    """[T, 3, h, d] -> [T, h, d]: each sample by itself, so that no work is done on padding or across samples."""
    return torch.cat([_sdpa(part[None])[0] for part in torch.split(qkv, list(packing.lengths))])


def _flash(qkv: Tensor) -> Tensor:
    from flash_attn import flash_attn_qkvpacked_func  # type: ignore[import-not-found, unused-ignore]

    mixed: Tensor = flash_attn_qkvpacked_func(qkv)
    return mixed


def _flash_packed(qkv: Tensor, packing: Packing) -> Tensor:
    from flash_attn import flash_attn_varlen_qkvpacked_func  # type: ignore[import-not-found, unused-ignore]

    mixed: Tensor = flash_attn_varlen_qkvpacked_func(qkv, packing.offsets, packing.longest)
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
        raise OrbitError(
            "attention: flash cannot be used here", got=reason, hint="install flash-attn on a GPU machine and train in bf16, or use auto"
        )
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
        raise OrbitError(
            f"flash-attn needs a head size (embed_dim / heads) that is a multiple of 8, at most {FLASH_HEAD_DIM}",
            got=f"{embed_dim} / {heads}",
            allowed=f"heads of {', '.join(map(str, nearest))}" if nearest else "no number of heads; embed_dim must be a multiple of 8",
        )


