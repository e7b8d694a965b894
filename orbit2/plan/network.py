"""Seconds that an exchange between ranks takes, by the formulas of rings and trees over the levels of a machine's network.

NCCL and RCCL gather and scatter in a ring, whose steps are as many as its ranks, and sum in a ring or in two trees, whichever is faster
(NCCL 2.4 to 2.22; RCCL). Ranks lie in order: neighbours fill a node.
"""

from __future__ import annotations

import functools
import math
from dataclasses import astuple, dataclass

import numpy as np

from orbit2.parallel.mesh import AXES, Sizes
from orbit2.plan.devices import Device


@dataclass(frozen=True)
class Group:
    """`ranks` that talk to each other, on `nodes` nodes."""

    ranks: int
    nodes: int

    @property
    def each(self) -> float:
        """Of them on one node."""
        return self.ranks / self.nodes


@functools.cache
def group(mesh: Sizes, axes: tuple[str, ...], per_node: int) -> Group:
    """The ranks that differ from the first one in `axes` alone."""
    strides = np.cumprod([1, *reversed(astuple(mesh))])[:-1][::-1]  # of AXES: the last one's ranks are neighbours
    members = np.zeros(1, np.int64)
    for axis, stride in zip(AXES, strides, strict=True):
        if axis in axes:
            members = np.add.outer(members, stride * np.arange(getattr(mesh, axis))).ravel()
    return Group(len(members), len(np.unique(members // per_node)))


def seconds(kind: str, size: int, who: Group, device: Device, share: float, start: float) -> float:
    """One exchange of `kind` (as in watch.KINDS) of `size` bytes: all that is gathered, scattered, summed or exchanged.

    `share` of the links' bandwidth is reached; `start` seconds go by before the first byte.
    """
    n, nodes = who.ranks, who.nodes
    if n == 1:
        return 0.0
    inside, outside = device.inside, device.outside
    if kind == "all-to-all":
        own, others = size * (who.each - 1) / n, size * (n - who.each) / n  # of a rank's own node, and of others
        hop = outside.latency if nodes > 1 else inside.latency
        return start + hop + max(own / inside.bandwidth, others / outside.bandwidth) / share
    # every byte passes every node once: in through the NICs of the group's ranks there, through the links inside, and out
    width = share * (inside.bandwidth if nodes == 1 else min(inside.bandwidth, who.each * outside.bandwidth))
    far = min(nodes, n - 1) if nodes > 1 else 0  # of the ring's n - 1 steps
    ring = far * outside.latency + (n - 1 - far) * inside.latency + size * (n - 1) / n / width
    tree = (who.each - 1) * inside.latency + math.ceil(math.log2(nodes)) * outside.latency + size / width
    if kind == "all-reduce":
        return start + 2 * min(ring, tree)
    return start + (tree if kind == "broadcast" else ring)
