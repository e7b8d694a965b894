"""Small inputs that real people have (see README.md): each ends with the right values, or with one message and exit code 2."""

from __future__ import annotations

import http.server
import json
import logging
import shutil
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from orbit2.cli import main
from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.model import folder
from orbit2.model.reslim import Reslim
from orbit2.sources.era5 import open_era5
from tests.data.small_models import wake

CASES = Path(__file__).parent
NAMES = ("2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure", "precipitation_rate")
STATICS = ("land_sea_mask", "orography", "slope")
# Mean and standard deviation of 4 degree ERA5, precipitation in ln(1 + mm)
MOMENTS = {"2m_temperature": (278.0, 21.0), "10m_u_component_of_wind": (0.0, 5.5), "10m_v_component_of_wind": (0.2, 4.6),
           "mean_sea_level_pressure": (100970.0, 1330.0), "precipitation_rate": (0.59, 0.85), "land_sea_mask": (0.34, 0.45),
           "orography": (380.0, 830.0), "slope": (0.002, 0.004)}  # fmt: skip
COARSE_KM = 4.0 * np.pi / 180 * 6371

@dataclass
class Outcome:
    """What a case came to: exit code, everything that was said, and the products."""

    code: int
    text: str = ""
    out: Path | None = None
    read: xr.DataArray | None = None
    attrs: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def conserving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of five variables whose block means are its input."""
    architecture = ArchitectureConfig.model_validate(
        {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1, "conserve": True}
    )
    torch.manual_seed(3)
    model = wake(Reslim(architecture, (*NAMES, *STATICS), NAMES, STATICS))
    out = tmp_path_factory.mktemp("conserving") / "model"
    model.output_moments.copy_(torch.tensor([MOMENTS[name] for name in NAMES]))
    folder.save(out, model, Normaliser(MOMENTS, 0.0), {"name": "conserving", "hash": "00000000", "region": None, "coarse_km": COARSE_KM})
    return out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", sorted({p.parent.name for p in CASES.glob("*/expected.json")}))
def test_the_right_values_or_one_clear_refusal(
    case: str, conserving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    spec = json.loads((CASES / case / "expected.json").read_text())
    name = spec.get("input", "input.nc")
    if (CASES / case / name).exists():
        shutil.copy(CASES / case / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "orbit2")
    before = sorted(tmp_path.iterdir())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if spec["kind"] in ("downscale", "cli"):
            given = spec.get("arguments", [name])
            outcome = command("downscale", *given, "--model", str(conserving), "-o", "out.zarr")
            outcome.out = tmp_path / "out.zarr"
        elif spec["kind"] == "cds":
            monkeypatch.setenv("CDSAPI_KEY", "00000000-0000-0000-0000-000000000000")
            outcome = submitted(tmp_path, json.loads((CASES / case / "answer.json").read_text()))
        else:
            outcome = opened(tmp_path / name, spec["variables"], spec["steps"])
    said = capfd.readouterr()
    outcome.text = "\n".join([outcome.text, said.out, said.err, caplog.text, *(str(w.message) for w in caught)])
    assert any(met(accepted, outcome, name) for accepted in spec["accept"]), f"exit code {outcome.code}: {outcome.text}"
    assert "Traceback" not in outcome.text
    if outcome.code == 2:
        errors = [line for line in outcome.text.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and str(name if spec["kind"] == "downscale" else "") in errors[0], "one line, which names the file"
    if spec["kind"] == "downscale":
        left = set(tmp_path.iterdir()) - {outcome.out}
        assert sorted(left) == before and (outcome.code == 0) == (tmp_path / "out.zarr").exists(), "nothing else is left behind"


def command(*arguments: str) -> Outcome:
    try:
        main(arguments)
    except SystemExit as stop:
        return Outcome(int(stop.code or 0))
    except Exception:
        return Outcome(1, traceback.format_exc())


def opened(path: Path, variables: list[str], steps: Any) -> Outcome:
    try:
        data = open_era5([path], variables, steps=steps).load()
    except OrbitError as error:
        return Outcome(2, f"error: {error}")
    except Exception:
        return Outcome(1, traceback.format_exc())
    return Outcome(0, read=data[variables[0]], attrs={key: str(value) for key, value in data.attrs.items()})


def met(accepted: dict[str, Any], outcome: Outcome, file: str) -> bool:
    """Whether the outcome is this accepted one."""
    ((kind, rule),) = accepted.items()
    text = outcome.text
    if kind == "refusal":
        return outcome.code == 2 and says(text if file in rule["any_of"] else text.replace(file, ""), rule)
    if outcome.code != 0:
        return False
    if kind == "warning":
        return says(text.replace(file, ""), rule)
    if kind == "era5":
        if "attrs_expver" in rule:
            return rule["attrs_expver"] in outcome.attrs.get("expver", "")
        assert outcome.read is not None
        values = outcome.read.sel(time=slice(rule.get("from"), None)).values
        return bool(abs(float(np.nanmean(values)) - rule["mean"]) <= rule["tol"])
    assert outcome.out is not None
    with xr.open_zarr(outcome.out, consolidated=False) as made:
        made = made.load()
    if kind == "geography":
        inside = made.lat.min() >= rule["lat"][0] and made.lat.max() <= rule["lat"][1]
        return bool(inside and (made.lon % 360).min() >= rule["lon"][0] and (made.lon % 360).max() <= rule["lon"][1])
    if kind == "nan_at":
        return all(bool(np.isnan(made[name].isel(time=t).sel(lat=lat, lon=lon, method="nearest"))) for name, t, lat, lon in rule)
    assert kind == "values"
    return all(abs(block_mean(made, *place) - value) <= tolerance for *place, value, tolerance in rule["block_means"])


def says(text: str, rule: dict[str, Any]) -> bool:
    low = text.lower()
    return any(word.lower() in low for word in rule["any_of"]) and not any(word.lower() in low for word in rule.get("forbid", ()))


def block_mean(made: xr.Dataset, name: str, time: int, lat: float, lon: float) -> float:
    """Area mean of the 4 x 4 fine cells around a coarse cell's centre."""
    bounds = made["lat_bnds"].values
    weights = np.diff(np.sin(np.radians(bounds)), axis=1)[:, 0]
    away = np.abs(np.mod(made["lon"].values - lon + 180, 360) - 180)
    columns, rows = np.argsort(away, kind="stable")[:4], np.argsort(np.abs(made["lat"].values - lat), kind="stable")[:4]
    return float(np.average(made[name].isel(time=time).values[np.ix_(rows, columns)].mean(1), weights=weights[rows]))


def submitted(tmp_path: Path, answer: dict[str, Any]) -> Outcome:
    """`orbit2 retrieve era5` against a store that gives this answer to every request."""
    with data_store(answer) as port:
        box = "40,50,-5,10"
        split = {"train": ["2020-01-02", "2020-01-10"], "validation": ["2020-01-12", "2020-01-13"], "test": ["2020-01-15", "2020-01-16"]}
        run = {
            "label": "x",
            "sources": {"resources": str(tmp_path / "res"), "era5": {"url": f"http://127.0.0.1:{port}/api"},
                        "transfer": {"attempts": 1, "backoff_seconds": 0}},
            "datasets": {"e": {"source": "era5", "inputs": ["2m_temperature"], "outputs": ["2m_temperature"], "statics": ["land_sea_mask"],
                               "coarse_grid": f"global_1.0@{box}", "fine_grid": f"global_0.25@{box}",
                               "split": {"gap_days": 0, **{block: {"start": a, "end": b} for block, (a, b) in split.items()}}}},
            "models": {"m": {"datasets": ["e"],
                             "architecture": {"kind": "reslim", "refinement": 4, "embed_dim": 32, "depth": 1, "heads": 2}}},
        }  # fmt: skip
        (tmp_path / "run.yaml").write_text(json.dumps(run))
        return command("retrieve", "era5", "--config", "run.yaml")


@contextmanager
def data_store(answer: dict[str, Any]) -> Iterator[int]:
    """A Climate Data Store that answers every submission with `answer`; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def say(self, code: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.say(200, {"messages": [], "links": [], "jobs": []})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.say(answer["status"], answer["body"])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_a_prediction_counts_in_its_input_s_calendar(conserving: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"fine.{suffix}"
    file = str(CASES / "calendar-noleap" / "input.nc")
    assert command("downscale", file, "--model", str(conserving), "-o", str(out)).code == 0
    with xr.open_dataset(CASES / "calendar-noleap" / "input.nc", engine="netcdf4") as given:
        asked = given["time"].load()
    with xr.open_zarr(out, consolidated=False) if suffix == "zarr" else xr.open_dataset(out, engine="netcdf4") as made:
        assert made["time"].encoding["calendar"] == asked.encoding["calendar"] == "noleap"
        assert list(made["time"].values) == list(asked.values)
