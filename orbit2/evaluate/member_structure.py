"""Are members like the truth in what neighbouring cells say together? Beside the mean of members and everything that is one field."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from orbit2.evaluate.turns import Turns
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.member_kernels import OF_CELLS
from orbit2.metrics.member_structure import MEANS, STEPS, WAVES, RingStatistic, Shape, StructureStatistic
from orbit2.metrics.statistics import Statistic
from orbit2.metrics.table import TRUTH, Table
from orbit2.metrics.weighting import area_weights

Array = npt.NDArray[np.float64]
MEMBERS, RINGS = "(members)", "(rings)"
WHAT = ((STEPS, "differences", "differences of neighbouring cells"), (MEANS, "2x2", "means of 2 x 2 cells"))


class MemberStructure(Keeping):
    """A StructureStatistic of the truth, the members, their mean (under the model's name) and every other model; nothing without members
    or a truth."""

    name, stage = "member_structure", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.turns = Turns.of(matched, settings)
        fields = self.fields if matched.members and matched.has_truth else ()
        aligned = matched.aligned and matched.observations is None and matched.refinement > 1
        self.shape = Shape(area_weights(matched.grid), bool(matched.grid.periodic), matched.refinement if aligned else 0)
        self.rings = self.shape.rings() if aligned and fields else None
        self.of: dict[tuple[str, ...], StructureStatistic] = {
            (f.label, whose): StructureStatistic(self.shape) for f in fields for whose in (TRUTH, MEMBERS, *matched.models(f.variable))}
        self.by_ring: dict[tuple[str, ...], RingStatistic] = {
            (f.label, RINGS): RingStatistic(int(self.rings.max()) + 1) for f in fields if self.rings is not None}
        of: Mapping[tuple[str, ...], Statistic] = self.of
        self.statistics = {**of, **self.by_ring}

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        if (f.label, TRUTH) not in self.of or not self.turns.has(scored):
            return
        self.of[f.label, TRUTH].update(truth)
        self.of[f.label, MEMBERS].members(scored.members(self.matched), truth, f.of)
        if self.rings is not None and f.label in scored.cells:
            told = dict(zip(OF_CELLS, scored.cells[f.label], strict=True))
            self.by_ring[f.label, RINGS].update(self.rings, self.shape.weights, told["variance"], told["square"])

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if (f.label, model) in self.of and self.turns.has(scored):
            self.of[f.label, model].update(prediction, truth)

    def rows(self, table: Table, protocol: str) -> None:
        for f in self.fields if self.of and protocol == "standard" else ():
            if self.of[f.label, TRUTH].edges[:, 1].any():
                self._rows(table, f)

    def _rows(self, table: Table, f: Field) -> None:
        own, region, count = self.matched.model, self.matched.region, self.matched.members
        truth, members = self.of[f.label, TRUTH], self.of[f.label, MEMBERS]
        rest = f"area-weighted, pooled over samples{self.turns.method}"

        def add(model: str, metric: str, method: str, value: float) -> None:
            if np.isfinite(value):
                table.add(model, f.variable, f.space, region, metric, f"{method}; {rest}", value, n=self.turns.count)

        for which, name, words in WHAT:
            add(own, f"crps_{name}", f"fair CRPS of {words}; {count} members", members.error(which))
            for model in self.matched.models(f.variable):
                label, whose = (f"mean_mae_{name}", "the mean of members") if model == own else (f"mae_{name}", "one field")
                add(model, label, f"mean absolute error of {words} of {whose}", self.of[f.label, model].error(which))
            reference = self.matched.counterpart
            if reference is not None and (f.label, reference) in self.of and (below := self.of[f.label, reference].error(which)) > 0:
                add(own, f"crps_{name}_ratio_vs_{reference}", f"fair CRPS of {words} over the mean absolute error of {reference}; "
                    f"{count} members", members.error(which) / below)  # fmt: skip
        for low, high in WAVES:
            words = f"power along rows of waves of {low} to {high} cells over the truth's"
            add(own, f"power_ratio_{low}_to_{high}_cells", f"{words}, of the first member", members.power_ratio(truth, (low, high)))
            for model in self.matched.models(f.variable):
                mean = "mean_" if model == own else ""
                add(model, f"{mean}power_ratio_{low}_to_{high}_cells", f"{words}{', of the mean of members' if mean else ''}",
                    self.of[f.label, model].power_ratio(truth, (low, high)))  # fmt: skip
        words = "mean |difference of neighbours| across the edges of input cells over that inside them"
        add(TRUTH, "block_edge_ratio", words, truth.edge_ratio())
        add(own, "block_edge_ratio", f"{words}, of all members", members.edge_ratio())
        for model in self.matched.models(f.variable):
            mean = "mean_" if model == own else ""
            add(model, f"{mean}block_edge_ratio", f"{words}{', of the mean of members' if mean else ''}",
                self.of[f.label, model].edge_ratio())  # fmt: skip
        if (f.label, RINGS) in self.by_ring:
            for kind, values in zip(("variance", "error"), self.by_ring[f.label, RINGS].relative(), strict=True):
                what = "variance of members" if kind == "variance" else "squared error of the mean of members"
                for ring, value in enumerate(values):
                    add(own, f"block_{kind}_{ring}", f"{what} {ring} cells from the edge of its input cell over that of all cells", value)
