"""Members of an ensemble: the same bits however they are computed, each conserved, and what is kept of them instead."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import pytest
import torch
import xarray as xr

from orbit2.data.pairs import PairStore
from orbit2.downscale import Settings, downscale_file, load_model, members, run
from orbit2.downscale.cut import HostInputs
from orbit2.downscale.derived import derived_from, event_from, quantiles_from
from orbit2.downscale.items import Items
from orbit2.errors import OrbitError
from orbit2.grid import Grid
from orbit2.model.inspect import forward_flops, member_flops
from orbit2.model.noise import white
from tests.data.small_downscaling import arguments, exit_code, forked, random_model, shards, task
from tests.data.small_models import demo_model
from tests.data.tiny_training import Tiny

NOISE = {"channels": 2, "hours": 6}
CUT: dict[str, Any] = {"tile": [6, 12], "halo": 2, "members": 3, "seed": 5}  # 2 x 2 tiles, blended
RAIN, WARM = "precipitation_rate", "2m_temperature"


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("noisy"), noise=NOISE, conserve=True)


@pytest.fixture(scope="module")
def whole(tiny: Tiny, noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three times in one process, all items in order."""
    return made(tiny, noisy, tmp_path_factory.mktemp("whole"), time_block=3)


@pytest.fixture(scope="module")
def mine(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of these times as a user's file."""
    path = tmp_path_factory.mktemp("mine") / "in.nc"
    PairStore(tiny.store).dataset("coarse").isel(time=[3, 4]).load().drop_encoding().to_netcdf(path)
    return path


def made(tiny: Tiny, model: Path, folder: Path, block: str | None = None, last: str = "05", **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    config = task(folder / "task.config", "03", last, **{**CUT, **settings})
    where: dict[str, Any] = arguments(tiny, model, config, folder / "p.zarr")
    run(**where, block=block, receipt=folder / "r.json" if block else None)
    return folder / "p.zarr"


def opened(path: Path) -> xr.Dataset:
    stored: xr.Dataset = xr.open_zarr(path, consolidated=False).load()
    return stored


@pytest.mark.parametrize("blend", [None, 0])
def test_jobs_in_another_order_write_the_same_bits(
    tiny: Tiny, noisy: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blend: int | None
) -> None:
    """Three jobs that share windows, the last first; and times in other batches."""
    split: dict[str, Any] = {"time_block": 3, "batch": 2, "blend": blend}
    expected = whole if blend is None else made(tiny, noisy, tmp_path / "one", time_block=3, blend=0)
    made(tiny, noisy, tmp_path / "b", "init", **split)
    for block in ("2/3", "0/3", "1/3", "finalise"):
        out = made(tiny, noisy, tmp_path / "b", block, **split)
    assert shards(out) == shards(expected)


def test_no_time_block_and_no_number_of_members_changes_a_member(tiny: Tiny, noisy: Path, whole: Path, tmp_path: Path) -> None:
    found = opened(whole)
    assert found[WARM].dims == ("member", "time", "lat", "lon") and found["member"].attrs["standard_name"] == "realization"
    assert (found.attrs["members"], found.attrs["seed"], found.attrs["noise_hours"]) == (3, 5, 6.0)
    assert "3 members of seed 5, noise_scale 1" in found.attrs["history"]
    one = opened(made(tiny, noisy, tmp_path / "a", last="03", time_block=1, members=5))
    for name in (WARM, RAIN):
        np.testing.assert_array_equal(one[name].values[:3, 0], found[name].values[:, 0])
        assert found[name].std("member").mean() > 0.01 * found[name].std() and not np.array_equal(one[name][3], one[name][4])
    other = opened(made(tiny, noisy, tmp_path / "b", last="03", seed=6, members=1))
    assert not np.array_equal(other[WARM][0, 0], found[WARM][0, 0])


def test_every_member_is_conserved(tiny: Tiny, whole: Path) -> None:
    found, coarse = opened(whole), PairStore(tiny.store)
    edges = np.linspace(-90, 90, 49)
    area = xr.DataArray(np.diff(np.sin(np.radians(edges))), dims="lat")
    for i in range(3):
        for name, given in zip(coarse.variables("coarse"), coarse.read("coarse", 3 + i), strict=True):
            if name in (WARM, RAIN):
                sums = (found[name].isel(time=i).drop_vars(["lat", "lon"]) * area).coarsen(lat=4, lon=4).sum()
                means = sums / area.coarsen(lat=4).sum() / 4
                apart = np.abs(means.values - np.where((name == RAIN) & (given < 0.1), 0, given))  # the model delivers no drizzle
                assert float(apart.max()) < (1e-4 if name == WARM else 1e-5)


def test_what_was_killed_between_members_goes_on_with_the_missing_ones(
    tiny: Tiny, noisy: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the eighth member: each of 4 windows has its trunk once, the interrupted one's a second time."""
    begun: list[tuple[int, int]] = []
    drawn: list[int] = []
    begin, member = members.Ensemble.begin, members.Ensemble.member

    def dies(self: members.Ensemble, window: members.Begun, number: int) -> Any:
        drawn.append(number)
        if len(drawn) == 8 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return member(self, window, number)

    def counted(self: members.Ensemble, *args: Any) -> Any:
        begun.append((int(args[4].rows[0]), int(args[4].columns[0])))
        return begin(self, *args)

    parent = os.getpid()
    monkeypatch.setattr(members.Ensemble, "member", dies)
    monkeypatch.setattr(members.Ensemble, "begin", counted)
    assert exit_code(forked(lambda: made(tiny, noisy, tmp_path / "a", time_block=3))) == -signal.SIGKILL
    assert not begun
    out = made(tiny, noisy, tmp_path / "a", time_block=3)
    assert shards(out) == shards(whole)
    assert len(drawn) in (12 - 7, 12 - 6) and len(begun) == 2, "two windows were done, the third had one member (its file may not be)"


def test_blocks_of_members_on_other_devices_are_of_one_size(
    tiny: Tiny, noisy: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose kernels depend on the batch: with 4 at a time no number of members changes one."""
    monkeypatch.setitem(members.TOGETHER, "cpu", 4)
    found = [opened(made(tiny, noisy, tmp_path / str(count), last="03", members=count))[WARM] for count in (3, 5)]
    np.testing.assert_array_equal(found[0], found[1][:3])
    np.testing.assert_allclose(found[0][:, 0], opened(whole)[WARM][:3, 0], rtol=1e-6)


def test_windows_get_the_noise_of_the_globes_cells(tiny: Tiny, noisy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Across the seam, and at a pole, where windows are moved inward."""
    loaded, store = load_model(noisy), PairStore(tiny.store)
    ensemble, grid = members.Ensemble(loaded, 4, 5), store.grid("coarse")
    seen: list[torch.Tensor] = []
    original = ensemble.model.members

    def watched(trunk: Any, noise: torch.Tensor) -> torch.Tensor:
        seen.append(noise)
        return original(trunk, noise)

    monkeypatch.setattr(ensemble.model, "members", watched)
    tiling = loaded.tiling(grid, (6, 9), 2)
    globe = white(5, 3, "2026-01-01T03:00:00", range(12), range(24), 2, 4, 6)
    fields, statics, names = store.read("coarse", 3), store.static_values("fine"), store.variables("coarse")
    wrapped = 0
    for i, window in enumerate(tiling):
        read = HostInputs.of(window.take(fields)[None])
        begun = ensemble.begin(read, names, window.take(statics, 4), grid, window, tiling.kept(i), store.times[3:4])
        ensemble.member(begun, 3)
        torch.testing.assert_close(seen[-1][0, 0], window.take(globe, 4), rtol=0, atol=0)
        wrapped += bool((np.diff(window.columns) < 0).any())
    assert wrapped


@pytest.mark.parametrize("blend", [0, None])
def test_quantiles_and_probabilities_are_those_of_the_stored_members(mine: Path, noisy: Path, tmp_path: Path, blend: int | None) -> None:
    cut: dict[str, Any] = {"tile": (6, 12), "halo": 2, "blend": blend, "members": 5, "seed": 5, "time_block": 3}
    kept: dict[str, Any] = {"quantiles": (0.1, 0.5, 0.9), "events": ("precipitation>3", "t2m<=-1.5 degC")}
    downscale_file(input=mine, model=noisy, out=tmp_path / "m.zarr", settings=Settings(**cut))
    downscale_file(input=mine, model=noisy, out=tmp_path / "q.nc", settings=Settings(**cut, **kept))
    stored, found = opened(tmp_path / "m.zarr"), xr.load_dataset(tmp_path / "q.nc")
    for name in (WARM, RAIN):
        assert found[name].dims == ("quantile", "time", "lat", "lon")
        np.testing.assert_array_equal(found[name], np.quantile(stored[name].values, [0.1, 0.5, 0.9], axis=0).astype("float32"))
        assert found[name].attrs["cell_methods"].endswith("realization: quantile")
    np.testing.assert_array_equal(found["quantile"], [0.1, 0.5, 0.9])
    heavy, frost = found[f"probability_of_{RAIN}_above_3"], found[f"probability_of_{WARM}_at_or_below_minus_1p5_degC"]
    np.testing.assert_array_equal(heavy, (stored[RAIN] > 3).mean("member").astype("float32"))
    np.testing.assert_array_equal(frost, (stored[WARM] <= np.float32(271.65)).mean("member").astype("float32"))
    assert heavy.attrs["units"] == "1" and frost.attrs["threshold"] == 271.65 and frost.attrs["threshold_units"] == "K"
    assert 0 < float(heavy.mean()) < 1
    assert "5 members of seed 5, noise_scale 1; quantiles 0.1, 0.5, 0.9; probability of" in found.attrs["history"]
    if blend is None:
        loaded = load_model(noisy)
        options: dict[str, Any] = {"tile": (6, 12), "halo": 2, "members": 5, "seed": 5}
        drawn = loaded.downscale(mine, **options)
        np.testing.assert_array_equal(drawn[RAIN], stored[RAIN])
        made = loaded.downscale(mine, **options, quantiles=(0.9, 0.1), probability="precipitation>3")
        np.testing.assert_array_equal(made[WARM], found[WARM][[0, 2]])
        np.testing.assert_array_equal(made[heavy.name], heavy)


def test_other_calendars_and_boxes_have_members(mine: Path, noisy: Path) -> None:
    """Noise of 30 February, changing over six hours."""
    data = xr.load_dataset(mine).isel(lat=slice(2, 9), lon=slice(3, 12))
    data["time"] = [cftime.Datetime360Day(2026, 2, 30, hour) for hour in (0, 5)]
    found = load_model(noisy).downscale(data, members=2)
    apart = (found[WARM][0] - found[WARM][1]).values
    assert found[WARM].shape == (2, 2, 28, 36) and found["time"].values[0].day == 30
    assert 0.1 < np.corrcoef(apart[0].ravel(), apart[1].ravel())[0, 1] < 0.9, "noise changes over six hours"


def test_what_cannot_be_drawn_is_refused(tiny: Tiny, mine: Path, noisy: Path, tmp_path: Path) -> None:
    plain = random_model(tmp_path / "plain")
    with pytest.raises(OrbitError, match="has no noise"):
        made(tiny, plain, tmp_path / "a")
    with pytest.raises(OrbitError, match="has no noise"):
        load_model(plain).downscale(mine, members=2)
    for settings in (Settings(quantiles=(0.5,)), Settings(members=1, events=("t2m>280",))):
        with pytest.raises(OrbitError, match=r"--members.*2 or more"):
            downscale_file(input=mine, model=noisy, out=tmp_path / "b.zarr", settings=settings)
    assert not (tmp_path / "b.zarr").exists()


OUTPUTS = (WARM, RAIN, "10m_u_component_of_wind")


@pytest.mark.parametrize(("text", "threshold", "name"), [
    ("precipitation>20", 20.0, f"probability_of_{RAIN}_above_20"),
    ("pr >= 1 mm h-1", 24.0, f"probability_of_{RAIN}_at_or_above_1_mm_h_1"),
    ("t2m<-5 degC", 268.15, f"probability_of_{WARM}_below_minus_5_degC"),
    ("u10 <= 36 km/h", 10.0, "probability_of_10m_u_component_of_wind_at_or_below_36_km_h"),
])  # fmt: skip
def test_an_expression_is_read_in_the_users_units(text: str, threshold: float, name: str) -> None:
    event = event_from(text, OUTPUTS)
    assert event.threshold == threshold and event.name == name


@pytest.mark.parametrize(("text", "said"), [
    ("t2m", "not an expression"), ("t2m = 3", "not an expression"), ("snow>3", "no variable that the model predicts"),
    ("t2m>3 mm", "units that do not fit 2m_temperature"), ("precipitation>3 mm", "units that do not fit precipitation_rate"),
])  # fmt: skip
def test_an_expression_that_says_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(OrbitError, match=f"--probability: {said}"):
        event_from(text, OUTPUTS)


def test_quantiles_are_numbers_from_0_to_1() -> None:
    assert quantiles_from("0.9,0.1,0.5,0.5") == (0.1, 0.5, 0.9)
    for text in ("", "1.2", "a,0.5", "0.5;0.9"):
        with pytest.raises(OrbitError, match="--quantiles"):
            quantiles_from(text)


def test_dry_members_are_zeros_and_ties_count_where_the_sign_says_so() -> None:
    fields = np.array([0, 0, 0, 4, 20], dtype="float32").reshape(5, 1, 1, 1, 1)
    found = derived_from((RAIN,), 5, (0.5, 0.75, 0.9), ("pr>4", "pr>=4", "pr<=0"))
    assert found is not None
    np.testing.assert_allclose(found.of(fields).ravel(), [0, 4, 13.6, 0.2, 0.4, 0.6], rtol=1e-6)
    fields[0] = np.nan
    assert np.isnan(found.of(fields)).all()


def test_members_of_a_place_follow_each_other() -> None:
    items = Items(5, 2, 3, 4)
    assert [item.member for item in items][:8] == [0, 1, 2, 3] * 2
    assert len({item.place for item in items}) == 9 and all(items[i].place == items[i - i % 4].place for i in range(len(items)))


def test_a_member_costs_less_than_a_prediction() -> None:
    """Its trunk is counted once; a model without noise has none."""
    grid = Grid(np.linspace(-90, 90, 13), np.linspace(0, 360, 25))
    with torch.device("meta"):
        drawn, plain = demo_model(noise=NOISE, depth=6), demo_model(depth=6)
    assert 0 < member_flops(drawn, grid) < 0.6 * forward_flops(drawn, grid) and member_flops(plain, grid) == 0
