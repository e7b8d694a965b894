"""Hours of one's own files become the days of the truth, by the kind of each variable and the stated day; E-OBS and ERA5 in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from orbit2.config.files import Reduced
from orbit2.config.load import CONFIG_ROOT, from_mapping
from orbit2.data.pairs import PairStore, Side
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid
from orbit2.sources.files import facts
from tests.data import eobs_archive
from tests.data.own_archive import build, warmth

NAMES = ["2m_temperature", "2m_temperature_max", "2m_temperature_min", "total_precipitation_24hr"]
FILES = {"coarse": "era5/*.nc", "fine": "eobs/*.nc", "rename": {"rr": "total_precipitation_24hr"}, "accumulated": "1h",
         "stamps": {"coarse": "end"}, "day_starts": {"fine": eobs_archive.BEGINS}, "credit": "E-OBS and ERA5"}  # fmt: skip


def raw(**changes: Any) -> dict[str, Any]:
    """The shipped run for a newcomer, of E-OBS and hourly ERA5; `changes` of its dataset."""
    run = yaml.safe_load((CONFIG_ROOT / "runs/own_data.yaml").read_text(encoding="utf-8"))
    run["datasets"]["mine"] |= {"files": FILES, "inputs": NAMES, "outputs": NAMES, "split": eobs_archive.SPLIT, "coarse_grid": "coarsen_4",
                                "fine_grid": "from_files", "samples_per_part": 64, "samples_per_shard": 64, **changes}  # fmt: skip
    return dict(run)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eobs")
    eobs_archive.write(folder)
    return folder


@pytest.fixture
def here(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    for name in ("eobs", "era5"):
        (tmp_path / name).symlink_to(archive / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(pairs: PairStore) -> None:
    """The truth as its files have it, missing over the sea; the input from the hours of the same days, in every block."""
    fine, coarse = pairs.grid("fine"), pairs.grid("coarse")
    for index in (0, 20, len(pairs.times) - 1):
        day = int((pairs.times[index] - np.datetime64(eobs_archive.FIRST)) / np.timedelta64(1, "D"))
        sides: tuple[tuple[Side, AnyGrid], ...] = (("fine", fine), ("coarse", coarse))
        for side, grid in sides:
            known = eobs_archive.observed(day, grid.lat2d, grid.lon2d)
            got = pairs.read(side, index)
            for name, element in zip(NAMES, ("tg", "tx", "tn", "rr"), strict=True):
                field = got[pairs.variable_index(side, name)]
                wanted = np.where(eobs_archive.sea(fine.lat2d, fine.lon2d), np.nan, known[element]) if side == "fine" else known[element]
                np.testing.assert_allclose(field, wanted, atol=0.02, err_msg=f"{side} {name} {day}")


def test_hours_of_era5_become_the_days_of_e_obs(here: Path) -> None:
    run = from_mapping(raw())
    files = run.datasets["mine"].files
    assert files is not None and files.found is not None and files.found.step_hours == 24 and run.datasets["mine"].refinement == 4
    assert files.found.fine is None and files.found.coarse == Reduced(
        hours=1, begins=6, stamps={NAMES[0]: "moment", NAMES[1]: "moment", NAMES[2]: "moment", NAMES[3]: "end"},
        raw={NAMES[1]: NAMES[0], NAMES[2]: NAMES[0], NAMES[3]: "precipitation_rate"})  # fmt: skip
    assert facts("coarse_files", files).day == "24 hours from +6 h after 00:00 UTC of the date, made of values every 1 h"
    check(build(run))


def test_what_hours_do_not_say_is_asked_for(here: Path) -> None:
    with pytest.raises(OrbitError, match=r"hours are to become days: say when those of the fine files begin"):
        from_mapping(raw(files={**FILES, "day_starts": {}}))
    with pytest.raises(OrbitError, match=r"total_precipitation_24hr: which end of its hours a stamp names is said by nobody.*end \(ERA5\)"):
        from_mapping(raw(files={key: value for key, value in FILES.items() if key != "stamps"}))
    with pytest.raises(OrbitError, match=r"frequency cannot be 6h"):
        from_mapping(raw(frequency="6h"))


@pytest.mark.parametrize(("frequency", "hours"), [("3h", 3), ("12h", 12), ("daily", 24)])
def test_hours_alone_are_taken_every_few_of_them(here: Path, frequency: str, hours: int) -> None:
    """Moments as they are, amounts over the hours that end at the stamp."""
    declared = {"rain": {"standard_name": "lwe_thickness_of_precipitation_amount", "units": "mm", "range": [0, 500], "kind": "sum"}}
    data = xr.open_mfdataset("era5/*.nc", combine="by_coords", data_vars="minimal", coords="minimal", compat="override")
    (data[["tp"]] * 1000).assign_attrs().rename(tp="rain").assign(t2m=data["t2m"]).isel(valid_time=slice(0, 480)).compute().pipe(
        lambda d: d.assign(rain=d["rain"].assign_attrs(units="mm"))).to_netcdf("own.nc", engine="h5netcdf")  # fmt: skip
    data.close()
    split = {"train": {"start": "2001-01-02", "end": "2001-01-05"}, "validation": {"start": "2001-01-08", "end": "2001-01-10"},
             "test": {"start": "2001-01-13", "end": "2001-01-16"}, "gap_days": 2}  # fmt: skip
    names = ["2m_temperature", "rain"]
    changes = {"inputs": names, "outputs": names, "split": split, "frequency": frequency}
    run = from_mapping({**raw(files={"fine": "own.nc", "stamps": {"fine": "end"}}, **changes), "variables": declared})
    pairs = build(run)
    assert pairs.step_hours == hours and len(pairs.times) == 15 * 24 // hours
    assert pairs.cell_methods("2m_temperature") == ("time: mean (interval: 24 hours)" if hours == 24 else "time: point")
    assert pairs.cell_methods("rain") == f"time: sum (interval: {hours} hours)"
    grid = pairs.grid("fine")
    for index in (0, len(pairs.times) - 1):
        hour = float((pairs.times[index] - np.datetime64(eobs_archive.FIRST)) / np.timedelta64(1, "h"))
        ends = hour + (np.arange(1, 25) if hours == 24 else np.arange(1 - hours, 1))[:, None, None]
        lat, lon = grid.lat2d, grid.lon2d
        warm = warmth((ends - 1) / 24, lat[None], lon[None]).mean(0) if hours == 24 else warmth(hour / 24, lat, lon)
        wet = eobs_archive.amount(ends, lat[None], lon[None]).sum(0)
        np.testing.assert_allclose(pairs.read("fine", index)[0], warm, atol=0.02)
        np.testing.assert_allclose(pairs.read("fine", index)[1], wet, atol=0.02)
