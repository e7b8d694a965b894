"""`orbit2 model info` and `orbit2 model export`: what they print, what a published folder holds."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import orbit2
from orbit2.cli import main
from orbit2.config.load import dataset_hash, load
from orbit2.config.sources import SourceName
from orbit2.data.transforms import Normaliser
from orbit2.model import folder
from orbit2.train.card import credits, write_card
from tests.data.small_models import demo_model

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "config/config.yaml"
DATASET = {
    "source": "sample", "coarse_grid": "global_15.0", "fine_grid": "global_3.75",
    "split": {"train": {"start": "2001-01-01", "end": "2003-12-31"}, "validation": {"start": "2005-01-01", "end": "2005-12-31"},
              "gap_days": 2.0}, "finer_than_source": True,
}  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A model folder as the train stage leaves it."""
    made, model = tmp_path / "made", demo_model()
    about: dict[str, Any] = {
        "name": "tiny", "hash": "0", "steps": 10, "best_step": 5, "training_seconds": 1.0, "batch_size": 2, "seed": 0, "precision": "fp32",
        "origin": "random initialisation", "region": None, "datasets": {"tiny": DATASET},
    }  # fmt: skip
    made.mkdir()
    ratios = [{"step": 5, "validation_ratio": {"2m_temperature": 0.5}}, {"step": 10, "validation_ratio": {"2m_temperature": 0.75}}]
    (made / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ratios))
    write_card(made / "card.md", model, about, made / "metrics.jsonl")
    folder.save(made, model, Normaliser(dict.fromkeys(model.inputs, (0.0, 1.0))), about)
    return made


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_export_is_a_folder_that_checks_itself_and_loads(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, archive = tmp_path / "published", tmp_path / "published.zip"
    code, printed, _ = call(capsys, "model", "export", str(trained), "-o", str(out), "--zip", str(archive))
    assert code == 0 and str(out) in printed and str(archive) in printed
    names = {p.name for p in out.iterdir()}
    assert names == {
        "ATTRIBUTION.md", "LICENSE", "SHA256SUMS", "card.md", "config.json", "normalisation.json", "weights.safetensors",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=out, check=True, capture_output=True)
    listed = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert set(listed) == names - {"SHA256SUMS"}
    assert listed["LICENSE"] == hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert "Hersbach" in (out / "ATTRIBUTION.md").read_text() and "Copernicus" in (out / "ATTRIBUTION.md").read_text()
    assert orbit2.load_model(out).outputs == orbit2.load_model(trained).outputs
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "unpacked")
    assert orbit2.load_model(tmp_path / "unpacked" / "published").refinement == 4


@pytest.mark.parametrize(("break_it", "says"), [
    (lambda made, out: (made / "card.md").unlink(), "no card"),
    (lambda made, out: (made / "weights.safetensors").write_bytes(b"x"), "damaged"),
    (lambda made, out: out.mkdir(), "must not exist"),
])  # fmt: skip
def test_export_refuses_what_is_not_whole(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Any, says: str
) -> None:
    out = tmp_path / "published"
    break_it(trained, out)
    code, _, error = call(capsys, "model", "export", str(trained), "-o", str(out))
    assert code == 2 and says in error and error.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())


def test_card_says_data_years_score_of_the_kept_weights_and_how_to_load(trained: Path) -> None:
    text = (trained / "card.md").read_text()
    for needed in ("2001-01-01", "2003-12-31", "CC BY 4.0", "| input | `2m_temperature` | K |", "Limits", "MIT", "as close as 2 days",
                   "finer than the source's own"):  # fmt: skip
        assert needed in text, needed
    assert "0.500" in text and "0.750" not in text  # step 5 was the best
    code = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) == 5
    compile(code, "card", "exec")


def test_every_source_has_its_credit() -> None:
    for name in get_args(SourceName):
        first = credits({"x": {"source": name}})[0]
        assert len(first) > 60 and "(" in first


def test_info_of_a_folder(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "model", "info", str(trained))
    parameters = sum(p.numel() for p in demo_model().parameters())
    assert code == 0 and f"parameters    {parameters:,}" in text and "72 tokens" in text and "aggregate" in text
    assert f"{4 * parameters / 1e6:,.1f} MB weights" in text and "to train" in text


@pytest.mark.parametrize("kind", ["vit", "unet", "conv"])
def test_info_of_a_baseline_agrees_with_what_its_file_says(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "model", "info", str(ROOT / f"config/runs/demo_{kind}.yaml"))
    assert code == 0 and f"kind          {kind}" in text and "activations" in text
    assert ("4,050 tokens" in text) == (kind == "vit")
    gflop = re.search(r"([\d.]+) GFLOP", text)
    said = re.search(r"([\d.]+) GFLOP", (ROOT / f"config/models/{kind}_demo.yaml").read_text())
    assert gflop and said and float(gflop[1]) == pytest.approx(float(said[1]), abs=0.06)


@pytest.mark.parametrize("kind", ["vit", "unet", "conv"])
def test_the_baselines_train_on_the_demo_s_data_for_the_demo_s_steps(kind: str) -> None:
    demo, other = load(DEMO), load(ROOT / f"config/runs/demo_{kind}.yaml")
    assert dataset_hash(demo, "era5_week") == dataset_hash(other, "era5_week")
    assert other.models[kind].train == demo.models["reslim"].train
    assert list(other.downscale) == ["test"] and other.downscale["test"].dataset == demo.downscale["test"].dataset
    assert other.architecture_of(kind).kind == kind


def test_sizes_of_the_shipped_baselines() -> None:
    import torch

    from orbit2.config.network import ArchitectureConfig
    from orbit2.model.build import build

    def count(name: str, inputs: int, outputs: int) -> int:
        config = ArchitectureConfig.model_validate(yaml.safe_load((ROOT / f"config/models/{name}.yaml").read_text()))
        with torch.device("meta"):
            model = build(config, [f"v{i}" for i in range(inputs)], [f"y{i}" for i in range(outputs)], ["a", "b", "c"])
        return sum(p.numel() for p in model.parameters())

    assert abs(count("vit_9m", 23, 3) / count("reslim_9m", 23, 3) - 1) < 0.15
    reslim = count("reslim_demo", 8, 5)
    assert all(0.7 < count(name, 8, 5) / reslim < 1.3 for name in ("vit_demo", "unet_demo"))


@pytest.mark.parametrize(("prepare", "out", "archive", "says"), [
    (lambda made, here: (here / "p.zip").write_text("mine"), "p", "p.zip", "--zip: the archive to write must not exist"),
    (lambda made, here: (here / "p").symlink_to("nowhere"), "p", None, "--out: the folder to write must not exist"),
    (lambda made, here: None, "made/p", None, "--out: cannot be written into the model"),
    (lambda made, here: None, "p", "p/p.zip", "--zip: cannot be written into the model or the exported folder"),
    (lambda made, here: (here / "f").write_text("a file"), "f/p", None, "cannot be written"),
])  # fmt: skip
def test_export_writes_over_nothing_and_leaves_nothing_half_done(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: Any, out: str, archive: str | None, says: str
) -> None:
    prepare(trained, tmp_path)
    before = {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")}
    packed = [] if archive is None else ["--zip", str(tmp_path / archive)]
    code, _, error = call(capsys, "model", "export", str(trained), "-o", str(tmp_path / out), *packed)
    assert code == 2 and says in error and error.count("\n") == 1
    assert {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")} == before
