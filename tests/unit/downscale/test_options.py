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

