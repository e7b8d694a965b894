"""The hidden width of a transformer split over ranks (Megatron-LM, arXiv 1909.08053): pairs of matrices, by columns and then by rows.

Between the two of a pair nothing is communicated; after it one sum is. FSDP divides the other dimension of each matrix on top
(Hybrid-OP). Parameters that are not divided get the same gradient on all ranks; there is nothing to add over them.
"""

from __future__ import annotations

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from orbit2.errors import OrbitError
from orbit2.model.blocks import Block, Blocks
from orbit2.model.decoder import Decoder
from orbit2.parallel.draws import part_dropout
from orbit2.parallel.sequence import agree_on_leaves


def split_hidden(model: nn.Module, tp_mesh: DeviceMesh) -> None:
    """Split the blocks of `model` over a mesh of one dimension, in place: whole heads, and features of the MLP; the decoder's matrices too.

    Raises OrbitError for a model without blocks, and where ranks do not divide heads or features.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, Blocks):
        raise OrbitError("the hidden width can be split in transformers only", where="train.mesh.tp", got=type(model).__name__,
                         allowed="Reslim, UpsampledViT", hint="set it to 1")  # fmt: skip
    ranks = tp_mesh.size()
    for block in blocks:
        assert isinstance(block, Block)
        _divides(ranks, block.attention.heads, "attention heads")
        _divides(ranks, _rows(block.mlp[0]), "features of the MLP")
        parallelize_module(block, tp_mesh, {
            "attention.qkv_by_head": ColwiseParallel(), "attention.output": RowwiseParallel(),
            "mlp.0": ColwiseParallel(), "mlp.3": RowwiseParallel(),
        })  # fmt: skip
        part_dropout(block, ranks, tp_mesh.get_local_rank())
    decoder = getattr(model, "decoder", None)
    if isinstance(decoder, Decoder):  # single matrices, what they make is gathered; those that cannot be divided evenly stay whole
        matrices = {"head": decoder.head} | {f"layers.{i}.linear": layer.linear for i, layer in enumerate(decoder.layers)}
        plan: dict[str, ParallelStyle] = {
            name: ColwiseParallel(output_layouts=Replicate()) for name, matrix in matrices.items() if not _rows(matrix) % ranks
        }
        parallelize_module(decoder, tp_mesh, plan)
    agree_on_leaves(model, tp_mesh.get_group())


def _rows(matrix: object) -> int:
    assert isinstance(matrix, nn.Linear)
    return matrix.out_features


def _divides(ranks: int, size: int, what: str) -> None:
    if size % ranks:
        valid = [n for n in range(1, size + 1) if size % n == 0]
        near = sorted(sorted(valid, key=lambda n: abs(n - ranks))[:4])
        raise OrbitError(f"tp must divide the {what}", where="train.mesh.tp", got=f"{ranks} for {size}", allowed=", ".join(map(str, near)),
                         hint="choose one of the nearest numbers")  # fmt: skip
