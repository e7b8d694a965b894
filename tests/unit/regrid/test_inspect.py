"""`regrid inspect` on stores in every state: what it says is right, and damage is one line, never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit2 import regrid
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from tests.data.era5_dataset import build, provider_files

Harm = Callable[[Path], object]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    provider_files(folder / "r")
    build(folder / "d", folder / "r")
    return folder / "d"


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "d"))


def shard(folder: Path) -> Path:
    """The first shard of the second part."""
    return folder / "pairs.zarr" / next(name for name in json.loads((folder / "parts/001.json").read_text())["shards"] if "fine" in name)


def without(path: Path, key: str) -> None:
    saved = json.loads(path.read_text())
    del saved[key]
    path.write_text(json.dumps(saved))


def other_hash(path: Path, key: str) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: "deadbeef"}))


def test_a_whole_store(folder: Path) -> None:
    for verify in (False, True):
        first, second, *_ = regrid.inspect(folder / "pairs.zarr", verify=verify).splitlines()
        assert first.endswith("pairs.zarr: complete") and second == "  parts: 3 of 3 complete (12 of 12 samples, 100%)"


@pytest.mark.parametrize("harm", [
    lambda d: shard(d).write_bytes(shard(d).read_bytes()[:50]), lambda d: shard(d).unlink(),
    lambda d: other_hash(d / "parts/001.json", "config_hash"), lambda d: (d / "parts/001.json").write_text("{"),
    lambda d: (d / "parts/001.json").write_text("[]"), lambda d: without(d / "parts/001.json", "seconds"),
])
def test_a_finalised_store_with_a_damaged_part_is_not_called_complete(folder: Path, harm: Harm) -> None:
    harm(folder)
    text = regrid.inspect(folder / "pairs.zarr")
    assert "NOT WHOLE" in text.splitlines()[0] and "complete" not in text.splitlines()[0]
    assert "parts: 2 of 3 complete (8 of 12 samples, 67%)" in text and "regrid again): 001" in text


def test_a_flipped_byte_shows_with_verify(folder: Path) -> None:
    content = bytearray(shard(folder).read_bytes())
    content[40:60] = bytes(20)
    shard(folder).write_bytes(content)
    assert "pairs.zarr: complete" in regrid.inspect(folder / "pairs.zarr")
    assert "regrid again): 001" in regrid.inspect(folder / "pairs.zarr", verify=True)


def test_half_built_and_rebuilt_stores(folder: Path) -> None:
    (folder / "parts/001.json").unlink()
    text = regrid.inspect(folder / "pairs.zarr")
    assert "NOT WHOLE" in text and "to build: 001" in text
    regrid.build_part(config=folder / "config.json", resources=folder.parent / "none", store=folder / "pairs.zarr", part="002",
                      out=folder / "parts/002.json")  # it is there: needs no provider file
    text = regrid.inspect(folder / "pairs.zarr")
    assert "to build: 001" in text and "12 samples" in text


def test_a_store_of_another_configuration_is_named_and_its_parts_are_not_called_broken(folder: Path) -> None:
    other_hash(folder / "config.json", "hash")
    text = regrid.inspect(folder / "pairs.zarr")
    assert "another configuration's (deadbeef" in text and "BROKEN" not in text and "12 samples" in text


@pytest.mark.parametrize(("harm", "message"), [
    (lambda d: (d / "pairs.zarr/zarr.json").write_text("{"), "not valid JSON"),
    (lambda d: (d / "pairs.zarr/zarr.json").write_text(""), "not valid JSON"),
    (lambda d: (d / "pairs.zarr/zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}'), "not a pair store"),
    (lambda d: shutil.copy(d / "pairs.zarr/fine/fields/zarr.json", d / "pairs.zarr/zarr.json"), "not a pair store"),
    (lambda d: (d / "pairs.zarr/fine/fields/zarr.json").unlink(), "pair store is damaged"),
    (lambda d: (d / "pairs.zarr/fine/fields/zarr.json").write_text("{"), "pair store is damaged"),
    (lambda d: shutil.rmtree(d / "pairs.zarr/fine"), "pair store is damaged"),
    (lambda d: shutil.rmtree(d / "pairs.zarr/written"), "pair store is damaged"),
    (lambda d: shutil.rmtree(d / "pairs.zarr/coarse/lat_bnds/c"), "pair store is damaged"),
    (lambda d: shutil.rmtree(d / "pairs.zarr/coarse/time/c"), "pair store is damaged"),
    (lambda d: (d / "config.json").write_text("{"), "not valid JSON"),
    (lambda d: shutil.rmtree(d / "pairs.zarr"), "pair store not found"),
])
def test_damage_is_one_error_that_names_the_place(folder: Path, harm: Harm, message: str) -> None:
    harm(folder)
    with pytest.raises(OrbitError, match=message) as caught:
        regrid.inspect(folder / "pairs.zarr")
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    if "config" not in str(caught.value):
        with pytest.raises(OrbitError, match=message):
            PairStore(folder / "pairs.zarr")
