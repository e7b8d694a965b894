"""int16 packing: every value within its stated error, 0 mm exactly 0, missing stays missing, nothing is clipped."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from orbit2.data import packing
from orbit2.errors import OrbitError
from orbit2.variables import VARIABLES, is_precipitation, variable

DYNAMIC = [name for name, known in VARIABLES.items() if known.kind != "static"]


def sweep(name: str) -> np.ndarray:
    """[1, 300, 400] float32 over the whole valid range: ends, an even sweep, and a logarithmic one near the low end."""
    low, high = variable(name).valid
    values = np.concatenate([np.linspace(low, high, 60_000), low + np.geomspace(1e-9, high - low, 60_000)])
    return np.clip(values.astype(np.float32), np.float32(low), np.float32(high)).reshape(1, 300, 400)


@pytest.mark.parametrize("name", DYNAMIC)
def test_every_value_of_the_range_comes_back_within_half_a_step(name: str) -> None:
    values = sweep(name)
    codes = packing.pack(values, [name])
    assert codes.dtype == np.int16 and codes.min() == -32767 and codes.max() == 32767
    exact, back = values.astype(np.float64), packing.unpack(codes, [name]).astype(np.float64)
    low, high = variable(name).valid
    if is_precipitation(name):
        relative = np.abs(back - exact) / (1 + exact)
        assert relative.max() < 1e-4 and relative.max() <= packing.error_bound(name).absolute
    else:
        half = (high - low) / 65534 / 2
        assert np.abs(back - exact).max() <= half + np.spacing(np.float32(max(abs(low), abs(high))))
        assert half <= packing.error_bound(name).absolute < 1.1 * half
    assert np.all(np.abs(back - exact) <= packing.greatest_error(values, [name]))
    np.testing.assert_array_equal(packing.pack(back.astype(np.float32), [name]), codes)  # packing again changes nothing


@pytest.mark.parametrize("name", ["precipitation_rate", "total_precipitation_24hr"])
def test_dry_is_exactly_zero_and_a_drizzle_is_not(name: str) -> None:
    back = packing.unpack(packing.pack(np.array([[[0, -0.0, 2e-4, 1e-9]]], dtype=np.float32), [name]), [name])
    assert back[0, 0, 0] == back[0, 0, 1] == back[0, 0, 3] == 0 and 1e-4 < back[0, 0, 2] < 3e-4


@pytest.mark.parametrize("value, shown", [(-1e-6, "-1e-06"), (10_001, "10001"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_value_outside_is_refused_by_name_value_and_range(value: float, shown: str) -> None:
    fields = np.zeros((2, 3, 4, 5), dtype=np.float32)
    fields[:, :2] = 250
    fields[1, 2, 3, 3], fields[1, 2, 0, 0] = value, np.nan
    with pytest.raises(OrbitError, match=rf"^precipitation_rate: value outside.*'{shown} mm day-1'.*allowed: 0 to 10000"):
        packing.pack(fields, ["2m_temperature", "2m_temperature_max", "precipitation_rate"])


def test_celsius_is_no_temperature_in_kelvin() -> None:
    with pytest.raises(OrbitError, match=r"2m_temperature.*'21.5 K'.*150 to 350"):
        packing.pack(np.full((1, 2, 2), 21.5, dtype=np.float32), ["2m_temperature"])


def test_missing_is_missing_wherever_it_is() -> None:
    names = ["2m_temperature", "precipitation_rate", "sea_surface_temperature"]
    fields = np.full((2, 3, 4, 5), 280, dtype=np.float32)
    fields[0, 2] = np.nan  # a whole plane
    fields[1, 1, 2:, 1] = np.nan
    codes = packing.pack(fields, names)
    np.testing.assert_array_equal(codes == -32768, np.isnan(fields))
    np.testing.assert_array_equal(np.isnan(packing.unpack(codes, names)), np.isnan(fields))


def test_a_tensor_unpacks_on_its_device_to_the_same_fields() -> None:
    names = ["2m_temperature", "precipitation_rate", "mean_sea_level_pressure", "total_precipitation_24hr", "specific_humidity_850"]
    codes = np.random.default_rng(1).integers(-32768, 32768, (2, 5, 64, 64), dtype=np.int16)
    codes[..., 0, 0], codes[..., 0, 1] = -32768, -32767
    plain, tensor = packing.unpack(codes, names), packing.unpack(torch.from_numpy(codes), names)
    assert tensor.dtype == torch.float32 and tensor.shape == plain.shape
    np.testing.assert_allclose(tensor.numpy(), plain, rtol=3e-6, atol=1e-7)
    assert torch.isnan(tensor[..., 0, 0]).all() and (tensor[:, [1, 3], 0, 1] == 0).all()
    meta = packing.unpack(torch.from_numpy(codes).to("meta"), names)  # no host copy on the way
    assert meta.device.type == "meta" and meta.shape == plain.shape


def test_the_digest_is_the_sha256_of_little_endian_codes() -> None:
    fields = np.array([[[150, 250, 350], [np.nan, 250, 250]]], dtype=np.float32)
    expected = np.array([-32767, 0, 32767, -32768, 0, 0], dtype="<i2").tobytes()
    assert packing.digest(fields, ["2m_temperature"]) == hashlib.sha256(expected).hexdigest()


def test_fields_and_names_must_agree() -> None:
    for call in (packing.pack, packing.unpack):
        with pytest.raises(OrbitError, match="do not match their names"):
            call(np.zeros((2, 3, 4), dtype=np.int16), ["2m_temperature"])  # type: ignore[operator]


def test_the_table_states_a_bound_for_every_dynamic_variable_never_rounded_down() -> None:
    rows = {row.split("`")[1]: row for row in packing.table().splitlines()[2:]}
    assert set(rows) == set(DYNAMIC)
    assert rows["2m_temperature"].endswith("| 0.0016 K |") and rows["precipitation_rate"].endswith("0 is stored exactly |")
    for name in DYNAMIC:
        assert float(packing.error_bound(name).text.split()[0]) >= packing.error_bound(name).absolute * (1 - 1e-12)
