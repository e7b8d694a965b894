"""What the learned baselines share: inputs interpolated to the FINE grid first, the interpolation as residual. Never works on coarse ones.

They get everything Reslim gets (fine statics, validity, units of the interpolation's error, conservation), so that a comparison
is of architectures. Letters as in reslim.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError, one_of
from orbit2.model.constraints import conserve_blocks
from orbit2.model.gaps import Gapped, Gaps, MissingFlags
from orbit2.model.geometry import Geometry, select
from orbit2.model.residual import ResidualPath, interpolate


class Upsampled(Gapped):
    """y = interpolation(x) + detail(interpolation(x), fine statics), all on the fine grid; untrained it IS the interpolation.

    Arguments and buffers are Reslim's. A kind of model implements `detail`, whose last layer starts at zero.
    """

    output_moments: Tensor

    def __init__(self, config: ArchitectureConfig, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str]) -> None:
        super().__init__()
        self.config, self.inputs, self.outputs, self.statics = config, tuple(inputs), tuple(outputs), tuple(statics)
        self.residual = ResidualPath(self.inputs, self.statics, self.outputs, config.refinement, config.interpolation, 0, 0)
        self.register_buffer("output_scale", torch.ones(len(self.outputs)))
        self.register_buffer("output_moments", torch.tensor([[0.0, 1.0]]).repeat(len(self.outputs), 1))

    def forward(
        self,
        coarse: Tensor,
        statics: Tensor | None,
        geometry: Geometry,
        variables: Sequence[str] | None = None,
        clock: Tensor | None = None,
        gaps: Gaps | None = None,
    ) -> Tensor:
        """coarse [B, V, H, W] (normalised, NaN = missing), statics [B, S, sH, sW] -> [B, C, sH, sW] (normalised).

        `variables` names the V channels (default: all inputs, in order); `gaps`: what is missing, where the caller knows. Raises
        OrbitError for a variable the model does not know.
        """
        given = tuple(variables) if variables is not None else self.inputs
        gaps = self.gaps_from(MissingFlags.of(coarse, statics), given) if gaps is None else gaps
        fields, names = self.upsample(coarse, given, statics, geometry.periodic, not gaps.inputs)
        base = self.residual.interpolation_of(coarse, list(given), geometry.periodic, not gaps.interpolated)
        whole = not (gaps.inputs or gaps.statics)
        detail = self.detail(fields, names, fine_geometry(geometry, self.config.refinement), clock, whole)
        fine = torch.nan_to_num(base, 0.0, 0.0, 0.0) + detail.float() * self.scale(geometry)[:, None, None]
        conserve = self.config.conserve
        if conserve:
            fine = conserve_blocks(
                fine, coarse, given, self.outputs, geometry, self.config.refinement, self.output_moments, conserve, self.training
            )
        return fine

    def detail(self, fields: Tensor, names: Sequence[str], geometry: Geometry, clock: Tensor | None, whole: bool) -> Tensor:
        """fields [B, V, sH, sW] (NaN = missing) named `names`, geometry of the fine grid -> [B, C, sH, sW] in units of `scale`. `whole`:
        no field misses anything."""
        raise NotImplementedError

    def gaps_from(self, missing: MissingFlags, variables: Sequence[str]) -> Gaps:
        """Fine statics are fields like the others here."""
        return replace(super().gaps_from(missing, variables), statics=missing.statics)

    def upsample(
        self, coarse: Tensor, names: Sequence[str], statics: Tensor | None, periodic: bool, whole: bool
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Every input on the fine grid [B, V, sH, sW] (NaN where nothing valid is near) and its name; fine statics as they are. `whole`: no
        input misses anything."""
        for name in names:
            if name not in self.inputs:
                raise OrbitError("the model does not know this input variable", where="inputs", got=name, allowed=", ".join(self.inputs),
                                 hint=one_of(name, self.inputs))  # fmt: skip
        fixed = self.statics if statics is not None else ()
        dynamic = [i for i, name in enumerate(names) if name not in fixed]
        fields = interpolate(select(coarse, dynamic, 1), self.config.refinement, self.config.interpolation, periodic, whole)
        if statics is not None:
            fields = torch.cat([fields, statics], 1)
        return fields, (*(names[i] for i in dynamic), *fixed)

    def vocabulary(self, fields: Tensor, names: Sequence[str]) -> Tensor:
        """[B, V, sH, sW] -> [B, 2 V', sH, sW]: all inputs in order, zero where missing or not given, then 1 where that is so."""
        nothing = torch.full_like(fields[:, 0], torch.nan)
        every = torch.stack([fields[:, names.index(name)] if name in names else nothing for name in self.inputs], 1)
        return torch.cat([torch.nan_to_num(every), (~torch.isfinite(every)).to(fields.dtype)], 1)


def zeroed(layer: nn.Conv2d) -> None:
    """A last layer that adds nothing until it is trained."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def fine_geometry(geometry: Geometry, factor: int) -> Geometry:
    """Cell centres of the `factor` times finer grid."""
    offsets = (torch.arange(factor, device=geometry.lat.device) + 0.5) / factor - 0.5

    if geometry.lat.ndim == 3:
        return _fine_geometry_2d(geometry, offsets)

    def refined(centres: Tensor) -> Tensor:
        step = torch.zeros_like(centres[:, :1])
        if centres.shape[1] > 1:
            step = torch.remainder(centres[:, 1:2] - centres[:, :1] + 180, 360) - 180  # rows of longitudes may pass 360
        return (centres[:, :, None] + step[:, :, None] * offsets).flatten(1)

    return replace(geometry, lat=refined(geometry.lat), lon=refined(geometry.lon))


def _fine_geometry_2d(geometry: Geometry, offsets: Tensor) -> Geometry:
    """Of centres [B, H, W]: each goes on as its neighbours lie to it."""

    def refined(centres: Tensor, turn: float) -> Tensor:
        for dim in (1, 2):
            step = torch.zeros_like(centres)
            if centres.shape[dim] > 1:
                between = torch.remainder(centres.diff(dim=dim) + turn / 2, turn) - turn / 2  # longitudes may pass 360
                last = between.narrow(dim, between.shape[dim] - 1, 1)
                step = (torch.cat([between.narrow(dim, 0, 1), between], dim) + torch.cat([between, last], dim)) / 2
            wide = offsets.view(-1, 1) if dim == 1 else offsets
            centres = (centres.unsqueeze(dim + 1) + step.unsqueeze(dim + 1) * wide).flatten(dim, dim + 1)
        return centres

    return replace(geometry, lat=refined(geometry.lat, 720.0), lon=refined(geometry.lon, 360.0))
