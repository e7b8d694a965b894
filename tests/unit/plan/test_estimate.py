"""What `orbit2 plan` prints agrees with counts made by hand."""

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from orbit2.cli import main
from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from orbit2.model.inspect import activation_bytes, build, forward_flops
from orbit2.plan import estimate, halo, machine, run
from orbit2.plan.devices import DEVICES
from tests.data import tiny_training
from tests.data.small_models import demo_model

TINY: dict[str, Any] = {
    "label": "tiny",
    "datasets": {
        "tiny": {
            "source": "era5", "inputs": list(tiny_training.NAMES), "outputs": list(tiny_training.NAMES), "statics": ["orography"],
            "coarse_grid": "global_15.0", "fine_grid": "global_3.75",
            "split": {
                "train": {"start": "2026-01-01T00:00", "end": "2026-01-01T07:00"},
                "validation": {"start": "2026-01-01T09:00", "end": "2026-01-01T09:00"},
                "test": {"start": "2026-01-01T11:00", "end": "2026-01-01T11:00"},
                "gap_days": 0,
            },
        }
    },
    "models": {
        "small": {
            "datasets": ["tiny"],
            "architecture": {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1},
            "train": {"batch_size": 3, "steps": 10, "tile": 6, "halo": 2, "tiles_per_sample": 5},
        }
    },
    "downscale": {"test": {"model": "small", "dataset": "tiny", "tile": [6, 8], "halo": 2, "batch": 4}},
}  # fmt: skip


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
    text, fits = run(load(root / "config" / "config.yaml"), model="reslim", device="h200")
    assert fits and text.splitlines()[0] == "fits on a node of 8 h200: all 3 parts of the run"
    assert "1,035 tokens" in text and "on each of 2 h200" in text and "activations not counted" not in text
    assert "17,280" in text and "64,800" in text
    assert re.search(r"5x10 tiles +50 +36x36 +44x44 +484 ", text)
    assert "not measured, results/data/era5_week-" in text and "--store era5_week=PATH" in text


def test_training_and_tasks_tiled_and_untiled(tiny: Path) -> None:
    """12 x 24 cells in cores of 6: 2 x 4 tiles with windows of 10 x 10, of which a step takes 5; a task's cores of 6 x 8: 2 x 3 tiles."""
    config = load(tiny)
    built = build(config, "small")
    text, _ = run(config)
    part = global_grid(15.0).crop(slice(0, 10), slice(0, 10))
    lines = {line.split()[0]: line for line in text.split("training on tiny")[1].splitlines() if line.startswith("  ") and "x" in line}
    assert lines["tiled"].split()[1:5] == ["8", "6x6", "10x10", "25"]
    assert "a step trains on 5 of a sample's 8 tiles" in text
    assert f"{5 * 3 * forward_flops(built, part) / 1e12:.4f} TFLOP per trained sample" in text
    state = 16 * sum(p.numel() for p in built.parameters())  # the gradients count as activations do
    activations = activation_bytes(built, part, True, 3 * 5)
    sizes = [f"{count / 1e6:.1f} MB" for count in (state, activations, state + activations)]
    assert f"  tiled: state {sizes[0]} + activations {sizes[1]} = {sizes[2]} (fp32) of " in text
    task = text.split("downscale.test: 12x24 -> 48x96")[1]
    assert re.search(r"2x3 tiles +6 +6x8 +10x12 +30 ", task)
    assert "begin inside a token" not in text


def test_what_does_not_fit_is_said(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State 0.1 MB; a step's activations 0.6 MB for one sample, 1.1 MB for its five tiles."""
    monkeypatch.setitem(DEVICES, "a100", replace(DEVICES["a100"], memory=1.0e6, per_node=1))
    text, fits = run(load(tiny, ["models.small.train.batch_size=1"]), device="a100")
    untiled, tiled = [line for line in text.split("training on tiny")[1].splitlines() if "on one a100:" in line][:2]
    assert untiled.endswith("fits") and tiled.endswith("does NOT fit: smaller tiles or batches")
    first, training, task = text.splitlines()[:3]  # what the run would do decides, not the untiled comparison
    assert not fits and first == "does NOT fit on a node of 1 a100: 1 of 2 parts of the run"
    assert "small trained on tiny" in training and training.endswith("does NOT fit: smaller tiles or batches") and task.endswith("fits")
    assert str(machine.Verdict("x", 2_000_000, 1, machine.machine("a100")).advice).endswith("parameters must be sharded (fsdp)")


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
    text, _ = run(config)
    assert "about 80.0% of the steps: " in text and "about 20.0% of the steps: " in text
    one, _ = run(load(tmp_path / "two.yaml", ["models.small.datasets=[tiny]"]))
    each = re.search(r"([\d.]+) PFLOP for 10 steps of 3", one)
    both = re.search(r"training in all: ([\d.]+) PFLOP for 10 steps", text)
    assert each and both and each[1] == both[1]  # the same grid and network: two datasets cost what one does


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
        run(finer, stores={"tiny": store})


def test_unknown_device_is_refused(root: Path) -> None:
    config = load(root / "config" / "config.yaml")
    with pytest.raises(OrbitError, match="unknown device"):
        run(config, device="tpu")
    with pytest.raises(OrbitError, match="did you mean 'mi250x-gcd'"):
        run(config, device="MI250X")
    with pytest.raises(OrbitError, match="not both"):
        run(config, device="a100", devices=2, nodes=1)


def test_flops_with_a_position_table() -> None:
    """On its own grid the table is looked up, not computed: no FLOPs, and the network trains as before."""
    grid = global_grid(15.0)
    with torch.device("meta"):
        geographic, table = demo_model(), demo_model(position="table", table_shape=(6, 12))
    position = 2 * 72 * sum(p.numel() for p in geographic.position.parameters() if p.ndim == 2)
    assert forward_flops(geographic, grid) - forward_flops(table, grid) == position
    assert all(p.requires_grad for p in table.parameters())


def test_the_mesh_divides_state_and_parts_divide_activations(tiny: Path) -> None:
    """Three samples on three ranks: a third of a wide network's state each; a fifth of a slim one's activations, gradients aside."""

    def numbers(width: int, *asked: str) -> tuple[float, float]:
        text, fits = run(load(tiny, [f"models.small.architecture.embed_dim={width}", *asked]), device="a100", devices=3)
        line = next(line for line in text.splitlines() if "small trained on tiny" in line)
        found = re.search(r"state ([\d.]+) MB \+ activations ([\d.]+) MB", line)
        assert fits and found
        return float(found[1]), float(found[2])

    whole, sharded = numbers(96), numbers(96, "models.small.train.mesh.fsdp=3")
    assert sharded[0] == pytest.approx(whole[0] / 3, abs=0.06)
    slim, parted = numbers(16), numbers(16, "models.small.train.accumulate=5")
    assert parted[0] == slim[0] and slim[1] / 5 < parted[1] < slim[1] / 2


def test_a_mesh_that_cannot_be_is_said(tiny: Path) -> None:
    text, fits = run(load(tiny, ["models.small.train.mesh.sp=3"]), device="a100", devices=3)
    assert not fits and "does NOT run" in text and "sp 3 does not divide the 2 heads" in text


@pytest.mark.slow
def test_the_shipped_foundation_run_fits_eight_devices_of_80_gb(root: Path) -> None:
    text, fits = run(load(root / "config" / "runs" / "foundation.yaml"), device="a100", devices=8)
    assert fits and "mesh ddp 8: 64 samples on a rank, 64 at once (accumulate 1), checkpointing blocks" in text
    kept = ["models.foundation.train.checkpointing=none"]
    assert not run(load(root / "config" / "runs" / "foundation.yaml", kept), device="a100", devices=8)[1]
