"""Checkpoints of the published ORBIT-2 weights: read without running code, made whole, and put under the names of `Published`."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.model.attention import by_head
from orbit2.progress import counted, doing

State = dict[str, Tensor]
STATE = "model_state_dict"
WRAPPERS = {"module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"}  # parts of a name, anywhere in it
RANK = re.compile(r"_rank_(\d+)$")
ROWS = ("var_agg.q.weight", "mlp.fc1.weight", "mlp.fc1.bias")  # tensor parallel: rows of each rank one below the other
STACKED = {"attn.qkv.weight": 3, "attn.qkv.bias": 3, "var_agg.kv.weight": 2}  # the same of each of so many matrices
COLUMNS = ("attn.proj.weight", "var_agg.proj.weight", "mlp.fc2.weight")
SUMMED = ("attn.proj.bias", "var_agg.proj.bias", "mlp.fc2.bias")  # every rank adds its own


def read(paths: Sequence[Path]) -> tuple[State, list[str], int | None]:
    """(state, names of replicated tensors that differ between ranks, epoch or None) of a checkpoint, or of the rank files of one.

    Raises OrbitError for files that are none, that hold more than tensors, and for rank files that are not all there.
    """
    if not paths:
        raise OrbitError("no checkpoint given", where="orbit2 model import",
                         hint="orbit2 model import FILE.ckpt, or all FILE.ckpt_rank_0 ... of a split one")  # fmt: skip
    ranks = {path: int(found[1]) for path in paths if (found := RANK.search(path.name))}
    if len(paths) == 1 and not ranks:
        content = _file(paths[0])
        return content[0], [], content[1]
    if len(ranks) != len(paths) or sorted(ranks.values()) != list(range(len(paths))):
        raise OrbitError("several files are one checkpoint only as rank files", where="orbit2 model import",
                         got=", ".join(path.name for path in paths), allowed="NAME_rank_0 to NAME_rank_N, each once",
                         hint="give all of them")  # fmt: skip
    contents = [_file(path) for path in counted(sorted(paths, key=lambda path: ranks[path]), "reading rank files", len(paths), "file")]
    doing("putting the ranks together")
    state, differing = merged([content[0] for content in contents], paths[0])
    if state["var_query"].shape[-1] != state["var_agg.q.weight"].shape[0]:
        raise OrbitError("rank files are missing: what they hold together is not a whole network", where=paths[0].parent,
                         got=f"{len(paths)} files with {state['var_agg.q.weight'].shape[0]} rows of queries",
                         allowed=f"{state['var_query'].shape[-1]} rows", hint="give all rank files of the checkpoint")  # fmt: skip
    return state, differing, contents[0][1]


def _file(path: Path) -> tuple[State, int | None]:
    if not path.is_file():
        raise OrbitError("no such checkpoint", where=path, hint="check the spelling of the path")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise OrbitError("not a checkpoint that can be read safely (tensors only)", where=path, got=" ".join(str(error).split()[:20]),
                         hint="download it again; its size and checksum are on its page") from None  # fmt: skip
    found = content.get(STATE, content) if isinstance(content, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        told = ", ".join(map(str, list(content)[:6])) if isinstance(content, dict) else type(content).__name__
        raise OrbitError("no state of a model in the checkpoint", where=path, got=told, allowed=f"a dictionary with '{STATE}'",
                         hint="give the file of the training's weights")  # fmt: skip
    state = {_bare(str(name)): tensor.float() for name, tensor in found.items()}
    if "var_query" not in state or "pos_embed" not in state:
        raise OrbitError("weights of another network", where=path, got=", ".join(list(state)[:5]),
                         allowed="var_embed, var_query, pos_embed, ...", hint="only networks of the published kind can be imported")
    epoch = content.get("epoch") if STATE in content else None
    return state, int(epoch) if isinstance(epoch, (int, float)) else None


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def merged(ranks: Sequence[Mapping[str, Tensor]], where: object = "rank files") -> tuple[State, list[str]]:
    """The whole network of tensor-parallel ranks, and which of the tensors that all hold differ (the first rank's are taken).

    Exact where token and variable embeddings and the blocks' norms agree. Raises OrbitError for ranks of different networks.
    """
    first, differing = ranks[0], []
    for rank in ranks[1:]:
        if {name: tensor.shape for name, tensor in rank.items()} != {name: tensor.shape for name, tensor in first.items()}:
            raise OrbitError("rank files of different networks", where=where, hint="give the rank files of one checkpoint")
    whole: State = {}
    for name, tensor in first.items():
        parts = [rank[name] for rank in ranks]
        if (count := next((n for end, n in STACKED.items() if name.endswith(end)), 0)):
            pieces = [part.chunk(count) for part in parts]
            whole[name] = torch.cat([piece[i] for i in range(count) for piece in pieces])
        elif name.endswith(ROWS):
            whole[name] = torch.cat(parts)
        elif name.endswith(COLUMNS):
            whole[name] = torch.cat(parts, 1)
        elif name.endswith(SUMMED):
            whole[name] = torch.stack(parts).sum(0)
        else:
            whole[name] = tensor
            if not all(torch.equal(tensor, part) for part in parts[1:]):
                differing.append(name)
    return whole, differing


def architecture(state: Mapping[str, Tensor], heads: int, km: float, where: object) -> ArchitectureConfig:
    """What the shapes say, with what they cannot. Raises OrbitError where they are not those of this network."""
    try:
        width, patch = state["var_embed"].shape[-1], state["token_embeds.0.proj.weight"].shape[-1]
        depth = 1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=-1)
        last = max(int(name.split(".")[1]) for name in state if name.startswith("head."))
        channels = state["conv_out.weight"].shape[0]
        refinement = math.isqrt(state[f"head.{last}.weight"].shape[0] // channels) // patch
        rows = math.isqrt(state["pos_embed"].shape[1] // 2)
        ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / width if depth else 4.0
        cnn_ratio = state["path2.3.weight"].shape[1]
    except (KeyError, IndexError, ValueError) as error:
        raise OrbitError("weights of another network", where=where, got=f"no {error}",
                         hint="only networks of the published kind can be imported") from None  # fmt: skip
    if 2 * rows * rows != state["pos_embed"].shape[1]:
        raise OrbitError("a table of positions whose grid is not 2:1", where=where, got=f"{state['pos_embed'].shape[1]} tokens",
                         hint="only networks of the published kind can be imported")  # fmt: skip
    try:
        return ArchitectureConfig(
            kind="orbit2", embed_dim=width, depth=depth, heads=heads, mlp_ratio=ratio, decoder_depth=last // 2, patch=patch,
            refinement=refinement, table_shape=(rows, 2 * rows), cnn_ratio=cnn_ratio, km=km,
        )  # fmt: skip
    except ValueError as error:
        raise OrbitError("weights and settings do not fit together", where=where, got=" ".join(str(error).split()),
                         hint="give the number of heads that the network was trained with") from None  # fmt: skip


def converted(state: Mapping[str, Tensor], config: ArchitectureConfig, order: Sequence[int]) -> State:
    """The same function under the names of `Published`, whose inputs are rows `order` of the checkpoint's variables."""
    left = dict(state)

    def take(name: str) -> Tensor:
        return left.pop(name)

    def embedding(i: int) -> tuple[Tensor, Tensor]:
        return left[f"token_embeds.{i}.proj.weight"].flatten(2)[:, 0].T, left[f"token_embeds.{i}.proj.bias"]

    weight, bias = (torch.stack(tensors) for tensors in zip(*map(embedding, order), strict=True))
    key, value = take("var_agg.kv.weight").chunk(2)
    query = take("var_agg.q.weight") @ take("var_query").flatten()
    new: State = {
        "aggregate.weight": weight, "aggregate.missing": torch.zeros_like(weight), "aggregate.bias": bias,
        "aggregate.embedding": take("var_embed")[0, list(order)], "aggregate.query": query, "aggregate.key": key, "aggregate.value": value,
        "position.table": take("pos_embed")[0].reshape(*config.table_shape, -1), "resolution.weight": take("spatial_embed.weight")[:, 0],
    }  # fmt: skip
    names = {"var_agg.proj": "aggregate.output", "spatial_embed": "resolution", "norm": "norm", "conv_out": "smooth", "path2.0": "enter",
             "path2.3": "leave"}  # fmt: skip
    names |= {f"head.{2 * i}": f"decoder.head.{2 * i}" for i in range(config.decoder_depth + 1)}
    parts = {"norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.output", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"}
    names |= {f"blocks.{k}.{old}": f"blocks.{k}.{ours}" for k in range(config.depth) for old, ours in parts.items()}
    for old, ours in names.items():
        new |= {f"{ours}.{kind}": take(f"{old}.{kind}") for kind in ("weight", "bias") if f"{old}.{kind}" in left}
    for k in range(config.depth):
        new |= {f"blocks.{k}.attention.qkv_by_head.{kind}": by_head(take(f"blocks.{k}.attn.qkv.{kind}"), config.heads)
                for kind in ("weight", "bias")}  # fmt: skip
    rest = [name for name in left if not name.startswith("token_embeds.")]
    if rest:
        raise OrbitError("weights of another network", where="checkpoint", got=f"unknown tensors {', '.join(rest[:5])}",
                         hint="only networks of the published kind can be imported")  # fmt: skip
    return new
