"""Runs that want other variables of ERA5 share what is there: a month is fetched once, whoever asks for a part of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orbit2.config.sources import SourcesConfig
from orbit2.retrieve import run
from orbit2.sources.catalogue import open_source
from tests.data.servers.cds import KEY, CdsServer

BOX = (40.0, 41.0, 250.0, 251.0)
FIRST, LAST = np.datetime64("2020-02-02T00", "s"), np.datetime64("2020-02-03T23", "s")


def field(name: str, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return {"2m_temperature": 280.0, "2m_dewpoint_temperature": 270.0, "sea_surface_temperature": 285.0}.get(name, 1.0) + np.zeros(
        (len(times), len(lat), len(lon)))


def test_what_another_run_fetched_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDSAPI_KEY", KEY)
    with CdsServer(field) as server:
        settings = SourcesConfig.model_validate({"era5": {"url": server.api}, "transfer": {"backoff_seconds": 0.01}})
        out = tmp_path / "era5/v1"

        def retrieve(*names: str, box: tuple[float, ...] = BOX, **options: bool) -> int:
            need = {"variables": names, "first": "2020-02-02", "last": "2020-02-03", "box": box}
            slice_ = {"source": "era5", "needs": [need], "settings": settings.model_dump(mode="json")}
            (tmp_path / "c.json").write_text(json.dumps(slice_))
            before = len(server.submitted)
            run(source="era5", out=out, config=tmp_path / "c.json", receipt=tmp_path / "done.json", **options)
            return len(server.submitted) - before

        two = ("2m_temperature", "mean_sea_level_pressure")
        assert retrieve(*two) == 1
        whole = json.loads((tmp_path / "done.json").read_text())
        capsys.readouterr()
        retrieve("2m_temperature", dry_run=True)
        assert "to fetch: nothing" in capsys.readouterr().out
        assert retrieve("2m_temperature") == 0  # a part of what is there
        part = json.loads((tmp_path / "done.json").read_text())
        assert (part["files"], part["content"]) == (whole["files"], whole["content"]) == (1, whole["content"])
        assert open_source("era5", tmp_path, settings, {"2m_temperature": (FIRST, LAST)}, BOX)["2m_temperature"].shape[0] == 48
        assert retrieve("2m_temperature", box=(40.0, 42.0, 250.0, 251.0)) == 1  # another box is another file
        within = (41.5, 42.0, 250.0, 251.0)
        assert retrieve("2m_temperature", box=within) == 0  # the larger box has it all
        assert open_source("era5", tmp_path, settings, {"2m_temperature": (FIRST, LAST)}, within).sizes["lat"] == 9
        assert retrieve("2m_temperature", "10m_u_component_of_wind") == 1  # one more variable

        (held,) = (p for p in out.rglob("*.nc") if p.name in whole_name(out, two))
        held.write_bytes(held.read_bytes()[:-1] + b"x")  # damaged: it does not count any more
        assert retrieve("mean_sea_level_pressure", verify=True) == 1


def whole_name(out: Path, names: tuple[str, ...]) -> list[str]:
    records = json.loads((out / "manifest.json").read_text())["files"]
    return [Path(r["file"]).name for r in records if set(r["variables"]) == set(names)]


def test_what_several_datasets_want_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dataset has a retrieve of its own, told what the run wants in all; a dataset that cannot be had is its own matter."""
    monkeypatch.setenv("CDSAPI_KEY", KEY)
    period = {"first": "2020-02-02", "last": "2020-02-03", "box": BOX}
    wants = {name: [{"variables": names, **period}]
             for name, names in {"a": ["2m_temperature"], "b": ["2m_temperature", "mean_sea_level_pressure"]}.items()}
    later = [{"variables": ["2m_temperature"], **period, "first": "2020-03-01", "last": "2020-03-31"}]
    wrong = [{"variables": ["no_such_variable"], **period}]
    with CdsServer(field) as server:
        settings = {"era5": {"url": server.api}, "transfer": {"backoff_seconds": 0.01}}

        def fetched(folder: str, name: str, together: list[dict[str, object]]) -> int:
            before = len(server.submitted)
            told = {"source": "era5", "needs": wants[name], "settings": settings, "together": together}
            (tmp_path / "c.json").write_text(json.dumps(told))
            run(source="era5", out=tmp_path / folder, config=tmp_path / "c.json", receipt=tmp_path / f"{name}.json")
            assert json.loads((tmp_path / f"{name}.json").read_text())["files"] == 1
            return len(server.submitted) - before

        whole = [*wants["a"], *wants["b"], *later]
        assert [fetched("together", name, whole) for name in "ab"] == [1, 0]  # nor what only others want later
        assert [fetched("apart", name, [*whole, *wrong]) for name in "ab"] == [1, 1]
