"""A small world whose weather is a formula: local servers behave like the four providers, and every value in every file is known.

Days are numbered from 2020-02-20. Rain falls evenly through the UTC day; temperature has its minimum at 03 and its maximum at 15 UTC, on
the hour, so that hourly extremes are exact. All products agree, so what regridding must give is known for each of them.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from orbit2.config.load import CONFIG_ROOT, load
from orbit2.config.schema import ModelConfig
from tests.data.prism_files import Window, write_bil_zip, write_cog_zip
from tests.data.servers.cds import CdsServer
from tests.data.servers.earthdata import EarthdataServer
from tests.data.servers.prism import PrismServer

Array = npt.NDArray[np.float64]
DAY0 = np.datetime64("2020-02-20", "D")
SWING = 8.0  # K, half the daily range
BOX = "38,40,253,256"  # where PRISM, DAYMET and IMERG are
FINEST = "38.5,39.5,254,255.5"  # where cells are 1 km
WIDE = "34,44,249,261"  # where ERA5 trains on itself
RAIN, LEAST, MOST = "total_precipitation_24hr", "2m_temperature_min", "2m_temperature_max"
SPLIT = {"train": {"start": "2020-02-26", "end": "2020-03-01"}, "validation": {"start": "2020-03-03", "end": "2020-03-03"},
         "test": {"start": "2020-03-05", "end": "2020-03-06"}, "gap_days": 0}
TEST = {"test": SPLIT["test"], "gap_days": 0}
SMALL = {  # shipped dataset -> its grids, the box of them, and machine keys that fit so few days
    "era5_622km": ("global_5.625", "global_1.40625", "33.75,45,247.5,264.375", {"samples_per_part": 72}),
    "era5_112km": ("global_1.0", "global_0.25", WIDE, {"samples_per_part": 72}),
    "prism_16km": ("prism_10", "prism_2.5", BOX, {"samples_per_part": 6, "samples_per_shard": 2}),
    "daymet_16km": ("us_10", "us_2.5", BOX, {"samples_per_part": 6, "samples_per_shard": 2}),
    "us_28km": ("us_15", "us_3.75", BOX, {"samples_per_part": 6, "samples_per_shard": 2}),
    "daymet_4km": ("us_2.5", "us_0.625", FINEST, {"samples_per_part": 6, "samples_per_shard": 2}),
    "era5_112km_18": ("global_1.0", "global_0.25", WIDE, {"samples_per_part": 72}),
    "era5_28km": ("global_0.25", "global_0.0625", BOX, {"samples_per_shard": 2}),
    "imerg_daily": ("global_0.1", "global_0.1", BOX, {"samples_per_shard": 2}),
    "era5_nodes": ("nodes_0.25", "nodes_0.25/4", "38.125,40.125,253.125,256.125", {"samples_per_shard": 2}),
    "imerg_2021": ("global_0.1", "global_0.1", BOX, {"samples_per_shard": 2}),
    "us_120x240": ("cells_38,40,8,253,256,12", "cells_38,40,32,253,256,48", "", {"samples_per_part": 6, "samples_per_shard": 2}),
}  # fmt: skip
SCORED_ONLY = ("era5_28km", "imerg_daily", "era5_nodes", "imerg_2021")
STEPS = {"batch_size": 2, "workers": 0, "threads": 1, "warmup_steps": 2, "precision": "fp32", "validate_every": 10}
TILE, HALO = 6, 2  # coarse cells
NO_PRISM = "20200227"  # a day that PRISM's service does not have
SECRETS = {"CDSAPI_KEY": "c0ffee00-never-show-me", "EARTHDATA_TOKEN": "tok3n-that-must-never-be-seen"}


def rain(day: np.datetime64, lat: Array, lon: Array) -> Array:
    """mm of the UTC day."""
    d = (day.astype("datetime64[D]") - DAY0).astype(float)
    return 6 + 4 * np.sin(2 * np.pi * (lon % 360 - 253) / 3 + 0.9 * d) * np.cos(2 * np.pi * (lat - 38) / 4)


def base(day: np.datetime64, lat: Array, lon: Array) -> Array:
    """K: mean of the day."""
    d = (day.astype("datetime64[D]") - DAY0).astype(float)
    return 285 - 0.8 * (lat - 39) + 2 * np.sin(2 * np.pi * (lon % 360 - 253) / 4 - 0.5 * d)


def era5(name: str, times: npt.NDArray[np.datetime64], lat: Array, lon: Array) -> Array:
    """What the Climate Data Store's files hold: [time, lat, lon] by the name in the request, in its units."""
    rows, columns = np.meshgrid(lat, lon, indexing="ij")
    ground = {"land_sea_mask": 1 + 0 * rows, "geopotential": 9.80665 * (1500 + 300 * np.sin(columns)), "lake_cover": 0 * rows,
              "high_vegetation_cover": 0.3 + 0 * rows, "low_vegetation_cover": 0.5 + 0 * rows,
              "standard_deviation_of_orography": 100 + 0 * rows}
    if name in ground:
        return np.repeat(ground[name][None], len(times), axis=0)
    return np.stack([_hour(name, time, rows, columns) for time in times])


def _hour(name: str, time: np.datetime64, lat: Array, lon: Array) -> Array:
    if name == "sea_surface_temperature":
        return np.full(lat.shape, np.nan)  # all of it is land
    hour = (time - time.astype("datetime64[D]")) / np.timedelta64(1, "h")
    if name == "total_precipitation":  # metres of the hour that ends at the stamp: at 00:00 it is the day before's
        return rain((time - np.timedelta64(1, "h")).astype("datetime64[D]"), lat, lon) / 24 / 1000
    warmth = base(time.astype("datetime64[D]"), lat, lon) + SWING * np.cos(2 * np.pi * (hour - 15) / 24)
    profile = {"2m_temperature": warmth, "temperature_850": warmth - 10, "temperature_500": warmth - 30, "temperature_200": warmth - 65}
    if name in profile:
        return profile[name]
    wave = np.sin(2 * np.pi * (lon % 360 - 253) / 9 + np.radians(15 * hour)) * np.cos(np.radians(lat * 3))
    if "component_of_wind" in name:
        return (8 if "_u_" in name or name.startswith("u_") else 3) + 5 * wave
    if name.startswith("specific_humidity"):
        return 1e-3 * (1 + 4 * (name.endswith("850"))) * (1 + 0.3 * wave)
    return {"volumetric_soil_water_layer_1": 0.3 + 0.05 * wave}[name]


def daily(name: str, day: np.datetime64, lat: Array, lon: Array) -> Array:
    """Canonical daily values: mm, K."""
    return {RAIN: rain(day, lat, lon), LEAST: base(day, lat, lon) - SWING, MOST: base(day, lat, lon) + SWING}[name]


def _prism(element: str, day: str) -> bytes | None:
    """BIL zips before March, COG zips after: the provider changed in between, and both must be read in one dataset."""
    if day == NO_PRISM:
        return None
    window = Window(south=38 - 2 / 24, west=-107 - 2 / 24, rows=53, columns=77)
    date = np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}")
    name = {"ppt": RAIN, "tmin": LEAST, "tmax": MOST}[element]
    values = daily(name, date, *np.meshgrid(window.lat, window.lon, indexing="ij"))
    with tempfile.TemporaryDirectory() as folder:
        write = write_bil_zip if day < "20200301" else write_cog_zip
        path = write(Path(folder) / "day.zip", element, day, values - (0 if element == "ppt" else 273.15), window=window)
        return path.read_bytes()


def _model(section: ModelConfig) -> dict[str, Any]:
    """What makes a shipped model small and its training short; a fine-tuned one has its parent's sizes."""
    steps: dict[str, Any] = STEPS | {"steps": 10 if section.finetune_from else 20}
    if section.train.tile:
        steps |= {"tile": TILE, "halo": HALO}
    sizes = {"embed_dim": 32, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 16, "residual_blocks": 1}
    return {"train": steps} | ({} if section.finetune_from else {"architecture": sizes})


class Providers:
    """All services at once, on this machine."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        south, north, west, east = (float(x) for x in BOX.split(","))
        self.cds = self._stack.enter_context(CdsServer(era5, key=SECRETS["CDSAPI_KEY"]))
        self.prism = self._stack.enter_context(PrismServer(_prism))
        self.earthdata = self._stack.enter_context(
            EarthdataServer(daily, box=(south - 0.1, north + 0.1, west - 0.1, east + 0.1), token=SECRETS["EARTHDATA_TOKEN"]))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def services(self) -> dict[str, Any]:
        """`sources` of a run that fetches from here. Static fields are ERA5's: there is no relief to be had."""
        return {"transfer": {"backoff_seconds": 0.05, "timeout_seconds": 60, "max_gaps": 0.1}, "era5": {"url": self.cds.api},
                "prism": {"url": self.prism.url}, "earthdata": {"cmr": self.earthdata.url}, "static": {"source": "era5", "relief": None}}

    def shipped(self, name: str, label: str) -> dict[str, Any]:
        """config/runs/<name>.yaml itself, in small. What is laid over it, and nothing else: services, boxes and days of datasets (SMALL,
        ten days), sizes of models, lengths of trainings, tiles, and the boxes that are drawn."""
        whole = load(CONFIG_ROOT / "runs" / f"{name}.yaml")
        datasets = {
            key: {"coarse_grid": f"{coarse}{box and '@'}{box}", "fine_grid": f"{fine}{box and '@'}{box}",
                  "split": TEST if key in SCORED_ONLY else SPLIT, **cut}
            for key, (coarse, fine, box, cut) in SMALL.items() if key in whole.datasets}  # fmt: skip
        models = {key: _model(section) for key, section in whole.models.items() if section.imported is None}
        tiled = {key: {"tile": TILE, "halo": HALO} for key, task in whole.downscale.items() if task.tile}
        return {
            "include": f"runs/{name}.yaml", "label": label, "sources": self.services, "datasets": datasets, "models": models,
            "downscale": tiled, "evaluate": {"spectra_bands": [], "spectra_boxes": {}},
            "report": {"zoom": [38.0, 40.0, 253.0, 256.0]} | ({"map_task": "us_7km"} if "us_7km" in whole.downscale else {}),
        }  # fmt: skip

    def run(self) -> dict[str, Any]:
        """The run: foundation of ERA5 and PRISM, fine-tuned on ERA5 + DAYMET, then ERA5 to 0.0625 degrees scored on IMERG."""
        three = [RAIN, LEAST, MOST]
        inputs = [*three, "2m_temperature", "temperature_500"]
        common = {"statics": ["land_sea_mask", "orography", "latitude", "landcover"], "split": SPLIT, "samples_per_shard": 2}
        return {
            "label": "mini",
            "sources": self.services,
            "datasets": {
                "era5_pairs": {**common, "source": "era5", "inputs": inputs, "outputs": three, "frequency": "hourly",
                               "coarse_grid": f"global_1.0@{WIDE}", "fine_grid": f"global_0.25@{WIDE}", "samples_per_part": 72,
                               "samples_per_shard": 24},
                "prism_pairs": {**common, "source": "prism", "inputs": three, "outputs": three, "frequency": "daily",
                                "coarse_grid": f"prism_10@{BOX}", "fine_grid": f"prism_2.5@{BOX}", "samples_per_part": 6},
                "us_pairs": {**common, "source": "daymet", "input_sources": {"era5": ["2m_temperature", "temperature_500"]},
                             "inputs": inputs, "outputs": three, "frequency": "daily", "coarse_grid": f"us_15@{BOX}",
                             "fine_grid": f"us_3.75@{BOX}", "samples_per_part": 6},
                "era5_28km": {**common, "source": "era5", "inputs": inputs, "outputs": [], "frequency": "daily",
                              "split": TEST, "coarse_grid": f"global_0.25@{BOX}", "fine_grid": f"global_0.0625@{BOX}",
                              "samples_per_part": 2},
                "imerg": {**common, "source": "imerg", "inputs": [], "outputs": [RAIN], "statics": ["land_sea_mask"], "frequency": "daily",
                          "split": TEST, "coarse_grid": f"global_0.1@{BOX}", "fine_grid": f"global_0.1@{BOX}",
                          "samples_per_part": 2}},
            "models": {
                "foundation": {"datasets": ["era5_pairs", "prism_pairs"], "train": {**STEPS, "steps": 20}, "architecture": {
                    "embed_dim": 32, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 16, "residual_blocks": 1}},
                "us": {"datasets": ["us_pairs"], "finetune_from": "foundation", "train": {**STEPS, "steps": 10}}},
            "downscale": {"us_7km": {"model": "us", "dataset": "us_pairs"},
                          "global_7km": {"model": "us", "dataset": "era5_28km", "observations": "imerg", "tile": 6, "halo": 2}},
            "evaluate": {"spectra_bands": [], "spectra_boxes": {}},
            "report": {"title": "Miniature", "zoom": [38.0, 40.0, 253.0, 256.0], "map_task": "us_7km"},
        }
