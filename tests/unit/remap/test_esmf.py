"""The xesmf back end without ESMF: a stand-in with xesmf's own signature (0.8) notes what it is given and answers with known weights."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import sparse

from orbit2.errors import OrbitError
from orbit2.grid import Grid, from_centres, named
from orbit2.remap import Regridder
from orbit2.remap.rectilinear import Method, column_weights, row_weights

SOURCE = from_centres(np.arange(-90, 91.0, 5), np.arange(0, 360.0, 5))  # half cells at the poles, periodic
BOX = Grid(np.linspace(-12, 32, 12), np.linspace(340, 372, 9))  # reaches over the 0 meridian
ESMF = {"conservative": "conservative", "bilinear": "bilinear", "nearest": "nearest_s2d"}


class Stand:
    """What xesmf.Regridder takes and keeps. Its weights are those of two grids known beforehand."""

    def __init__(self, source: Grid, target: Grid) -> None:
        self.grids, self.calls = (source, target), list[dict[str, Any]]()
        module = ModuleType("xesmf")
        module.Regridder = self.regridder  # type: ignore[attr-defined]
        self.module = module

    def regridder(
        self, ds_in: xr.Dataset, ds_out: xr.Dataset, method: str, locstream_in: bool = False, locstream_out: bool = False,
        periodic: bool = False, *, filename: str | None = None, reuse_weights: bool = False, extrap_method: str | None = None,
        weights: object = None, ignore_degenerate: bool | None = None, unmapped_to_nan: bool = False,
    ) -> SimpleNamespace:  # fmt: skip
        self.calls.append({"method": method, "periodic": periodic})
        assert not (locstream_in or locstream_out or filename or reuse_weights or weights or extrap_method or unmapped_to_nan)
        for given, grid in zip((ds_in, ds_out), self.grids, strict=True):
            assert given["lat"].dims == ("lat",) and given["lon"].dims == ("lon",) and "mask" not in given
            np.testing.assert_array_equal(given["lat"], grid.lat)
            np.testing.assert_array_equal(given["lon"], grid.lon)
            for name, edges in (("lat_b", grid.lat_edges), ("lon_b", grid.lon_edges)):  # n + 1 edges, not pairs
                assert given[name].ndim == 1
                np.testing.assert_array_equal(given[name], edges)
        known: Method = next(name for name, theirs in ESMF.items() if theirs == method)  # type: ignore[assignment]
        matrix = sparse.coo_matrix(sparse.kron(row_weights(*self.grids, known), column_weights(*self.grids, known)))
        return SimpleNamespace(weights=SimpleNamespace(data=SimpleNamespace(to_scipy_sparse=lambda: matrix)))  # [H'W', HW], as sparse.COO


@pytest.mark.parametrize("method", ESMF)
@pytest.mark.parametrize(("source", "target"), [(SOURCE, named("global_15")), (SOURCE, BOX), (BOX, SOURCE)], ids=["globe", "box", "beyond"])
def test_xesmf_is_called_as_it_asks_and_its_weights_are_used_as_ours(
    source: Grid, target: Grid, method: Method, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    stand = Stand(source, target)
    monkeypatch.setitem(sys.modules, "xesmf", stand.module)
    field = 280 + np.random.default_rng(0).normal(size=source.shape)
    field[3, 4] = np.nan
    found = Regridder(source, target, method, backend="xesmf")(field)
    np.testing.assert_allclose(found, Regridder(source, target, method, cache=tmp_path)(field), rtol=1e-12)
    assert np.isnan(found).any() or target is not SOURCE  # beyond the source
    # xesmf forces conservative regridding to periodic=False: edges are given, there is nothing to close
    assert stand.calls == [{"method": ESMF[method], "periodic": source.periodic and method != "conservative"}]


@pytest.mark.parametrize("broken", [ImportError("No module named 'esmpy'"), KeyError("ESMFMKFILE"), OSError("libesmf.so")])
def test_what_of_xesmf_or_esmf_is_missing_is_said_in_one_line(broken: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "xesmf":
                raise broken

    monkeypatch.delitem(sys.modules, "xesmf", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(OrbitError, match="xesmf back end cannot be imported") as error:
        Regridder(SOURCE, SOURCE, backend="xesmf")
    assert str(broken) in str(error.value) and "regrid_backend: builtin" in str(error.value) and "\n" not in str(error.value)
