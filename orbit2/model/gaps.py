"""What is missing in a batch, and what follows from it. Whoever knows beforehand tells: then no device is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orbit2.model.geometry import complete, finite_sums, select, valueless
from orbit2.model.residual import ResidualPath
from orbit2.model.scale import Scaled


@dataclass(frozen=True)
class Gaps:
    """What of a batch may be missing somewhere, as a model's graph depends on it: any input, any field that is interpolated, any fine
    static field (for models that ask). Known beforehand, one graph can be compiled."""

    inputs: bool
    interpolated: bool
    statics: bool = False


@dataclass(frozen=True)
class MissingFlags:
    """Whether each coarse channel [V] may miss anything, and any fine static field."""

    coarse: tuple[bool, ...]
    statics: bool = False

    @classmethod
    def of(cls, coarse: Tensor, statics: Tensor | None = None) -> MissingFlags:
        """Looked at: coarse [B, V, H, W] and statics [B, S, sH, sW]. A device is waited for, and what has no values misses none."""
        if valueless(coarse):
            return cls((False,) * coarse.shape[1])
        flags = tuple((~finite_sums(coarse, (0, 2, 3))).tolist())
        return cls(flags, statics is not None and not complete(statics))


class Gapped(Scaled):
    """A model that is given fields with missing cells."""

    outputs: tuple[str, ...]
    statics: tuple[str, ...]
    residual: ResidualPath

    def gaps(self, coarse: Tensor, variables: Sequence[str]) -> Gaps:
        """What is missing in coarse [B, V, H, W]: looked at."""
        return self.gaps_from(MissingFlags.of(coarse), variables)

    def gaps_from(self, missing: MissingFlags, variables: Sequence[str]) -> Gaps:
        """The same, where it is known beforehand."""
        interpolated = (lacks for lacks, name in zip(missing.coarse, variables, strict=True) if name in self.outputs)
        return Gaps(any(missing.coarse), any(interpolated))

    def missing(self, coarse: Tensor, variables: Sequence[str], periodic: bool, gaps: Gaps | None = None) -> Tensor | None:
        """Fine cells [B, C, sH, sW] whose own input is missing there or near by: never trained on or delivered; None when complete.

        `gaps`: what is missing, where the caller knows.
        """
        gaps = self.gaps(coarse, variables) if gaps is None else gaps
        if not gaps.inputs:
            return None
        far = ~torch.isfinite(self.residual.interpolation_of(coarse, list(variables), periodic, not gaps.interpolated))
        return far | unseen(coarse, list(variables), self.outputs, self.statics, self.residual.refinement)


def unseen(coarse: Tensor, names: Sequence[str], outputs: Sequence[str], statics: Sequence[str], factor: int) -> Tensor:
    """Fine cells [B, C, sH, sW] whose coarse cell says nothing about them: the output's own input is missing there, or, of an output that
    is no input, all inputs but the statics [B, V, H, W]."""
    absent = ~torch.isfinite(coarse)
    dynamic = [i for i, name in enumerate(names) if name not in statics]
    nothing = torch.zeros_like(absent[:, 0])
    if dynamic:
        nothing = select(absent, dynamic, 1).all(1)
    own = torch.stack([absent[:, names.index(name)] if name in names else nothing for name in outputs], 1)
    return own.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
