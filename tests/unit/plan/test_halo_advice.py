"""The halo that the planner recommends follows from a residual whose correlation length is known; only training samples are read."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from orbit2.config.network import ArchitectureConfig
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.grid import global_grid
from orbit2.plan import halo

NAMES = ("2m_temperature", "precipitation_rate")
COARSE = global_grid(6.0)  # 30 x 60
TRAIN, TEST = ("2026-01-01T00:00", "2026-01-01T19:00"), ("2026-01-01T20:00", "2026-01-01T23:00")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Constant inputs, so that the truth's noise is the residual: 1/e at 2 sigma fine cells, sigma (row, column) = (4, 10) for temperature,
    (2, 3) for ln(1 + rain); ten times rougher in the test period. A quarter of the globe is missing."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("store") / "pairs.zarr"
    fine = COARSE.refine(4)
    times = np.datetime64("2026-01-01T00", "s") + np.arange(24) * np.timedelta64(3600, "s")
    none = np.zeros((0, *COARSE.shape), np.float32), np.zeros((0, *fine.shape), np.float32)
    initialise(path, SideSpec(COARSE, NAMES, (), none[0]), SideSpec(fine, NAMES, (), none[1]), times, shard=8)
    truth = np.empty((24, 2, *fine.shape), np.float32)
    for k in range(24):
        scale = 1.0 if k < 20 else 0.1
        noise = [gaussian_filter(random.standard_normal(fine.shape), (scale * a, scale * b), mode=("nearest", "wrap"))
                 for a, b in ((4, 10), (2, 3))]  # fmt: skip
        truth[k] = 280 + 3 * noise[0] / noise[0].std(), np.expm1(2 + 0.3 * noise[1] / noise[1].std())
    truth[:, :, 30:90, 60:180] = np.nan
    coarse = np.empty((24, 2, *COARSE.shape), np.float32)
    coarse[:, 0], coarse[:, 1] = 280, np.expm1(2)
    for start in range(0, 24, 8):
        write_part(path, start, coarse[start : start + 8], truth[start : start + 8])
    finalise(path)
    return PairStore(path)


def test_lengths_in_coarse_cells(store: PairStore) -> None:
    temperature, rain = halo.measure(store, TRAIN, NAMES, "bicubic")
    assert (temperature.zonal, temperature.meridional) == (pytest.approx(20 / 4, rel=0.12), pytest.approx(8 / 4, rel=0.12))
    assert (rain.zonal, rain.meridional) == (pytest.approx(6 / 4, rel=0.12), pytest.approx(4 / 4, rel=0.12))


def test_only_a_bounded_number_of_training_samples_is_read(store: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    read = PairStore.read
    monkeypatch.setattr(PairStore, "read", lambda self, side, index: seen.add(index) or read(self, side, index))
    halo.measure(store, TRAIN, NAMES[:1], "bicubic")
    assert len(seen) == halo.SAMPLES and max(seen) == 19 and min(seen) == 0
    assert halo.measure(store, TEST, NAMES[:1], "bicubic")[0].zonal < 1


def test_a_region_is_measured_alone(store: PairStore) -> None:
    found = halo.measure(store, TRAIN, NAMES[:1], "bicubic", (-60, 60, 180, 354))
    assert found[0].zonal == pytest.approx(5, rel=0.2)


def test_outputs_that_are_no_inputs_have_no_residual(store: PairStore) -> None:
    assert [s.variable for s in halo.measure(store, TRAIN, ("mean_sea_level_pressure", "2m_temperature"), "bicubic")] == ["2m_temperature"]


RESLIM = ArchitectureConfig()
CONV = ArchitectureConfig.model_validate({"kind": "conv", "layers": 3})


@pytest.mark.parametrize(
    ("lengths", "config", "cells"),
    [
        ([(0.85, 0.28)], RESLIM, 4),  # 2 + 2 x 0.85 = 3.7, in whole tokens of 2
        ([(0.3, 1.0), (0.2, 0.2)], RESLIM, 4),
        ([(0.3, 1.01)], RESLIM, 6),
        ([(math.nan, 0.2)], RESLIM, 4),
        ([], RESLIM, 2),
        ([(3.0, 1.0)], CONV, 3),  # nothing beyond interpolation (2) and four 3x3 convolutions of fine cells (1) is read
        ([(0.2, 0.1)], CONV, 3),
        ([(math.inf, 0.1)], CONV, 3),
        ([(math.inf, 0.1)], RESLIM, None),
    ],
)
def test_the_rule(lengths: list[tuple[float, float]], config: ArchitectureConfig, cells: int | None) -> None:
    assert halo.recommended([halo.Scale("v", *pair) for pair in lengths], config) == cells


def test_kilometres() -> None:
    """One coarse cell of 6 degrees: 667 km along a meridian, pi / 4 of that along the mean parallel."""
    text = "\n".join(halo.lines([halo.Scale("2m_temperature", 1.0, 1.0)], RESLIM, COARSE))
    assert "524 km" in text and "667 km" in text and "recommended halo: 4 coarse cells" in text
    assert "ln(1 + precipitation_rate)" in "\n".join(halo.lines([halo.Scale("precipitation_rate", 1, 1)], RESLIM, COARSE))
    assert "none is wide enough" in "\n".join(halo.lines([halo.Scale("2m_temperature", math.inf, 1)], RESLIM, COARSE))


