"""Between physical fields and what the network sees: log1p for precipitation, then z-scores. Never fills missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from orbit2.errors import OrbitError
from orbit2.variables import is_precipitation


@dataclass
class Normaliser:
    """Mean and standard deviation per variable, in network space (ln(1 + mm) for precipitation).

    `threshold` (mm or mm/day): precipitation at or below it counts as dry, in inputs and targets alike.
    """

    moments: dict[str, tuple[float, float]]
    threshold: float = 0.0
    _cache: dict[tuple[tuple[str, ...], torch.device], tuple[Tensor, Tensor, list[int]]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any], threshold: float) -> Normaliser:
        """From statistics.json: coarse moments of the inputs, fine ones of outputs that are not inputs and of statics."""
        moments: dict[str, tuple[float, float]] = {}
        for side in ("fine", "coarse"):  # coarse last: an input's own moments win
            for name, row in statistics[side].items():
                prefix = "log1p_" if is_precipitation(name) else ""
                moments[name] = (float(row[f"{prefix}mean"]), _spread(float(row[f"{prefix}std"])))
        for name, row in statistics["static"]["fine"].items():
            moments[name] = (float(row["mean"]), _spread(float(row["std"])))
        return cls(moments, threshold)

    def _of(self, names: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor, list[int]]:
        """Means and spreads [V, 1, 1] on a device, copied there once; which variables are precipitation."""
        key = (tuple(names), device)
        if key not in self._cache:
            missing = [name for name in names if name not in self.moments]
            if missing:
                raise OrbitError("no normalisation for a variable", got=missing[0], allowed=", ".join(self.moments))
            mean = torch.tensor([self.moments[name][0] for name in names], device=device)[:, None, None]
            std = torch.tensor([self.moments[name][1] for name in names], device=device)[:, None, None]
            self._cache[key] = (mean, std, [i for i, name in enumerate(names) if is_precipitation(name)])
        return self._cache[key]

    def normalise(self, fields: Tensor, names: Sequence[str]) -> Tensor:
        """[..., V, H, W] in canonical units -> network space; NaN stays NaN."""
        return self.normalise_(fields.clone(), names)

    def normalise_(self, fields: Tensor, names: Sequence[str]) -> Tensor:
        """`normalise` in place: half its time, which goes into touching new memory."""
        mean, std, wet = self._of(names, fields.device)
        for channel in wet:
            rain = fields[..., channel, :, :]
            torch.threshold_(rain, self.threshold, 0.0).log1p_()  # NaN, which is not <= anything, stays
        return fields.sub_(mean).div_(std)

    def denormalise(self, fields: Tensor, names: Sequence[str]) -> Tensor:
        """Network space [..., V, H, W] -> canonical units, precipitation not below zero; float32 throughout."""
        mean, std, wet = self._of(names, fields.device)
        fields = fields.float() * std + mean
        if wet:
            fields[..., wet, :, :] = torch.expm1(fields[..., wet, :, :]).clamp_min(0)
        return fields

    def to_json(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "moments": {name: list(pair) for name, pair in sorted(self.moments.items())}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Normaliser:
        return cls({name: (float(a), float(b)) for name, (a, b) in value["moments"].items()}, float(value["threshold"]))

    def extended(self, other: Normaliser) -> Normaliser:
        """These moments, plus `other`'s for names not here (a fine-tuned model keeps its parent's scales)."""
        return Normaliser({**other.moments, **self.moments}, self.threshold)


def _spread(std: float) -> float:
    return std if std > 1e-12 else 1.0
