"""The SLURM of virtual nodes that other tests start: it behaves as a site's does, and nothing of it stays."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.data.servers import slurm
from tests.data.servers.slurm_config import group_text, groups_of

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never")]
BUSY = "sleep 611.75"


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.Slurm(node_timeout=10) as started:
        yield started


def submit(cluster: slurm.Slurm, command: str, *options: str, out: Path | str = "/dev/null") -> str:
    return cluster("sbatch", "--parsable", "--mem=200", f"--output={out}", *options, "--wrap", command).strip()


def running(cluster: slurm.Slurm, number: str, seconds: float = 120.0) -> None:
    """Wait until a job's own process is there: RUNNING is said before slurmd has started it."""
    cluster.wait(number, "RUNNING", seconds=seconds)
    node, deadline = cluster.job(number)["NodeList"], time.monotonic() + 20
    while "sleep" not in {process.name() for process in cluster.processes(node)} and time.monotonic() < deadline:
        time.sleep(0.1)


def test_a_step_has_ranks_and_gpus_on_both_nodes(cluster: slurm.Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    number = submit(cluster, "srun bash -c 'echo $SLURM_PROCID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES'", "--nodes=2", "--ntasks-per-node=2",
                    "--gres=gpu:2", out=out)  # fmt: skip
    assert cluster.wait(number)["JobState"] == "COMPLETED"
    assert sorted(out.read_text().split("\n")[:-1]) == [f"{rank} {cluster.nodes[rank // 2]} 0,1" for rank in range(4)]


def test_a_job_that_takes_more_memory_than_it_asked_for_is_killed(cluster: slurm.Slurm, tmp_path: Path) -> None:
    if not cluster.limited:
        pytest.skip(slurm.unlimited() or "slurmd could not use the control groups")
    code = f"{sys.executable} -c 'print(len(bytearray({{}} << 20)))'"
    enough, little = (submit(cluster, code.format(size), out=tmp_path / str(size)) for size in (100, 600))
    assert cluster.wait(enough)["JobState"] == "COMPLETED" and (tmp_path / "100").read_text() == f"{100 << 20}\n"
    assert cluster.wait(little)["JobState"] == "OUT_OF_MEMORY"


def test_a_lost_node_s_job_is_queued_again_and_the_node_comes_back(cluster: slurm.Slurm) -> None:
    node = cluster.nodes[0]
    number = submit(cluster, BUSY, f"--nodelist={node}")
    running(cluster, number)
    processes = cluster.processes(node)
    assert "slurmstepd" in {process.name() for process in processes} and not cluster.processes(cluster.nodes[1])
    cluster.kill_node(node)
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert cluster.wait(number, "PENDING")["Restarts"] == "1"
    cluster.start_node(node)
    running(cluster, number)
    cluster.drain(node)
    assert cluster.state(node) == "draining" and cluster.job(number)["JobState"] == "RUNNING"
    cluster.down(node)
    assert cluster.wait(number, "PENDING")["Restarts"] == "2"
    cluster("scancel", number)
    cluster.resume(node)
    assert cluster.state(node) == "idle"


def test_a_killed_slurmd_leaves_the_job_behind(cluster: slurm.Slurm) -> None:
    node = cluster.nodes[1]
    number = submit(cluster, BUSY, f"--nodelist={node}")
    running(cluster, number)
    cluster.kill_daemon(node)
    assert "sleep" in {process.name() for process in cluster.processes(node)}
    cluster.start_node(node)
    assert cluster.job(number)["JobState"] == "RUNNING"  # found again: slurmd was back before the node counted as lost
    cluster("scancel", number)
    assert cluster.wait(number)["JobState"] == "CANCELLED"


def test_more_time_than_the_partition_gives_waits_for_ever(cluster: slurm.Slurm) -> None:
    cluster.limit(5)
    number = submit(cluster, "true", "--time=10")
    deadline = time.monotonic() + 20
    while cluster.job(number)["Reason"] != "PartitionTimeLimit" and time.monotonic() < deadline:  # at first PartitionConfig is said
        time.sleep(0.2)
    assert (cluster.job(number)["JobState"], cluster.job(number)["Reason"]) == ("PENDING", "PartitionTimeLimit")
    cluster.limit("INFINITE")
    assert cluster.wait(number)["JobState"] == "COMPLETED"


@pytest.mark.parametrize("groups", [True, False])
def test_where_requeueing_is_forbidden_a_lost_job_has_failed_and_nothing_stays(groups: bool) -> None:
    with slurm.Slurm(requeue=False, exclusive=True, node_timeout=10, groups=groups) as cluster:
        assert not cluster.limited or (groups and not slurm.unlimited())
        number = submit(cluster, BUSY)
        running(cluster, number)
        assert cluster.job(number)["NumCPUs"] == "64"  # the node alone
        with pytest.raises(subprocess.CalledProcessError) as refused:
            cluster("scontrol", "requeue", number)
        assert "disabled" in refused.value.stderr
        node = cluster.job(number)["NodeList"]
        cluster.kill_node(node)
        assert cluster.wait(number)["JobState"] == "NODE_FAIL"
        other = submit(cluster, BUSY)
        running(cluster, other)
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if command and (str(cluster.folder) in " ".join(command) or command == BUSY.split())]
    assert not cluster.folder.exists() and not [group for node in cluster.nodes for group in groups_of(node)]


def test_where_control_groups_fail_nothing_is_limited(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(slurm, "group_version", lambda: 1)
    monkeypatch.setattr(slurm, "group_text", lambda version: "CgroupMountpoint=/nowhere\n" if version else group_text(version))
    with slurm.Slurm() as cluster:
        assert not cluster.limited and cluster.state(cluster.nodes[0]) == "idle"
    assert "no control groups" in capfd.readouterr().err


def test_a_command_runs_beside_a_slurm_of_its_own(tmp_path: Path) -> None:
    script = f"sinfo --noheader --Node --format='%N %c' > {tmp_path}/nodes; exit 7"
    done = subprocess.run([sys.executable, "-m", "tests.data.servers.slurm", "--cpus", "4", "--nodes", "3", "--", "bash", "-c", script],
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 7 and "SLURM of 3 nodes" in done.stderr
    assert [line.split()[1] for line in (tmp_path / "nodes").read_text().splitlines()] == ["4"] * 3
