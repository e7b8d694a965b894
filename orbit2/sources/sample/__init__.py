"""Paths of the real data that ship with orbit2 (one ERA5 week, 0.25 degree static fields). Never decodes them."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WEEK = FOLDER / "era5_week.nc"
STATIC = FOLDER / "static_0.25deg.nc"
ATTRIBUTION = FOLDER / "ATTRIBUTION.md"
