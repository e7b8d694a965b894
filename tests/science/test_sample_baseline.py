"""The packaged week reproduces the interpolation errors published for it: the data are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from orbit2.sources.sample import WEEK


@pytest.mark.parametrize(("name", "published", "tolerance"), [("t2m", 1.53, 0.01), ("u10", 1.29, 0.01), ("v10", 1.26, 0.01),
                                                            ("msl", 74, 1)])
def test_bicubic_from_4_degrees_has_the_published_error(name: str, published: float, tolerance: float) -> None:
    with xr.open_dataset(WEEK, engine="netcdf4") as week:
        truth = week[name].values[-4:, :180].astype(np.float32)  # the rows as they are, from the North Pole
        weights = np.cos(np.radians(week.latitude.values[:180]))[None, :, None]
    blocks = truth.reshape(4, 45, 4, 90, 4).mean((2, 4))
    wrapped = np.concatenate([blocks[..., -4:], blocks, blocks[..., :4]], axis=-1)
    fine = torch.nn.functional.interpolate(torch.from_numpy(wrapped)[None], scale_factor=4, mode="bicubic", align_corners=False)[0]
    error = fine.numpy()[..., 16:-16] - truth
    rmse = np.sqrt(np.average(error**2, weights=np.broadcast_to(weights, error.shape)))
    assert rmse == pytest.approx(published, abs=tolerance)
