"""What lies beside published weights, in small: the oracle's checkpoint, its YAML, statistics, static fields; days of its inputs; and what
its network makes of them, cut and put together by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
import yaml

from orbit2.config.load import merge
from orbit2.grid import Grid, uniform
from orbit2.model import importing
from orbit2.sources.static import open_static
from tests.data.oracle import COMMITTED, CONTAINER, STATICS, case

ROWS, COLUMNS = 28, 56  # in 2 x 2 tiles with overlap 2: the 16 x 32 cells that the table is of
GRID = f"cells_24,52,{ROWS},235,291,{COLUMNS}"
FINE = f"cells_24,52,{4 * ROWS},235,291,{4 * COLUMNS}"
ORDER = ["land_sea_mask", "orography", "lattitude", "landcover", "2m_temperature", "2m_temperature_max", "2m_temperature_min",
         "10m_u_component_of_wind", "total_precipitation_24hr"]  # fmt: skip
OUT = ["total_precipitation_24hr", "2m_temperature_min", "2m_temperature_max"]
MEAN = {"land_sea_mask": 0.3, "orography": 400.0, "lattitude": -3.0, "landcover": 5.0, "2m_temperature": 280.0, "2m_temperature_max": 284.0,
        "2m_temperature_min": 276.0, "10m_u_component_of_wind": 1.0}  # fmt: skip
STD = {name: 0.45 if name == "land_sea_mask" else 700.0 if name == "orography" else 50.0 if name == "lattitude" else 5.0 for name in MEAN}
UNITS = {"10m_u_component_of_wind": "m s-1", "total_precipitation_24hr": "mm"}
Fields = Mapping[str, npt.NDArray[Any]]


def settings() -> dict[str, Any]:
    """What the YAML beside the checkpoint says."""
    return {
        "model": {"preset": "tiny", "superres_mag": 4, "cnn_ratio": 4, "patch_size": 2, "embed_dim": 32, "depth": 2, "decoder_depth": 2,
                  "num_heads": 4, "mlp_ratio": 4},
        "tiling": {"do_tiling": True, "div": 2, "overlap": 2},
        "data": {"spatial_resolution": {"TINY": 28}, "default_vars": ORDER, "dict_in_variables": {"TINY": ORDER},
                 "dict_out_variables": {"TINY": OUT}},
    }  # fmt: skip


def beside(folder: Path, grid: Grid) -> Fields:
    """YAML, statistics, statistics of the outputs (`fine/`) and static fields on `grid`, written; the static fields."""
    random = np.random.default_rng(0)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings()))
    for kind, values in (("mean", MEAN), ("std", STD)):
        np.savez(folder / f"normalize_{kind}.npz", **{name: np.array([value]) for name, value in values.items()})
    fine = folder / "fine"
    fine.mkdir()
    np.savez(fine / "normalize_mean.npz", **{name: np.array([MEAN[name] + 1]) for name in OUT[1:]})
    np.savez(fine / "normalize_std.npz", **{name: np.array([2 * STD[name]]) for name in OUT[1:]})
    (altitude,) = open_static(grid, ("orography",))  # nothing says its units
    statics = {"land_sea_mask": random.random((ROWS, COLUMNS)), "orography": altitude,
               "lattitude": np.repeat(grid.lat[:, None], COLUMNS, 1), "landcover": random.integers(0, 17, (ROWS, COLUMNS))}  # fmt: skip
    for name, field in statics.items():
        np.save(folder / f"{name}_6deg.npy", field.astype("float32"))
    return statics


def fields(random: np.random.Generator, shape: tuple[int, ...]) -> dict[str, npt.NDArray[Any]]:
    """Days of all dynamic inputs [T, H, W], the sea's temperature among them."""
    made = {"2m_temperature": 280 + 5 * random.standard_normal(shape), "2m_temperature_max": 284 + 5 * random.standard_normal(shape),
            "2m_temperature_min": 276 + 5 * random.standard_normal(shape), "10m_u_component_of_wind": 5 * random.standard_normal(shape),
            "total_precipitation_24hr": np.maximum(random.gamma(0.5, 6, shape) - 1, 0)}  # fmt: skip
    made["sea_surface_temperature"] = np.where(random.random(shape) < 0.5, 285 + random.standard_normal(shape), np.nan)
    return {name: field.astype("float32") for name, field in made.items()}


def dataset(made: Fields, times: npt.NDArray[Any], lat: npt.NDArray[Any], lon: npt.NDArray[Any]) -> xr.Dataset:
    return xr.Dataset(
        {name: (("time", "lat", "lon"), field, {"units": UNITS.get(name, "K")}) for name, field in made.items()},
        coords={"time": times, "lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )


def expected(data: xr.Dataset, statics: Fields) -> npt.NDArray[Any]:
    """The oracle's network on normalised fields, cut and put together by hand, in physical units [T, C, sH, sW]."""
    one = case(COMMITTED, "A", "base")
    sea = data["sea_surface_temperature"]
    data = data.assign({"2m_temperature": data["2m_temperature"].where(np.isnan(sea), sea)})
    count, channels = data.sizes["time"], []
    for name in ORDER:
        field = np.broadcast_to(statics[name], (count, ROWS, COLUMNS)) if name in STATICS else data[name].to_numpy()
        if name == "total_precipitation_24hr":
            channels.append(np.log1p(np.where(field <= 0.25, 0, field)))
        else:
            channels.append((field - MEAN[name]) / STD[name])
    coarse = torch.from_numpy(np.stack(channels, 1).astype("float32"))
    made = np.empty((count, 3, 4 * ROWS, 4 * COLUMNS), "float32")
    for i, j in np.ndindex(2, 2):
        row, column = i * (ROWS - 16), j * (COLUMNS - 32)
        with torch.no_grad():
            tile = one.model(coarse[..., row : row + 16, column : column + 32], None, one.geometry, ORDER).numpy()
        height, width = 4 * ROWS // 2, 4 * COLUMNS // 2
        top, left = 4 * 2 * i, 4 * 4 * j  # all of the halo lies inward
        made[..., i * height : (i + 1) * height, j * width : (j + 1) * width] = tile[..., top : top + height, left : left + width]
    made[:, 0] = np.expm1(np.maximum(made[:, 0], 0))
    for c, name in enumerate(OUT[1:], 1):
        made[:, c] = made[:, c] * 2 * STD[name] + MEAN[name] + 1
    return made


FIRST, LAST, SPLIT = "2001-01-01", "2001-01-20", {
    "train": {"start": "2001-01-01", "end": "2001-01-10"}, "validation": {"start": "2001-01-12", "end": "2001-01-13"},
    "test": {"start": "2001-01-15", "end": "2001-01-17"}, "gap_days": 0}  # fmt: skip


def model(folder: Path) -> Fields:
    """The oracle's weights imported to `folder`/model, on the one-degree grid; its static fields."""
    source = folder / "published"
    source.mkdir()
    statics = beside(source, uniform(24, 52, 235, 291, ROWS, COLUMNS))
    importing.run([CONTAINER], source / "tiny.yaml", source, folder / "model", statics=source, output_statistics=source / "fine", grid=GRID)
    return statics


def archive(folder: Path) -> xr.Dataset:
    """`my_data/coarse.nc` and `my_data/fine.nc` (the outputs, block by block the coarse value and a known pattern); the coarse fields."""
    random, days = np.random.default_rng(1), np.arange(np.datetime64(FIRST), np.datetime64(LAST) + 1).astype("datetime64[ns]")
    lat, lon = 24.5 + np.arange(ROWS), 235.5 + np.arange(COLUMNS)
    coarse = fields(random, (len(days), ROWS, COLUMNS))
    pattern = np.kron(np.ones((ROWS, COLUMNS)), random.standard_normal((4, 4))).astype("float32")
    fine = {name: np.kron(coarse[name], np.ones((4, 4), "float32")) + (0 if name == OUT[0] else pattern) for name in OUT}
    small_lat, small_lon = 24.125 + 0.25 * np.arange(4 * ROWS), 235.125 + 0.25 * np.arange(4 * COLUMNS)
    (folder / "my_data").mkdir()
    given = dataset(coarse, days, lat, lon)
    given.to_netcdf(folder / "my_data/coarse.nc", engine="h5netcdf")
    dataset(fine, days, small_lat, small_lon).to_netcdf(folder / "my_data/fine.nc", engine="h5netcdf")
    return given


def run(**more: Any) -> dict[str, Any]:
    """A run that applies `model` to the test days of the archive."""
    inputs = [name for name in ORDER if name not in STATICS] + ["sea_surface_temperature"]
    plain = {
        "label": "published_tiny",
        "datasets": {"mine": {
            "source": "files", "files": {"coarse": "my_data/coarse.nc", "fine": "my_data/fine.nc", "accumulated": "24h",
                                         "day_starts": {"coarse": 0, "fine": 0}}, "inputs": inputs, "outputs": OUT,
            "coarse_grid": GRID, "fine_grid": FINE, "split": SPLIT, "samples_per_shard": 16, "statics": ["land_sea_mask", "orography"]}},
        "models": {"published": {"imported": "model"}},
        "downscale": {"test": {"model": "published", "dataset": "mine", "precision": "fp32"}},  # it is compared with float32
        "evaluate": {"bootstrap": 20, "spectra_bands": [], "spectra_boxes": {}},
        "report": {"zoom": [30.0, 45.0, 240.0, 280.0]},
    }  # fmt: skip
    return merge(plain, more)


CHILD = {
    "models": {"mine": {"datasets": ["mine"], "finetune_from": "published", "train": {
        "steps": 4, "batch_size": 2, "validate_every": 2, "learning_rate": 1e-3, "warmup_steps": 1, "precision": "fp32", "workers": 0}}},
    "downscale": {"mine": {"model": "mine", "dataset": "mine"}},
}  # fmt: skip


PUBLISHED_ORDER = [
    "land_sea_mask", "orography", "lattitude", "landcover", "2m_temperature", "2m_temperature_max", "2m_temperature_min",
    *(f"temperature_{level}" for level in (200, 500, 850)), "10m_u_component_of_wind",
    *(f"u_component_of_wind_{level}" for level in (200, 500, 850)), "10m_v_component_of_wind",
    *(f"v_component_of_wind_{level}" for level in (200, 500, 850)), *(f"specific_humidity_{level}" for level in (200, 500, 850)),
    "total_precipitation_24hr", "volumetric_soil_water_layer_1"]  # fmt: skip


def checkpoint(path: Path, outputs: int, table: tuple[int, int], width: int = 16, seed: int = 0) -> None:
    """Random weights in the published format (23 variables, one block, one layer of the head, patches of 2, refined 4 times)."""
    random = torch.Generator().manual_seed(seed)

    def made(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(shape, generator=random)

    count = len(PUBLISHED_ORDER)
    state = {"var_embed": made(1, count, width), "var_query": made(1, 1, width), "pos_embed": made(1, table[0] * table[1], width),
             "spatial_embed.weight": 0.01 * made(width, 1), "spatial_embed.bias": made(width), "var_agg.q.weight": made(width, width),
             "var_agg.kv.weight": made(2 * width, width), "head.2.weight": made(64 * outputs, width), "head.2.bias": made(64 * outputs),
             "conv_out.weight": made(outputs, outputs, 3, 3), "conv_out.bias": made(outputs),
             "path2.0.weight": made(64, outputs + 4, 3, 3), "path2.0.bias": made(64), "path2.3.weight": made(outputs, 4, 3, 3),
             "path2.3.bias": made(outputs), "blocks.0.attn.qkv.weight": made(3 * width, width),
             "blocks.0.attn.qkv.bias": made(3 * width), "blocks.0.mlp.fc1.weight": made(4 * width, width),
             "blocks.0.mlp.fc1.bias": made(4 * width), "blocks.0.mlp.fc2.weight": made(width, 4 * width),
             "blocks.0.mlp.fc2.bias": made(width)}  # fmt: skip
    for i in range(count):
        state |= {f"token_embeds.{i}.proj.weight": made(width, 1, 2, 2), f"token_embeds.{i}.proj.bias": made(width)}
    for name in ("var_agg.proj", "blocks.0.attn.proj", "head.0"):
        state |= {f"{name}.weight": made(width, width), f"{name}.bias": made(width)}
    for name in ("norm", "blocks.0.norm1", "blocks.0.norm2"):
        state |= {f"{name}.weight": 1 + made(width), f"{name}.bias": made(width)}
    torch.save({"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {}, "scheduler_state_dict": {}}, path)


def small_published(folder: Path, name: str, inputs: list[str], outputs: list[str], grid: str, tiles: dict[str, Any]) -> None:
    """`folder`/published/NAME: such weights, imported on `grid`; `tiles`: the section of the YAML."""
    from orbit2.grid import named

    source, cells = folder / f"from_{name}", named(grid)
    source.mkdir(parents=True)
    checkpoint(source / f"{name}.ckpt", len(outputs), (3, 6))
    (source / f"{name}.yaml").write_text(yaml.safe_dump({
        "model": {"superres_mag": 4, "cnn_ratio": 4, "patch_size": 2, "embed_dim": 16, "depth": 1, "decoder_depth": 1, "num_heads": 2,
                  "mlp_ratio": 4},
        "tiling": tiles, "data": {"spatial_resolution": {"S": 28}, "default_vars": PUBLISHED_ORDER, "dict_in_variables": {"S": inputs},
                                  "dict_out_variables": {"S": outputs}}}))  # fmt: skip
    means = {one: 280.0 if "temperature" in one else 0.3 if one == "land_sea_mask" else 1.0 for one in PUBLISHED_ORDER}
    stds = {one: 20.0 if "temperature" in one else 700.0 if one == "orography" else 1.0 for one in PUBLISHED_ORDER}
    for kind, values in (("mean", means), ("std", stds)):
        np.savez(source / f"normalize_{kind}.npz", **{key: np.array([value]) for key, value in values.items()})
    statics = {"land_sea_mask": np.ones(cells.shape), "orography": open_static(cells, ("orography",))[0], "landcover": np.ones(cells.shape),
               "lattitude": np.repeat(cells.lat[:, None], cells.shape[1], 1)}  # fmt: skip
    for key, field in statics.items():
        np.save(source / f"{key}_0.25deg.npy", field.astype("float32"))
    importing.run([source / f"{name}.ckpt"], source / f"{name}.yaml", source, folder / "published" / name, statics=source,
                  output_statistics=source, grid=grid)  # fmt: skip
