"""The test world as a source: made without a network, once, and marked as what it is wherever its values go."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import yaml

from orbit2 import regrid, retrieve
from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.load import from_mapping
from orbit2.config.schema import RunConfig
from orbit2.config.sources import SYNTHETIC, SourcesConfig, SyntheticConfig
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.grid import named
from orbit2.sources.catalogue import open_source
from orbit2.sources.source import Need
from orbit2.sources.synthetic import World
from orbit2.sources.synthetic.provider import Synthetic
from orbit2.sources.synthetic.world import NAMES, RAIN, WARMEST, WET

DATASET = {
    "source": "synthetic", "inputs": [RAIN, WARMEST], "outputs": [RAIN, WARMEST], "statics": ["orography"],
    "coarse_grid": "global_30", "fine_grid": "global_10",
    "split": {"train": {"start": "2001-12-01", "end": "2001-12-20"}, "validation": {"start": "2001-12-28", "end": "2002-01-02"},
              "test": {"start": "2002-01-10", "end": "2002-01-20"}},
}  # fmt: skip
RAW = {"label": "x", "sources": {"synthetic": {"degrees": 10, "seed": 5}}, "datasets": {"world": DATASET},
       "models": {"m": {"datasets": ["world"], "architecture": {"kind": "conv", "refinement": 3}}},
       "downscale": {"test": {"model": "m", "dataset": "world"}}}  # fmt: skip


@pytest.fixture(scope="module")
def run() -> RunConfig:
    return from_mapping(RAW)


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What retrieve leaves, with the network off."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "run.yaml").write_text(yaml.safe_dump({**RAW, "sources": {**RAW["sources"], "resources": str(folder)}}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a synthetic source asked for the network"))
        retrieve.run_config(config=folder / "run.yaml")
    return folder


def test_files_hold_the_world_and_are_made_once(run: RunConfig, resources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = sorted((resources / "synthetic/v1").glob("*.nc"))
    assert [path.name for path in made] == ["world1_10deg_seed5_2001.nc", "world1_10deg_seed5_2002.nc"]
    window = (np.datetime64("2001-12-30", "s"), np.datetime64("2002-01-05", "s"))  # across the two files
    found = open_source("synthetic", resources, run.sources, {RAIN: window, WARMEST: window}).compute()
    truth = World(named("global_10"), seed=5).fields(found["time"].values.astype("datetime64[D]"))
    np.testing.assert_allclose(found[RAIN], truth[RAIN], atol=0.026)
    np.testing.assert_allclose(found[WARMEST], truth[WARMEST], atol=0.0051)
    assert found[RAIN].where(found[RAIN] > 0).min() > 1.0 < WET  # packing leaves wet days wet
    assert found.attrs["synthetic"] == SYNTHETIC and found[RAIN].dtype == np.float32
    capsys.readouterr()
    retrieve.run_config(config=resources / "run.yaml", source="synthetic")
    assert "complete, nothing to do" in capsys.readouterr().out


def test_manifest_says_that_it_is_synthetic(resources: Path) -> None:
    files = json.loads((resources / "synthetic/v1/manifest.json").read_text())["files"]
    assert len(files) == 2
    for entry in files:
        assert entry["origin"] == SYNTHETIC and "SYNTHETIC" in entry["attribution"]


def test_a_file_of_another_world_or_year_is_refused(resources: Path) -> None:
    file = resources / "synthetic/v1/world1_10deg_seed5_2001.nc"
    request = Synthetic(SyntheticConfig(degrees=10, seed=5)).plan(Need((RAIN,), *[np.datetime64("2001-05-01")] * 2))[0]
    Synthetic(SyntheticConfig(degrees=10, seed=5)).check(file, request)
    with pytest.raises(OrbitError, match="another test world"):
        Synthetic(SyntheticConfig(degrees=10, seed=6)).check(file, request)
    with pytest.raises(OrbitError, match="another year"):
        Synthetic(SyntheticConfig(degrees=10, seed=5)).check(file.with_name("world1_10deg_seed5_2002.nc"), request)


def test_what_it_has_not_is_said() -> None:
    source = Synthetic(SyntheticConfig())
    with pytest.raises(OrbitError, match=r"does not have this variable; got '2m_temperature'.*2m_temperature_max"):
        source.plan(Need(("2m_temperature",), *[np.datetime64("2001-05-01")] * 2))
    with pytest.raises(OrbitError, match="no such year"):
        source.plan(Need((RAIN,), np.datetime64("1700-05-01"), np.datetime64("1700-05-02")))
    assert set(source.offers()) == set(NAMES)


def test_store_carries_the_mark(run: RunConfig, resources: Path, tmp_path: Path) -> None:
    config, store = tmp_path / "config.json", tmp_path / "pairs.zarr"
    config.write_text(json.dumps(slices.dataset(run, "world")), encoding="utf-8")
    regrid.initialise(config=config, resources=resources, store=store)
    for part in regrid.plan_parts(run.datasets["world"]):
        regrid.build_part(config=config, resources=resources, store=store, part=part.id, out=tmp_path / "parts" / f"{part.id}.json")
    regrid.finalise(config=config, store=store, parts=tmp_path / "parts", out=tmp_path / "finalised.json")
    opened = PairStore(store)
    assert opened.attributes["synthetic"] == SYNTHETIC and opened.attributes["source"] == "synthetic"
    truth = World(named("global_10"), seed=5).fields(opened.times[-1:].astype("datetime64[D]"))[RAIN][0]
    np.testing.assert_allclose(opened.read("fine", len(opened.times) - 1)[0], truth, rtol=0.01, atol=0.03)


def test_it_is_mixed_with_nothing_that_was_observed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    both = {**DATASET, "input_sources": {"prism": [WARMEST]}}
    with pytest.raises(OrbitError, match="not mixed with what was observed"):
        from_mapping({**RAW, "datasets": {"world": both}})
    real = {**DATASET, "source": "era5", "frequency": "daily"}
    with pytest.raises(OrbitError, match=r"'world' \(the synthetic test world\) and 'real' in one run"):
        from_mapping({**RAW, "datasets": {"world": DATASET, "real": real}})
    (tmp_path / "both.yaml").write_text(yaml.safe_dump({**RAW, "datasets": {"world": DATASET, "real": real}}), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["config", "check", str(tmp_path / "both.yaml")])
    assert stop.value.code == 2 and "in one run" in capsys.readouterr().err


def test_grids_finer_than_the_world_repeat(run: RunConfig) -> None:
    with pytest.raises(OrbitError, match=r"global_10 is finer than synthetic itself"):
        from_mapping({**RAW, "sources": {"synthetic": {"degrees": 30}}})
    assert SourcesConfig().spacing("synthetic") == SyntheticConfig().degrees
    assert run.datasets["world"].step_hours == 24
