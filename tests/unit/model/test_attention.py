"""Attention against plain softmax attention in float64; packed sets against padded and masked ones."""

import math
import sys
from itertools import pairwise
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.model import attention
from orbit2.model.attention import Attention, converted, pack, unpack, uses_flash
from orbit2.model.blocks import Block, Blocks

COUNTS = (5, 12, 1, 9)


def spelled_out(room: Attention, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V, head by head and sample by sample, in float64; masked keys get -inf."""
    weight = {name: p.detach().double() for name, p in room.named_parameters()}
    x, d = tokens.double(), tokens.shape[-1] // room.heads
    rows = (x @ weight["qkv_by_head.weight"].T + weight["qkv_by_head.bias"]).split(3 * d, -1)  # a head's queries, keys and values
    q, k, v = (torch.cat([head[..., i * d : (i + 1) * d] for head in rows], -1) for i in range(3))
    mixed = torch.zeros_like(x)
    for b in range(len(x)):
        for h in range(room.heads):
            part = slice(h * d, (h + 1) * d)
            scores = q[b, :, part] @ k[b, :, part].T / math.sqrt(d)
            if mask is not None:
                scores[:, ~mask[b]] = -torch.inf
            weights = (scores - scores.amax(1, keepdim=True)).exp()
            mixed[b, :, part] = weights / weights.sum(1, keepdim=True) @ v[b, :, part]
    return mixed @ weight["output.weight"].T + weight["output.bias"]


def padded(width: int = 32, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(max(COUNTS))[None] < torch.tensor(COUNTS)[:, None]
    mask = mask[:, torch.randperm(mask.shape[1])]  # real tokens anywhere, not only in front
    return torch.randn(*mask.shape, width, dtype=dtype), mask


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 4 * 2**-8)])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_equals_plain_attention_in_float64(dtype: torch.dtype, bound: float, heads: int) -> None:
    torch.manual_seed(0)
    room = Attention(64, heads).to(dtype)
    tokens = 3 * torch.randn(2, 300, 64, dtype=dtype)
    expected = spelled_out(room, tokens)
    found = room(tokens)
    assert found.dtype == dtype
    assert (found.double() - expected).abs().max() <= bound * expected.abs().max()


def in_one_piece(weight: dict[str, Tensor], heads: int, tokens: Tensor) -> Tensor:
    """Attention from weights as they were before rows went by head: all queries, all keys, all values."""
    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in F.linear(tokens, weight["qkv.weight"], weight["qkv.bias"]).chunk(3, -1)
    )
    return F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), weight["output.weight"], weight["output.bias"])


def test_older_weights_and_moments_are_put_in_order_and_seeds_keep_their_function() -> None:
    torch.manual_seed(0)
    qkv, output = torch.nn.Linear(24, 72), torch.nn.Linear(24, 24)
    older = {f"{name}.{key}": p.detach() for name, layer in (("qkv", qkv), ("output", output)) for key, p in layer.named_parameters()}
    tokens = torch.randn(2, 7, 24)
    expected = in_one_piece(older, 3, tokens)
    torch.manual_seed(0)
    assert (Attention(24, 3)(tokens) - expected).abs().max() < 1e-6
    model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([Block(24, 3, 2.0)])})
    kept = {name: tensor for name, tensor in model.state_dict().items() if "attention" not in name}
    model.load_state_dict({**kept, **{f"blocks.0.attention.{name}": tensor for name, tensor in older.items()}})
    assert (model["blocks"][0].attention(tokens) - expected).abs().max() < 1e-6  # type: ignore[index]
    moments = {f"blocks.0.attention.{name}": torch.randn_like(tensor) for name, tensor in older.items()}
    found = converted({**moments, "step": torch.tensor(3.0)}, 3)
    assert sorted(found) == sorted(["step", *(name for name in model.state_dict() if "attention" in name)])
    # a gradient step from the old moments is the gradient step from the new ones
    stepped = {name: tensor - 0.1 * moments[f"blocks.0.attention.{name}"] for name, tensor in older.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "attention" in name:
                parameter.sub_(0.1 * found[name])
    assert (model["blocks"][0].attention(tokens) - in_one_piece(stepped, 3, tokens)).abs().max() < 1e-6  # type: ignore[index]


def test_some_of_the_heads_are_some_of_the_columns() -> None:
    """What tensor parallelism does: contiguous rows of the one matrix are whole heads, each with its q, k and v."""
    torch.manual_seed(0)
    room = Attention(32, 4).double()
    tokens = torch.randn(2, 9, 32, dtype=torch.float64)
    found = room.output.bias.expand(2, 9, 32)
    for part in range(2):
        rows, columns = slice(48 * part, 48 * part + 48), slice(16 * part, 16 * part + 16)
        qkv = F.linear(tokens, room.qkv_by_head.weight[rows], room.qkv_by_head.bias[rows]).unflatten(-1, (-1, 3, 8))
        found = found + room.core(qkv).flatten(-2) @ room.output.weight[:, columns].T
    assert (found - room(tokens)).abs().max() < 1e-12


def test_large_scores_stay_finite() -> None:
    torch.manual_seed(0)
    room = Attention(16, 2)
    tokens = 1e3 * torch.randn(1, 20, 16)
    expected = spelled_out(room, tokens)
    assert (room(tokens).double() - expected).abs().max() < 1e-4 * expected.abs().max()


def test_packed_equals_padded_and_masked() -> None:
    room = Attention(32, 4).double()
    tokens, mask = padded()
    packed, packing = pack(tokens, mask)
    assert packing.lengths == COUNTS and packing.longest == 12 and packing.offsets.tolist() == [0, 5, 17, 18, 27]
    assert packing.offsets.dtype == torch.int32
    found = unpack(room(packed, packing), packing)
    assert (found - spelled_out(room, tokens, mask))[mask].abs().max() < 1e-12
    assert torch.equal(unpack(packed, packing), tokens * mask[..., None])


def test_blocks_over_packed_sets_equal_each_sample_alone() -> None:
    torch.manual_seed(0)
    blocks = Blocks(Block(32, 4, 2.0).double() for _ in range(3))
    tokens, mask = padded()
    found = blocks(tokens, mask)
    for b, count in enumerate(COUNTS):
        alone = blocks(tokens[b : b + 1, mask[b]])
        assert alone.shape == (1, count, 32) and (found[b, mask[b]] - alone[0]).abs().max() < 1e-12
    assert found[~mask].abs().max() == 0


def test_padding_never_influences_real_tokens() -> None:
    blocks = Blocks(Block(32, 4, 2.0).double() for _ in range(2))
    tokens, mask = padded()
    poisoned = tokens.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    found = blocks(poisoned, mask)
    assert torch.equal(found, blocks(tokens, mask))
    found.square().sum().backward()
    assert poisoned.grad is not None and poisoned.grad[~mask].abs().max() == 0 and poisoned.grad[mask].abs().min() > 0


def test_gradients_through_packing() -> None:
    room = Attention(8, 2).double()
    torch.manual_seed(0)
    mask = torch.tensor([[True, False, True], [False, True, False]])

    def run(tokens: Tensor) -> Tensor:
        packed, packing = pack(tokens, mask)
        return unpack(room(packed, packing), packing)

    assert torch.autograd.gradcheck(run, torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True))


def test_drop_path_drops_whole_samples_of_a_packed_set() -> None:
    block = Block(32, 4, 2.0, drop_path=0.7).double().train()
    tokens, mask = padded()
    dropped = set()
    for seed in range(4):
        torch.manual_seed(seed)
        change = Blocks([block])(tokens, mask) - tokens * mask[..., None]
        torch.manual_seed(seed)
        dense = block(tokens) - tokens  # the same draws: one per sample and branch
        found = [bool((change[b] == 0).all()) for b in range(len(COUNTS))]
        assert found == [bool((c == 0).all()) for c in dense]
        dropped |= set(found)
    assert dropped == {True, False}


@pytest.mark.parametrize("mask", [torch.ones(2, 3), torch.ones(2, 4, dtype=torch.bool), torch.tensor([[True] * 3, [False] * 3])])
def test_unusable_masks_are_refused(mask: Tensor) -> None:
    with pytest.raises(OrbitError, match=r"mask|no token"):
        pack(torch.zeros(2, 3, 8), mask)


@pytest.mark.parametrize(("embed_dim", "heads", "nearest"), [(256, 64, "8, 16, 32"), (1024, 2, "4, 8, 16"), (24, 2, "1, 3")])
def test_flash_head_sizes(embed_dim: int, heads: int, nearest: str) -> None:
    with pytest.raises(OrbitError, match=f"heads of {nearest}"):
        Attention(embed_dim, heads, "flash")
    with pytest.raises(ValidationError, match="nearest heads"):
        ArchitectureConfig(embed_dim=embed_dim, heads=heads, attention="flash")
    Attention(embed_dim, heads, "auto")
    assert ArchitectureConfig(embed_dim=256, heads=4, attention="flash").attention == "flash"


def test_flash_asked_for_trains_nowhere_else_but_predicts_anywhere() -> None:
    torch.manual_seed(0)
    room = Attention(32, 2, "flash")
    tokens = torch.randn(1, 6, 32)
    with pytest.raises(OrbitError, match=r"attention: flash cannot be used here.*cpu.*auto"):
        room.train()(tokens)
    assert (room.eval()(tokens).double() - spelled_out(room, tokens)).abs().max() < 1e-5


def as_if_on_gpu(dtype: torch.dtype, head_dim: int) -> Tensor:
    class Claimed(torch.Tensor):
        device = torch.device("cuda")  # type: ignore[assignment]

    return torch.zeros(1, 2, 1, 3, head_dim, dtype=dtype).as_subclass(Claimed)


@pytest.mark.parametrize(
    ("dtype", "head_dim", "installed", "reason"),
    [
        (torch.bfloat16, 64, True, None),
        (torch.float16, 256, True, None),
        (torch.float32, 64, True, "float16 or bfloat16"),
        (torch.bfloat16, 20, True, "multiple of 8"),
        (torch.bfloat16, 264, True, "up to 256"),
        (torch.bfloat16, 64, False, "not installed"),
    ],
)
def test_auto_takes_flash_only_where_it_fits(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, head_dim: int, installed: bool, reason: str | None
) -> None:
    monkeypatch.setattr(attention, "INSTALLED", installed)
    qkv = as_if_on_gpu(dtype, head_dim)
    assert uses_flash("auto", qkv, training=True) is (reason is None) and uses_flash("sdpa", qkv, training=True) is False
    if reason is not None:
        with pytest.raises(OrbitError, match=reason):
            uses_flash("flash", qkv, training=True)


def test_flash_gets_what_its_functions_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with flash-attn's two signatures: layouts [B, N, h, d] and [T, h, d], cu_seqlens int32, longest."""
    module = ModuleType("flash_attn")

    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
        return torch.einsum("bhnm,bmhd->bnhd", weights, v)

    def varlen(q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int) -> Tensor:
        assert cu_q.dtype == torch.int32 and max_q == max_k == int((cu_q[1:] - cu_q[:-1]).max()) and torch.equal(cu_q, cu_k)
        return torch.cat([dense(q[None, a:b], k[None, a:b], v[None, a:b])[0] for a, b in pairwise(cu_q.tolist())])

    module.flash_attn_func, module.flash_attn_varlen_func = dense, varlen  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    room = Attention(32, 4, "auto").double()
    tokens, mask = padded()
    packed, packing = pack(tokens, mask)
    plain = room(tokens), room(packed, packing)
    monkeypatch.setattr(attention, "unfit", lambda qkv: None)
    for expected, found in zip(plain, (room(tokens), room(packed, packing)), strict=True):
        assert (found - expected).abs().max() < 1e-12


def test_flash_is_called_within_its_documented_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training under bf16 autocast: what the stand-ins, with flash-attn's own signatures (2.7), would refuse is never given to them."""
    calls: list[str] = []

    def check(parts: tuple[Tensor, ...], dropout_p: float, softmax_scale: float | None, causal: bool) -> Tensor:
        assert all(part.dtype in (torch.float16, torch.bfloat16) and part.stride(-1) == 1 for part in parts)
        assert all(part.shape == parts[0].shape and part.shape[-1] % 8 == 0 and part.shape[-1] <= 256 for part in parts)
        assert dropout_p == 0 and softmax_scale is None and causal is False  # plain attention, scaled by 1 / sqrt(d)
        return torch.stack(parts, -2)

    def dense(
        q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = False,
        window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, alibi_slopes: object = None, deterministic: bool = False,
        return_attn_probs: bool = False,
    ) -> Tensor:  # fmt: skip
        assert q.ndim == 4 and not return_attn_probs and window_size == (-1, -1) and not softcap and alibi_slopes is None
        calls.append("dense")
        return attention._sdpa(check((q, k, v), dropout_p, softmax_scale, causal))

    def varlen(
        q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int, max_seqlen_k: int,
        dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = False,
        window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, alibi_slopes: object = None, deterministic: bool = False,
        return_attn_probs: bool = False, block_table: object = None,
    ) -> Tensor:  # fmt: skip
        for cu_seqlens, max_seqlen in ((cu_seqlens_q, max_seqlen_q), (cu_seqlens_k, max_seqlen_k)):
            assert q.ndim == 3 and cu_seqlens.dtype == torch.int32 and cu_seqlens.is_contiguous() and cu_seqlens.device == q.device
            assert isinstance(max_seqlen, int) and cu_seqlens[0] == 0 and int(cu_seqlens[-1]) == len(q)
        calls.append("packed")
        parts = check((q, k, v), dropout_p, softmax_scale, causal).split((cu_seqlens_q[1:] - cu_seqlens_q[:-1]).tolist())
        return torch.cat([attention._sdpa(part[None])[0] for part in parts])

    module = ModuleType("flash_attn")
    module.flash_attn_func, module.flash_attn_varlen_func = dense, varlen  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    monkeypatch.setattr(attention, "INSTALLED", True)
    on_this_device = attention.unfit
    monkeypatch.setattr(attention, "unfit", lambda qkv: on_this_device(as_if_on_gpu(qkv.dtype, qkv.shape[-1])))
    room, (tokens, mask) = Attention(32, 4, "flash").train(), padded(dtype=torch.float32)
    packed, packing = pack(tokens, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = room(tokens), room(packed, packing)
    assert calls == ["dense", "packed"]
    (found[0].float().square().mean() + found[1].float().square().mean()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in room.parameters())
    with pytest.raises(OrbitError, match="float16 or bfloat16"):
        room(tokens)  # fp32
    assert calls == ["dense", "packed"] and torch.isfinite(room.eval()(tokens)).all()
    narrow = Attention(32, 8, "auto")  # heads of 4
    with torch.autocast("cpu", torch.bfloat16):
        narrow(tokens)
    assert calls == ["dense", "packed"]


def test_flash_that_is_broken_is_said_once_and_done_without(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(attention, "INSTALLED", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "flash_attn", None)  # type: ignore[arg-type]
    attention.broken.cache_clear()
    try:
        rooms = [Attention(32, 2, kernel) for kernel in ("auto", "auto", "flash")]
        assert [record.message for record in caplog.records].count(f"{rooms[0].core.reason}: attention runs without it") == 1
        qkv = as_if_on_gpu(torch.bfloat16, 64)
        assert rooms[0].core.reason is not None and not uses_flash("auto", qkv, True, rooms[0].core.reason)
        with pytest.raises(OrbitError, match=r"attention: flash cannot be used here.*cannot be imported"):
            uses_flash("flash", qkv, True, rooms[2].core.reason)
    finally:
        attention.broken.cache_clear()
