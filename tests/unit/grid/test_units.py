"""Units of real files against values worked out by hand; what is no such unit is refused with the file, the field and what is allowed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.units import Scale, conversion, convert, linear

RAIN, DAILY, T2M, PRESSURE, WIND, HEIGHT, SHARE = (
    "precipitation_rate", "total_precipitation_24hr", "2m_temperature", "mean_sea_level_pressure", "10m_u_component_of_wind", "orography",
    "land_sea_mask")


@pytest.mark.parametrize(("units", "name", "value", "expected"), [
    *[(u, T2M, 10.0, 283.15) for u in ("Celsius", "celsius", "deg_C", "degC", "degree_C", "degrees C", "Degrees Celsius", "C", "°C")],
    ("degF", T2M, 50.0, 283.15), ("°F", T2M, 50.0, 283.15), ("kelvin", T2M, 283.15, 283.15), ("Kelvin", T2M, 1.0, 1.0),
    *[(u, PRESSURE, 1013.25, 101325.0) for u in ("mb", "hPa", "mbar", "millibars", "millibar")],
    *[(u, RAIN, 1e-5, 0.864) for u in ("kg/m2/s", "kg m^-2 s^-1", "kg m-2 s-1", "kg m**-2 s**-1", "kg/m^2/s", "mm/s", "mm s-1")],
    *[(u, RAIN, 3.0, 3.0) for u in ("mm/day", "mm day-1", "mm d-1", "mm/d", "kg m-2 day-1", "mm day^-1")],
    *[(u, RAIN, 1.0, 24.0) for u in ("mm/h", "mm/hr", "mm h-1", "mm hour-1")],
    ("m s-1", RAIN, 1e-8, 0.864), ("inches/day", RAIN, 1.0, 25.4),
    *[(u, WIND, 5.0, 5.0) for u in ("m.s-1", "m s**-1", "m s-1", "m/s", "m s^-1")], ("km/h", WIND, 36.0, 10.0),
    ("knots", WIND, 1.0, 1852 / 3600),
    ("m2 s-2", HEIGHT, 9806.65, 1000.0), ("m**2 s**-2", HEIGHT, 9806.65, 1000.0), ("gpm", HEIGHT, 7.0, 7.0), ("km", HEIGHT, 2.0, 2000.0),
    ("1", SHARE, 0.5, 0.5), ("(0 - 1)", SHARE, 0.5, 0.5), ("~", SHARE, 0.5, 0.5), ("%", SHARE, 50.0, 0.5), ("percent", SHARE, 50.0, 0.5),
    ("g/kg", "specific_humidity_850", 8.0, 0.008), ("kg kg**-1", "specific_humidity_850", 0.008, 0.008),
    *[(u, DAILY, 2.0, 2.0) for u in ("mm", "kg m-2", "kg/m2", "kg m**-2")], ("m", DAILY, 0.002, 2.0), ("cm", DAILY, 0.2, 2.0),
])
def test_spellings_of_real_files(units: str, name: str, value: float, expected: float) -> None:
    factor, offset = conversion(units, name, "a.nc: x")
    assert value * factor + offset == pytest.approx(expected, rel=1e-12)


def test_an_amount_is_a_rate_only_with_its_period_and_the_other_way_round() -> None:
    for units in ("mm", "m", "kg m-2"):
        with pytest.raises(OrbitError, match=rf"a\.nc: tp: {RAIN} is a rate.*amount; got '{units}'.*over how many hours"):
            conversion(units, RAIN, "a.nc: tp")
    with pytest.raises(OrbitError, match=f"{DAILY} is an amount.*rate; got 'mm/day'"):
        conversion("mm/day", DAILY, "a.nc: tp")
    assert conversion("m", RAIN, "", hours=1) == (24_000.0, 0.0)
    assert conversion("mm", RAIN, "", hours=24) == (1.0, 0.0)
    assert conversion("kg m-2", RAIN, "", hours=6) == (4.0, 0.0)
    assert conversion("mm/day", DAILY, "", hours=24) == (1.0, 0.0)
    assert conversion("kg m-2 s-1", DAILY, "", hours=24).factor == pytest.approx(86400, rel=1e-12)
    assert conversion("mm/day", RAIN, "", hours=1) == (1.0, 0.0)  # a rate is a rate, whatever its period


@pytest.mark.parametrize(("units", "name"), [
    ("kg m-2 s-1", WIND), ("K", RAIN), ("Pa", T2M), ("furlongs per fortnight per", WIND), ("degrees", SHARE),
    ("days since 2000-01-01", T2M), ("unknown", T2M), ("no_unit", SHARE), ("mm/month", RAIN), ("m2 s-2", PRESSURE), ("mb", T2M),
    ("kg m-2", WIND),
])
def test_units_of_another_kind_are_refused_with_what_is_allowed(units: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OrbitError, match=r"a\.nc: x: field has wrong units for .*allowed: what can be converted to") as caught:
        conversion(units, name, "a.nc: x")
    assert f"'{units}'" in str(caught.value) and capfd.readouterr() == ("", ""), "the library says nothing of its own"


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_no_units_are_an_error(nothing: str | None) -> None:
    with pytest.raises(OrbitError, match=r"a\.nc: x: field has no units \(for 2m_temperature\).*K, degC, degF"):
        conversion(nothing, T2M, "a.nc: x")


def test_float32_stays_and_many_threads_agree() -> None:
    values = np.array([0.0, np.nan, 35.5], dtype=np.float32)
    assert convert(values, Scale(1.0, 0.0)) is values
    warm = convert(values, conversion("degC", T2M, ""))
    assert warm.dtype == np.float32 and warm[0] == np.float32(273.15) and np.isnan(warm[1])
    linear.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: linear("mb", "Pa"), range(64))) == {(100.0, 0.0)}
