"""What `orbit2 plan` tells agrees with counts made by hand."""

import copy
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from orbit2.model.inspect import activation_bytes, build, forward_flops
from orbit2.plan import estimate, halo, plan, records, render
from orbit2.plan.devices import DEVICES
from orbit2.plan.machine import Machine
from orbit2.plan.text import verdict
from tests.data import tiny_training
from tests.data.small_models import demo_model

pytestmark = pytest.mark.usefixtures("no_library")
TINY = tiny_training.tiny_run(1, {"batch_size": 3, "steps": 10, "tile": 6, "halo": 2, "tiles_per_sample": 5})
TINY["downscale"] = {"test": {"model": "small", "dataset": "tiny", "tile": [6, 8], "halo": 2, "batch": 4}}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return path


def test_attention_and_mlp_flops_by_hand() -> None:
    grid = global_grid(15.0)  # 12 x 24 cells: 72 tokens at patch 2
    shallow, deep = (demo_model(depth=depth) for depth in (1, 2))
    width, tokens = 32, 72
    by_hand = 2 * tokens * width * width * (3 + 1 + 8) + 2 * 2 * tokens * tokens * width
    assert forward_flops(deep.to("meta"), grid) - forward_flops(shallow.to("meta"), grid) == by_hand


def test_plan_of_the_demo(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(root / "config" / "config.yaml")
    found = plan(config, model="reslim", device="h200")
    text = render(found, config)
    assert found.fits and text.splitlines()[0] == "fits on a node of 8 h200: all 3 parts of the run"
    assert "1,035 tokens" in text and "on each of 2 ranks" in text and "activations not counted" not in text
    assert "17,280" in text and "64,800" in text
    assert re.search(r"5x10 tiles +50 +36x36 +44x44 +484 ", text)
    assert "not measured, results/data/era5_week-" in text and "--store era5_week=PATH" in text


def test_training_and_tasks_tiled_and_untiled(tiny: Path) -> None:
    """12 x 24 cells in cores of 6: 2 x 4 tiles with windows of 10 x 10, of which a step takes 5; a task's cores of 6 x 8: 2 x 3 tiles."""
    config = load(tiny, ["models.small.train.precision=fp32"])
    built = build(config, "small")
    found = plan(config)
    ((training,), (task,)) = found.models[0].trainings, found.tasks
    part = global_grid(15.0).crop(slice(0, 10), slice(0, 10))
    tiled = training.cuts[-1]
    assert (tiled.windows, tiled.core, tiled.window, tiled.tokens) == (8, (6, 6), (10, 10), 25)
    assert (training.drawn, training.each, training.parts, training.together) == (5, 3, 15, 15)
    assert training.flops == 5 * 3 * forward_flops(built, part)
    parameters = sum(p.numel() for p in built.parameters())
    memory = training.memory
    state = [memory.parts[name] for name in records.STATE]
    assert state == pytest.approx([4 * parameters, 8 * parameters, 4 * parameters], rel=0.005)  # AdamW's step counts come on top
    activations = activation_bytes(built, part, True, 3 * 5)  # without the loss, which holds some terms as large as the fine fields
    fine = 3 * 5 * len(built.outputs) * math.prod(part.refine(built.config.refinement).shape) * 4
    assert activations < memory.need - memory.state - memory.parts["inputs"] < activations + 13 * fine
    assert [(one.windows, one.core, one.window, one.tokens) for one in task.cuts[1:]] == [(6, (6, 8), (10, 12), 30)]
    assert (task.coarse, task.fine, task.samples, task.misplaced) == ((12, 24), (48, 96), 1, 0)
    text = render(found, config)
    assert "a step trains on 5 of a sample's 8 tiles" in text and "downscale.test: 12x24 -> 48x96, 1 samples" in text


def test_what_does_not_fit_is_said(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State 0.1 MB; a step's activations 0.6 MB for one sample, 1.1 MB for its five tiles."""
    monkeypatch.setitem(DEVICES, "a100", replace(DEVICES["a100"], memory=1.0e6, per_node=1))
    config = load(tiny, ["models.small.train.batch_size=1", "models.small.train.precision=fp32"])
    found = plan(config, device="a100")
    first, second = verdict(found)[:2]
    assert not found.fits and first == "does NOT fit on a node of 1 a100: 1 of 2 parts of the run"
    assert "model small on tiny: weights" in second and second.endswith("does NOT fit: smaller tiles or batches")
    assert not found.models[0].fits and found.tasks[0].fits
    rows = {line.split()[1]: line for line in verdict(found) if line.startswith(("  model ", "  task ")) and "GB " in line}
    assert rows["small"].endswith("does NOT fit") and rows["test"].endswith("   fits")
    assert str(records.Memory({"weights": 2_000_000, "activations": 1}, 1_000_000).advice).endswith("must be sharded (fsdp)")


def test_disk_by_hand(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """12 hours of 2 variables on 12 x 24 and 48 x 96 cells, int16; a prediction of one of them, float32; 4 weights a parameter."""
    monkeypatch.chdir(tmp_path)
    config = load(tiny)
    found = plan(config)
    stored = {(one.kind, one.name): one for one in found.stored}
    names, cells = len(tiny_training.NAMES), 12 * 24 + 48 * 96
    assert stored["store", "tiny"].bytes == round(0.67 * 12 * 2 * names * cells) + 4 * cells
    assert stored["prediction", "test"].bytes == round(0.56 * 4 * names * 48 * 96)
    parameters = found.models[0].parameters
    assert stored["model", "small"].bytes == 4 * parameters and stored["checkpoints", "small"].bytes == (3 * 16 + 2 * 4) * parameters
    assert stored["download", "era5"].files and found.of("download")[0] == found.of("download")[1] > 0
    path = Path(slices.store(config, "tiny"))
    path.parent.mkdir(parents=True)
    path.symlink_to(tiny_training.build(tmp_path / "made").store)
    again = {(one.kind, one.name): one.missing for one in plan(config).stored}
    assert again["store", "tiny"] == again["download", "era5"] == 0 < again["prediction", "test"]  # built: nothing to fetch for it


def test_json_is_the_plan(tiny: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every key is in docs/costs.md; a distance that nothing falls to is null."""
    store = tiny_training.build(tmp_path / "made").store
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(tiny), "--device", "a100", "--devices", "4", "--json", "--store", f"tiny={store}"])
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert stop.value.code == 2 and told["fits"] is False and told["models"][0]["fits"] is False and told["tasks"][0]["fits"] is True
    memory = told["models"][0]["trainings"][0]["memory"]
    assert "no more than 3 devices" in memory["advice"] and memory["need"] == sum(memory["parts"].values())
    assert told["disk"]["store"]["bytes"] == sum(one["bytes"] for one in told["stored"] if one["kind"] == "store")
    assert told["models"][0]["trainings"][0]["halo"]["scales"]


@pytest.mark.parametrize(("options", "code", "first"), [
    ((), 0, "fits on a node of 8 a100: all 2 parts of the run"),
    (("--devices", "3"), 0, "fits on 3 a100: all 2 parts of the run"),
    (("--devices", "4"), 2, "does NOT fit on 4 a100: 1 of 2 parts of the run"),
    (("--nodes", "1"), 2, "does NOT fit on 8 a100: 1 of 2 parts of the run"),
])
def test_the_verdict_comes_first_and_is_the_exit_code(
    tiny: Path, options: tuple[str, ...], code: int, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step of 3 samples feeds 3 devices; the trainer refuses more ranks."""
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(tiny), "--device", "A100", *options])
    printed = capsys.readouterr().out
    assert stop.value.code == code and printed.splitlines()[0] == first
    assert ("a step of 3 samples feeds no more than 3 devices" in printed) == bool(code)


def test_each_dataset_of_a_model_gets_its_share_of_the_steps(tmp_path: Path) -> None:
    """8 and 2 training samples, as Steps draws them: 80 % and 20 % of 10 steps of 3 samples."""
    run_ = copy.deepcopy(TINY)
    run_["datasets"]["short"] = copy.deepcopy(TINY["datasets"]["tiny"])
    run_["datasets"]["short"]["split"]["train"]["end"] = "2026-01-01T01:00"
    run_["models"]["small"]["datasets"] = ["tiny", "short"]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(run_), encoding="utf-8")
    config = load(tmp_path / "two.yaml")
    assert estimate.shares_of_steps(config, "small") == {"tiny": 0.8, "short": 0.2}
    both = plan(config)
    text = render(both, config)
    assert "about 80.0% of the steps: " in text and "about 20.0% of the steps: " in text
    one = plan(load(tmp_path / "two.yaml", ["models.small.datasets=[tiny]"]))
    assert both.models[0].flops == pytest.approx(one.models[0].flops)  # the same grid and network: two datasets cost what one does


def test_halo_from_a_store_named_or_found(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tiny_training.build(tmp_path / "made").store
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(tiny), "--store", f"tiny={store}"])
    assert not stop.value.code
    text = capsys.readouterr().out
    cells = re.search(r"recommended halo: (\d+) coarse cells", text)
    assert cells is not None and int(cells[1]) % 2 == 0
    assert "ln(1 + precipitation_rate)" in text and "models.small.train (tile 6):" in text and "downscale.test (tile (6, 8)):" in text


@pytest.mark.parametrize(
    ("option", "says"),
    [("nowhere=x", "no such dataset"), ("tiny", "DATASET=PATH"), ("tiny=", "DATASET=PATH"), ("tiny=missing", "pair store not found")],
)
def test_a_store_that_cannot_be_used(tiny: Path, option: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(tiny), "--store", option])
    assert stop.value.code == 2 and says in capsys.readouterr().err


def test_a_store_of_other_data(tiny: Path, tmp_path: Path) -> None:
    store = tiny_training.build(tmp_path / "made").store
    with pytest.raises(OrbitError, match="no samples in the training period"):
        halo.measure(PairStore(store), ("2025-01-01", "2025-01-02"), tiny_training.NAMES, "bicubic")
    finer = load(tiny, ["datasets.tiny.coarse_grid=global_7.5", "datasets.tiny.fine_grid=global_1.875"])
    with pytest.raises(OrbitError, match="another grid"):
        plan(finer, stores={"tiny": store})


def test_unknown_device_is_refused(root: Path) -> None:
    config = load(root / "config" / "config.yaml")
    with pytest.raises(OrbitError, match="unknown device"):
        plan(config, device="tpu")
    with pytest.raises(OrbitError, match="did you mean 'mi250x-gcd'"):
        plan(config, device="MI250X")
    with pytest.raises(OrbitError, match="not both"):
        plan(config, device="a100", devices=2, nodes=1)


def test_flops_with_a_position_table() -> None:
    """On its own grid the table is looked up, not computed: no FLOPs, and the network trains as before."""
    grid = global_grid(15.0)
    with torch.device("meta"):
        geographic, table = demo_model(), demo_model(position="table", table_shape=(6, 12))
    position = 2 * 72 * sum(p.numel() for p in geographic.position.parameters() if p.ndim == 2)
    assert forward_flops(geographic, grid) - forward_flops(table, grid) == position
    assert all(p.requires_grad for p in table.parameters())


@pytest.mark.slow
def test_the_mesh_divides_state_and_parts_divide_activations(tiny: Path) -> None:
    """Three samples on three ranks: a third of a wide network's state each; a fifth of a slim one's activations, gradients aside."""

    def numbers(width: int, *asked: str) -> tuple[float, float]:
        config = load(tiny, [f"models.small.architecture.embed_dim={width}", "models.small.train.precision=fp32", *asked])
        found = estimate.training(config, "small", build(config, "small"), Machine("a100", 3), {})
        (training,) = found.trainings
        assert found.fits
        return training.memory.state, training.memory.need - training.memory.state

    whole, sharded = numbers(96), numbers(96, "models.small.train.mesh.fsdp=3")
    assert sharded[0] == pytest.approx(whole[0] / 3, rel=0.02)
    slim, parted = numbers(16), numbers(16, "models.small.train.accumulate=5")
    assert parted[0] == slim[0] and slim[1] / 5 < parted[1] < slim[1] / 2


def test_a_mesh_that_cannot_be_is_said(tiny: Path) -> None:
    config = load(tiny, ["models.small.train.mesh.sp=3"])
    found = plan(config, device="a100", devices=3)
    text = render(found, config)
    assert not found.fits and "does NOT run" in text and "sp 3 does not divide the 2 heads" in text


@pytest.mark.slow
def test_the_shipped_foundation_run_fits_eight_devices_of_80_gb(root: Path) -> None:
    config = load(root / "config" / "runs" / "foundation.yaml")
    found = plan(config, device="a100", devices=8)
    assert found.fits and "mesh ddp 8: 64 samples on a rank, 64 at once (accumulate 1), checkpointing blocks" in render(found, config)
    kept = ["models.foundation.train.checkpointing=none"]
    assert not plan(load(root / "config" / "runs" / "foundation.yaml", kept), device="a100", devices=8).fits
