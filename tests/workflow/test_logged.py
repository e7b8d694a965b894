"""`logged`, which every rule calls its command with: logs are appended, tries are numbered, a user's mistake is not tried twice, a slice
sends its own job back to the queue; and how often Snakemake starts a job again after each."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = f"""
import os
os.environ["ORBIT2_RUN"] = "this-run"
include: "{ROOT}/workflow/tries.smk"
shell.prefix("set -euo pipefail; source {ROOT}/workflow/scripts/logged.sh; ")  # basedir is that of this Snakefile
rule all:
    input: expand("{{name}}.done", name=NAMES)
rule made:
    input: "{{name}}.txt"
    output: "{{name}}.done"
    log: "{{name}}.log"
    shell: "logged {{log}} bash command.sh {{input}} {{output}}"
"""


def logged(folder: Path, script: str, run: str = "run 1", *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    if not (folder / "command.sh").exists() or (folder / "command.sh").read_text() != script:
        (folder / "command.sh").write_text(script)
    line = f"set -euo pipefail; source {ROOT}/workflow/scripts/logged.sh; logged logs/a.log bash command.sh {' '.join(arguments)}"
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "ORBIT2_RUN": run, **more}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False,
                          start_new_session=True)  # fmt: skip


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


def slice_(began: int, done: int, why: str = "limit", code: int = 75) -> str:
    """A command that stops early, and says how far it came."""
    return f'echo "{began} {done} 240 steps {why}" > "$ORBIT2_STOPPED"; exit {code}'


def scontrol(folder: Path, code: int = 0, says: str = "") -> Path:
    """A stand-in that keeps what it is called with."""
    (folder / "bin").mkdir()
    (folder / "bin/scontrol").write_text(f"#!/bin/sh\necho \"$@\" >> {folder}/called\necho '{says}' >&2\nexit {code}\n")
    (folder / "bin/scontrol").chmod(0o755)
    return folder / "called"


JOB = {"SLURM_JOB_ID": "17", "ORBIT2_REQUEUE": "1", "ORBIT2_REQUEUE_SECONDS": "0"}
ARRAY = {**JOB, "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}


def test_a_try_says_which_job_it_is(tmp_path: Path) -> None:
    logged(tmp_path, "true", SLURM_JOB_ID="17")
    logged(tmp_path, "true", **ARRAY, ORBIT2_ATTEMPT="2", ORBIT2_RESTARTS="4")
    first, second = (tmp_path / "logs/a.log").read_text().splitlines()
    assert first.endswith(", SLURM job 17") and second.endswith(", SLURM job 17_3 = 17, attempt 2, requeued 4 time(s)")


@pytest.mark.parametrize(("job", "named"), [(JOB, "17"), (ARRAY, "17_3")])  # 17 alone would be the whole array
@pytest.mark.parametrize("code", [75, 1])  # torchrun makes 1 of it
def test_a_slice_sends_its_job_back_to_the_queue(job: dict[str, str], named: str, code: int, tmp_path: Path) -> None:
    called = scontrol(tmp_path)
    done = logged(tmp_path, slice_(0, 72, code=code), **job)
    said = f"=== stopped at 72 of 240 steps; SLURM job {named} goes back to the queue, and goes on there\n"
    assert (done.returncode, done.stdout, called.read_text()) == (75, said, f"requeue {named}\n")
    assert (tmp_path / "logs/a.log").read_text().endswith(said) and (tmp_path / "logs/.a.log.slice").read_text() == "run 1 further\n"
    logged(tmp_path, "true", **job)
    assert not (tmp_path / "logs/.a.log.slice").exists()


def test_a_job_that_slurm_ends_at_once_has_said_why(tmp_path: Path) -> None:
    """SIGTERM to every process of the job, before scontrol is back."""
    called = scontrol(tmp_path)
    stand_in = tmp_path / "bin/scontrol"
    stand_in.write_text(stand_in.read_text().replace("exit 0", "kill -TERM 0; sleep 0.1; exit 0"))
    done = logged(tmp_path, slice_(0, 72), **{**JOB, "ORBIT2_REQUEUE_SECONDS": "60"})
    said = "=== stopped at 72 of 240 steps; SLURM job 17 goes back to the queue, and goes on there\n"
    assert (done.returncode, done.stdout, called.read_text()) == (75, said, "requeue 17\n")
    assert (tmp_path / "logs/a.log").read_text().endswith(said)


def test_where_requeueing_is_refused_snakemake_submits_again(tmp_path: Path) -> None:
    scontrol(tmp_path, 1, "Requested operation is presently disabled for job 17")
    done = logged(tmp_path, slice_(0, 72), **JOB)
    assert done.returncode == 75
    assert "17 cannot be requeued (Requested operation is presently disabled for job 17): Snakemake" in done.stdout
    assert (tmp_path / "logs/.a.log.slice").read_text() == "run 1 further\n"


@pytest.mark.parametrize("marker", [False, True])
def test_a_stop_that_was_asked_for_is_a_stop(marker: bool, tmp_path: Path) -> None:
    called = scontrol(tmp_path)
    script = "mkdir -p .snakemake/orbit2; touch .snakemake/orbit2/stop; " + slice_(0, 72) if marker else slice_(0, 72, "asked")
    done = logged(tmp_path, script, **JOB)
    assert done.returncode == 75 and f"=== stopped at 72 of 240 steps, {'for orbit2 stop' if marker else 'told by a signal'}" in done.stdout
    assert not called.exists() and not (tmp_path / "logs/.a.log.slice").exists()
    if marker:  # a job that comes to its turn later begins nothing
        done = logged(tmp_path, "echo begun", **JOB)
        assert (done.returncode, done.stdout) == (75, "=== the run is being stopped (orbit2 stop): nothing is begun\n")


@pytest.mark.parametrize("told", ["srun: error: n1: task 1: Out Of Memory", "slurmstepd: error: Detected 1 oom_kill event in StepId=17.0."])
def test_who_is_killed_for_memory_is_told_what_to_raise(told: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/scontrol").write_text("#!/bin/sh\necho JobId=17 MinMemoryNode=450M Features=none\n")
    (tmp_path / "bin/scontrol").chmod(0o755)
    script = f"echo '{told}'; exit 137"
    for _ in range(2):
        done = logged(tmp_path, script, SLURM_JOB_ID="17")
        assert "error: killed for want of memory (it had 450M a node)" in done.stdout
        assert done.returncode == (2 if "not tried again" in done.stdout else 137)
    assert "not tried again" in done.stdout and "raise mem_mb" not in logged(tmp_path, "exit 137", "run 2", SLURM_JOB_ID="17").stdout


def test_the_second_slice_in_a_row_without_a_step_is_a_failure(tmp_path: Path) -> None:
    called = scontrol(tmp_path)
    codes = [logged(tmp_path, script, **JOB).returncode
             for script in (slice_(0, 0), "exit 138", slice_(0, 3), slice_(3, 3), slice_(3, 9), slice_(9, 9), slice_(9, 9))]
    assert codes == [75, 1, 75, 75, 75, 75, 1] and called.read_text().count("requeue 17") == 5
    assert "at 9 of 240 steps, as the time before: it does not come further" in (tmp_path / "logs/a.log").read_text()


def test_the_log_outlives_signals_to_the_whole_group(tmp_path: Path) -> None:
    script = "trap 'echo heard; exit 75' TERM; sleep 1; kill -TERM 0; sleep 10"
    line = f"set -euo pipefail; source {ROOT}/workflow/scripts/logged.sh; code=0; logged a.log bash -c {script!r} || code=$?; echo $code"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.stdout == "heard\n75\n" and (tmp_path / "a.log").read_text().endswith("heard\n")


COMMAND = """
echo tried
read -r what count < $1
number=$(cat $1.count 2> /dev/null || echo 0)
echo $((number + 1)) > $1.count
case $what in
    mistake) echo "error: bad" >&2; exit 2 ;;
    slices) [ "$number" -ge "$count" ] || { echo "$number $((number + 1)) $count steps limit" > "$ORBIT2_STOPPED"; exit 75; } ;;
    idle) echo "3 3 9 steps limit" > "$ORBIT2_STOPPED"; exit 75 ;;
    both) [ $((number % 2)) -eq 0 ] || exit 1; echo "$number $((number + 1)) 99 steps limit" > "$ORBIT2_STOPPED"; exit 75 ;;
    crash) exit 1 ;;
esac
echo done > $2
"""
TRIES = {"mistake": 1, "crash": 3, "slices 5": 6, "idle": 6, "both": 6}  # with retries: 2; idle: each failure takes two


def test_snakemake_retries_what_a_retry_can_help(tmp_path: Path) -> None:
    """Real Snakemake, retries: 2: a mistake runs its command once, a crash three times, slices as often as they come further."""
    names = {what.partition(" ")[0]: what for what in TRIES}
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("NAMES", repr(list(names))))
    for name, what in names.items():
        (tmp_path / f"{name}.txt").write_text(what)
    (tmp_path / "command.sh").write_text(COMMAND)
    done = subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--retries", "2", "--keep-going"], cwd=tmp_path, check=False,
                          capture_output=True, text=True)
    assert done.returncode != 0
    logs = {what: (tmp_path / f"{name}.log").read_text() for name, what in names.items()}
    assert {what: log.count("tried\n") for what, log in logs.items()} == TRIES, done.stderr
    assert {what: log.count("=== try ") for what, log in logs.items()} == TRIES
    assert (tmp_path / "slices.done").exists() and not (tmp_path / "both.done").exists()


JOB_OF_ONE = """
import signal, sys, time
heard = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: heard.append(number))
print("begun", flush=True)
deadline = time.monotonic() + 60
while not heard and time.monotonic() < deadline:
    time.sleep(0.02)
import os
open(os.environ["ORBIT2_STOPPED"], "w").write(f"0 7 9 steps {'limit' if heard[0] == signal.SIGUSR1 else 'asked'}")
sys.exit(75)
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_stage_hears_what_slurm_tells_the_snakemake_around_it(number: int, tmp_path: Path) -> None:
    """A job of one process: SLURM signals what it started itself, the job's own Snakemake. SIGUSR1 is a slice, SIGTERM is not."""
    shutil.copytree(ROOT / "workflow/scripts", tmp_path / "workflow/scripts")
    shutil.copy(ROOT / "workflow/tries.smk", tmp_path / "workflow/tries.smk")
    (tmp_path / "workflow/Snakefile").write_text(
        'include: "tries.smk"\nrule made:\n    output: "a"\n    log: "logs/a.log"\n    shell: "logged {log} python bin/orbit2 train"\n')
    called = scontrol(tmp_path)
    (tmp_path / "bin/orbit2").write_text(JOB_OF_ONE)
    command = [sys.executable, "-m", "snakemake", "--mode", "remote", "--cores", "1", "--nolock", "--target-jobs", "made:", "--force",
               "--attempt", "2"]  # fmt: skip
    job = {**JOB, "ORBIT2_RUN": "this-run", "SLURM_RESTART_COUNT": "2"}
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", **job}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log, deadline = tmp_path / "logs/a.log", time.monotonic() + 60
    while (not log.exists() or "begun" not in log.read_text()) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and ", SLURM job 17, attempt 2, requeued 2 time(s)\n" in log.with_name(".a.log").read_text(), said
    asked = called.read_text() if called.exists() else ""  # by nothing, where nothing else asks either
    assert ("requeue 17\n" in asked) == (number == signal.SIGUSR1) and "=== stopped at 7 of 9 steps" in said
