"""The batched quadtree against a plain greedy one, leaf for leaf, and what users rely on."""

from __future__ import annotations

import heapq

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

from orbit2.errors import OrbitError
from orbit2.model.quadtree import Leaves, Pyramid, by_budget, by_threshold, rows_of

Node = tuple[int, int, int]  # level (0: root), row, column


def square(pyramid: Pyramid, node: Node) -> tuple[slice, slice]:
    """The real cells of a node."""
    side, limits = pyramid.max_leaf // 2 ** node[0], (pyramid.rows, pyramid.columns)
    (top, bottom), (left, right) = ((min(k * side, n), min((k + 1) * side, n)) for k, n in zip(node[1:], limits, strict=True))
    return slice(top, bottom), slice(left, right)


def children(node: Node) -> list[Node]:
    level, row, column = node
    return [(level + 1, 2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)]


def roots(pyramid: Pyramid) -> list[Node]:
    down, across = -(-pyramid.rows // pyramid.max_leaf), -(-pyramid.columns // pyramid.max_leaf)
    return [(0, i, j) for i in range(down) for j in range(across)]


def is_smallest(pyramid: Pyramid, node: Node) -> bool:
    return pyramid.max_leaf // 2 ** node[0] == pyramid.min_leaf


def greedy(mass: torch.Tensor, pyramid: Pyramid, leaves: int) -> set[Node]:
    """Split the heaviest leaf, one at a time, until the next split would exceed R + 3 m <= `leaves`. mass [h, w].

    Only nodes with real cells exist.
    """

    def entry(node: Node) -> tuple[float, int, int, int]:
        return (-float(mass[square(pyramid, node)].sum()), *node)

    waiting = [entry(n) for n in roots(pyramid) if not is_smallest(pyramid, n)]
    found = set(roots(pyramid))
    most = len(found) + 3 * ((leaves - len(found)) // 3)
    heapq.heapify(waiting)
    while waiting:
        node = heapq.heappop(waiting)[1:]
        below = [child for child in children(node) if mass[square(pyramid, child)].numel()]
        if len(found) - 1 + len(below) > most:
            break
        found.remove(node)
        for child in below:
            found.add(child)
            if not is_smallest(pyramid, child):
                heapq.heappush(waiting, entry(child))
    return found


def descend(mass: torch.Tensor, pyramid: Pyramid, node: Node, value: float) -> set[Node]:
    inside = mass[square(pyramid, node)]
    if is_smallest(pyramid, node) or float(inside.sum()) <= value * max(inside.numel(), 1):
        return {node}
    return set().union(*(descend(mass, pyramid, child, value) for child in children(node)))


def named(leaves: Leaves, sample: int) -> list[Node]:
    """Nodes of one sample's leaves in order, from their position in the pyramid; fillers left out."""
    pyramid, names = leaves.pyramid, []
    for level, side in enumerate(pyramid.sides):
        down, across = pyramid.shape(side)
        names += [(level, i, j) for i in range(down) for j in range(across)]
    return [names[i] for i in leaves.nodes[sample].tolist()]


def check_cells(leaves: Leaves, sample: int) -> None:
    """Every cell belongs to the leaf that contains it, no leaf is empty; what fills up repeats the first leaf and covers nothing."""
    pyramid, names = leaves.pyramid, named(leaves, sample)
    cells = leaves.cells[sample].view(pyramid.rows, pyramid.columns)
    different = len(set(names))
    assert names[different:] == names[:1] * (len(names) - different)
    for place, node in enumerate(names[:different]):
        inside = cells[square(pyramid, node)]
        assert inside.numel() and (inside == place).all()
    assert int(cells.max()) == different - 1


@st.composite
def forests(draw: st.DrawFn) -> tuple[torch.Tensor, Pyramid]:
    """Integer masses (full of ties and empty regions) of a batch on any grid."""
    minimum, levels = draw(st.integers(1, 3)), draw(st.integers(0, 4))
    rows, columns = draw(st.integers(1, 21)), draw(st.integers(1, 21))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    highest = draw(st.sampled_from((0, 1, 2, 50)))
    mass = torch.randint(0, highest + 1, (draw(st.integers(1, 3)), rows, columns), generator=generator)
    mass[:, :, : draw(st.integers(0, columns))] = 0
    return mass.float(), Pyramid(rows, columns, minimum, minimum << levels)


@given(forests(), st.floats(0, 1.2))
@settings(max_examples=150, deadline=None)
def test_equals_the_greedy_tree_leaf_for_leaf(forest: tuple[torch.Tensor, Pyramid], share: float) -> None:
    mass, pyramid = forest
    most = pyramid.nodes(pyramid.min_leaf)
    budget = pyramid.roots + int(share * (most - pyramid.roots))
    leaves = by_budget(mass, pyramid, budget)
    assert leaves.real is None  # the same cost for every sample, without a mask
    for sample in range(len(mass)):
        expected = greedy(mass[sample], pyramid, budget)
        found = named(leaves, sample)
        assert set(found) == expected and len(expected) <= len(found) <= min(budget, len(expected) + 2)
        check_cells(leaves, sample)


def test_the_budget_is_spent_on_real_leaves() -> None:
    """23 x 45 tokens, as on the demo, lie on 32 x 48: every one of the leaves holds cells, and none is there twice."""
    torch.manual_seed(0)
    pyramid, mass = Pyramid(23, 45, 1, 16), torch.rand(4, 23, 45)
    for budget in (32, 64, 129, 258):
        leaves = by_budget(mass, pyramid, budget)
        for sample in range(4):
            assert budget - 4 <= len(leaves.boxes(sample)) <= leaves.nodes.shape[1] <= budget
            check_cells(leaves, sample)


@given(forests(), st.floats(0, 3))
@settings(max_examples=80, deadline=None)
def test_threshold_equals_the_recursive_tree(forest: tuple[torch.Tensor, Pyramid], value: float) -> None:
    mass, pyramid = forest
    leaves = by_threshold(mass, pyramid, value)
    longest = 0
    for sample in range(len(mass)):
        expected = set().union(*(descend(mass[sample].double(), pyramid, root, value) for root in roots(pyramid)))
        expected = {node for node in expected if mass[sample][square(pyramid, node)].numel()}
        real = [True] * leaves.nodes.shape[1] if leaves.real is None else leaves.real[sample].tolist()
        assert real == sorted(real, reverse=True)  # real ones first: what packing relies on
        assert {node for node, use in zip(named(leaves, sample), real, strict=True) if use} == expected
        cells = leaves.cells[sample].view(pyramid.rows, pyramid.columns)
        for place, node in enumerate(named(leaves, sample)[: len(expected)]):
            assert (cells[square(pyramid, node)] == place).all()
        longest = max(longest, len(expected))
    assert leaves.nodes.shape[1] == longest
    lengths = leaves.cumulative_lengths().diff()
    assert int(lengths.max()) == longest and leaves.cumulative_lengths().dtype == torch.int32


def test_a_single_spot_is_split_down_to_its_cell() -> None:
    mass = torch.zeros(1, 16, 16)
    mass[0, 9, 2] = 1
    leaves = by_budget(mass, Pyramid(16, 16, 1, 16), 13)
    expected = {(1, 0, 0), (1, 0, 1), (1, 1, 1), (2, 2, 1), (2, 3, 0), (2, 3, 1), (3, 4, 0), (3, 5, 0), (3, 5, 1)}
    assert set(named(leaves, 0)) == expected | {(4, 8, 2), (4, 8, 3), (4, 9, 2), (4, 9, 3)}


def test_sums_and_means_are_those_of_the_cells() -> None:
    torch.manual_seed(0)
    pyramid, values = Pyramid(7, 10, 1, 4), torch.randn(2, 7, 10, 3, dtype=torch.float64)
    leaves = by_budget(torch.rand(2, 7, 10), pyramid, 21)
    means = leaves.take(pyramid.sums(values)) / leaves.take(pyramid.sizes().expand(2, -1)).clamp_min(1)[..., None]
    spread = rows_of(means, leaves.cells).view(2, 7, 10, 3)
    for sample in range(2):
        for node in named(leaves, sample):
            at = square(pyramid, node)
            if values[sample][at].numel():
                expected = values[sample][at].mean((0, 1))
                assert (spread[sample][at] - expected).abs().max() < 1e-12


def test_too_few_leaves_name_the_valid_numbers() -> None:
    with pytest.raises(OrbitError) as caught:
        by_budget(torch.zeros(1, 45, 90), Pyramid(45, 90, 1, 8), 71)
    message = str(caught.value)
    assert "72, 75, 78" in message and "71 leaves" in message and "\n" not in message.strip()
    assert by_budget(torch.zeros(1, 45, 90), Pyramid(45, 90, 1, 8), 74).nodes.shape == (1, 72)


def test_budget_traces_without_values() -> None:
    """Shapes and control flow do not depend on values: the tree traces with fake tensors."""
    pyramid = Pyramid(7, 10, 1, 4)
    traced = make_fx(lambda mass: by_budget(mass, pyramid, 15).cells, tracing_mode="symbolic")(torch.zeros(2, 7, 10))
    mass = torch.rand(2, 7, 10)
    assert torch.equal(traced(mass), by_budget(mass, pyramid, 15).cells)
