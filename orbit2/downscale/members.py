"""Members of an ensemble: the trunk once for a window's times, then every member from the noise of its cells. Never reads or writes files.

A member is a function of (seed, member, time, place): the noise is cut out of the task's whole grid, whatever the tiles, and the trunk of
a time is computed alone, so that no batch, time block, order, process or number of members changes a bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2 import times as clocks
from orbit2.downscale.cut import HostInputs, View
from orbit2.downscale.derived import Derived
from orbit2.downscale.passes import fitting_threads
from orbit2.downscale.predictor import Downscaler
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid
from orbit2.model.build import Downscaling
from orbit2.model.geometry import Geometry
from orbit2.model.noise import white
from orbit2.model.reslim import Reslim, Trunk
from orbit2.model.tiles import Tiling, Window, scaled
from orbit2.model.to_device import to_device
from orbit2.times import Time, Times

FloatArray = npt.NDArray[np.float32]
# Members that go through the decoder together, always so many: a GPU's kernels depend on the batch, and one member would leave it idle.
TOGETHER = {"cpu": 1}
TOGETHER_ELSEWHERE = 4
MOST_THREADS = 4  # that make noise


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
    ahead: tuple[int, list[list[Future[Tensor]]]] | None = None  # the noise of a block, by pass and member, while it is made


class Ensemble:
    """Members 0 to `count` - 1 of a Downscaler's windows, drawn with `seed`. Used by one thread; the next noise is made beside it."""

    def __init__(self, downscaler: Downscaler, count: int, seed: int = 0) -> None:
        """Raises OrbitError for a model without noise."""
        self.downscaler, self.model, self.count, self.seed = downscaler, check(downscaler), count, seed
        self.together = TOGETHER.get(downscaler.device.type, TOGETHER_ELSEWHERE)
        self._pool = ThreadPoolExecutor(min(self.together, MOST_THREADS), "noise")

    @torch.inference_mode()
    def begin(
        self, coarse: HostInputs, variables: tuple[str, ...], statics: FloatArray, grid: AnyGrid, window: Window,
        part: tuple[slice, slice], times: Times, first: int = 0,
    ) -> Begun:  # fmt: skip
        """The trunk for all times of a window; arguments as of `Downscaler.view` and `submit`. `first`: the member that is wanted first."""
        made = self.downscaler
        made.clock.lap("copy")
        begun = Begun(made.view(variables, statics, grid, window), window, part, [])
        view, stamps, calendar = begun.view, [clocks.stamp(time) for time in times], clocks.calendar_of(times)
        self._ask(begun, stamps, calendar, first // self.together)
        for k in range(len(times)):
            every, geometry, when, gaps = made.given(view, coarse[k : k + 1], times[k : k + 1])
            made.clock.lap("forward")
            with torch.autocast(made.device.type, made.dtype, enabled=made.dtype is not None):
                trunk = self.model.trunk(every, view.fine[None], geometry, view.names, when, gaps)
            absent = self.model.missing(every, view.names, geometry.periodic, gaps)
            begun.passes.append(Pass(stamps[k], calendar, trunk, every, geometry, when, absent))
        made.clock.lap("other")
        return begun

    def _ask(self, begun: Begun, stamps: Sequence[str], calendar: str, block: int) -> list[list[Future[Tensor]]]:
        """The noise [K, sH, sW] of a block's members, by time: asked for now, unless it was before. None is made beyond the last member."""
        if begun.ahead is None or begun.ahead[0] != block:
            noise, window, s = self.model.config.noise, begun.window, self.downscaler.refinement
            members = range(block * self.together, min((block + 1) * self.together, self.count))
            begun.ahead = block, [[self._pool.submit(white, self.seed, member, stamp, window.rows, window.columns, noise.channels, s,
                                                     noise.hours, calendar) for member in members] for stamp in stamps]  # fmt: skip
        return begun.ahead[1]

    def member(self, begun: Begun, number: int) -> FloatArray:
        """Member `number`, counted from 0: the window's `part` [T, C, sh', sw'] in canonical units."""
        block, place = divmod(number, self.together)
        if begun.kept is None or begun.kept[0] != block:
            begun.kept = None  # the old one may go first
            begun.kept = block, self._block(begun, block)
        member: FloatArray = begun.kept[1][place]
        return member

    def frame(
        self, coarse: FloatArray, variables: tuple[str, ...], static_fine: FloatArray, grid: AnyGrid, time: Time, tiling: Tiling,
    ) -> FloatArray:  # fmt: skip
        """All members of one frame in memory, [M, C, sH', sW']; arguments as of `Downscaler.predict`."""
        made = self.downscaler
        s, when, windows = made.refinement, np.array([time]), []
        with fitting_threads(self.model, made.device, tiling.padded):
            for i, window in enumerate(tiling):
                fields, statics = HostInputs.of(window.take(coarse)[None]), window.take(static_fine, s)
                begun = self.begin(fields, variables, statics, grid, window, tiling.kept(i), when)
                windows.append(self.every(begun)[:, 0])
        return made.joined(tiling, windows)

    def every(self, begun: Begun) -> FloatArray:
        """All members [M, T, C, sh', sw'], each written where it stays: held once."""
        first = self.member(begun, 0)
        made = np.empty((self.count, *first.shape), first.dtype)
        for number in range(self.count):
            made[number] = self.member(begun, number)
        return made

    @torch.inference_mode()
    def _block(self, begun: Begun, block: int) -> FloatArray:
        """[members, T, C, sh', sw'] of a block; where there are fewer, the rest of it is of no noise."""
        made, view, parts = self.downscaler, begun.view, []
        rows, columns = (scaled(cells, made.refinement) for cells in begun.part)
        stamps, calendar = [one.stamp for one in begun.passes], begun.passes[0].calendar
        asked = self._ask(begun, stamps, calendar, block)
        if (block + 1) * self.together < self.count:
            self._ask(begun, stamps, calendar, block + 1)
        for one, futures in zip(begun.passes, asked, strict=True):
            made.clock.lap("waiting")
            drawn = [future.result() for future in futures]
            made.clock.lap("copy")
            z = torch.stack([*drawn, *(torch.zeros_like(drawn[0]) for _ in range(self.together - len(drawn)))])[None]
            z = to_device(z, made.device)
            made.clock.lap("forward")
            with torch.autocast(made.device.type, made.dtype, enabled=made.dtype is not None):
                fine = self.model.members(one.trunk, z)[0, : len(drawn)]
            physical = made.delivered(fine, one.coarse.expand(len(drawn), -1, -1, -1), one.geometry.expand(len(drawn)), view.names,
                                      one.clock.expand(len(drawn), -1), view.maps, one.absent)  # fmt: skip
            parts.append(physical[..., rows, columns].cpu().numpy())
        made.clock.lap("other")
        made.clock.read()
        return np.stack(parts, 1)
