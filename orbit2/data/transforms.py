"""Between physical fields and what the network sees: each variable's transform, then z-scores. Never fills missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from orbit2.data.curves import CURVED, SQUEEZE
from orbit2.errors import OrbitError
from orbit2.variables import is_precipitation, transform_of, variable

_Scales = tuple[Tensor, Tensor, list[tuple[int, str]]]


@dataclass
class Normaliser:
    """Mean and standard deviation per variable, in network space (ln(1 + mm) for precipitation, see `transformed_`).

    `threshold` (mm or mm/day): precipitation at or below it counts as dry, in inputs and targets alike.
    """

    moments: dict[str, tuple[float, float]]
    threshold: float = 0.0
    _cache: dict[tuple[tuple[str, ...], torch.device], _Scales] = field(default_factory=dict, repr=False)

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any], threshold: float) -> Normaliser:
        """From statistics.json: coarse moments of the inputs, fine ones of outputs that are not inputs and of statics."""
        moments: dict[str, tuple[float, float]] = {}
        for side in ("fine", "coarse"):  # coarse last: an input's own moments win
            for name, row in statistics[side].items():
                moments[name] = _moments(name, row)
        for name, row in statistics["static"]["fine"].items():
            moments[name] = (float(row["mean"]), _spread(float(row["std"]), float(row["mean"])))
        return cls(moments, threshold)

    def _of(self, names: Sequence[str], device: torch.device) -> _Scales:
        """Means and spreads [V, 1, 1] on a device, copied there once; which variables are more than scaled."""
        key = (tuple(names), device)
        if key not in self._cache:
            missing = [name for name in names if name not in self.moments]
            if missing:
                raise OrbitError("no normalisation for a variable", where="statistics", got=missing[0], allowed=", ".join(self.moments),
                                 hint="run the statistics stage of a dataset that has it")  # fmt: skip
            mean = torch.tensor([self.moments[name][0] for name in names], device=device)[:, None, None]
            std = torch.tensor([self.moments[name][1] for name in names], device=device)[:, None, None]
            self._cache[key] = (mean, std, [(i, name) for i, name in enumerate(names) if curved(name)])
        return self._cache[key]

    def normalise(self, fields: Tensor, names: Sequence[str]) -> Tensor:
        """[..., V, H, W] in canonical units -> network space; NaN stays NaN."""
        return self.normalise_(fields.clone(), names)

    def normalise_(self, fields: Tensor, names: Sequence[str]) -> Tensor:
        """`normalise` in place: half its time, which goes into touching new memory."""
        mean, std, special = self._of(names, fields.device)
        for channel, name in special:
            plane = fields[..., channel, :, :]
            if is_precipitation(name):
                torch.threshold_(plane, self.threshold, 0.0)  # NaN, which is not <= anything, stays
            transformed_(plane, name)
        return fields.sub_(mean).div_(std)

    def denormalise(self, fields: Tensor, names: Sequence[str]) -> Tensor:
        """Network space [..., V, H, W] -> canonical units, within the range of a transform (rain not below zero); float32 throughout."""
        mean, std, special = self._of(names, fields.device)
        fields = fields.float() * std + mean
        for channel, name in special:
            field = fields[..., channel, :, :]
            field.copy_(torch.expm1(field).clamp_min(0) if transform_of(name) == "log1p" else restored(field, name))
        return fields

    def to_json(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "moments": {name: list(pair) for name, pair in sorted(self.moments.items())}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Normaliser:
        return cls({name: (float(a), float(b)) for name, (a, b) in value["moments"].items()}, float(value["threshold"]))

    def extended(self, other: Normaliser) -> Normaliser:
        """These moments, plus `other`'s for names not here (a fine-tuned model keeps its parent's scales)."""
        return Normaliser({**other.moments, **self.moments}, self.threshold)


def curved(name: str) -> bool:
    """Whether a variable comes back within its range whatever the network says: it is seen through a logarithm or logit, or is rain."""
    return is_precipitation(name) or transform_of(name) in CURVED


def transformed_(field: Tensor, name: str) -> Tensor:
    """A physical field [...] in the space of its variable's moments, in place: ln(1 + x), nothing less than x = 0; the logit of the share
    of the range, squeezed into (SQUEEZE, 1 - SQUEEZE) after Smithson & Verkuilen (2006), what is beyond the range at its end. NaN stays."""
    if transform_of(name) == "log1p":
        return torch.threshold_(field, 0.0, 0.0).log1p_()
    if transform_of(name) == "logit":
        low, high = variable(name).valid
        return field.sub_(low).div_(high - low).clamp_(0.0, 1.0).mul_(1 - 2 * SQUEEZE).add_(SQUEEZE).logit_()
    return field


def restored(field: Tensor, name: str) -> Tensor:
    """What `transformed_` was given: never below zero for a logarithm, never beyond the range for a fraction, whose ends come back exactly
    (to rounding)."""
    if transform_of(name) == "log1p":
        return torch.expm1(field).clamp_min(0)
    if transform_of(name) == "logit":
        low, high = variable(name).valid
        return field.sigmoid().sub(SQUEEZE).div(1 - 2 * SQUEEZE).clamp(0.0, 1.0).mul(high - low).add(low)
    if is_precipitation(name):
        return field.clamp_min(0)
    return field


def _moments(name: str, row: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and spread in network space of a variable's row of statistics.json. Raises OrbitError where they were made for another one."""
    kind = transform_of(name)
    if kind == "identity":
        return 0.0, 1.0
    prefix = "" if kind == "zscore" else f"{kind}_"
    if f"{prefix}mean" not in row:
        raise OrbitError(f"statistics of {name} were made for another transform", where="statistics", got="no " + prefix + "mean",
                         allowed=kind, hint="run the statistics stage again")  # fmt: skip
    mean = float(row[f"{prefix}mean"])
    return mean, _spread(float(row[f"{prefix}std"]), mean)


def _spread(std: float, mean: float) -> float:
    """What a field is divided by: nothing where it is constant (a trace gas of 1e-15 that varies is not)."""
    return std if std > 1e-12 or std > 1e-6 * abs(mean) > 0 else 1.0
