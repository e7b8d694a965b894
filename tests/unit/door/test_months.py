"""Rain of whole months is divided by the month's own length in the file's calendar; cell methods are compared with the training's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2 import times
from orbit2.door.ingest import Reading, read_inputs
from orbit2.downscale.plausible import _methods
from orbit2.errors import OrbitError

DAYS = {"standard": [31, 29, 31], "noleap": [31, 28, 31], "360_day": [30, 30, 30], "all_leap": [31, 29, 31]}


def months(calendar: str, **attributes: str) -> xr.Dataset:
    """Three months of 2000, 60 mm in each."""
    stamps = [times.begin(f"2000-0{month}-01", calendar) for month in (1, 2, 3)]
    time = np.array(stamps, dtype="datetime64[ns]" if calendar == "standard" else object)
    lat, lon = 10.0 * np.arange(4), 10.0 * np.arange(5)
    return xr.Dataset(
        {"pr": (("time", "lat", "lon"), np.full((3, 4, 5), 60.0), attributes)},
        coords={"time": time, "lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )


@pytest.mark.parametrize("calendar", DAYS)
@pytest.mark.parametrize("attributes", [
    {"units": "mm month-1"}, {"units": "mm/month"}, {"units": "kg m-2 mon^-1"}, {"units": "mm", "cell_methods": "time: sum"},
    {"units": "cm per month", "scale": "0.1"}, {"units": "mm", "cell_methods": "area: mean time: sum (interval: 1 month)"},
])  # fmt: skip
def test_a_month_s_rain_is_a_rate_by_its_own_length(calendar: str, attributes: dict[str, str]) -> None:
    data = months(calendar, **attributes)
    for name, per_day in (("precipitation_rate", 1.0), ("total_precipitation_24hr", 1.0)):
        said = Reading(rename={"pr": name})
        inputs = read_inputs(data, [name], "x.nc", said)
        factor = 10 if attributes["units"].startswith("cm") else 1
        rates = [float(inputs.frame(k)[0].mean()) for k in range(3)]
        assert rates == pytest.approx([factor * 60 * per_day / days for days in DAYS[calendar]], rel=1e-6)


def test_a_month_s_length_is_that_of_its_bounds_and_may_be_said() -> None:
    data = months("standard", units="mm month-1")
    ends = np.array([["1999-12-01", "2000-01-01"], ["2000-01-01", "2000-02-01"], ["2000-02-01", "2000-03-01"]], dtype="datetime64[ns]")
    data["time"].attrs["bounds"] = "time_bnds"
    data["time_bnds"] = (("time", "nv"), ends)
    inputs = read_inputs(data, ["precipitation_rate"], "x.nc")
    assert [float(inputs.frame(k)[0].mean()) for k in range(3)] == pytest.approx([60 / 31, 60 / 31, 60 / 29])
    plain = months("noleap", units="mm")
    with pytest.raises(OrbitError, match="over which time is not said"):
        read_inputs(plain, ["precipitation_rate"], "x.nc")
    told = read_inputs(plain, ["precipitation_rate"], "x.nc", Reading(accumulated="1 month"))
    assert float(told.frame(1)[0].mean()) == pytest.approx(60 / 28)


@pytest.mark.parametrize(("theirs", "trained", "step", "words"), [
    ("time: point", "time: mean (interval: 1 hour)", 1, "'point' in time in the input, 'mean over 1 h' in training"),
    ("time: mean", "time: mean (interval: 1 hour)", 6, "'mean over 6 h' in time in the input, 'mean over 1 h' in training"),
    ("time: maximum (interval: 1 day)", "time: maximum (interval: 1 hour)", 24, "'maximum over 24 h'"),
    ("time: mean (interval: 3 hours)", "time: point", 3, "'mean over 3 h' in time in the input, 'point'"),
    ("time: mean", "time: mean (interval: 24 hours)", 24, None),
    ("time: sum", "time: mean (interval: 24 hours)", 24, None),
    ("time: point", "time: point", 6, None),
    ("", "time: point", 6, None),
])  # fmt: skip
def test_what_values_are_over_time_is_compared_with_the_training(theirs: str, trained: str, step: int, words: str | None) -> None:
    data = months("standard", units="K", cell_methods=theirs).rename(pr="tas")
    data = data.assign_coords(time=np.datetime64("2000-01-01", "ns") + np.arange(3) * np.timedelta64(step, "h"))
    inputs = read_inputs(data, ["2m_temperature"], "x.nc")
    about: dict[str, Any] = {"input_cell_methods": {"2m_temperature": trained}, "step_hours": 1}
    found = _methods(inputs, about)
    assert (not found) if words is None else (len(found) == 1 and words in found[0])
