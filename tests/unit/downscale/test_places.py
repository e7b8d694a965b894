"""Where `orbit2 downscale FILE` writes: never over its input, never over anything else unasked, always the same work on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.cli import main
from orbit2.data.pairs import PairStore
from orbit2.downscale import run
from orbit2.errors import OrbitError
from tests.data.small_downscaling import arguments, random_model, task
from tests.data.tiny_training import Tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def here(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with in.nc, in.zarr and other.nc."""
    data = PairStore(tiny.store).dataset("coarse").isel(time=[3, 4]).load().drop_encoding()
    data.to_netcdf(tmp_path / "in.nc")
    (data + xr.Dataset({"2m_temperature": 1.0, "precipitation_rate": 0.0})).assign_attrs(data.attrs).map(
        lambda field: field.assign_attrs(data[field.name].attrs)
    ).to_netcdf(tmp_path / "other.nc")
    data.to_zarr(tmp_path / "in.zarr", zarr_format=3, consolidated=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def downscale(model: Path, capsys: pytest.CaptureFixture[str], source: str, out: str, *more: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["downscale", source, "--model", str(model), "-o", out, *more])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (stop.value.code == 2)
    return int(stop.value.code or 0), "".join(errors)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("source", "out", "prepare"), [
    ("in.nc", "in.nc", lambda: None),
    ("in.nc", "./sub/../in.nc", lambda: Path("sub").mkdir()),
    ("in.nc", "link.nc", lambda: os.symlink("in.nc", "link.nc")),
    ("link.nc", "in.nc", lambda: os.symlink("in.nc", "link.nc")),
    ("in.nc", "hard.nc", lambda: os.link("in.nc", "hard.nc")),
    ("in.zarr", "in.zarr", lambda: None),
    ("in.zarr", "link.zarr", lambda: os.symlink("in.zarr", "link.zarr")),
    ("in.zarr", "in.zarr/fine.zarr", lambda: None),
    ("in.zarr", "linked/fine.nc", lambda: os.symlink("in.zarr", "linked")),
    ("box.zarr/in.nc", "box.zarr", lambda: (Path("box.zarr").mkdir(), shutil.copy("in.nc", "box.zarr"))),
])  # fmt: skip
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_the_input_is_never_overwritten(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str], source: str, out: str, prepare: Callable[[], object], more: tuple[str]
) -> None:
    prepare()
    before = content(here)
    code, said = downscale(model, capsys, source, out, *more)
    assert code == 2 and "the input" in said and "never overwritten" in said
    assert content(here) == before


def test_the_model_is_never_overwritten(model: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(model, here / "model.zarr")
    before = content(here / "model.zarr")
    for out in ("model.zarr", "model.zarr/fine.zarr"):
        code, said = downscale(here / "model.zarr", capsys, "in.nc", out, "--overwrite")
        assert code == 2 and "the model folder" in said
    assert content(here / "model.zarr") == before


@pytest.mark.parametrize(("out", "prepare", "replaced"), [
    ("mine.nc", lambda: Path("mine.nc").write_text("my notes"), True),
    ("mine.nc", lambda: shutil.copy("other.nc", "mine.nc"), True),
    ("mine.zarr", lambda: shutil.copytree("in.zarr", "mine.zarr"), True),
    ("mine.zarr", lambda: (Path("mine.zarr").mkdir(), Path("mine.zarr/thesis.tex").write_text("x")), False),
    ("mine.zarr", lambda: Path("mine.zarr").write_text("a file"), False),
    ("mine.nc", lambda: (Path("mine.nc").mkdir(), Path("mine.nc/thesis.tex").write_text("x")), False),
])  # fmt: skip
def test_what_orbit2_did_not_write_is_replaced_only_when_asked(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str], out: str, prepare: Callable[[], object], replaced: bool
) -> None:
    prepare()
    before = content(here)
    code, said = downscale(model, capsys, "in.nc", out)
    assert code == 2 and out in said and ("--overwrite" in said) == replaced
    assert content(here) == before
    code, said = downscale(model, capsys, "in.nc", out, "--overwrite")
    assert code == (0 if replaced else 2)
    if replaced:
        made = xr.open_zarr(out, consolidated=False) if out.endswith(".zarr") else xr.open_dataset(out)
        assert made["2m_temperature"].shape == (2, 48, 96)
        assert sorted(p.name for p in here.iterdir()) == sorted({"in.nc", "in.zarr", "other.nc", out})
    else:
        assert content(here) == before


@pytest.mark.parametrize("out", ["fine.zarr", "fine.nc"])
def test_a_finished_prediction_is_kept_for_the_same_input_and_refused_for_another(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    assert downscale(model, capsys, "in.nc", out)[0] == 0
    before = content(here)
    assert downscale(model, capsys, "in.nc", out)[0] == 0 and content(here) == before, "made already"
    code, said = downscale(model, capsys, "other.nc", out)
    assert code == 2 and "another prediction is already there" in said and "in.nc" in said and "--overwrite" in said
    code, said = downscale(model, capsys, "in.nc", out, "--tile", "6")
    assert code == 2 and content(here) == before
    assert downscale(model, capsys, "other.nc", out, "--overwrite")[0] == 0
    made = xr.open_zarr(out, consolidated=False) if out.endswith(".zarr") else xr.open_dataset(out)
    assert made.attrs["input_file"] == "other.nc"
    assert sorted(p.name for p in here.iterdir()) == sorted({"in.nc", "in.zarr", "other.nc", out})


def test_a_zarr_input_that_changed_inside_is_another_input(model: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert downscale(model, capsys, "in.zarr", "fine.zarr")[0] == 0
    chunk = next(p for p in (here / "in.zarr" / "2m_temperature").rglob("*") if p.is_file() and p.name != "zarr.json")
    os.utime(chunk, ns=(1, chunk.stat().st_mtime_ns + 5_000_000_000))
    code, said = downscale(model, capsys, "in.zarr", "fine.zarr")
    assert code == 2 and "another prediction" in said


def test_a_link_to_a_place_that_is_not_there_yet_is_followed(model: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "scratch").mkdir()
    os.symlink("scratch/fine.zarr", "fine.zarr")
    assert downscale(model, capsys, "in.nc", "fine.zarr")[0] == 0
    assert (here / "fine.zarr").is_symlink() and np.isfinite(xr.open_zarr("scratch/fine.zarr", consolidated=False)["2m_temperature"]).all()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/sys").is_mount(), reason="root writes everywhere, and there is no /sys")
@pytest.mark.parametrize("out", ["fine.zarr", "fine.nc"])
def test_a_read_only_place_is_one_clear_error(model: Path, here: Path, capsys: pytest.CaptureFixture[str], out: str) -> None:
    place = Path("/sys") if os.geteuid() == 0 else here / "locked"
    if os.geteuid():
        place.mkdir(mode=0o500)
    code, said = downscale(model, capsys, "in.nc", str(place / out))
    assert code == 2 and "cannot be created" in said


def test_a_task_replaces_its_own_prediction_and_nothing_else(tiny: Tiny, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    given = arguments(tiny, model, task(tmp_path / "c.json", "03", "04"), out)
    run(**given)
    task(tmp_path / "c.json", "03", "03")
    run(**given)
    assert xr.open_zarr(out, consolidated=False).sizes["time"] == 1
    shutil.rmtree(out)
    shutil.copytree(tiny.store, out)
    before = content(out)
    with pytest.raises(OrbitError, match="orbit2 did not write"):
        run(**given)
    shutil.rmtree(out)
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(OrbitError, match="no receipt"):
        run(**given)
    with pytest.raises(OrbitError, match="is the pair store"):
        run(**{**given, "out": tiny.store})
    assert content(tiny.store) == before


@pytest.mark.parametrize(("out", "disk"), [("fine.zarr", "12k"), ("fine.zarr", "64k"), ("fine.nc", "12k"), ("fine.nc", "160k")])
def test_a_full_disk_is_one_clear_error_and_then_the_same_command_goes_on(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str], out: str, disk: str
) -> None:
    """While the store is made, while items are written, while a finished store becomes NetCDF: nothing half-done bears the name."""
    place = here / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk}", "none", str(place)], capture_output=True).returncode:
        pytest.skip("a small file system needs the right to mount tmpfs")
    try:
        code, said = downscale(model, capsys, "in.nc", f"disk/{out}")
        assert code == 2 and ("cannot be created" in said or "could not be written" in said)
        assert "No space left" in said or "0.0 MB left" in said  # netCDF-C does not say why
        if out.endswith(".nc"):
            assert not (place / out).exists()
        assert not list(place.glob("*.part")) and not list(place.glob(".*.part"))
        subprocess.run(["mount", "-o", "remount,size=8m", str(place)], check=True)
        assert downscale(model, capsys, "in.nc", f"disk/{out}")[0] == 0
        made = (xr.open_zarr if out.endswith(".zarr") else xr.open_dataset)(place / out).load()
        assert np.isfinite(made["2m_temperature"]).all() and [p.name for p in place.iterdir()] == [out]
        made.close()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
