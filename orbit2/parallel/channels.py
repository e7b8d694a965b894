"""Input variables shared out over ranks (what D-CHAG, arXiv 2506.21411, is for), exactly: by the log-sum-exp of what each rank says.

Each rank holds a contiguous share of the vocabulary's rows, and makes and aggregates the tokens of those of a batch's variables that are
in it. One maximum and one sum over the group make them what one process has; a hierarchy of queries is not needed. Ranks of the group
hold the same fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard, distribute_tensor

from orbit2.errors import OrbitError
from orbit2.model.aggregate import PER_VARIABLE, Tables, VariableAggregation, merge
from orbit2.model.geometry import select
from orbit2.model.precision import exact
from orbit2.parallel.adjoints import entered, largest, summed
from orbit2.parallel.sharded import local


def split_channels(model: nn.Module, tp_mesh: DeviceMesh) -> None:
    """Share the variables of `model.aggregate` out over a mesh of one dimension, in place. Raises OrbitError without such a part.

    Parameters with a row per variable become DTensors, `Shard(0)`, of ceil(V / ranks) rows; the last ranks may have fewer, or none, and
    still take part. Their gradients are complete on the rank that has them; those of all others are the same on all ranks.
    """
    room = getattr(model, "aggregate", None)
    if not isinstance(room, VariableAggregation):
        raise OrbitError("input variables can be shared out in transformers only", where="train.mesh.channels", got=type(model).__name__,
                         allowed="Reslim, UpsampledViT", hint="set it to 1")  # fmt: skip
    for name in PER_VARIABLE:
        table: nn.Parameter = getattr(room, name)
        setattr(room, name, nn.Parameter(distribute_tensor(table.data, tp_mesh, [Shard(0)]), table.requires_grad))
    room.divided = _divided(len(room.vocabulary), tp_mesh)


def held(count: int, ranks: int, rank: int) -> range:
    """Positions of the vocabulary of `count` variables that `rank` of `ranks` holds."""
    each = -(-count // ranks)
    return range(min(rank * each, count), min((rank + 1) * each, count))


def _divided(count: int, mesh: DeviceMesh) -> Callable[[VariableAggregation, Tensor, Sequence[str], bool, bool], Tensor]:
    group, mine = mesh.get_group(), held(count, mesh.size(), mesh.get_local_rank())

    def mixed(room: VariableAggregation, fields: Tensor, variables: Sequence[str], periodic: bool, whole: bool) -> Tensor:
        """As `VariableAggregation.mixed`: [B, V, H, W] -> [B, N, h, d], the same on all ranks."""
        places = room.select(variables)
        here = [i for i, place in enumerate(places) if place in mine]
        with exact(fields):
            weight, missing, bias, embedding = (
                select(local(getattr(room, name)), [places[i] - mine.start for i in here], 0) for name in PER_VARIABLE
            )
            scoring, value = entered(room.scoring(), group), entered(room.values(), group)
            share = room.share(select(fields, here, 1), Tables(weight, missing, bias, embedding, scoring, value), periodic, whole)
            return merge(share, lambda x: largest(x, group), lambda x: summed(x, group))

    return mixed
