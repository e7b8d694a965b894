"""Who a process is among others: torchrun's and srun's variables count, those of a batch script do not."""

from __future__ import annotations

import pytest

from orbit2.parallel.launch import detect

BATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}  # what an sbatch script has
SRUN = {**BATCH, "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, 0)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, (3, 4, 1)),
        ({**BATCH, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, (1, 2, 1)),  # torchrun in a batch script
        (SRUN, (5, 8, 1)),
        ({**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, (0, 1, 1)),  # srun -n 1 in a job of 8 tasks
        (BATCH, (0, 1, 0)),
        *(({**BATCH, "SLURM_STEP_ID": step, "SLURM_STEP_NUM_TASKS": "8"}, (0, 1, 0)) for step in ("4294967290", "4294967291", "batch")),
    ],
)
def test_only_torchrun_or_a_step_of_srun_makes_ranks(environment: dict[str, str], expected: tuple[int, int, int]) -> None:
    assert detect(environment) == expected
