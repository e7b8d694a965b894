"""A loader's integers become the store's fields on the device, whatever is moved, mirrored, cut or missing; what samples share goes
there once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from orbit2.data.augment import coarsen
from orbit2.data.cutting import Cutting
from orbit2.data.dataset import CPU, Batch, Packed, Pairs
from orbit2.data.ground import Ground
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from orbit2.data.view import View
from orbit2.grid import global_grid
from orbit2.variables import variable

NAMES = ("2m_temperature", "total_precipitation_24hr", "10m_v_component_of_wind")
STATICS = ("land_sea_mask", "orography", "latitude")
WETNESS = 0.25  # mm: at or below it is dry
SCALES = {"2m_temperature": (280.0, 20.0), "total_precipitation_24hr": (0.5, 1.7), "10m_v_component_of_wind": (0.3, 5.0)}
SCALES |= {"land_sea_mask": (0.3, 0.4), "orography": (900.0, 700.0), "latitude": (3.0, 40.0)}
ROUNDING = 2.5e-7  # of ln(1 + rain): one unit of float32, where the array library and torch round exp(x) - 1 otherwise


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days with rain, wind and holes: blocks, single cells, and a whole variable of one day."""
    path = tmp_path_factory.mktemp("device") / "pairs.zarr"
    coarse_grid, random = global_grid(15.0), np.random.default_rng(0)
    grid = coarse_grid.refine(4)
    fields = (250 + 50 * random.random((6, *grid.shape)), random.gamma(0.5, 4.0, (6, *grid.shape)), random.normal(size=(6, *grid.shape)))
    fine = np.stack(fields, 1).astype(np.float32)
    fine[2, :, 5:20, 30:60], fine[3, 1] = np.nan, np.nan
    fine[4:][random.random(fine[4:].shape) < 0.02] = np.nan
    areas = torch.from_numpy(grid.lat_weights).float()
    static = np.stack([random.random(grid.shape) > 0.5, 2000 * random.random(grid.shape), np.broadcast_to(grid.lat[:, None], grid.shape)])
    sides = [coarsen(torch.from_numpy(f.astype(np.float32)), areas, 4).numpy() for f in (fine, static)]
    times = np.datetime64("2026-03-01", "s") + np.arange(6) * np.timedelta64(24, "h")
    own = SideSpec(coarse_grid, NAMES, STATICS, sides[1])
    initialise(path, own, SideSpec(grid, NAMES, STATICS, static.astype(np.float32)), times, shard=3)
    for start in (0, 3):
        write_part(path, start, sides[0][start : start + 3], fine[start : start + 3])
    finalise(path)
    return path


def opened(path: Path, outputs: tuple[str, ...] = NAMES, region: tuple[float, ...] | None = None) -> Pairs:
    return Pairs(PairStore(path), ("2026-01-01", "2026-12-31"), Normaliser(SCALES, WETNESS), outputs, region, "x", 0.6)


def network(values: np.ndarray, name: str) -> np.ndarray:
    """One variable in network space, by its definition, in float64."""
    exact = values.astype(np.float64)
    if "precipitation" in name:
        exact = np.log1p(np.where(exact <= WETNESS, 0, exact))
    return np.asarray((exact - SCALES[name][0]) / SCALES[name][1])


def expected(pairs: Pairs, index: int, view: View) -> dict[str, np.ndarray]:
    """Every field of a view in float64, cell by cell from the whole grids that `PairStore.read` gives."""
    store, s = pairs.store, view.factor
    rows = (view.box.south * s + view.shift[0] + np.arange(view.box.rows * s))[:, None]
    columns = (view.box.west * s + view.shift[1] + np.arange(view.box.columns * s)) % store.grid("fine").shape[1]
    fine, static = store.read("fine", index)[:, rows, columns], store.static_values("fine")[:, rows, columns]
    areas = np.broadcast_to(store.grid("fine").lat_weights[rows], fine.shape[1:])

    def blocks(values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:-2], view.box.rows, s, view.box.columns, s).sum((-1, -3))

    if view.shift != (0, 0):
        seen = np.isfinite(fine) * areas
        with np.errstate(invalid="ignore"):
            coarse = blocks(np.nan_to_num(fine.astype(np.float64)) * areas) / blocks(seen)
        coarse[blocks(seen) < 0.5 * blocks(areas) * (1 - 1e-6)] = np.nan
    else:
        coarse_rows = (view.box.south + np.arange(view.box.rows))[:, None]
        coarse = store.read("coarse", index)[:, coarse_rows, (view.box.west + np.arange(view.box.columns)) % 24]
    found = {"coarse": coarse, "fine": fine, "statics": static, "static_coarse": blocks(static.astype(np.float64) * areas) / blocks(areas)}
    for what, values in found.items():
        names = STATICS if "static" in what else NAMES
        turned = values[:, ::-1] * np.array([variable(n).parity for n in names])[:, None, None] if view.mirrored else values
        found[what] = np.stack([network(plane, name) for plane, name in zip(turned, names, strict=True)])
    return found


def close(found: torch.Tensor, wanted: np.ndarray, within: float) -> None:
    assert found.dtype == torch.float32 and np.array_equal(np.isnan(found.numpy()), np.isnan(wanted))
    assert np.nanmax(np.abs(found.numpy() - wanted), initial=0) <= within


@pytest.mark.parametrize("region", [None, (-80.0, -40.0, 300.0, 350.0), (-50.0, 70.0, 200.0, 20.0)])
@pytest.mark.parametrize("cutting", [None, Cutting((5, 7), 2), Cutting(4, 1, 2, count=3)])
def test_what_the_device_makes_of_codes_is_what_the_store_holds(
    path: Path, region: tuple[float, ...] | None, cutting: Cutting | None
) -> None:
    pairs = opened(path, region=region)
    moved = [pairs.whole.moved(shift, pairs.store.grid("coarse")) for shift in ((0, 0), (2, 3), (3, 1))]
    for view in (*moved, *(replace(view, mirrored=True) for view in moved)):
        pieces = None if cutting is None else [(k, w) for k in range(6) for w in cutting.tiling(view)]
        batch = pairs.packed(range(6), view, pieces).to(CPU)
        wanted = [expected(pairs, index, view) for index in range(6)]
        for j, (k, window) in enumerate(pieces or [(k, None) for k in range(6)]):
            rows, columns = (slice(None), slice(None)) if window is None else (window.rows[:, None], window.columns)
            fine = (rows, columns) if window is None else (window.fine(4)[0][:, None], window.fine(4)[1])
            close(batch.coarse[j, :3], wanted[k]["coarse"][:, rows, columns], 1e-5)  # float32 at 280 K, over 20 K
            close(batch.coarse[j, 3:], wanted[k]["static_coarse"][:, rows, columns], 2e-6)
            close(batch.fine[j], wanted[k]["fine"][:, fine[0], fine[1]], 1e-6)
            close(batch.statics[j], wanted[k]["statics"][:, fine[0], fine[1]], 1e-6)


def test_linear_fields_are_the_same_bits_and_rain_the_same_within_rounding(path: Path) -> None:
    """As `PairStore.read` and `Normaliser` make them on the host."""
    pairs = opened(path)
    for index in range(6):
        batch = pairs.batch([index])
        for side, found in (("coarse", batch.coarse[0, :3]), ("fine", batch.fine[0])):
            host = pairs.normaliser.normalise(torch.from_numpy(pairs.store.read(side, index)), NAMES)  # type: ignore[arg-type]
            for i, name in enumerate(NAMES):
                close(found[i], host[i].numpy(), ROUNDING if "precipitation" in name else 0)


def test_outputs_that_a_store_lacks_are_missing_and_others_keep_their_place(path: Path) -> None:
    outputs = ("10m_v_component_of_wind", "2m_temperature_max", "2m_temperature")
    pairs = Pairs(PairStore(path), ("2026-01-01", "2026-12-31"), Normaliser(SCALES | {outputs[1]: (0.0, 1.0)}, 0.0), outputs)
    whole, moved = opened(path).whole, opened(path).whole.moved((2, 1), pairs.store.grid("coarse"))
    for view in (whole, moved):
        batch, plain = pairs.packed([0, 5], view).to(CPU), opened(path).packed([0, 5], view).to(CPU)
        assert bool(torch.isnan(batch.fine[:, 1]).all())
        assert torch.equal(batch.fine[:, [0, 2]].nan_to_num(9), plain.fine[:, [2, 0]].nan_to_num(9))
        assert (batch.coarse - plain.coarse)[:, [0, 2, 3, 4, 5]].abs().nan_to_num().max() == 0


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[View]]:
    """The views whose statics were made, in order."""
    seen: list[View] = []
    make = Ground._placed

    def counted(self: Ground, view: View, device: torch.device) -> object:
        seen.append(view)
        return make(self, view, device)

    monkeypatch.setattr(Ground, "_placed", counted)
    yield seen


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_batches_of_workers_share_what_the_main_process_made_once(path: Path, placed: list[View], context: str) -> None:
    """Also where workers begin from nothing, as they do by default on some systems."""
    pairs = opened(path)
    alone = [part.to(CPU) for step in range(6) for part in Steps([pairs], 2, 0, False)[step]]
    assert len(placed) == 1
    loader: DataLoader[list[Packed]] = DataLoader(
        Steps([pairs], 2, 0, False), batch_size=None, sampler=range(6), num_workers=1, multiprocessing_context=context
    )
    parts = [part for parts in loader for part in parts]
    assert all(part.ground is pairs.ground for part in parts)
    for part, other in zip(parts, alone, strict=True):
        batch = part.to(CPU)
        assert batch.samples == other.samples and torch.equal(batch.coarse.nan_to_num(9), other.coarse.nan_to_num(9))
        assert torch.equal(batch.fine.nan_to_num(9), other.fine.nan_to_num(9)) and batch.statics.data_ptr() == other.statics.data_ptr()
    assert len(placed) == 1  # one view, one device, twelve batches


def test_only_a_few_views_are_kept(path: Path, placed: list[View]) -> None:
    pairs = opened(path)
    steps = Steps([pairs], 2, 0, True)
    for step in range(60):
        steps[step][0].to(CPU)
    (kept,) = pairs.ground._places.values()
    assert len(kept) == 4 and len(set(placed)) > 8 and len(placed) < 45  # the grid as it is, plain or mirrored, is not made again each time


def test_a_loader_pins_codes_and_sends_nothing_else_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins: pinning and asynchronous copies need a GPU, and this test has none."""
    pairs, pinned, sent = opened(path), [], []
    steps = Steps([pairs], 4, 0, False, accumulate=2)

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append((tensor.dtype, tensor.nbytes))
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    parts = pin_memory(steps[0])  # what a DataLoader's pinning thread calls
    codes = [2 * 2 * 3 * cells for cells in (12 * 24, 48 * 96)]  # bytes of two samples' int16
    assert isinstance(parts[0], Packed) and pinned == 2 * [*((torch.int16, n) for n in codes), (torch.float32, 2 * 4 * 4)]
    assert torch.equal(parts[1].fine, steps[0][1].fine) and parts[1].samples == steps[0][1].samples
    move = torch.Tensor.to

    def send(tensor: torch.Tensor, device: object, *rest: object, non_blocking: bool = False) -> torch.Tensor:
        if isinstance(device, torch.device):
            sent.append((tensor.dtype, tensor.nbytes, non_blocking))
        return move(tensor, device, *rest, non_blocking=non_blocking)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch.Tensor, "to", send)
    meta = torch.device("meta")
    first = parts[0].to(meta)
    assert any(dtype == torch.float32 and count >= 3 * 48 * 96 * 4 for dtype, count, _ in sent)  # statics, the first time
    sent.clear()
    there = parts[1].to(meta)
    assert sorted(count for _, count, _ in sent) == sorted([*codes, 2 * 4 * 4]) and all(flag for *_, flag in sent)
    for batch in (first, there):
        assert isinstance(batch, Batch) and batch.coarse.shape == (2, 6, 12, 24) and batch.fine.shape == (2, 3, 48, 96)
        assert batch.coarse.is_meta and batch.statics.is_meta and batch.weights.is_meta and batch.geometry.lon.is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cutting", [None, Cutting((5, 7), 2)])
def test_a_gpu_makes_the_same_batch(path: Path, cutting: Cutting | None) -> None:
    steps, device = Steps([opened(path)], 4, 0, True, cutting=cutting), torch.device("cuda")
    loader: DataLoader[list[Packed]] = DataLoader(steps, batch_size=None, sampler=range(12), num_workers=2, pin_memory=True)
    for step, (part,) in enumerate(loader):
        there, here = part.to(device), steps[step][0].to(CPU)
        assert part.fine.is_pinned() and there.samples == here.samples
        for name, within in (("coarse", 5e-6), ("fine", 1e-6), ("statics", 1e-6), ("weights", 1e-6), ("clock", 0)):
            close(getattr(there, name).cpu(), getattr(here, name).numpy(), within)
        assert torch.equal(there.geometry.lat.cpu(), here.geometry.lat)
