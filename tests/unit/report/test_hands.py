"""Pictures are packed by several threads, in their order."""

from __future__ import annotations

import time
from functools import partial

import pytest

from orbit2.report.hands import in_order


def slow(k):
    time.sleep(0.002 * (5 - k % 5))
    if k == 40:
        raise ValueError("forty")
    return k


@pytest.mark.parametrize("hands", [1, 3])
def test_work_comes_back_in_order_and_failures_are_raised(hands):
    made = []

    def work(count):
        for k in range(count):
            made.append(k)
            yield partial(slow, k)

    found = in_order(work(20), hands)
    assert next(found) == 0 and len(made) <= 2 * hands + 1  # no more is drawn than can be packed
    assert list(found) == list(range(1, 20))
    with pytest.raises(ValueError, match="forty"):
        list(in_order(work(42), hands))
