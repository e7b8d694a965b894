"""The GPU benchmark runs (small, on the CPU) and its floor is made of the right operations; the compression benchmark's two halves."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from orbit2.model.flops import count
from tests.data.scripts import script

ROOT = Path(__file__).resolve().parents[3]


def gpu(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """Exit code of the script, run in this process."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", *options])
    return int(importlib.import_module("gpu").main())


@pytest.mark.slow
def test_gpu_script_runs_small_on_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert gpu(monkeypatch, "--quick", "--out-dir", str(tmp_path)) == 0
    found = json.loads((tmp_path / "gpu_cpu_quick.json").read_text())
    rows = found["rows"]
    assert not [row for row in rows if "error" in row] and not found["left_out"] and found["holds"] is None
    assert {(row["network"], row["side"], row["way"]) for row in rows} == {
        (network, side, way)
        for network, ways in (("full attention", ("eager", "compiled")), ("16 tiles", ("eager",)), ("compression 8", ("eager",)),
                              ("published", ("eager",)))
        for side in ("prediction", "training")
        for way in ways
    }
    flops = {(row["network"], row["side"]): row["gflop_per_sample"] for row in rows}
    assert flops["16 tiles", "prediction"] < flops["full attention", "prediction"] < flops["full attention", "training"] / 2
    assert all(
        row["of_floor"] == pytest.approx(row["ms_per_sample"] / (row["gflop_per_sample"] / found["product_tflops"][0])) for row in rows
    )


def test_a_case_that_fails_loses_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its row says why, the next case runs, and the file holds every row at once: a later one may take the machine down."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("gpu")
    whole, written = module.model_of, []

    def model_of(size: object, network: object, device: torch.device) -> object:
        if network == module.NETWORKS[1]:
            raise RuntimeError("no such kernel\nmore")
        return whole(size, network, device)

    def product_rate(*_: object) -> float:
        if written:
            raise RuntimeError("the device is gone")
        return 1e9

    monkeypatch.setattr(module, "model_of", model_of)
    monkeypatch.setattr(module, "product_rate", product_rate)
    monkeypatch.setattr(module, "WAYS", {"prediction": ("eager",)})
    size = module.Size(width=16, depth=1, heads=2, degrees=15.0, side=2)
    result = module.run(size, (1, 2), torch.device("cpu"), 9.0, True, lambda found: written.append(len(found["rows"])))
    named = [(row["network"], row["batch"], row.get("error")) for row in result["rows"]]
    assert named == [
        ("full attention", 1, None),
        ("16 tiles", 1, "RuntimeError: no such kernel"),
        ("compression 8", 1, None),
        ("published", 1, None),
        ("full attention", 2, None),
        ("compression 8", 2, None),
        ("published", 2, None),
    ]
    assert written == [1, 2, 3, 4, 5, 6, 7] and result["product_tflops"] == [1e-3]


def test_gpu_script_never_passes_a_cpu_off_as_a_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu(monkeypatch, "--out-dir", str(tmp_path)) == 2
    assert "only --quick runs on a CPU" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_operations_are_counted_by_hand() -> None:
    matrix = torch.randn(3, 5, requires_grad=True)
    assert count(lambda: matrix @ torch.randn(5, 7)) == 2 * 3 * 5 * 7
    tokens = torch.randn(2, 4, 16, 8, requires_grad=True)
    forward = 2 * 4 * 2 * (2 * 16 * 16 * 8)  # QK^T and PV of every head of every sample
    assert count(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens)) == forward
    # the backward pass computes QK^T again and four gradients
    assert count(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens).sum().backward()) == forward * 7 / 2
    fields, weight = torch.randn(2, 6, 9, 9, requires_grad=True), torch.randn(6, 1, 3, 3, requires_grad=True)
    depthwise = 2 * 2 * 6 * 7 * 7 * 9
    assert count(lambda: F.conv2d(fields, weight, groups=6).sum().backward()) == 3 * depthwise


@pytest.fixture
def compression(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/compression.py; loaded by path, as newer Pythons have a module of that name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return script("benchmarks/compression.py")


def test_compression_halves_are_measured_apart(compression: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each half keeps the version it was measured with; measuring one again replaces that one only."""
    out = tmp_path / "compression.json"
    for version, half in (("a", "speed"), ("b", "accuracy"), ("c", "speed")):
        monkeypatch.setattr(compression, "code_version", lambda version=version: version)
        compression.keep(out, half, [{"ratio": 1, "from": version}], [])
    found = json.loads(out.read_text())
    assert [(found[half]["code_version"], found[half]["rows"][0]["from"]) for half in ("speed", "accuracy")] == [("c", "c"), ("b", "b")]


def test_compression_is_judged_in_decibels_and_times(compression: ModuleType) -> None:
    test = SimpleNamespace(names=("a", "b"), bicubic={"a": 2.0, "b": 4.0})

    def row(ratio: int, *changes: float) -> dict[str, Any]:
        """RMSE of half of bicubic, and `changes` dB worse in each seed: with peaks of 10 and 20 rmse is a tenth, so 20 dB."""
        runs = [{"ratio": dict.fromkeys("ab", 0.5 * 10 ** (change / 20)), "core_seconds": 1.0} for change in changes]
        return dict(compression.row_of(ratio, runs, test, {"a": 10.0, "b": 20.0}))

    plain, close, far = row(1, 0.0, 0.0), row(8, 0.15, 0.03), row(16, 0.15, 0.07)
    assert plain["mean_psnr"] == pytest.approx(20) and close["mean_psnr_of_seeds"] == pytest.approx([19.85, 19.97])
    assert compression.judge_accuracy([plain, close, far]) == ["16x loses 0.11 dB"]

    def timed(ratio: int, infer: float, step: float) -> dict[str, Any]:
        times = {"infer_seconds": 1.0, "infer_speedup": infer, "step_seconds": 1.0, "step_speedup": step}
        return {"ratio": ratio, "leaves": 9, "gflop": 1.0, "turns": 1} | times

    assert compression.judge_speed([timed(4, 1, 1), timed(8, 3.4, 3.3), timed(16, 9.0, 6.5)]) == ["16x is not 6.6 times as fast"]


@pytest.mark.slow
def test_an_end_that_fails_loses_no_other_ones_rate() -> None:
    """Its row says why, the next case runs, everything is kept after each, and what no time was left for is named."""
    module, kept = script("benchmarks/gpu_ends.py"), []

    def fails() -> dict[str, Any]:
        raise RuntimeError("no such kernel\nmore")

    cases = {"train, 0 workers": fails, "downscale": lambda: {"of_own": 0.9}}
    rows = module.run(cases, 1.0, lambda found, left_out: kept.append((len(found), list(left_out))))
    assert rows == [{"case": "train, 0 workers", "error": "RuntimeError: no such kernel more"}, {"case": "downscale", "of_own": 0.9}]
    assert kept == [(1, []), (2, []), (2, [])]
    assert module.run(cases, -1.0, lambda _, left_out: kept.append((0, list(left_out)))) == [] and kept[-1] == (0, list(cases))


@pytest.mark.slow
def test_the_whole_check_runs_small_on_a_cpu(tmp_path: Path) -> None:
    """Every part ends well (there are no tests on a device without one: pytest's 5), and leaves its file."""
    around = {**os.environ, "QUICK": "1", "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([ROOT / "benchmarks/gpu_check.sh", tmp_path], env=around, capture_output=True, text=True, check=False)
    ended = dict(re.findall(r"^== (\w+): exit (\d+)$", done.stdout, flags=re.MULTILINE))
    assert ended.keys() == {"device", "tests", "network", "ends", "compiled"}
    assert {ended[part] for part in ("device", "network", "ends")} == {"0"}
    rows = json.loads((tmp_path / "ends_cpu_quick.json").read_text())["rows"]
    assert [row["case"] for row in rows] == ["downscale, rounded", "train, 0 workers", "downscale, exact"]
    assert all(0.2 < row["of_own"] < 3 for row in rows)
    assert json.loads((tmp_path / "gpu_cpu_quick.json").read_text())["rows"]
