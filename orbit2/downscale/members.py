"""Members of an ensemble: the trunk once for a window's times, then every member from the noise of its cells. Never reads or writes files.

A member is a function of (seed, member, time, place): the noise is cut out of the task's whole grid, whatever the tiles, and the trunk of
a time is computed alone, so that no batch, time block, order, process or number of members changes a bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2 import times as clocks
from orbit2.downscale.derived import Derived
from orbit2.downscale.predictor import Downscaler, View
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid
from orbit2.model.build import Downscaling
from orbit2.model.geometry import Geometry
from orbit2.model.noise import white
from orbit2.model.reslim import Reslim, Trunk
from orbit2.model.tiles import Tiling, Window, scaled
from orbit2.times import Time, Times

FloatArray = npt.NDArray[np.float32]
# Members that go through the decoder together, always so many: a GPU's kernels depend on the batch, and one member would leave it idle.
TOGETHER = {"cpu": 1}
TOGETHER_ELSEWHERE = 4


def noisy(model: Downscaling) -> bool:
    """Whether members of this model differ."""
    return isinstance(model, Reslim) and model.config.noise.channels > 0


def check(downscaler: Downscaler, where: str = "members", got: Any = None) -> Reslim:
    """The network that members are drawn from. Raises OrbitError for one without noise."""
    model = downscaler.model
    if not isinstance(model, Reslim) or not noisy(model):
        raise OrbitError("this model has no noise: all its members would be one", where=where, got=got,
                         hint="members are drawn by models of `architecture.noise.channels` above 0 (kind reslim)")  # fmt: skip
    return model


def identity_of(downscaler: Downscaler, seed: int) -> tuple[Any, ...]:
    """What decides members besides weights and inputs."""
    model = check(downscaler)
    return seed, float(model.noise_scale), model.config.noise.hours


def described(downscaler: Downscaler, members: int, seed: int, derived: Derived | None = None) -> tuple[dict[str, Any], str]:
    """(global attributes of a prediction with members, the same in words for `history`); nothing without."""
    if not members:
        return {}, ""
    model = check(downscaler)
    told = {"members": members, "seed": seed, "noise_scale": float(model.noise_scale), "noise_hours": float(model.config.noise.hours)}
    words = f"{members} members of seed {seed}, noise_scale {told['noise_scale']:g}"
    return told, "; ".join([words, *([derived.said] if derived else [])])


@dataclass(frozen=True)
class Pass:
    """The trunk of one time's window and what its members are finished with, on the device."""

    stamp: str
    calendar: str
    trunk: Trunk
    coarse: Tensor
    geometry: Geometry
    clock: Tensor
    absent: Tensor | None


@dataclass
class Begun:
    """A window whose trunks are done. `kept`: the block of members that was made last, and which one it is."""

    view: View
    window: Window
    part: tuple[slice, slice]
    passes: list[Pass]
    kept: tuple[int, FloatArray] | None = None


class Ensemble:
    """Members of a Downscaler's windows, drawn with `seed`. Used by one thread."""

    def __init__(self, downscaler: Downscaler, seed: int = 0) -> None:
        """Raises OrbitError for a model without noise."""
        self.downscaler, self.model, self.seed = downscaler, check(downscaler), seed
        self.together = TOGETHER.get(downscaler.device.type, TOGETHER_ELSEWHERE)

    @torch.inference_mode()
    def begin(
        self, coarse: FloatArray, variables: tuple[str, ...], statics: FloatArray, grid: AnyGrid, window: Window,
        part: tuple[slice, slice], times: Times,
    ) -> Begun:  # fmt: skip
        """The trunk for all times of a window; arguments as of `Downscaler.predict_window`."""
        made = self.downscaler
        made.clock.lap("copy")
        view, passes = made.view(variables, statics, grid, window), []
        for k in range(len(times)):
            every, geometry, when = made.given(view, coarse[k : k + 1], times[k : k + 1])
            made.clock.lap("forward")
            with torch.autocast(made.device.type, made.dtype, enabled=made.dtype is not None):
                trunk = self.model.trunk(every, view.fine[None], geometry, view.names, when)
            absent = self.model.missing(every, view.names, geometry.periodic)
            passes.append(Pass(clocks.stamp(times[k]), clocks.calendar_of(times), trunk, every, geometry, when, absent))
        made.clock.lap("other")
        return Begun(view, window, part, passes)

    def member(self, begun: Begun, number: int) -> FloatArray:
        """Member `number`, counted from 0: the window's `part` [T, C, sh', sw'] in canonical units."""
        block, place = divmod(number, self.together)
        if begun.kept is None or begun.kept[0] != block:
            begun.kept = None  # the old one may go first
            begun.kept = block, self._block(begun, range(block * self.together, (block + 1) * self.together))
        member: FloatArray = begun.kept[1][place]
        return member

    def frame(
        self, coarse: FloatArray, variables: tuple[str, ...], static_fine: FloatArray, grid: AnyGrid, time: Time, tiling: Tiling,
        members: int,
    ) -> FloatArray:  # fmt: skip
        """All `members` of one frame in memory, [M, C, sH', sW']; arguments as of `Downscaler.predict`."""
        made = self.downscaler
        s, when, windows = made.refinement, np.array([time]), []
        for i, window in enumerate(tiling):
            fields, statics = window.take(coarse)[None], window.take(static_fine, s)
            begun = self.begin(fields, variables, statics, grid, window, tiling.kept(i), when)
            windows.append(np.stack([one[0] for one in self.all(begun, members)]))
        return made.joined(tiling, windows)

    def all(self, begun: Begun, members: int) -> Iterator[FloatArray]:
        """Members 0 to `members` - 1, one after the other."""
        return (self.member(begun, number) for number in range(members))

    @torch.inference_mode()
    def _block(self, begun: Begun, members: range) -> FloatArray:
        """[members, T, C, sh', sw']."""
        made, view, window = self.downscaler, begun.view, begun.window
        rows, columns = (scaled(cells, made.refinement) for cells in begun.part)
        noise, parts = self.model.config.noise, []
        for one in begun.passes:
            made.clock.lap("copy")
            z = torch.stack([white(self.seed, member, one.stamp, window.rows, window.columns, noise.channels, made.refinement, noise.hours,
                                   one.calendar) for member in members])  # fmt: skip
            z = z[None].to(made.device)
            made.clock.lap("forward")
            with torch.autocast(made.device.type, made.dtype, enabled=made.dtype is not None):
                fine = self.model.members(one.trunk, z)[0]
            count, geometry = len(members), one.geometry.expand(len(members))
            physical = made.delivered(fine, one.coarse.expand(count, -1, -1, -1), geometry, view.names, one.clock.expand(count, -1),
                                      view.maps, one.absent)  # fmt: skip
            parts.append(physical[..., rows, columns].numpy())
        made.clock.lap("other")
        made.clock.read()
        return np.stack(parts, 1)
