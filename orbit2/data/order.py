"""Which samples a step trains on, computed from (seed, step) alone: nothing to save, nothing that ranks or workers could disagree on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


class Order:
    """Steps alternate between datasets in proportion to their `sizes`; each dataset is gone through epoch after epoch, on its own.

    Laid end to end, the batches of one dataset are shuffled epochs: every sample once before any comes again.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, seed: int) -> None:
        self.sizes, self.batch_size, self.seed = tuple(int(n) for n in sizes), batch_size, seed
        remaining = [sum(self.sizes[i:]) for i in range(len(self.sizes))]
        # where in its period a dataset's turn falls: by the seed, or the largest would begin every run
        self._turns = [
            (size, total, int(np.random.default_rng((seed, 1, i)).integers(total)))
            for i, (size, total) in enumerate(zip(self.sizes, remaining, strict=True))
        ]
        self._epochs: OrderedDict[tuple[int, int], Positions] = OrderedDict()

    def draws(self, step: int) -> list[int]:
        """How many of the steps before `step` draw each dataset.

        The first takes floor((its share) step + phase) of them, the second its share of what is left, and so on: counts that
        add up to `step`, grow by one dataset a step, and stay within one step per dataset of the exact shares.
        """
        counts, left = [], step
        for size, total, phase in self._turns:
            counts.append(left if size == total else (left * size + phase) // total)
            left -= counts[-1]
        return counts

    def choose(self, step: int) -> tuple[int, Positions]:
        """(dataset, positions among its samples of the GLOBAL batch) of a step."""
        before, after = self.draws(step), self.draws(step + 1)
        which = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if b > a)
        epochs, places = np.divmod(before[which] * self.batch_size + np.arange(self.batch_size), self.sizes[which])
        return which, np.concatenate([self._epoch(which, int(e))[places[epochs == e]] for e in np.unique(epochs)])

    def _epoch(self, which: int, epoch: int) -> Positions:
        """A permutation of one dataset's positions. The newest are kept: drawing one costs milliseconds where there are many samples."""
        key = (which, epoch)
        if key not in self._epochs:
            self._epochs[key] = np.random.default_rng((self.seed, 2, which, epoch)).permutation(self.sizes[which])
            if len(self._epochs) > 2 * len(self.sizes):  # a batch may end one epoch and begin the next
                self._epochs.popitem(last=False)
        self._epochs.move_to_end(key)
        return self._epochs[key]
