"""What ERA5 is asked for: requests as the store documents them, sizes, names of files that do not collide."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from orbit2.config.sources import Era5Config
from orbit2.door.ecmwf import LEXICON, PRESSURE, SINGLE
from orbit2.errors import OrbitError
from orbit2.sources import era5 as module
from orbit2.sources.era5 import Era5, outward
from orbit2.sources.source import Need, Request
from orbit2.variables import VARIABLES

LEVELS = tuple(f"{name}_{level}" for name in ("temperature", "u_component_of_wind", "v_component_of_wind", "specific_humidity")
               for level in (200, 500, 850))


def plan(names: tuple[str, ...], first: str, last: str, box: Any = None, **config: Any) -> list[Request]:
    return Era5(Era5Config(**config)).plan(Need(names, np.datetime64(first), np.datetime64(last), box))


def test_a_month_is_one_request_of_surface_fields_and_one_of_pressure_levels() -> None:
    requests = plan(("2m_temperature", "precipitation_rate", *LEVELS), "2019-12-31", "2020-02-01")
    assert [(str(r.first), r.body["dataset"]) for r in requests] == [
        (f"{month}-01T00:00:00", dataset) for month in ("2019-12", "2020-01", "2020-02") for dataset in (PRESSURE, SINGLE)]
    assert all(r.client == "cds" and r.box is None and "area" not in r.body["request"] for r in requests)
    assert str(requests[-1].last) == "2020-02-29T23:00:00"
    surface, levels = requests[-1].body["request"], requests[-2].body["request"]
    assert surface == {
        "product_type": ["reanalysis"], "variable": ["2m_temperature", "total_precipitation"], "year": ["2020"], "month": ["02"],
        "day": [f"{d:02d}" for d in range(1, 30)], "time": [f"{h:02d}:00" for h in range(24)], "data_format": "netcdf",
        "download_format": "unarchived"}
    assert levels["pressure_level"] == ["200", "500", "850"] and len(levels["variable"]) == 4
    assert requests[-1].file.endswith(".zip") and requests[-2].file.endswith(".nc")  # two step types come as a zip
    assert set(requests[-2].variables) == set(LEVELS)


def test_levels_are_asked_for_only_where_they_are_wanted() -> None:
    requests = plan(("temperature_850", "u_component_of_wind_200", "v_component_of_wind_200"), "2020-01-01", "2020-01-01")
    asked = {tuple(r.body["request"]["pressure_level"]): r.body["request"]["variable"] for r in requests}
    assert asked == {("850",): ["temperature"], ("200",): ["u_component_of_wind", "v_component_of_wind"]}


def test_boxes_grow_to_whole_steps_and_do_not_share_files() -> None:
    assert outward((24.1, 49.9, 234.9, 295.0)) == (24.0, 50.0, 234.75, 295.0)
    assert outward((-89.9, 90, -180, 180)) == (-90.0, 90.0, 0.0, 359.75)
    one, other, whole = (plan(("2m_temperature",), "2020-01-01", "2020-01-02", box)[0] for box in (
        (24.1, 49.9, 234.9, 295.0), (24.1, 49.9, -10.0, 20.0), None))
    assert one.body["request"]["area"] == [50.0, 234.75, 24.0, 295.0] and one.box == (24.0, 50.0, 234.75, 295.0)
    assert other.body["request"]["area"] == [50.0, -10.0, 24.0, 20.0]
    assert len({one.file, other.file, whole.file}) == 3
    west, east = plan(("2m_temperature",), "2020-01-01", "2020-01-01", (0.0, 10.0, 350.0, 370.0))[0].body["request"]["area"][1::2]
    assert (west, east) == (-10.0, 10.0)  # the store takes -180 to 360


def test_overlapping_needs_share_files_and_different_variables_do_not() -> None:
    winter, spring = (plan(("2m_temperature",), *days) for days in (("2020-01-05", "2020-03-02"), ("2020-03-30", "2020-04-30")))
    assert winter[-1] == spring[0] and len(winter) == 3
    assert plan(("2m_temperature", "mean_sea_level_pressure"), "2020-03-01", "2020-03-02")[0].file != spring[0].file
    assert plan(("2m_temperature",), "2020-03-01", "2020-03-02", format="grib")[0].file.endswith(".grib")


def test_a_month_with_too_many_fields_is_split_into_runs_of_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.FIELD_LIMIT, SINGLE, 2 * 24 * 10)
    parts = plan(("2m_temperature", "precipitation_rate"), "2020-01-01", "2020-01-31")
    assert len(parts) == 4 and len({p.file for p in parts}) == 4
    days = [day for p in parts for day in p.body["request"]["day"]]
    assert days == [f"{d:02d}" for d in range(1, 32)]
    assert all(len(p.body["request"]["day"]) * 48 <= 480 for p in parts)
    assert all(a.last + np.timedelta64(1, "h") == b.first for a, b in pairwise(parts))


def test_the_papers_month_fits_into_one_request_of_each_kind() -> None:
    surface = tuple(n for n, f in LEXICON.items() if f.level is None)
    assert len(plan((*surface, *LEVELS), "2020-01-01", "2020-01-31")) == 2


def test_sizes_are_those_of_compressed_files_and_arco_counts_what_is_read() -> None:
    (month,) = plan(("2m_temperature",), "2020-01-01", "2020-01-31")
    assert 0.4 < month.bytes / (744 * 721 * 1440 * 4) < 0.8
    (region,) = plan(("2m_temperature",), "2020-01-01", "2020-01-31", (40.0, 41.0, 250.0, 251.0))
    assert region.bytes == pytest.approx(month.bytes * 25 / (721 * 1440), rel=1e-3)
    day = plan(("2m_temperature", "temperature_850"), "2020-01-01", "2020-01-01", (40.0, 41.0, 250.0, 251.0), backend="arco")
    levels, surface = day
    assert levels.bytes == 37 * surface.bytes and surface.bytes > 24 * 721 * 1440 * 2
    assert "all 37 pressure levels" in levels.note and "whole globe" in surface.note
    assert {r.client for r in day} == {"arco"} and all(str(r.last) == "2020-01-01T23:00:00" for r in day)


def test_what_a_back_end_does_not_hold_is_named() -> None:
    with pytest.raises(OrbitError, match=r"ARCO store does not hold.*2m_temperature_max_1hr.*backend: cds"):
        plan(("2m_temperature_max_1hr",), "2020-01-01", "2020-01-01", backend="arco")
    assert "2m_temperature_max_1hr" in Era5(Era5Config()).offers()
    assert "2m_temperature_max_1hr" not in Era5(Era5Config(backend="arco")).offers()
    (extremes,) = plan(("2m_temperature_max_1hr", "2m_temperature_min_1hr"), "2020-01-01", "2020-01-01")
    assert extremes.body["request"]["variable"] == [
        "maximum_2m_temperature_since_previous_post_processing", "minimum_2m_temperature_since_previous_post_processing"]
    with pytest.raises(OrbitError, match="did you mean"):
        plan(("2m_temperatur",), "2020-01-01", "2020-01-01")
    with pytest.raises(OrbitError, match="does not go back"):
        plan(("2m_temperature",), "1939-12-31", "1940-01-01")


def test_sea_surface_temperature_comes_along_where_it_is_to_replace_air_temperature() -> None:
    (request,) = plan(("2m_temperature",), "2020-01-01", "2020-01-01", sst_over_sea=True)
    assert request.body["request"]["variable"] == ["2m_temperature", "sea_surface_temperature"]
    (request,) = plan(("mean_sea_level_pressure",), "2020-01-01", "2020-01-01", sst_over_sea=True)
    assert request.body["request"]["variable"] == ["mean_sea_level_pressure"]


def test_every_variable_of_the_lexicon_is_in_the_vocabulary() -> None:
    assert set(LEXICON) <= set(VARIABLES)
    assert all(field.level is None or f"_{field.level}" in name for name, field in LEXICON.items())
