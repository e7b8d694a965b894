"""`logged`, which every rule calls its command with: logs are appended, tries are numbered, a user's mistake is not tried twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = f"""
import os
os.environ["ORBIT2_RUN"] = "this run"
shell.prefix("set -euo pipefail; source {ROOT}/workflow/scripts/logged.sh; ")
rule all:
    input: "a.done", "b.done"
rule made:
    input: "{{name}}.txt"
    output: "{{name}}.done"
    log: "{{name}}.log"
    shell: "logged {{log}} bash command.sh {{input}} {{output}}"
"""


def logged(folder: Path, script: str, run: str = "run 1", *arguments: str) -> subprocess.CompletedProcess[str]:
    if not (folder / "command.sh").exists() or (folder / "command.sh").read_text() != script:
        (folder / "command.sh").write_text(script)
    line = f"set -euo pipefail; source {ROOT}/workflow/scripts/logged.sh; logged logs/a.log bash command.sh {' '.join(arguments)}"
    environment = {"PATH": "/usr/bin:/bin", "ORBIT2_RUN": run}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_tries_are_appended_and_numbered(tmp_path: Path) -> None:
    assert logged(tmp_path, "echo one; exit 1").returncode == 1
    (tmp_path / "logs/a.log").unlink()  # as Snakemake does before a try
    done = logged(tmp_path, "echo two; echo three >&2")
    assert (done.returncode, done.stdout) == (0, "two\nthree\n")
    said = (tmp_path / "logs/a.log").read_text()
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, on \S+\n"
    assert re.fullmatch(rf"=== try 1, {when}one\n=== try 2, {when}two\nthree\n", said)


@pytest.mark.parametrize("code", [1, 75, 130])
def test_every_exit_code_is_kept(tmp_path: Path, code: int) -> None:
    assert logged(tmp_path, f"exit {code}").returncode == code
    assert logged(tmp_path, "echo again").stdout == "again\n"  # only a user's mistake is remembered


def test_a_users_mistake_is_not_tried_again_until_something_changes(tmp_path: Path) -> None:
    slice_ = tmp_path / "slice.json"
    slice_.write_text("{}")
    mistake = "echo tried; echo 'error: slice.json: wrong' >&2; exit 2"
    first = logged(tmp_path, mistake, "run 1", "--config", "slice.json")
    assert (first.returncode, first.stdout) == (2, "tried\nerror: slice.json: wrong\n")
    again = logged(tmp_path, mistake, "run 1", "--config", "slice.json")
    kept = "error: slice.json: wrong\nnot tried again: nothing that the command names has changed\n"
    assert (again.returncode, again.stdout) == (2, kept)
    assert "tried" in logged(tmp_path, mistake, "run 2", "--config", "slice.json").stdout  # the user started it again
    assert "tried" in logged(tmp_path, mistake, "run 1", "--config", "slice.json").stdout
    newer = (tmp_path / "logs/.a.log.refused").stat().st_mtime + 5
    os.utime(slice_, (newer, newer))
    assert "tried" in logged(tmp_path, mistake, "run 1", "--config", "slice.json").stdout


def test_snakemake_retries_what_a_retry_can_help(tmp_path: Path) -> None:
    """Real Snakemake, retries: 2: a mistake runs its command once, a crash three times, and what is independent is done."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "a.txt").write_text("2")
    (tmp_path / "b.txt").write_text("1")
    (tmp_path / "command.sh").write_text('echo tried; echo "error: bad"; exit $(cat $1)\n')
    done = subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--retries", "2", "--keep-going"], cwd=tmp_path, check=False,
                          capture_output=True, text=True)
    assert done.returncode != 0
    mistake, crash = ((tmp_path / f"{name}.log").read_text() for name in "ab")
    assert (mistake.count("=== try "), mistake.count("tried\n")) == (3, 1)
    assert (crash.count("=== try "), crash.count("tried\n")) == (3, 3)
