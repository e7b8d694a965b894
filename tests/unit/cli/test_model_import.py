"""A published checkpoint, from `orbit2 model import` to a prediction that is the oracle network's own, tile by tile."""

from __future__ import annotations

import copy
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from orbit2.cli import main
from orbit2.downscale import as_published, load_model
from orbit2.errors import OrbitError
from orbit2.grid import named
from orbit2.model.geometry import Geometry
from orbit2.model.transfer import transfer
from orbit2.variables import forgetting
from tests.data import published_world as world
from tests.data.oracle import CONTAINER, RANKS
from tests.data.published_world import COLUMNS, ORDER, OUT, ROWS
from tests.docs.blocks import blocks


def orbit2(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture
def published(tmp_path: Path) -> dict[str, Any]:
    """What lies beside the oracle's weights: YAML, statistics, static fields; and a user's file, from north to south, with 90 N."""
    south = -90 + 180 / ROWS * np.arange(ROWS)
    statics = world.beside(tmp_path, named(f"nodes_{180 / ROWS:.10g}"))
    days = np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]")
    made = world.fields(np.random.default_rng(0), (2, ROWS + 1, COLUMNS))
    data = world.dataset(made, days, np.append(south, 90.0), 360 / COLUMNS * np.arange(COLUMNS))
    data.isel(lat=slice(None, None, -1)).to_netcdf(tmp_path / "day.nc")
    return {"folder": tmp_path, "settings": world.settings(), "statics": statics, "data": data.isel(lat=slice(0, ROWS))}


def imported(published: dict[str, Any], *more: object) -> int:
    folder = published["folder"]
    return orbit2("model", "import", CONTAINER, "--config", folder / "tiny.yaml", "--statistics", folder, "--statics", folder,
                  "--output-statistics", folder / "fine", "-o", folder / "model", *more)  # fmt: skip


def test_an_imported_checkpoint_downscales_as_its_own_network_does(published: dict[str, Any]) -> None:
    folder = published["folder"]
    with forgetting(afresh=True):
        assert imported(published) == 0
        assert orbit2("downscale", folder / "day.nc", "--model", folder / "model", "-o", folder / "fine.nc") == 0
        assert orbit2("downscale", folder / "day.nc", "--model", folder / "model", "-o", folder / "mixed.nc", "--blend", 1) == 0
        assert orbit2("model", "export", folder / "model", "-o", folder / "given") == 2
    with xr.open_dataset(folder / "fine.nc") as found, xr.open_dataset(folder / "mixed.nc") as mixed:
        made = np.stack([found[name].to_numpy() for name in OUT], 1)
        assert "resized" not in found.attrs.get("warnings", "")
        other = np.stack([mixed[name].to_numpy() for name in OUT], 1)
    right = world.expected(published["data"], published["statics"])
    assert made.shape == right.shape
    assert np.abs(made[:, 1:] - right[:, 1:]).max() < 1e-3  # K
    assert (np.abs(made[:, 0] - right[:, 0]) / (1 + right[:, 0])).max() < 1e-4
    changed = np.abs(other - made).max((0, 1)) > 1e-3
    border = 4 * ROWS // 2
    assert changed[border - 4 : border + 4].any() and not changed[: border - 4, : 2 * COLUMNS - 4].any()
    assert not changed[: border - 4, :4].any() and not changed[border + 4 :, :4].any()  # the date line is an edge
    assert json.loads(found.attrs["trained_tiles"]) == {"div": 2, "overlap": 2}
    card = (folder / "model" / "card.md").read_text()
    assert "oracle_A_container.ckpt" in card and "publisher" in card


def test_a_grid_of_nodes() -> None:
    grid = named("nodes_0.25")
    assert grid.shape == (720, 1440) and grid.lat[0] == -90 and grid.lat[-1] == pytest.approx(89.75) and grid.lon[0] == pytest.approx(0)
    assert Geometry.of(grid, 4).periodic
    fine = named("nodes_0.25/4")
    assert fine.shape == (2880, 5760) and fine.nests_in(grid) == 4 and fine.same_as(grid.refine(4))
    assert named("prism_10/4@36,40,255,262").same_as(named("prism_2.5@36,40,255,262"))
    for name in ("nodes_0.25/x", "nodes_0.25/1", "nodes_0.25/"):
        with pytest.raises(OrbitError, match="not a number of parts"):
            named(name)


@pytest.mark.parametrize(("where", "value", "told"), [
    (("model", "num_heads"), None, "num_heads"), (("model", "embed_dim"), 64, "embed_dim"),
    (("data", "default_vars"), ORDER[:-1], "default_vars"), (("data", "dict_in_variables"), {"TINY": ORDER[1:]}, "land_sea_mask"),
    (("data", "dict_out_variables"), {"TINY": OUT[:2]}, "dict_out_variables"), (("data", "spatial_resolution"), None, "--km"),
    (("data", "dict_in_variables"), {"TINY": ORDER, "OTHER": ORDER}, "--dataset"),
    (("data", "default_vars"), [*ORDER[:-1], "rain"], "total_precip"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(
    published: dict[str, Any], capsys: pytest.CaptureFixture[str], where: tuple[str, str], value: object, told: str
) -> None:
    settings, folder = published["settings"], published["folder"]
    settings[where[0]][where[1]] = value
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    with forgetting(afresh=True):
        assert imported(published) == 2
    assert told in capsys.readouterr().err
    assert not (folder / "model").exists()


def test_ranks_that_disagree_are_named(published: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder, ranks = published["folder"], []
    for path in RANKS:
        content = torch.load(path, weights_only=True)
        state = content.get("model_state_dict", content)
        state["head.0.weight"] = state["head.0.weight"] + len(ranks)
        ranks.append(folder / path.name)
        torch.save(content, ranks[-1])
    with forgetting(afresh=True):
        settled = ("--config", folder / "tiny.yaml", "--statistics", folder, "--output-statistics", folder / "fine", "-o")
        assert orbit2("model", "import", *ranks, *settled, folder / "model") == 0
        assert "head.0.weight" in capsys.readouterr().err
        assert orbit2("model", "import", ranks[0], *settled, folder / "half") == 2
        assert "head.0.weight" in (folder / "model" / "card.md").read_text()
        assert load_model(folder / "model").refinement == 4


def test_names_of_wrappers_and_a_geopotential_are_the_same_model(published: dict[str, Any]) -> None:
    """Names as `torch.compile` and FSDP write them; orography given as a geopotential (m2 s-2), its statistics with it, becomes metres."""
    folder, gravity = published["folder"], 9.80665
    settled, height = ("--statics", folder, "--output-statistics", folder / "fine"), published["statics"]["orography"]
    np.save(folder / "orography_6deg.npy", height.astype("float32"))
    with forgetting(afresh=True):
        assert imported(published) == 0
    content = torch.load(CONTAINER, weights_only=True)
    state = content["model_state_dict"]
    wrapped = {f"_orig_mod.module.{name.replace('attn.', '_fsdp_wrapped_module.attn.')}": value for name, value in state.items()}
    torch.save({**content, "model_state_dict": wrapped}, folder / "wrapped.ckpt")
    np.save(folder / "orography_6deg.npy", (gravity * height).astype("float32"))
    for kind, values in (("mean", world.MEAN), ("std", world.STD)):
        told = {**values, "orography": gravity * values["orography"]}
        np.savez(folder / f"normalize_{kind}.npz", **{name: np.array([value]) for name, value in told.items()})
    with forgetting(afresh=True):
        assert orbit2("model", "import", folder / "wrapped.ckpt", "--config", folder / "tiny.yaml", "--statistics", folder, *settled,
                      "-o", folder / "again") == 0  # fmt: skip
        one, other = (load_model(folder / name) for name in ("model", "again"))
    assert all(torch.equal(weight, other.model.state_dict()[name]) for name, weight in one.model.state_dict().items())
    for name, moments in one.normaliser.moments.items():
        assert other.normaliser.moments[name] == pytest.approx(moments)
    with xr.open_dataset(folder / "model/statics/published.nc") as right, xr.open_dataset(folder / "again/statics/published.nc") as made:
        np.testing.assert_allclose(made["orography"], right["orography"], rtol=1e-6)


def test_a_task_on_another_grid_is_told_of(published: dict[str, Any]) -> None:
    with forgetting(afresh=True):
        assert imported(published) == 0
        model = load_model(published["folder"] / "model")
    assert as_published.resized(model, named(f"nodes_{180 / ROWS:.10g}")) == []
    (line,) = as_published.resized(model, named("global_10"))
    assert "tiles of 11x22 cells, made for 16x32" in line
    assert as_published.lacking(model, model.inputs[:4]) == ["inputs: the weights were trained with total_precipitation_24hr too, which is "
                                                             "not given here"]  # fmt: skip


def test_the_commands_of_the_page(
    published: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/published_weights.md, word for word, on the oracle's weights under the names of the page."""
    folder, name = published["folder"], "global_9.5m_precipitation"
    shutil.copy(CONTAINER, folder / f"{name}.ckpt")
    (folder / "tiny.yaml").rename(folder / f"{name}.yaml")
    (folder / "fine").rename(folder / "fine_mean_std")
    for place, pattern in (("mean_std", "normalize_*.npz"), ("static_variables", "*_6deg.npy")):
        (folder / place).mkdir()
        for path in folder.glob(pattern):
            path.rename(folder / place / path.name)
    monkeypatch.chdir(folder)
    (text,) = [text for language, text in blocks(root / "docs/published_weights.md") if language == "bash"]
    with forgetting(afresh=True):
        for line in text.splitlines():
            assert orbit2(*shlex.split(line)[1:]) == 0, capsys.readouterr().err
        parent = load_model(folder / "published").model
        child = copy.deepcopy(parent)
        for weight in child.parameters():
            torch.nn.init.zeros_(weight)
        assert transfer(parent, child).new == []
        assert all(torch.equal(weight, parent.state_dict()[key]) for key, weight in child.state_dict().items())
        child.outputs = child.outputs[:2]
        with pytest.raises(OrbitError, match="fine-tuned on the variables"):
            transfer(parent, child)
    with xr.open_dataset(folder / "fine.nc") as found:
        assert set(OUT) <= set(found)
    card = (folder / "published" / "card.md").read_text()
    assert "publisher" in card and all(name in card for name in OUT)
