"""Data of no real world: what stands above a page stands in every picture that may be taken from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orbit2.config.sources import SYNTHETIC, banner
from orbit2.report.figures.panels import WARNING, Figure


@pytest.mark.parametrize("width", [400, 3000])
def test_a_picture_carries_the_banner_s_words_whole(tmp_path: Path, width: int) -> None:
    figure = Figure("one", "title", "caption", (), np.full((50, width, 3), 255, dtype=np.uint8))
    for words in ("", banner(["synthetic"])):
        figure.write(tmp_path, words)
        pixels = np.asarray(Image.open(tmp_path / "figures/one.png")).astype(int)
        if not words:
            assert pixels.shape == (50, width, 3)
    strip = pixels[:-50]
    ground = np.array([int(WARNING[i : i + 2], 16) for i in (1, 3, 5)])
    ink = np.flatnonzero((np.abs(strip - ground).sum(-1) > 200).any(0))
    assert pixels.shape[1] == width and (pixels[-50:] == 255).all() and len(ink) > 100
    assert ink[0] < 0.05 * width and ink[-1] < 0.995 * width  # no word is cut


def test_only_what_is_no_weather_has_one() -> None:
    assert banner(["era5", "prism"]) == "" and banner(["synthetic"]) == SYNTHETIC
