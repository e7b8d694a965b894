"""The PRISM reader against the provider's own files. Expected values are what GDAL's gdallocationinfo printed for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orbit2.config.sources import PrismConfig
from orbit2.errors import OrbitError
from orbit2.sources.prism import Prism
from orbit2.sources.source import Need

READERS = Path(__file__).resolve().parents[4] / "shared" / "data" / "readers" / "prism"
PPT, TMIN = "total_precipitation_24hr", "2m_temperature_min"


def real(name: str) -> Path:
    path = READERS / name
    if not path.is_file():
        pytest.skip(f"provider file {name} is not on this machine (../shared/data/readers)")
    return path


# gdallocationinfo -valonly -geoloc /vsizip/<zip>/<bil> LON LAT
POINTS = {(-123.875, 47.75): (0.0, 11.6070003509521, 4.02199983596802), (-121.75, 46.875): (0.0, 9.41899967193604, -7.0789999961853),
          (-80.25, 26.0): (0.0, 0.0, 24.6840000152588), (-100.0, 40.0): (0.0, 0.0, 11.2259998321533)}


def test_values_are_those_that_gdal_prints() -> None:
    files = [real("PRISM_ppt_stable_4kmD2_19910101_bil.zip"), real("PRISM_tmin_stable_4kmD2_20110615_bil.zip"),
             real("PRISM_ppt_stable_4kmD2_19810101_bil.zip")]
    data = Prism(PrismConfig()).open(files, [PPT, TMIN], np.datetime64("1981-01-01"), np.datetime64("2020-01-01"))
    assert [str(t)[:10] for t in data["time"].values] == ["1981-01-01", "1991-01-01", "2011-06-15"]
    assert (data.sizes["lat"], data.sizes["lon"]) == (621, 1405) and set(data["stability"].values) == {"stable"}
    assert data["lat"].values[[0, -1]] == pytest.approx([24 + 2 / 24, 49 + 22 / 24], abs=1e-12)
    assert data["lon"].values[[0, -1]] == pytest.approx([235.0, 293.5], abs=1e-12)
    data = data.load()
    for (lon, lat), (first, second, cold) in POINTS.items():
        cell = data.sel(lat=lat, lon=lon % 360)
        assert cell[PPT].values[:2] == pytest.approx([first, second], abs=1e-6)
        assert float(cell[TMIN][2]) == pytest.approx(cold + 273.15, abs=2e-5)
    corner = data.sel(lon=235.0).isel(lat=-1)  # gdallocationinfo: -9999
    assert np.isnan(corner[PPT].values).all() and np.isnan(corner[TMIN].values).all()
    # gdalinfo -stats of the provider: Minimum=0, Maximum=18.805, Mean=0.25441651385178
    held = data[PPT].values[0]
    assert np.nanmax(held) == pytest.approx(18.805000305176)
    assert np.nanmean(held, dtype=np.float64) == pytest.approx(0.25441651385178, rel=1e-6)


def test_the_provider_s_corrupt_file_gives_one_clear_error_that_names_it() -> None:
    path = real("CORRUPT_PRISM_ppt_stable_4kmD2_20120101_bil.zip")
    prism = Prism(PrismConfig())
    (request,) = prism.plan(Need((PPT,), np.datetime64("2012-01-01"), np.datetime64("2012-01-01")))
    wanted = r"CORRUPT_PRISM\S*_20120101_bil.zip: corrupt: .*got '3480082 bytes'; allowed: 3490020 bytes; delete it and retrieve it again$"
    with pytest.raises(OrbitError, match=wanted):
        prism.check(path, request)
    with pytest.raises(OrbitError, match=wanted):
        prism.open([path], [PPT], request.first, request.last)
    with pytest.raises(OrbitError, match=r"corrupt.*bil.zip|bil.zip: corrupt"):
        prism.open([real("PRISM_ppt_stable_4kmD2_19910101_bil.zip"), path], [PPT], np.datetime64("1991-01-01"), request.last)


def test_check_accepts_the_provider_s_sound_files() -> None:
    prism = Prism(PrismConfig())
    for name, element, day in ((PPT, "ppt", "19810101"), (TMIN, "tmin", "20110615")):
        path = real(f"PRISM_{element}_stable_4kmD2_{day}_bil.zip")
        date = np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}")
        prism.check(path, *prism.plan(Need((name,), date, date)))
