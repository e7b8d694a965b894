"""An orography without units: metres or a geopotential, told by words, by what no land has, by the Earth itself; or asked for."""

from pathlib import Path

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.grid import uniform
from orbit2.model.published_statics import metres
from orbit2.sources.static import open_static
from orbit2.units import STANDARD_GRAVITY

LOW = uniform(50, 54, 2, 14, 16, 48)  # from the Rhine's mouth to the Harz: its geopotential is no more than a mountain's height
FILE = Path("statics/orography_0.25deg.npy")


@pytest.fixture(scope="module")
def altitude() -> np.ndarray:
    """As another centre averages it."""
    field = open_static(LOW, ("orography",))[0]
    return (field + np.random.default_rng(0).normal(0, 15, field.shape)).astype(np.float32)


def test_low_land_is_told_by_the_earth_and_not_by_its_size(altitude: np.ndarray) -> None:
    geopotential = (altitude * STANDARD_GRAVITY).astype(np.float32)
    assert geopotential.max() < 9000  # which no rule of size would have told from metres
    assert metres(altitude, LOW, FILE, None) == 1.0 and metres(geopotential, LOW, FILE, None) == 1 / STANDARD_GRAVITY


def test_words_come_first(altitude: np.ndarray) -> None:
    assert metres(altitude, LOW, FILE, "m2 s**-2") == pytest.approx(1 / STANDARD_GRAVITY)
    assert metres(altitude / 1000, LOW, FILE, "km") == pytest.approx(1000)
    assert metres(altitude, LOW, Path("orography_geopotential.npy"), None) == 1 / STANDARD_GRAVITY
    with pytest.raises(OrbitError, match="wrong units for orography"):
        metres(altitude, LOW, FILE, "K")


def test_no_land_is_as_high(altitude: np.ndarray) -> None:
    high = altitude.copy()
    high[3, 3] = 4810 * STANDARD_GRAVITY
    assert metres(high, LOW, FILE, None) == 1 / STANDARD_GRAVITY
    with pytest.raises(OrbitError, match="outside its range") as error:
        metres(high, LOW, FILE, "m")
    assert "--orography-units" in str(error.value)


@pytest.mark.parametrize("kind", ["flat", "elsewhere", "between"])
def test_what_nothing_decides_is_asked_for(altitude: np.ndarray, kind: str) -> None:
    field = {"flat": np.full(LOW.shape, 250, np.float32), "elsewhere": altitude[::-1].copy(), "between": 3 * altitude}[kind]
    with pytest.raises(OrbitError, match="metres, or a geopotential") as error:
        metres(field, LOW, FILE, None)
    assert "--orography-units m" in str(error.value) and str(FILE) in str(error.value)


def test_open_sea_is_asked_for() -> None:
    sea = uniform(40, 44, 320, 330, 8, 20)
    with pytest.raises(OrbitError, match="metres, or a geopotential"):
        metres(np.zeros(sea.shape, np.float32), sea, FILE, None)
