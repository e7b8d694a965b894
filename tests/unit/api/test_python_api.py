"""What `import orbit2` offers: data, models by name, lazy predictions under the user's names, scores, one-line errors, a light import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr

import orbit2
from orbit2.api import shelf, training
from orbit2.downscale import load_model as plain
from orbit2.errors import OrbitError
from orbit2.start.asking import answers
from tests.data.own_archive import call
from tests.data.small_downscaling import random_model

LAT, LON = np.arange(-82.5, 90, 15.0), np.arange(7.5, 360, 15.0)


def fields(count: int = 2) -> xr.Dataset:
    warm = (280 + 20 * np.cos(np.radians(LAT)))[None, :, None] + np.arange(count)[:, None, None] + np.zeros((count, len(LAT), len(LON)))
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {"t2m": (dims, warm.astype("float32"), {"units": "K", "project": "mine"}),
         "rr": (dims, np.ones_like(warm, dtype="float32"), {"units": "mm/day"})},
        {"time": (np.datetime64("2020-01-31") + np.arange(count)).astype("datetime64[ns]"),
         "lat": ("lat", LAT, {"units": "degrees_north"}), "lon": ("lon", LON, {"units": "degrees_east"})},
        {"history": "made by me"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = {"datasets": {"tiny": {"source": "era5", "coarse_grid": "global_15.0", "split": {"train": {"start": "2001", "end": "2009"}}}}}
    return random_model(tmp_path_factory.mktemp("shelf") / "small" / "model", about=about, noise={"channels": 2})


def test_importing_loads_nothing_heavy() -> None:
    code = ("import sys, orbit2, orbit2.train; assert callable(orbit2.train); "
            "print([m for m in ('torch', 'xarray', 'numpy', 'pandas', 'dask') if m in sys.modules])")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_name_is_there() -> None:
    for name in orbit2.__all__:
        assert getattr(orbit2, name)
    from orbit2.train import run
    from orbit2.train.trainer import run as own

    assert run is own


def test_predictions_are_lazy_and_the_same(folder: Path) -> None:
    data, model = fields(), orbit2.load_model(folder)
    made = model.downscale(data)
    now = plain(folder).downscale(data)
    assert isinstance(made["2m_temperature"].data, dask.array.Array) and made["2m_temperature"].chunks[0] == (1, 1)
    xr.testing.assert_equal(made.load(), now)
    assert made["2m_temperature"].attrs["project"] == "mine" and made.attrs["history"].endswith("made by me")
    xr.testing.assert_equal(model.downscale(data, lazy=False), now)
    drawn, same = model.downscale(data, members=2).load(), plain(folder).downscale(data, members=2)
    xr.testing.assert_equal(drawn, same)
    shares = model.downscale(data, members=4, quantiles=(0.1, 0.9), probability="precipitation>1")
    xr.testing.assert_equal(shares.load(), plain(folder).downscale(data, members=4, quantiles=(0.1, 0.9), probability="precipitation>1"))


def test_files_stay_open_until_they_are_closed(folder: Path, tmp_path: Path) -> None:
    fields().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    model = orbit2.load_model(folder)
    with model.downscale(tmp_path / "in.nc") as made, orbit2.open(tmp_path / "in.nc") as given:
        assert isinstance(given["t2m"].data, dask.array.Array) and given["t2m"].attrs["project"] == "mine"
        assert float(made["2m_temperature"].mean()) == pytest.approx(float(model.downscale(given, lazy=False)["2m_temperature"].mean()))


def test_names_and_variables_are_the_users(folder: Path) -> None:
    model = orbit2.load_model(folder)
    assert list(model.downscale(fields(), names="input").data_vars) == ["t2m", "rr"]
    assert list(model.downscale(fields(), variables=["rr"]).data_vars) == ["precipitation_rate"]
    assert list(model.downscale(fields(), variables="2m_temperature", names="input").data_vars) == ["t2m"]


def test_scores_are_those_of_a_formula(folder: Path) -> None:
    model, truth = orbit2.load_model(folder), fields()
    found = model.score(truth.assign(t2m=truth["t2m"] + 2.0), truth)
    assert found.loc["2m_temperature", "bias"] == pytest.approx(2.0, abs=1e-4)
    assert found.loc["2m_temperature", "rmse"] == pytest.approx(2.0, abs=1e-4) and found.loc["2m_temperature", "fields"] == 2
    assert found.loc["2m_temperature", "units"] == "K" and found.loc["2m_temperature", "pearson_r"] == pytest.approx(1.0)


def test_models_are_found_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(shelf.VARIABLE, str(folder.parents[1]))
    assert [kept.label for kept in orbit2.models()] == ["random-00000000"]
    assert orbit2.load_model("random").folder == folder and orbit2.load_model("random-00000000").refinement == 4
    call("model", "list")
    assert "random-00000000  4 times finer" in capsys.readouterr().out
    with pytest.raises(OrbitError, match=r"no such model.*did you mean 'random'"):
        orbit2.load_model("randon")
    random_model(tmp_path / "results/models/other-1/model", about={"hash": "11111111"})
    (tmp_path / "results/models/other-1/config.json").write_text("{}", encoding="utf-8")  # the slice beside it is no model
    with pytest.raises(OrbitError, match="several models have this name"):
        orbit2.load_model("random")
    assert orbit2.load_model("random-11111111").folder == Path("results/models/other-1/model")


def test_a_model_shows_itself(folder: Path) -> None:
    model = orbit2.load_model(folder)
    html = model._repr_html_()
    for words in ("random-00000000", "2m_temperature (K)", "precipitation_rate (mm day-1)", "4 times", "limits",
                  "tiny (era5, 2001 to 2009)"):  # fmt: skip
        assert words in html
    assert "random-00000000" in repr(model) and len(repr(model)) < 300


def test_wrong_types_are_one_line(folder: Path) -> None:
    model = orbit2.load_model(folder)
    for act, words in (
        (lambda: orbit2.open(3), "not a place of data; got 'int'"), (lambda: orbit2.open("x", side="top"), "no such side"),  # type: ignore[arg-type]
        (lambda: orbit2.load_model(3), "not a model; got 'int'"), (lambda: orbit2.train(3), "not a run; got 'int'"),  # type: ignore[arg-type]
        (lambda: model.downscale(np.zeros(3)), "not data that can be downscaled"),  # type: ignore[arg-type]
        (lambda: model.downscale(fields(), names="mine"), "allowed: orbit2, input"),  # type: ignore[arg-type]
        (lambda: model.downscale(fields(), variables=["2m_temp"]), "did you mean '2m_temperature'"),
        (lambda: model.score(3, fields()), "not a product that can be scored"),  # type: ignore[arg-type]
        (lambda: orbit2.Downscaler("x").predict(fields()), "not fitted yet"),
        (lambda: answers({"coarse_dya": 0}), "did you mean 'coarse_day'"),
        (lambda: training.train("none.yaml"), "configuration file not found"),
    ):  # fmt: skip
        with pytest.raises(OrbitError) as error:
            act()
        assert words in str(error.value) and "\n" not in str(error.value)


def test_parameters_as_scikit_learn_has_them() -> None:
    maker = orbit2.Downscaler("mine", hours=2, accumulated="24h")
    assert maker.set_params(hours=1, coarse_day=-12, accumulated=None) is maker
    assert maker.get_params() == {"name": "mine", "hours": 1, "device": "this", "coarse_day": -12}
    for wrong, words in (({"hour": 3}, "nothing that can be said of files"), ({"coarse_day": 99}, "not an hour"),
                         ({"hours": 5, "factor": "x"}, "--factor")):  # fmt: skip
        with pytest.raises(OrbitError, match=words):
            maker.set_params(**wrong)
    assert maker.get_params()["hours"] == 1  # nothing has changed
    base = pytest.importorskip("sklearn.base")
    copy = base.clone(maker)
    assert copy is not maker and isinstance(copy, orbit2.Downscaler) and copy.get_params() == maker.get_params() and copy.model is None


def test_the_week_is_a_dataset() -> None:
    with orbit2.sample() as week:
        assert dict(week.sizes) == {"time": 24, "latitude": 181, "longitude": 360} and week["t2m"].attrs["units"] == "K"
