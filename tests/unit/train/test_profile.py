"""What is found in a profile, on stand-ins for torch's events; and a profiled run, which is the same run."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from orbit2.model import folder
from orbit2.train import run
from orbit2.train.profile import weighed
from orbit2.train.timing import sampled
from tests.data.tiny_training import Tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def event(name: str, start: float, end: float, kind: DeviceType = DeviceType.CPU) -> SimpleNamespace:
    span = SimpleNamespace(start=start, end=end)
    return SimpleNamespace(name=name, time_range=span, device_type=kind, self_cpu_time_total=(end - start) / 2)


def test_exchanges_that_computing_hides_are_not_exposed() -> None:
    events = [
        event("ProfilerStep#1", 0, 100), event("ProfilerStep#2", 100, 200), event("aten::mm", 0, 50), event("aten::add", 40, 60),
        event("gloo:all_gather", 30, 80), event("gloo:all_gather", 70, 90), event("c10d::_allgather_base_", 20, 95),
        event("FSDP::all_gather", 0, 95), event("aten::mm", 150, 190), event("gloo:all_reduce", 155, 160),
    ]  # fmt: skip
    found = weighed(events, 2, CPU)
    assert found.seconds == pytest.approx(1e-4) and found.computing == pytest.approx((60 + 40) / 200)
    assert found.exchanging == pytest.approx((60 + 5) / 200) and found.exposed == pytest.approx(30 / 200)  # 60 to 90
    assert found.top == (("aten::mm", 1, pytest.approx(45 / 200)), ("aten::add", 0, pytest.approx(10 / 200)))


def test_on_a_gpu_its_own_kernels_count_and_the_host_s_calls_do_not() -> None:
    events = [
        event("ProfilerStep#1", 0, 100), event("aten::mm", 0, 90), event("sgemm", 10, 30, DeviceType.CUDA),
        event("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgs)", 20, 60, DeviceType.CUDA),
        event("FSDP::all_gather (1)", 0, 100, DeviceType.CUDA), event("ProfilerStep#1", 0, 100, DeviceType.CUDA),
    ]  # fmt: skip
    found = weighed(events, 1, GPU)
    assert (found.computing, found.exchanging, found.exposed) == pytest.approx((0.2, 0.4, 0.3))
    assert found.top == (("sgemm", 1, pytest.approx(0.2)),)


@pytest.mark.parametrize(("wanted", "before", "every", "step"), [(8, 0, 50, 8), (8, 43, 50, 9), (8, 0, 1, 8), (0, 0, 50, 0)])
def test_no_validation_is_in_the_step_that_is_profiled(wanted: int, before: int, every: int, step: int) -> None:
    assert sampled(wanted, before, every) == step


def test_a_profiled_run_is_the_same_run_with_a_trace_and_ten_lines(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {}
    for name, profile in (("plain", False), ("profiled", True)):
        out = tmp_path / name
        run(config=tiny.slice(out / "config.json", steps=7), stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics},
            out=out / "model", checkpoints=out / "checkpoints", profile=profile)  # fmt: skip
        weights[name] = folder.load(out / "model")[0].state_dict()
    assert all(torch.equal(weights["plain"][name], weights["profiled"][name]) for name in weights["plain"])
    written = tmp_path / "profiled" / "checkpoints" / "profile"
    lines = (written / "summary.txt").read_text().splitlines()
    assert len(lines) == 10 and lines[0].startswith("profiled 3 steps on") and "exchanging 0.0%" in lines[3]
    assert all(line.strip() in capsys.readouterr().err for line in lines[:1])
    trace = json.loads(gzip.decompress((written / "trace.json.gz").read_bytes()))
    named = [one["name"] for one in trace["traceEvents"] if one.get("name", "").startswith("ProfilerStep#") and one.get("ph") == "X"]
    assert len(set(named)) == 3 and sorted(p.name for p in written.iterdir()) == ["summary.txt", "trace.json.gz"]
    assert not (tmp_path / "plain" / "checkpoints" / "profile").exists()


def test_a_run_that_is_too_short_says_so(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(config=tiny.slice(tmp_path / "config.json", steps=3), stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics},
        out=tmp_path / "model", checkpoints=tmp_path / "checkpoints", profile=True)  # fmt: skip
    assert "not profiled: it takes 6 steps to, and this try took 3" in capsys.readouterr().err
