"""What the configuration and the command line accept of a downscaling task."""

from pathlib import Path
from typing import Any

import pytest

from orbit2.cli import main
from orbit2.cli.stages import tile_size
from orbit2.config.load import CONFIG_ROOT, load
from orbit2.errors import OrbitError


def task(**settings: Any) -> Any:
    return load(CONFIG_ROOT / "config.yaml", [f"downscale.test.{key}={value}" for key, value in settings.items()]).downscale["test"]


def test_a_tile_is_a_number_or_two() -> None:
    assert task(tile=45).tile == 45 and task(tile="[30,60]").tile == (30, 60)
    for wrong in (-1, "[1,2,3]", "[-1,4]", "x"):
        with pytest.raises(OrbitError, match="tile"):
            task(tile=wrong)
    assert tile_size("45") == 45 and tile_size("30,60") == (30, 60)
    for text in ("", "a", "1,2,3", "-4", "4,"):
        with pytest.raises(OrbitError, match="--tile"):
            tile_size(text)


NOISY = ("models.reslim.architecture.noise.channels=2", "models.reslim.train.loss=crps", "models.conus.train.loss=crps")


def test_members_need_noise() -> None:
    with pytest.raises(OrbitError, match=r"downscale\.test\.members: 'reslim' has no noise"):
        task(members=4)
    with pytest.raises(OrbitError, match=r"downscale\.test\.reference: only with members"):
        task(reference="reslim")
    run = load(CONFIG_ROOT / "config.yaml", ["downscale.test.members=4", *NOISY])
    assert run.downscale["test"].members == 4 and run.downscale["test"].reference is None
    with pytest.raises(OrbitError, match=r"reference names unknown model 'reslin'"):
        load(CONFIG_ROOT / "config.yaml", ["downscale.test.members=4", "downscale.test.reference=reslin", *NOISY])


def test_of_a_file_members_are_asked_for_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "p.zarr")
    for words, said in ((["--config", "c.json", "--store", "s", "--members", "4"], "--members, --seed, --quantiles and --probability go"),
                        (["in.nc", "--quantiles", "1.5"], "--quantiles: not quantiles")):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(["downscale", "--model", "m", "--out", out, *words])
        assert stop.value.code == 2 and said in " ".join(capsys.readouterr().err.split())



def test_how_values_are_kept_is_science_who_writes_them_is_not() -> None:
    from orbit2.config.base import kind_of, science
    from orbit2.config.schema import DownscaleConfig

    fields = DownscaleConfig.model_fields
    assert {name: kind_of(fields[name]).name for name in ("stored", "writers", "cuda_graphs")} == {
        "stored": "SCIENCE", "writers": "MACHINE", "cuda_graphs": "MACHINE"}  # fmt: skip
    assert (task().stored, task().writers) == ("exact", 0) and "stored" not in science(task())  # as if it had never been there
    assert science(task(stored="rounded"))["stored"] == "rounded"
    for key, wrong in (("stored", "packed"), ("writers", -1)):
        with pytest.raises(OrbitError, match=key):
            task(**{key: wrong})


@pytest.mark.parametrize("options", [("--stored", "rounded"), ("--writers", "2"), ("--cuda-graphs",)])
def test_what_goes_with_a_file_is_refused_with_a_task(options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["downscale", "--model", "m", "--config", "c.json", "--store", "s.zarr", "--out", str(tmp_path / "o.zarr")]
    with pytest.raises(SystemExit, match="2"):
        main([*given, *options])
    assert "--stored, --writers and --cuda-graphs go with a FILE" in capsys.readouterr().err


def test_graphs_need_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.data.small_downscaling import random_model
    from tests.unit.downscale.test_stored import fields

    source, model = fields(tmp_path / "in.nc"), random_model(tmp_path / "model")
    given = ["downscale", str(source), "--model", str(model), "--out", str(tmp_path / "o.zarr")]
    with pytest.raises(SystemExit, match="2"):
        main([*given, "--cuda-graphs", "--device", "cpu"])
    assert "cuda_graphs needs a CUDA device" in capsys.readouterr().err and not (tmp_path / "o.zarr").exists()
    with pytest.raises(SystemExit, match="0"):
        main([*given, "--stored", "rounded", "--writers", "2", "--tile", "6", "--halo", "2"])
