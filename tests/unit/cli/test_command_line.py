"""What a user meets at the command line: exit codes, one readable line for a mistake, quick help."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from orbit2.cli import main
from orbit2.cli.command import VERBS, waiting
from orbit2.cli.headline import headline, tasks
from orbit2.errors import Interrupted, OrbitError, Reached
from orbit2.metrics import table
from orbit2.metrics.verdict import judge, wins

ROOT = Path(__file__).resolve().parents[3]
DEMO = str(ROOT / "config/config.yaml")
STAGES = ("retrieve", "regrid", "statistics", "train", "finetune", "downscale", "evaluate", "diagnose", "report")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, captured.out, captured.err


def one_line(error: str) -> bool:
    return error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error


def test_one_verb_per_stage_in_the_order_of_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert VERBS[:9] == STAGES
    assert tuple(re.findall(r"^│ (\w[\w-]+)  ", out, flags=re.MULTILINE)) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, verb, "--help")[0] == 0


def test_help_starts_quickly_and_loads_nothing_heavy() -> None:
    code = "import sys, orbit2.cli.command; print([m for m in ('torch', 'xarray', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - began < 10


def test_stages_load_no_library_that_only_others_need() -> None:
    """Each job is a process of its own, and these take seconds of it."""
    others = ("torch", "dask.array", "scipy.stats", "scipy.signal", "skimage.metrics.simple_metrics")
    code = ("import sys, orbit2.retrieve, orbit2.statistics, orbit2.evaluate, orbit2.diagnose, orbit2.report; "
            f"print([m for m in {others} if m in sys.modules]); "
            "import orbit2.regrid.build; print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--version")
    assert code == 0 and re.fullmatch(r"orbit2 \d+\.\d+\.\d+\S*\n", out)


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "cuda:1x"])
@pytest.mark.parametrize("verb", ["train", "finetune", "downscale", "downscale FILE"])
def test_a_device_that_is_not_there(verb: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slice_ = tmp_path / "config.json"
    slice_.write_text(json.dumps({"name": "m", "model": {"datasets": ["d"], "train": {"steps": 1, "batch_size": 1}}, "architecture": {},
                                  "datasets": {}, "parent": None, "hash": "0"}), encoding="utf-8")
    files = ("--store", "d=x.zarr", "--statistics", "d=x.json", "-o", "m", "--checkpoints", str(tmp_path / "c"))
    rest = {"train": ("train", "-c", str(slice_), *files), "finetune": ("finetune", "-c", str(slice_), *files, "--parent", "p"),
            "downscale": ("downscale", "-c", str(slice_), "--store", "x.zarr", "--model", "p", "-o", str(tmp_path / "y.zarr")),
            "downscale FILE": ("downscale", "x.nc", "--model", "p", "-o", str(tmp_path / "y.zarr"))}[verb]
    code, _, error = call(capsys, *rest, "--device", name)
    says = "no such device here" if name.startswith("cuda") else "unknown device"
    assert code == 2 and one_line(error) and f"--device: {says}; got '{name}'; allowed: cpu" in error, error


def test_module_form_prints_one_line_and_exits_2() -> None:
    command = [sys.executable, "-m", "orbit2", "config", "check", "nowhere.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert one_line(done.stderr), done.stderr


def test_check_accepts_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "config", "check", DEMO)
    assert code == 0 and ": ok" in out


@pytest.mark.parametrize(("arguments", "says"), [
    (("config", "check", DEMO, "--set", "evaluate.bootstrp=1"), "did you mean 'bootstrap'?"),
    (("config", "check", DEMO, "--set", "models.reslim.architecture.heads=5"), "nearest valid: [2, 4, 8]"),
    (("config", "check", DEMO, "--set", "nonsense"), "key=value"),
    (("config", "check", DEMO, "--set", "models.reslm.train.steps=3"), "did you mean 'reslim'?"),
    (("config", "check", DEMO, "--set", "datasets.era5_wek.frequency=daily"), "did you mean 'era5_week'?"),
    (("retrieve", "--config", DEMO, "--dry-run", "--set", "sources.transfer.wrokers=1"), "did you mean 'workers'?"),
    (("retrieve", "sample", "--out", "x", "--set", "sources.transfer.workers=1"), "--set goes with a run's YAML"),
    (("config", "show", "nowhere.yaml"), "not found"),
    (("retrieve", "smaple", "--out", "somewhere"), "smaple"),
    (("evaluate",), "--prediction"),
    (("report", "headline", "nowhere"), "not found"),
    (("downscale", "--model", "nowhere", "--out", "x.zarr"), "FILE"),
    (("downscale", "a.nc", "--config", "b.json", "--model", "nowhere", "--out", "x.zarr"), "not both"),
    (("train", "-c", "x.json", "--store", "no-equals-sign", "--statistics", "a=b", "-o", "m", "--checkpoints", "c"), "dataset=path"),
    (("regrid", "inspect", "nowhere.zarr"), "nowhere.zarr"),
    (("model", "info", "nowhere"), "nowhere"),
    (("model", "info", DEMO, "--model", "reslm"), "did you mean 'reslim'?"),
    (("statistics", "-c", "nowhere.json", "--store", "nowhere.zarr", "-o", "s.json"), "nowhere"),
])
def test_a_mistake_is_one_line_and_exit_2(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = call(capsys, *arguments)
    assert code == 2
    assert one_line(error), error
    assert says in error
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


@pytest.mark.parametrize("arguments", [("trian",), ("train", "--lerning-rate", "1"), ("regrid", "part")])
def test_usage_errors_exit_2_too(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = call(capsys, *arguments)
    assert code == 2 and "Traceback" not in error


@pytest.mark.parametrize(("raised", "code", "says"), [
    (OrbitError("broken\nover lines", where="x.nc", hint="mend it"), 2, "error: x.nc: broken over lines; mend it"),
    (Interrupted("saved step 12"), 75, "resumed: saved step 12"),
    (KeyboardInterrupt(), 130, "interrupted; the same command goes on or starts again"),
])
def test_exit_codes(
    raised: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("orbit2.config.load.load", fail)
    got, _, error = call(capsys, "config", "check", DEMO)
    assert got == code
    assert says in error and "Traceback" not in error


@pytest.mark.parametrize(("rank", "asked", "told"), [
    ("0", False, "12 20 90 steps limit\n"), ("0", True, "12 20 90 steps asked\n"), ("1", False, None)])
def test_a_stage_that_stops_says_how_far_it_came(
    rank: str, asked: bool, told: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To who named a file for that: the first rank alone."""

    def fail(*_: object, **__: object) -> None:
        raise Interrupted("saved", reached=Reached(12, 20, 90, "steps"), asked=asked)

    monkeypatch.setattr("orbit2.config.load.load", fail)
    for name, value in {"ORBIT2_STOPPED": str(tmp_path / "said"), "RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert call(capsys, "config", "check", DEMO)[0] == 75
    assert ((tmp_path / "said").read_text() if (tmp_path / "said").exists() else None) == told


def test_a_signal_before_anybody_listens_is_not_lost(tmp_path: Path) -> None:
    """Real `orbit2 train`: SIGUSR1 as soon as the process holds signals back. What it is asked for then is no training, to be quick."""
    command = [sys.executable, "-m", "orbit2", "train", "--lerning-rate", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
    held = 1 << (signal.SIGUSR1 - 1)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if int(re.search(r"^SigBlk:\s*(\w+)", status, flags=re.MULTILINE)[1], 16) & held:  # type: ignore[index]
            break
    process.send_signal(signal.SIGUSR1)
    _, error = process.communicate(timeout=120)
    assert "SIGUSR1: the work in hand is finished and saved, then this stops" in error
    assert process.returncode == 2 and "--lerning-rate" in error


def test_show_prints_defaults_and_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    code, out, _ = call(capsys, "config", "show", DEMO, "--set", "models.reslim.train.steps=12")
    shown = yaml.safe_load(out)
    assert code == 0
    assert shown["models"]["reslim"]["train"]["steps"] == 12
    assert shown["evaluate"]["baselines"][:4] == ["nearest", "bilinear", "bicubic", "conservative"]


def scores(**values: float) -> pd.DataFrame:
    rows = table.Table("test", "era5", "standard", "ERA5 1 deg (fine)", "2026-03-30/2026-03-31", "0.1.0")
    for key, value in values.items():
        model, variable, space = key.split("__")
        rows.add(model, {"t2m": "2m_temperature", "tp": "precipitation_rate"}[variable], space, "global", "rmse", "area-weighted", value)
    return rows.frame()


def test_headline_judges_rain_in_both_spaces_and_names_losses(tmp_path: Path) -> None:
    """A model that wins in ln(1 + mm) and loses in mm has not won: both stand there, and the loss is named."""
    frame = scores(
        reslim__t2m__physical=0.6, bicubic__t2m__physical=0.8, bilinear__t2m__physical=1.0, delta__t2m__physical=0.75,
        reslim__tp__log1p=0.45, bicubic__tp__log1p=0.6, bicubic_log1p__tp__log1p=0.5,
        reslim__tp__physical=9.0, bicubic__tp__physical=8.0, parent__tp__physical=8.5, parent__tp__log1p=0.5,
    )
    rows = table.Table("test", "era5", "standard", "ERA5 1 deg (fine)", "2026-03-30T18:00/2026-03-31T16:00", "0.1.0")
    rows.add("(any)", "(any)", "physical", "global", "n_samples", "times scored", 4)
    frame = frame.assign(date_range="2026-03-30T18:00/2026-03-31T16:00")
    table.write(pd.concat([frame, rows.frame()]), tmp_path / "evaluate/metrics.parquet")
    (tmp_path / "report").mkdir()
    (tmp_path / "report/index.html").write_text("<html></html>", encoding="utf-8")
    text = headline(tmp_path)
    assert str(tmp_path / "report/index.html") in text
    lines = {tuple(line.split()[:1] + line.split()[-1:]): line for line in text.splitlines() if line.strip()}
    assert "0.8 (bicubic)" in lines["2m_temperature", "K"] and "0.75 (delta)" in lines["2m_temperature", "K"]
    assert "0.800" in lines["2m_temperature", "K"] and "0.900" in lines["precipitation_rate", "ln(1+mm/day)"]
    assert "1.125" in lines["precipitation_rate", "mm/day"] and "8.5" in lines["precipitation_rate", "mm/day"]
    assert "On 4 frames within 22 hours, too short for a confidence interval: lower RMSE than every baseline for 1 of 2" in text
    assert "Worse than a baseline: precipitation_rate (9 against 8 mm/day with bicubic)." in text
    assert "Worse than its parent: precipitation_rate (9 against 8.5 mm/day)." in text


def test_a_fitted_baseline_can_win_where_no_interpolation_does() -> None:
    judged = judge(scores(reslim__t2m__physical=0.7, bicubic__t2m__physical=1.1, delta__t2m__physical=0.6))
    assert wins(judged) == {"2m_temperature": False} and wins(judged, "interpolation") == {"2m_temperature": True}
    assert judged[0].best == ("delta", 0.6) and judged[0].interpolation == ("bicubic", 1.1)


def test_headline_without_a_baseline_says_so() -> None:
    with pytest.raises(OrbitError, match="beside a baseline"):
        tasks(scores(reslim__t2m__physical=0.6))


def test_lazy_top_level_names() -> None:
    import orbit2

    assert callable(orbit2.load_model)
    with pytest.raises(AttributeError, match="nonsense"):
        importlib.import_module("orbit2").nonsense  # noqa: B018


def test_regrid_init_writes_its_marker(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("orbit2.regrid.initialise", lambda **options: options["out"].parent.mkdir() or options["out"].write_text("{}"))
    marker = tmp_path / "parts/init.json"
    code, _, _ = call(capsys, "regrid", "init", "--config", "c.json", "--resources", "r", "--store", "pairs.zarr", "--out", str(marker))
    assert code == 0 and marker.is_file()


@pytest.mark.parametrize(("typed", "offered"), [
    (("orbit2", "ru"), ["run"]), (("orbit2", "run", "demo", "tr"), ["train"]), (("orbit2", "run", "demo", "-p", "s"), ["slurm"]),
    (("orbit2", "run", "demo_v"), ["demo_vit"]), (("orbit2", "config", "ch"), ["check"]), (("orbit2", "run", "x", "--dry"), ["--dry-run"]),
])  # fmt: skip
def test_a_shell_is_told_what_may_come_next(
    typed: tuple[str, ...], offered: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As bash asks, by the script that `orbit2 completion bash` prints."""
    for name, value in (("_ORBIT2_COMPLETE", "complete_bash"), ("COMP_WORDS", "\n".join(typed)), ("COMP_CWORD", str(len(typed) - 1))):
        monkeypatch.setenv(name, value)
    assert call(capsys)[1].split() == offered


def test_the_script_of_a_shell_asks_by_the_name_that_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = call(capsys, "completion", shell)
        assert code == 0 and f"_ORBIT2_COMPLETE=complete_{shell}" in out
    code, _, err = call(capsys, "completion", "tcsh")
    assert code == 2 and "allowed: bash, zsh, fish" in err


@pytest.mark.parametrize(
    ("verb", "given", "expected"),
    [
        ("train", {}, (None, "1000")),
        ("finetune", {}, (None, "1000")),
        ("train", {"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None)),
        ("train", {"GOMP_SPINCOUNT": "7"}, (None, "7")),
        ("downscale", {}, ("PASSIVE", None)),
        ("downscale", {"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None)),
        ("run", {}, (None, None)),  # its stages inherit this
    ],
)
def test_how_threads_wait_for_each_other(
    verb: str, given: dict[str, str], expected: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = dict(given)
    monkeypatch.setattr(os, "environ", environment)
    waiting([verb, "--config", "x"])
    assert (environment.get("OMP_WAIT_POLICY"), environment.get("GOMP_SPINCOUNT")) == expected
