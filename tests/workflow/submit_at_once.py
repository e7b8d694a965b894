"""`snakemake ARGUMENTS --immediate-submit`, each job submitted before the next is looked for. For tests with a stand-in sbatch.

The SLURM plugin submits from threads of its own, and Snakemake, seeing no job that is ready, would end before they have."""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor


def submit(self: Executor, job: object) -> None:
    self.run_job_pre(job)
    self.run_job(job)


if __name__ == "__main__":
    Executor._submit_job = submit
    main(["--immediate-submit", "--notemp", "--slurm-init-seconds-before-status-checks", "1", *sys.argv[1:]])
