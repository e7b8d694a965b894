"""White noise by place: the same from any window, normal, independent; and a model's members made of it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from orbit2.config.network import ArchitectureConfig
from orbit2.grid import named
from orbit2.model.geometry import Geometry
from orbit2.model.noise import white
from orbit2.model.reslim import Reslim
from orbit2.model.tiles import tiles
from tests.data.small_models import INPUTS, batch_for, demo_model, wake

WHEN = "2026-03-30T18:00:00"
GRID = named("global_22.5")
FIRST, DIGEST = [1.6530776023864746, -0.9354755878448486, -0.314128577709198, -0.2637571692466736], "db4e9e8e70d21a27"
NOISE: dict[str, Any] = {"noise": {"channels": 2}}


@pytest.fixture(scope="module")
def globe() -> torch.Tensor:
    return white(0, 3, WHEN, range(32), range(144), 2, 4)


@pytest.fixture(scope="module")
def model() -> Reslim:
    torch.manual_seed(0)
    return wake(demo_model(patch=2, **NOISE)).eval()


def test_a_windows_noise_is_the_globes(globe: torch.Tensor) -> None:
    """Bits, across blocks of streams and across the seam."""
    for i, window in enumerate(tiling := tiles((32, 144), True, (12, 20), 3)):
        assert torch.equal(white(0, 3, WHEN, window.rows, window.columns, 2, 4), window.take(globe, 4)), i
    assert len(tiling) > 20


def test_noise_is_standard_normal(globe: torch.Tensor) -> None:
    values = globe.flatten().double().numpy()
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / values.size)
    assert abs((values**4).mean() - 3) < 4 * np.sqrt(96 / values.size)
    assert stats.kstest(values, "norm").pvalue > 0.01


def test_noise_is_independent_between_members_times_seeds_and_neighbours(globe: torch.Tensor) -> None:
    first = globe.double()
    others = [white(0, 4, WHEN, range(32), range(144), 2, 4), white(1, 3, WHEN, range(32), range(144), 2, 4),
              white(0, 3, "2026-03-30T18:00:01", range(32), range(144), 2, 4)]  # fmt: skip
    pairs = [(first, other.double()) for other in others]
    pairs += [(first[0], first[1]), (first[:, 1:], first[:, :-1]), (first[:, :, 1:], first[:, :, :-1]),
              (first[:, 4:], first[:, :-4]), (first[:, :, 4:], first[:, :, :-4]), (first[:, :, 256:], first[:, :, :-256])]  # fmt: skip
    for a, b in pairs:
        assert abs(float((a * b).mean())) < 4 / np.sqrt(a.numel())


def test_the_bits_of_the_noise_are_fixed() -> None:
    made = white(7, 0, WHEN, [0, 5], [63, 64], 2, 3)
    assert made.flatten()[:4].tolist() == pytest.approx(FIRST, abs=0)
    assert sha256(made.numpy().tobytes()).hexdigest()[:16] == DIGEST


def test_noise_changes_over_hours() -> None:
    """N(0, 1) at every time, alike within `hours`, the same from time to time whoever reads it; any calendar."""
    def at(when: str, calendar: str = "standard") -> torch.Tensor:
        return white(0, 0, when, range(16), range(64), 1, 4, hours=6, calendar=calendar).double()

    def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a * b).mean())

    start = at("2026-03-30T18:00:00")
    for hour, expected in ((19, np.cos(np.pi / 12)), (21, np.cos(np.pi / 4)), (23, np.cos(5 * np.pi / 12))):
        later = at(f"2026-03-30T{hour}:00:00")
        assert correlation(start, later) == pytest.approx(expected, abs=0.05)
        assert correlation(later, later) == pytest.approx(1, abs=0.05)
    assert abs(correlation(start, at("2026-03-31T00:00:00"))) < 0.05
    assert correlation(at("2000-02-30T05:00:00", "360_day"), at("2000-02-30T05:30:00", "360_day")) > 0.9


def test_an_untrained_model_with_noise_is_the_interpolation() -> None:
    torch.manual_seed(0)
    model = demo_model(conserve=False, **NOISE).eval()
    coarse, statics, geometry = batch_for(GRID)
    noise = torch.randn(1, 3, 2, *statics.shape[2:])
    with torch.no_grad():
        members = model(coarse, statics, geometry, noise=noise)
        plain = model.residual.interpolation_of(coarse, list(INPUTS), True)
    assert members.shape == (1, 3, 2, *statics.shape[2:])
    assert torch.equal(members, plain[:, None].expand_as(members))


def test_noise_starts_no_other_weight_differently() -> None:
    torch.manual_seed(0)
    with_noise = demo_model(**NOISE).state_dict()
    torch.manual_seed(0)
    without = demo_model().state_dict()
    assert [name for name in with_noise if name not in without] == [
        "decoder.layers.0.modulation.weight", "residual.blocks.0.modulation.weight"]  # fmt: skip
    assert all(torch.equal(with_noise[name], tensor) for name, tensor in without.items())


@pytest.mark.parametrize("conserve", [False, True])
def test_a_member_does_not_depend_on_the_others(conserve: bool) -> None:
    """Bits: one by one, all at once; a batch of samples as each alone. Without noise is noise of zero."""
    torch.manual_seed(0)
    model = wake(demo_model(patch=2, conserve=conserve, **NOISE)).eval()
    coarse, statics, geometry = batch_for(GRID, 2)
    height, width = GRID.shape
    noise = torch.stack([torch.stack([white(0, m, str(t), range(height), range(width), 2, 4) for m in range(4)]) for t in range(2)])
    with torch.no_grad():
        trunk = model.trunk(coarse, statics, geometry)
        every = model(coarse, statics, geometry, noise=noise)
        assert torch.equal(every, torch.cat([model.members(trunk, noise[:, m : m + 1]) for m in range(4)], 1))
        zero = model(coarse, statics, geometry, noise=torch.zeros_like(noise[:, :1]))
        assert torch.equal(zero[:, 0], model(coarse, statics, geometry))
        assert float((every - zero).std()) > 1e-3
        model.noise_scale = 0.0
        assert torch.equal(model(coarse, statics, geometry, noise=noise[:, :1]), zero)


def test_members_run_the_trunk_once(model: Reslim) -> None:
    coarse, statics, geometry = batch_for(GRID)
    calls = []
    handle = model.blocks.register_forward_hook(lambda *_: calls.append("blocks"))
    model(coarse, statics, geometry, noise=torch.randn(1, 2, 2, *statics.shape[2:])).sum().backward()
    handle.remove()
    assert calls == ["blocks"]
    assert dict(model.named_parameters())["decoder.layers.0.modulation.weight"].grad is not None
    model.zero_grad()


def test_grids_that_patches_do_not_divide_have_members_too() -> None:
    torch.manual_seed(0)
    model = wake(demo_model(patch=3, **NOISE)).eval()
    coarse, statics = torch.randn(1, 4, 8, 10), torch.randn(1, 2, 32, 40)
    geometry = Geometry(torch.linspace(10, 24, 8)[None], torch.linspace(0, 18, 10)[None], 200.0, 50.0, False)
    with torch.no_grad():
        members = model(coarse, statics, geometry, noise=torch.randn(1, 2, 2, 32, 40))
    assert members.shape == (1, 2, 2, 32, 40)
    assert bool((members[:, 0] != members[:, 1]).any(1).all())


@pytest.mark.parametrize("kind", ["vit", "unet", "conv"])
def test_other_kinds_refuse_noise(kind: str) -> None:
    with pytest.raises(ValueError, match=f"`noise` means nothing to kind '{kind}'"):
        ArchitectureConfig.model_validate({"kind": kind, **NOISE})

