"""What a receipt of `retrieve` stands for, and what is gone of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.regrid import unbuilt
from orbit2.sources.receipts import held, lost
from tests.data.era5_dataset import dataset


def test_only_what_is_needed_within_the_windows_is_lost(tmp_path: Path) -> None:
    january, march, always = ({"file": f"{name}.nc", "bytes": 3, "sha256": "x"} for name in ("january", "march", "always"))
    january |= {"first": "2020-01-01T00:00:00", "last": "2020-01-31T23:00:00"}
    march |= {"first": "2020-03-01T00:00:00", "last": "2020-03-31T23:00:00"}
    records = [january, march, always]
    write_json(tmp_path / "r.json", {"held": held(records)})

    def gone(*windows: tuple[str, str]) -> list[str]:
        found = lost(tmp_path / "r.json", tmp_path, [(np.datetime64(a, "s"), np.datetime64(b, "s")) for a, b in windows])
        return [path.stem for path in found]

    assert gone() == [] and gone(("2020-02-03", "2020-02-20")) == ["always"]
    assert gone(("2020-02-01", "2020-02-20")) == ["always", "january"], "a trailing day reaches into January"
    for record in records:
        (tmp_path / str(record["file"])).write_bytes(b"abc")
    assert gone(("2020-01-01", "2020-04-01")) == []
    (tmp_path / "march.nc").write_bytes(b"ab")  # cut short
    assert gone(("2020-01-01", "2020-02-01")) == [] and gone(("2020-01-01", "2020-01-02"), ("2020-03-02", "2020-03-03")) == ["march"]
    write_json(tmp_path / "r.json", {"files": 3})  # of a version that listed none
    assert gone(("2020-01-01", "2020-04-01")) == []
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(OrbitError, match=r"r\.json: not valid JSON"):
        gone()


def test_parts_still_to_be_built(tmp_path: Path) -> None:
    section, parts = dataset(), tmp_path / "parts"
    parts.mkdir()
    (tmp_path / "s.zarr").mkdir()
    whole = unbuilt(section, tmp_path / "s.zarr", parts)
    assert [str(a)[11:13] + str(b)[11:13] for a, b in whole] == ["0003", "0407", "0811"]
    (parts / "001.json").touch()
    assert unbuilt(section, tmp_path / "s.zarr", parts) == whole, "without a store none of them is built"
    (tmp_path / "s.zarr/zarr.json").touch()
    assert unbuilt(section, tmp_path / "s.zarr", parts) == [whole[0], whole[2]]
