"""From pairs to scores in small, of what orbit2 does not know by itself: declared variables every three hours, days of other calendars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import orbit2
from orbit2 import times
from orbit2.data.pairs import PairStore
from orbit2.files import read_json
from orbit2.metrics import table
from orbit2.variables import ATTRIBUTE, VARIABLES, forgetting, variable
from tests.data.formula_run import Formula, run_of

pytestmark = pytest.mark.slow
VARIABLES_SECTION = {
    "snow_depth": {"standard_name": "surface_snow_thickness", "units": "m", "range": [0, 20], "transform": "log1p"},
    "shortwave": {"standard_name": "surface_downwelling_shortwave_flux_in_air", "units": "W m-2", "range": [0, 1500], "kind": "mean"},
    "humidity": {"standard_name": "relative_humidity", "units": "%", "range": [0, 110], "transform": "logit"},
    "surface_pressure": {"standard_name": "surface_air_pressure", "units": "Pa", "range": [40000, 110000]},
    "wind_speed": {"standard_name": "wind_speed", "units": "m s-1", "range": [0, 120]},
    "ozone_500": {"standard_name": "mass_fraction_of_ozone_in_air", "units": "1", "range": [0, 1e-5], "transform": "log1p", "level": 500},
}


def test_declared_variables_go_from_pairs_to_scores(tmp_path: Path) -> None:
    split = {"train": {"start": "2001-01-01", "end": "2001-01-02"}, "validation": {"start": "2001-01-04", "end": "2001-01-04T12:00"},
             "test": {"start": "2001-01-06", "end": "2001-01-06T12:00"}, "gap_days": 1}  # fmt: skip
    names = tuple(VARIABLES_SECTION)
    with forgetting():
        made = Formula(tmp_path, run_of(names, split, 3, variables=VARIABLES_SECTION, architecture={"conserve": True}))
        made.build()
    for stage in ("statistics", "fit", "train", "downscale", "evaluate"):
        with forgetting():  # each knows what its slice and its files say
            made.walk(stage)
    statistics = read_json(made.statistics)["fine"]
    assert {key for name in names for key in statistics[name] if "_" in key} == {"log1p_mean", "log1p_std", "logit_mean", "logit_std"}
    assert "snow_depth" not in VARIABLES
    model = orbit2.load_model(made.model)
    assert model.outputs == names and variable("humidity").transform == "logit"
    store = PairStore(made.store)
    assert store.cell_methods("shortwave") == "time: mean (interval: 3 hours)" and store.step_hours == 3
    predicted = xr.open_zarr(made.prediction, consolidated=False)
    assert ATTRIBUTE in predicted.attrs and predicted["shortwave"].attrs["cell_methods"] == "time: mean (interval: 3 hours)"
    scores = table.read(tmp_path / "evaluate" / "metrics.parquet")
    for name in names:
        low, high = variable(name).valid
        field = predicted[name]
        assert {key: field.attrs[key] for key in ("units", "standard_name")} == {
            key: VARIABLES_SECTION[name][key] for key in ("units", "standard_name")}  # fmt: skip
        truth = np.stack([store.read("fine", k)[names.index(name)] for k in store.indices("2001-01-06", "2001-01-06T12:00")])
        assert np.isfinite(field).all() and abs(float(field.mean()) - truth.mean()) < 0.05 * (high - low)
        if variable(name).transform in ("log1p", "logit"):
            assert low <= float(field.min()) and float(field.max()) <= high * 1.001
        rows = scores[(scores["variable"] == name) & (scores["metric"] == "rmse") & (scores["model"] == "m") & (scores["season"] == "all")]
        error = np.sqrt(np.average((field.values - truth) ** 2, axis=(1, 2), weights=None).mean())
        assert set(rows["space"]) == {"physical"} and rows["value"].iloc[0] == pytest.approx(error, rel=0.35)
    assert not any(scores["metric"].str.startswith("wet_share"))  # nothing of it is rain


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_days_of_other_calendars_go_from_pairs_to_diagnostics(tmp_path: Path, calendar: str) -> None:
    last = "2001-02-30" if calendar == "360_day" else "2001-02-28"
    split = {"train": {"start": "2001-01-11", "end": last}, "validation": {"start": "2001-03-10", "end": "2001-03-14"},
             "test": {"start": "2004-02-21", "end": "2004-03-10"}}  # fmt: skip
    names = ("2m_temperature", "total_precipitation_24hr")
    made = Formula(tmp_path, run_of(names, split, 24, dataset={"calendar": calendar}, architecture={"time_embedding": True}))
    made.build()
    made.walk("statistics", "fit", "train", "downscale", "evaluate", "diagnose")
    store, predicted = PairStore(made.store), xr.open_zarr(made.prediction, consolidated=False)
    assert read_json(made.statistics)["samples"] == (50 if calendar == "360_day" else 49)
    stamps = times.normal(predicted["time"].values)
    assert predicted["time"].encoding["calendar"] == calendar and times.calendar_of(stamps) == calendar
    assert len(stamps) == (20 if calendar == "360_day" else 18) and set(stamps) <= set(store.times)
    assert ("2004-02-30T00:00:00" in times.stamps(stamps)) == (calendar == "360_day") and "2004-02-29T00:00:00" not in (
        times.stamps(stamps) if calendar == "noleap" else ())  # fmt: skip
    scores = pd.read_parquet(tmp_path / "evaluate" / "metrics.parquet")
    assert set(scores["date_range"].str[:10]) == {"2004-02-21"} and (scores["metric"] == "rmse").any()
    assert list((tmp_path / "diagnose").iterdir())
