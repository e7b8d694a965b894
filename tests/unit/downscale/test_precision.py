"""`precision` of a task and of a user's file: which arithmetic is used, what the prediction says of it, and that they are not mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from orbit2 import processor
from orbit2.downscale import run
from orbit2.model.precision import disallow_tf32
from orbit2.processor import gains_by_bf16, told
from tests.data.small_downscaling import random_model, task
from tests.data.tiny_training import Tiny


def predicted(tiny: Tiny, folder: Path, **settings: str) -> xr.Dataset:
    config = task(folder / "slice.json", last="03", **settings)
    run(config=config, model=folder / "model", store=tiny.store, out=folder / "out.zarr")
    with xr.open_zarr(folder / "out.zarr", consolidated=False) as made:
        return made.load()


def test_the_arithmetic_is_what_the_task_says(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_model(tmp_path / "model")
    full = predicted(tiny, tmp_path, precision="fp32")
    half = predicted(tiny, tmp_path, precision="bf16")  # another prediction: nothing of the first one is kept
    assert (full.attrs["precision"], half.attrs["precision"]) == ("fp32", "bf16")
    name = "2m_temperature"
    apart = np.abs(full[name] - half[name]).max().item() / full[name].std().item()
    assert 0 < apart < 0.05
    for fast in (True, False):
        monkeypatch.setattr("orbit2.model.precision.fast_bf16", lambda device, fast=fast: fast)
        found = predicted(tiny, tmp_path, precision="auto")
        assert found.attrs["precision"] == ("bf16" if fast else "fp32")
        xr.testing.assert_equal(found[name], (half if fast else full)[name])


def test_auto_is_bf16_where_that_was_seen_to_be_faster() -> None:
    gain = [(True, True, "GenuineIntel"), (True, False, ""), (False, True, "AuthenticAMD")]
    assert all(gains_by_bf16(*each) for each in gain)
    assert not any(gains_by_bf16(*each) for each in [(False, True, "GenuineIntel"), (False, True, ""), (False, False, "AuthenticAMD")])


def test_what_a_processor_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "INFO", info)
    told.cache_clear()
    assert told("flags") == ""
    info.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16\n\nvendor_id\t: other\n")
    told.cache_clear()
    assert (told("vendor_id"), told("flags").split()) == ("AuthenticAMD", ["fpu", "avx512_bf16"])
    told.cache_clear()


def test_float32_on_a_gpu_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    for dtype, device in ((torch.bfloat16, "cuda"), (None, "cpu")):
        disallow_tf32(dtype, torch.device(device))
        assert torch.backends.cudnn.allow_tf32
    disallow_tf32(None, torch.device("cuda"))
    assert not torch.backends.cudnn.allow_tf32
