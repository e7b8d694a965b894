"""`variables:`: what a run declares is known to whoever reads its slices, stores, models and tables, and means one thing in a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from orbit2.config import slices
from orbit2.config.load import dataset_hash, from_mapping, read_slice
from orbit2.config.schema import RunConfig
from orbit2.config.variables import VariableConfig
from orbit2.data import packing
from orbit2.data.curves import transformed
from orbit2.data.pairs import PairStore
from orbit2.data.store_layout import SideSpec, finalise, initialise
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.grid import global_grid
from orbit2.metrics import table
from orbit2.model.constraints import block_mean, conserve_blocks, row_weights
from orbit2.model.geometry import Geometry
from orbit2.units import conversion
from orbit2.variables import BUILT_IN, VARIABLES, adopt, cell_methods, declare, floor, forgetting, is_precipitation, variable

SNOW = {"standard_name": "surface_snow_thickness", "units": "m", "range": [0, 20], "transform": "log1p", "aliases": ["snd"]}
HUMID = {"standard_name": "relative_humidity", "units": "%", "range": [0, 110], "transform": "logit"}
OZONE = {"standard_name": "mass_fraction_of_ozone_in_air", "units": "1", "range": [0, 1e-4], "transform": "log1p", "level": 500}
SUN = {"standard_name": "surface_downwelling_shortwave_flux_in_air", "units": "W m-2", "range": [0, 1500], "kind": "mean", "period": "1h"}
SECTION = {"snow_depth": SNOW, "humidity": HUMID, "ozone_500": OZONE, "shortwave": SUN}
DATASET: dict[str, Any] = {
    "source": "era5", "inputs": ["2m_temperature"], "outputs": ["2m_temperature"], "frequency": "daily", "coarse_grid": "global_4",
    "fine_grid": "global_1", "split": {"train": {"start": "2000-01-01", "end": "2009-12-24"},
                                       "validation": {"start": "2010-01-03", "end": "2010-12-24"},
                                       "test": {"start": "2011-01-03", "end": "2011-12-31"}},
}  # fmt: skip


def run(variables: dict[str, Any] | None = None, **dataset: Any) -> RunConfig:
    return from_mapping({"datasets": {"pairs": {**DATASET, **dataset}}, "models": {"m": {"datasets": ["pairs"], "architecture": {}}},
                         **({} if variables is None else {"variables": variables})})  # fmt: skip


def declared(**section: dict[str, Any]) -> None:
    declare([VariableConfig.model_validate(row).row(name) for name, row in section.items()], "a test")


def test_what_falls_is_precipitation_whatever_its_transform() -> None:
    rate = {"standard_name": "rainfall_flux", "units": "mm day-1", "range": [0, 2000], "transform": "zscore"}
    snowfall = {"standard_name": "lwe_thickness_of_snowfall_amount", "units": "mm", "range": [0, 500], "kind": "sum", "period": "24h"}
    declared(**SECTION, rain=rate, snowfall=snowfall)
    assert [name for name in VARIABLES if is_precipitation(name)] == [
        "precipitation_rate", "total_precipitation_24hr", "rain", "snowfall"]  # fmt: skip
    assert variable("snowfall").transform == "log1p" and variable("snow_depth").transform == "log1p"
    assert floor("snow_depth") == floor("shortwave") == 0.0 and floor("2m_temperature") is None
    assert cell_methods("shortwave", 1) == "time: mean (interval: 1 hour)"
    assert cell_methods("snowfall", 24) == "time: sum (interval: 24 hours)"
    assert conversion("kg m-2 s-1", "rain", "file").factor == pytest.approx(86400)
    assert conversion("J m**-2", "shortwave", "file", hours=1).factor == pytest.approx(1 / 3600)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"standard_name": "rainfall_flux", "units": "kg m-2 s-1", "range": [0, 1]}, "precipitation is in mm"),
        ({"units": "m", "range": [0, 1]}, "give standard_name"),
        ({**SNOW, "units": "metres of snow"}, "UDUNITS cannot read"),
        ({**SNOW, "range": [-1, 2]}, "never negative"),
        ({**SNOW, "range": [2, 2]}, "least, greatest"),
        ({**SNOW, "period": "1h"}, "say which with `kind`"),
        ({**SNOW, "kind": "sum", "period": "a day"}, "not a period"),
        ({**SNOW, "vector": {"partner": "new", "component": "east"}}, "two components"),
        ({**SNOW, "vector": {"partner": "2m_temperature", "component": "east"}}, "must be declared as its partner"),
        ({**SNOW, "unit": "m"}, "unknown key"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_is_one_line(row: dict[str, Any], words: str) -> None:
    with pytest.raises(OrbitError, match=words):
        run({"new": row})
    assert "new" not in VARIABLES


def test_a_name_means_one_thing() -> None:
    run(SECTION, inputs=["snow_depth"])
    run(SECTION | {"humidity": {**HUMID, "long_name": "How moist it is"}})  # a label is no meaning
    with pytest.raises(OrbitError, match=r"'snow_depth' means something else here .*units"):
        run({"snow_depth": {**SNOW, "units": "cm"}})


def test_forgetting_can_start_from_the_built_in_rows(tmp_path: Path) -> None:
    declared(**SECTION)
    adopt(None, ["2m_temperature"], "a store opened before")  # its meaning counts from here on
    with forgetting(afresh=True):
        assert "humidity" not in VARIABLES
        run({"2m_temperature": {"range": [200, 330]}})
    assert variable("humidity").valid == (0, 110) and variable("2m_temperature") == BUILT_IN["2m_temperature"]
    with pytest.raises(OrbitError, match="than in a store opened before"):
        run({"2m_temperature": {"range": [200, 330]}})


def test_the_hash_of_a_dataset_covers_what_it_uses_of_the_declarations() -> None:
    plain = dataset_hash(run(), "pairs")
    assert dataset_hash(run(SECTION), "pairs") == plain  # none of them used
    with forgetting():
        assert dataset_hash(run({"2m_temperature": {"long_name": "Warmth"}}), "pairs") == plain
    assert "variables" not in slices.report(run())["run"] and "variables" not in slices.dataset(run(), "pairs")
    with forgetting():
        used = dataset_hash(run({"snow": SNOW}, inputs=["snow"]), "pairs")
    with forgetting():
        assert dataset_hash(run({"snow": {**SNOW, "range": [0, 10]}}, inputs=["snow"]), "pairs") != used
    with forgetting():
        assert dataset_hash(run({"2m_temperature": {"range": [200, 330]}}), "pairs") != plain


def test_a_job_knows_what_its_slice_declares(tmp_path: Path) -> None:
    with forgetting():
        config = run(SECTION, inputs=["snow_depth", "humidity"])
        told = slices.dataset(config, "pairs")
        tasks = [slices.model(config, "m"), slices.report(config)["run"]]
    assert set(told["variables"]) == {"snow_depth", "humidity"} and all("snow_depth" in each["variables"] for each in tasks)
    assert "snow_depth" not in VARIABLES
    write_json(tmp_path / "slice.json", told)
    read_slice(tmp_path / "slice.json")
    assert variable("snow_depth").units == "m" and "ozone_500" not in VARIABLES


def test_a_store_and_a_table_say_what_they_hold(tmp_path: Path) -> None:
    coarse = global_grid(30.0)
    with forgetting():
        declared(**SECTION)
        sides = [SideSpec(grid, ("2m_temperature", "humidity"), (), np.empty((0, *grid.shape))) for grid in (coarse, coarse.refine(2))]
        initialise(tmp_path / "pairs.zarr", *sides, np.array(["2000-01-01"], dtype="datetime64[s]"))
        finalise(tmp_path / "pairs.zarr")
        rows = table.Table("t", "d", "standard", "truth", "2000", "1")
        rows.add("m", "humidity", "physical", "global", "rmse", "all", 1.0)
        table.write(rows.frame(), tmp_path / "metrics.parquet")
    for reader in (PairStore, table.read):
        with forgetting():
            assert "humidity" not in VARIABLES
            reader(tmp_path / ("pairs.zarr" if reader is PairStore else "metrics.parquet"))
            assert variable("humidity").valid == (0, 110) and "ozone_500" not in VARIABLES
    with forgetting():
        declared(humidity={**HUMID, "range": [0, 100]})
        with pytest.raises(OrbitError, match=r"'humidity' means something else here.*valid \[0.0, 110.0\], not \[0.0, 100.0\]"):
            PairStore(tmp_path / "pairs.zarr")
    with forgetting():
        run({"2m_temperature": {"units": "degC", "range": [-90, 60]}})
        with pytest.raises(OrbitError, match="'2m_temperature' means something else"):
            PairStore(tmp_path / "pairs.zarr")  # which declares nothing of it: the built-in one


def test_a_table_without_declared_variables_has_no_more_in_it(tmp_path: Path) -> None:
    rows = table.Table("t", "d", "standard", "truth", "2000", "1")
    rows.add("m", "2m_temperature", "physical", "global", "rmse", "all", 1.0)
    table.write(rows.frame(), tmp_path / "metrics.parquet")
    assert pd.read_parquet(tmp_path / "metrics.parquet").attrs == {}
    assert json.dumps([row.as_json() for row in BUILT_IN.values()])  # and rows are JSON


def test_transforms_come_back_and_are_packed_well() -> None:
    declared(**SECTION)
    generator = np.random.default_rng(1)
    fields = np.stack([generator.gamma(0.3, 1.0, (24, 48)).clip(0, 20), generator.uniform(0, 110, (24, 48)),
                       generator.uniform(0, 1e-5, (24, 48))]).astype(np.float32)  # fmt: skip
    fields[:, 0, :3], fields[1, 1, :3], fields[:, 2, 2] = 0.0, 110.0, np.nan
    names = ("snow_depth", "humidity", "ozone_500")
    moments = {}
    for name, field in zip(names, fields, strict=True):
        curved = transformed(field, name)
        moments[name] = (float(np.nanmean(curved)), float(np.nanstd(curved)))
    normaliser = Normaliser(moments)
    seen = normaliser.normalise(torch.from_numpy(fields.copy()), names)
    assert np.isfinite(seen[np.isfinite(fields)]).all() and np.nanstd(seen.numpy(), axis=(1, 2)) == pytest.approx(1, abs=1e-3)
    back = normaliser.denormalise(seen, names).numpy()
    assert np.isnan(back[np.isnan(fields)]).all()
    for field, again, high in zip(fields, back, (20, 110, 1e-4), strict=True):
        assert np.nanmax(np.abs(field - again)) < 2e-5 * high
    wild = normaliser.denormalise(torch.full((3, 1, 1), 99.0), names), normaliser.denormalise(torch.full((3, 1, 1), -99.0), names)
    assert wild[0][1].item() == pytest.approx(110) and [float(v) for v in wild[1].ravel()] == [0, pytest.approx(0, abs=1e-5), 0]
    stored = packing.unpack(packing.pack(fields, names), names)
    assert (np.abs(stored - fields) <= packing.greatest_error(fields, names))[np.isfinite(fields)].all()
    assert packing.error_bound("humidity").absolute < 1e-3 and packing.error_bound("ozone_500").absolute < 1e-9
    assert (stored[1, 1, :3] == 110).all() and (stored[:, 0, :3] == 0).all()


@pytest.mark.parametrize("conserve", [True, "additive", "multiplicative", "softmax"])
@pytest.mark.parametrize("name", ["snow_depth", "humidity", "ozone_500", "shortwave"])
def test_block_means_of_declared_variables_are_kept_in_their_units(name: str, conserve: Any) -> None:
    declared(**SECTION)
    grid, high = global_grid(15.0), float(SECTION[name]["range"][1])
    generator = np.random.default_rng(2)
    given = (generator.uniform(0, 1, (1, 1, *grid.shape)) ** 3 * high * 0.9).astype(np.float32)
    given[..., :2, :2] = 0.0
    fine = (generator.uniform(0, 1, (1, 1, *grid.refine(4).shape)) * high * 0.5).astype(np.float32)
    curved = transformed(given, name)
    mean, std = float(curved.mean()), float(curved.std())
    normaliser = Normaliser({name: (mean, std)})
    coarse, field = (normaliser.normalise(torch.from_numpy(x.copy()), [name]) for x in (given, fine))
    geometry = Geometry.of(grid, 4)
    found = conserve_blocks(field, coarse, [name], [name], geometry, 4, torch.tensor([[mean, std]]), conserve)
    physical = normaliser.denormalise(found, [name]).double()
    weights = row_weights(geometry, 4)[:, None, :, None].double()
    off = (block_mean(physical, weights, 4) - torch.from_numpy(given)).abs().max()
    assert off < 2e-5 * high
    if name != "shortwave":  # what is seen as it is may be shifted below zero
        assert physical.min() >= 0 and physical.max() <= (high if name == "humidity" else np.inf)
