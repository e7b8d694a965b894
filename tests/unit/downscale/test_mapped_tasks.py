"""A task whose inputs are mapped to the training's climate before they are downscaled: once, never fitted on test years."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.load import from_mapping
from orbit2.data.pairs import PairStore
from orbit2.downscale import map_climate
from orbit2.errors import OrbitError
from tests.data.formula_run import Formula, run_of

SPLIT = {"train": {"start": "2000-01-01", "end": "2000-01-28"}, "validation": {"start": "2001-01-05", "end": "2001-01-08"},
         "test": {"start": "2002-01-05", "end": "2002-01-08"}}  # fmt: skip
PERIOD = {"start": "2000-01-01", "end": "2000-01-28"}


def raw(**changes: Any) -> dict[str, Any]:
    run = copy.deepcopy(run_of(("2m_temperature", "precipitation_rate"), SPLIT, 24))
    run["downscale"]["test"]["map_climate"] = {"period": PERIOD, **changes}
    return run


def end(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def test_a_task_is_mapped_once_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    formula = Formula(tmp_path, raw())
    formula.build()
    formula.walk("statistics", "train")
    command = formula.stages()["downscale"]
    assert end(*command) == 2 and "the task's inputs are to be mapped: to which pair store's?" in capsys.readouterr().err
    mapped, left = tmp_path / "test.mapped.zarr", tmp_path / ".test.mapped.zarr.map-killed"
    left.mkdir()  # as a job leaves it that is killed
    (left / "own").write_text("half of it")
    assert end(*command, "--climate", str(formula.store)) == 0
    assert mapped.is_dir() and not left.exists()
    with xr.open_zarr(str(formula.prediction), consolidated=False) as made:
        fit = json.loads(made.attrs["climate_mapping"])
        assert fit["period"] == ["2000-01-01T00:00:00", "2000-01-28T23:59:59"] and set(fit["trends"]) == set(formula.dataset.inputs)
        assert made.sizes["time"] == 4 and np.isfinite(made["2m_temperature"].values).all()
    assert "2m_temperature: mean" in caplog.text and "(training " in caplog.text
    before = (mapped / "zarr.json").stat().st_mtime_ns
    assert end(*command, "--climate", str(formula.store)) == 0 and (mapped / "zarr.json").stat().st_mtime_ns == before


def test_a_store_is_mapped_to_another_s_climate(tmp_path: Path) -> None:
    """A store two kelvin warmer gets the training's distribution in every cell; the samples are those of its own times."""
    formula, warmer = Formula(tmp_path / "a", raw()), Formula(tmp_path / "b", raw())
    plain = warmer.field
    warmer.field = lambda name, when: plain(name, when) + (2 if name == "2m_temperature" else 0)  # type: ignore[method-assign]
    for one in (formula, warmer):
        one.build()
    about = {"format": "orbit2-model-1", "inputs": list(formula.dataset.inputs), "statics": [],
             "datasets": {"pairs": {"hash": PairStore(formula.store).attributes["config_hash"], "split": SPLIT}}}  # fmt: skip
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps(about))
    stores = {"pairs": PairStore(warmer.store), "onto": PairStore(formula.store)}
    map_climate.map_store(**stores, model=tmp_path / "model", period=PERIOD, out=tmp_path / "mapped.zarr")
    times = stores["onto"].times[:28]
    inputs, told = map_climate.mapped_inputs(tmp_path / "mapped.zarr", ("2m_temperature",), times)
    wanted = np.stack([stores["onto"].read("coarse", i)[0] for i in range(28)])
    found = np.stack([inputs.frame(i)[0] for i in range(28)])
    np.testing.assert_allclose(found, wanted, atol=0.05)
    before, after = json.loads(told)["trends"]["2m_temperature"]["mean"]
    assert before - after == pytest.approx(2, abs=0.01)
    with pytest.raises(OrbitError, match="mapped inputs are not there"):
        map_climate.mapped_inputs(tmp_path / "none.zarr", ("2m_temperature",), times)


def test_nothing_is_fitted_on_what_is_judged_by(tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match=r"map_climate.period: 2000-01-01 to 2002-01-05 holds validation years of 'pairs'"):
        from_mapping(raw(period={"start": "2000-01-01", "end": "2002-01-05"}))
    with pytest.raises(OrbitError, match=r"map_climate.onto: 'other' is no dataset of 'm'"):
        from_mapping(raw(onto="other"))
    run, plain = from_mapping(raw()), from_mapping(run_of(("2m_temperature", "precipitation_rate"), SPLIT, 24))
    assert slices.downscale(run, "test")["climate_hash"] == slices.dataset(run, "pairs")["hash"]
    assert "map_climate" not in slices.downscale(plain, "test")["downscale"] and "climate_hash" not in slices.downscale(plain, "test")
