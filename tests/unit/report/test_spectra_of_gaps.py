"""Spectra of a truth with gaps: what has no row without a missing cell is not drawn, neither power nor coherence, and nothing fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.grid import global_grid
from orbit2.metrics.table import Table
from orbit2.report.figures import coherence, spectra
from orbit2.report.style import look
from orbit2.report.tables import Scores

FIELDS, BANDS = ["2m_temperature", "precipitation_rate"], ["30S-30N", "30N-60N"]


def task(folder: Path, known: dict[tuple[str, str], bool], box: bool) -> Any:
    """A task whose evaluate stage left spectra of the bands and fields that are `known`, and of one box without any."""
    shape = (3, 2, 2, 20)
    power = np.full(shape, np.nan)
    for f, field in enumerate(FIELDS):
        for b, band in enumerate(BANDS):
            if known.get((field, band)):
                power[:, f, b] = 1.0 / np.arange(1, 21) ** 2
    boxes = (3, 2, int(box), 20)
    of_bands = ("model", "field", "band", "wavenumber")
    data = {"zonal_power": (of_bands, power), "zonal_coherence": (of_bands, power),
            "wavelength_km": (("band", "wavenumber"), np.broadcast_to(36_000 / np.arange(1.0, 21), (2, 20))),
            "radial_power": (("model", "field", "box", "k_bin"), np.full(boxes, np.nan)),
            "radial_coherence": (("model", "field", "box", "k_bin"), np.full(boxes, np.nan)),
            "k": (("box", "k_bin"), np.broadcast_to(np.arange(1.0, 21) / 36_000, (int(box), 20))),
            "units": ("field", ["K", "1"])}  # fmt: skip
    made = xr.Dataset(data, {"model": ["truth", "net", "bicubic"], "field": FIELDS, "band": BANDS, "box": ["here"][: int(box)]})
    made.to_netcdf(folder / "spectra.nc", engine="h5netcdf")
    return SimpleNamespace(evaluate=folder, grid=global_grid(7.5), store=SimpleNamespace(refinement=3))


@pytest.mark.parametrize("box", [False, True])
def test_land_alone_has_no_spectrum_and_no_empty_axes(tmp_path: Path, box: bool) -> None:
    scores, one = Scores(Table("t", "d", "standard", "r", "a/b", "v").frame(), "t"), task(tmp_path, {}, box)
    assert spectra.zonal_spectra(one, "net", scores) == spectra.radial_spectra(one, "net", scores) == []
    assert coherence.coherences(one, "net", scores) == []


def test_what_is_known_is_drawn_and_nothing_else(tmp_path: Path) -> None:
    scores = Scores(Table("t", "d", "standard", "r", "a/b", "v").frame(), "t")
    one = task(tmp_path, {("2m_temperature", "30N-60N"): True}, False)
    with look():
        (drawn,), (shared,) = spectra.zonal_spectra(one, "net", scores), coherence.coherences(one, "net", scores)
    assert len(drawn.pictures) == len(shared.pictures) == 1 and "30°N to 60°N" in drawn.pictures[0].alt
    assert "2 m temperature" in drawn.title and "30°N to 60°N" in shared.title
