"""Node-hours: what plan tells of work, shared out over a cluster's jobs."""

from __future__ import annotations

import pytest

from orbit2.nodehours import Job, Submitted, render, rows

SECONDS = {"regrid": {"a": 720.0, "b": 3600.0}, "train": {"m": 7200.0}, "downscale": {"t": 1800.0}, "statistics": {"a": 36000.0}}


def hours(*submitted: Submitted, cores: int = 10) -> float:
    (row,) = rows(submitted, SECONDS, cores)
    return row.hours


def test_a_group_takes_its_work_on_all_cores_and_at_least_its_longest_job() -> None:
    parts = tuple(Job("regrid_part", "a", threads=2) for _ in range(50))
    assert hours(Submitted(parts)) == pytest.approx(50 * 720 / 10 / 3600)
    assert hours(Submitted(parts[:1])) == pytest.approx(360 / 3600)  # its two threads, however many cores lie idle
    assert hours(Submitted((*parts[:5], Job("regrid_part", "b")))) == pytest.approx(1.0)
    assert hours(Submitted((Job("statistics_dataset", "a", threads=56),))) == pytest.approx(1.0)  # never on more cores than there are


def test_nodes_are_whole_and_a_block_is_a_share_of_its_task() -> None:
    assert hours(Submitted((Job("train_model", "m"),), nodes=64)) == pytest.approx(128.0)
    blocks = [Submitted((Job("downscale_block", "t", share=0.25),)) for _ in range(4)]
    assert hours(*blocks) == pytest.approx(0.5)


def test_what_is_not_told_is_said_and_rules_keep_the_order_of_the_workflow() -> None:
    score = Submitted((Job("evaluate_part", "t"), Job("diagnose_task", "t"), Job("evaluate_fit", "a")))
    finish = Submitted((Job("statistics_dataset", "a", 10), Job("regrid_finalise", "a")))
    two = [Submitted((Job("regrid_part", "a"),)), Submitted((Job("regrid_part", "c"),))]
    found = rows([score, Submitted((Job("report_page", ""),)), finish, *two], SECONDS, 10)
    assert [row.rules for row in found] == [("regrid_finalise", "statistics_dataset"), ("regrid_part",),
                                            ("evaluate_fit", "evaluate_part", "diagnose_task"), ("report_page",)]  # fmt: skip
    assert [(row.jobs, row.submitted, row.untold) for row in found[1:3]] == [
        (2, 2, ("regrid_part",)), (3, 1, ("evaluate_fit", "evaluate_part"))]
    lines = [" ".join(line.split()) for line in render(found).splitlines()[1:]]
    assert lines == [
        "regrid_finalise, statistics_dataset 2 in 1 SLURM job 1.0", "regrid_part 2 in 2 SLURM jobs 0.2 and regrid_part: not told",
        "evaluate_fit, evaluate_part, diagnose_task 3 in 1 SLURM job not told", "report_page 1 in 1 SLURM job minutes",
        "in all 8 in 5 SLURM jobs 1.2"]
