"""`orbit2 run`: what Snakemake is started with, what is refused before, and what its end means."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from orbit2 import lock, places
from orbit2.cli import main
from orbit2.config.load import CONFIG_ROOT, load
from orbit2.errors import OrbitError
from orbit2.signals import STOPPED
from orbit2.start import workflow

DEMO = CONFIG_ROOT / "runs/demo.yaml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is no checkout, with a run of one's own."""
    shutil.copy(DEMO, tmp_path / "my_run.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("overrides", "more"), [
    ([], []), (["models.reslim.train.steps=6", 'label="a_b"'], ["--cores", "4", "--set-threads", "train_model=2"]),
    (["label=x"], ["-n", "--until", "regrid_init"]),
])  # fmt: skip
def test_snakemake_reads_what_it_is_started_with(here: Path, overrides: list[str], more: list[str]) -> None:
    """By Snakemake's own reading of its command line: options that take many values take no target."""
    from snakemake.cli import parse_args, parse_config

    _, given = parse_args(workflow.words("my_run.yaml", "finetune", overrides, "local", more))
    assert set(given.targets) == {"finetune"} and Path(given.snakefile) == places.SNAKEFILE
    assert [Path(path) for path in given.configfile] == [here / "my_run.yaml"]
    assert parse_config(given.config).get("set", []) == overrides
    assert given.dryrun == ("-n" in more) and given.rerun_triggers  # the profile's


def test_names_are_of_what_ships_unless_a_file_is_called_so(here: Path) -> None:
    assert "--configfile" in (words := workflow.words("demo")) and words[words.index("--configfile") + 1] == str(DEMO)
    assert words[-1] == "all" and Path(words[words.index("--profile") + 1]) == places.PROFILES / "local"
    assert load("config/runs/demo_vit.yaml").label == "demo_vit"  # as a checkout has it
    (here / "demo").write_text("label: mine\ninclude: [runs/demo.yaml]\n", encoding="utf-8")
    assert load("demo").label == "mine"
    with pytest.raises(SystemExit) as stop:
        main(["profile", "slurm"])
    assert stop.value.code == 0 and places.profile("slurm") == Path("profiles/slurm")
    assert places.profile(here / "profiles/slurm") == here / "profiles/slurm"


@pytest.mark.parametrize(("said", "line"), [
    (["my_rum.yaml"], "my_rum.yaml: configuration file not found; did you mean 'my_run.yaml'?"),
    (["demmo"], "demmo: configuration file not found; did you mean 'demo'?"),
    (["my_run.yaml", "trian"], "no such target; got 'trian'; allowed: all, retrieve, regrid, statistics"),
    (["my_run.yaml", "-p", "slrum"], "--profile: no such profile; got 'slrum'; allowed: dgx, frontier, local, slurm"),
    (["my_run.yaml", "--set", "labl=x"], "my_run.yaml: unknown key 'labl'; did you mean 'label'?"),
    (["my_run.yaml", "--", "--configfile=other.yaml"], "a word that orbit2 gives to Snakemake itself"),
])  # fmt: skip
def test_a_slip_is_one_line_before_anything_starts(
    here: Path, said: list[str], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "SNAKEMAKE", ("nothing-that-can-be-started",))
    with pytest.raises(SystemExit) as stop:
        main(["run", *said])
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and line in printed and printed.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["my_run.yaml"]


def test_what_stands_behind_two_dashes_is_snakemakes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(words: list[str]) -> int:
        started.append(words)
        return 0

    monkeypatch.setattr(workflow, "run", start)
    for said in (["demo", "--", "--cores", "4"], ["demo", "train", "-n", "--", "-q"], ["demo"]):
        with pytest.raises(SystemExit) as stop:
            main(["run", *said])
        assert stop.value.code == 0
    assert [words[6:] for words in started] == [["--cores", "4", "--", "all"], ["--dry-run", "-q", "--", "train"], ["--", "all"]]


def snakemake(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A process in Snakemake's place."""
    head = "import os, signal, sys, time; from pathlib import Path\n"
    monkeypatch.setattr(workflow, "SNAKEMAKE", (sys.executable, "-c", head + script))


MARK = """
from orbit2 import lock
name = lock.identity()  # as Snakemake's own process calls itself
for place in ("results/logs", "results/data/week-1/logs"):
    Path(place).mkdir(parents=True)
Path("results/logs/.old.log.refused").write_text("another:1:2 orbit2 train")
Path("results/data/week-1/logs/.train.log.{kind}").write_text(name + " further")
sys.exit(1)
"""


@pytest.mark.parametrize(("script", "code"), [
    ("sys.exit(0)", 0), ("sys.exit(2)", 2), ("sys.exit(1)", 1), (MARK.format(kind="refused"), 2), (MARK.format(kind="slice"), 75),
    (f"Path({str(STOPPED)!r}).parent.mkdir(parents=True); Path({str(STOPPED)!r}).touch(); sys.exit(1)", 75),
    ("os.kill(os.getpid(), signal.SIGKILL)", 137),
])  # fmt: skip
def test_an_end_has_the_code_that_it_has_everywhere(here: Path, script: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    snakemake(monkeypatch, script)
    assert workflow.run([]) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_once_and_waited_for(here: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    snakemake(monkeypatch, f"""
signal.signal({int(number)}, lambda *_: Path("came").open("a").write("x"))
Path("ready").touch()
while not Path("came").exists(): time.sleep(0.02)
time.sleep(0.3)
sys.exit(1)
""")

    def send() -> None:
        while not (here / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=send).start()
    assert workflow.run([]) == 128 + number
    assert (here / "came").read_text() == "x" and signal.getsignal(number) is before


def test_the_name_of_another_process_is_the_one_that_it_gives_itself() -> None:
    assert lock.identity(os.getpid()) == lock.identity()
    with pytest.raises(OrbitError, match="no such profile"):
        places.profile("nowhere")
