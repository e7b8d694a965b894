# How a job's command is called, what it hears, and how often Snakemake starts it again.
import shlex
import signal
import sys
from pathlib import Path

from orbit2 import tries

from snakemake.jobs import GroupJob, Job
from snakemake.scheduling.job_scheduler import JobScheduler

# The `orbit2` command of the environment that this Snakemake runs in, activated or not; `logged`, which keeps its log, and `prepared`. A
# prefix of one's own replaces Snakemake's strict mode: without pipefail, `| tee` would hide every failure.
PREFIX = [
    "set -euo pipefail",
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
    *(f"source {shlex.quote(f'{workflow.basedir}/scripts/{name}.sh')}" for name in ("logged", "prepared")),
]
TRIES = tries.Tries()


def stopping(scheduler, *signalled):
    """Snakemake's own answer to SIGTERM, to wait for what runs, once that has heard it too."""
    tries.pass_on(signal.SIGTERM)
    gracefully(scheduler, *signalled)


# Snakemake offers no hook for these: this is all that is replaced in it. A mistake in one of a group's jobs ends the group's tries.
if workflow.is_main_process:
    tries.in_main()
    Job.restart_times = property(lambda job: TRIES.allowed(job.rule.restart_times, job.log))
    GroupJob.restart_times = property(
        lambda group: TRIES.allowed(
            max(job.rule.restart_times for job in group.jobs), [log for job in group.jobs for log in job.log]
        )
    )
elif workflow.remote_exec:
    tries.in_job()
    if "--attempt" in sys.argv:  # Snakemake itself knows it only once it has read the workflow
        PREFIX.append(f"export ORBIT2_ATTEMPT={sys.argv[sys.argv.index('--attempt') + 1]}")
    if "--local-groupid" not in sys.argv:  # of a group's jobs none may end the others
        PREFIX.append("export ORBIT2_REQUEUE=1")
    gracefully = JobScheduler.exit_gracefully
    JobScheduler.exit_gracefully = stopping
shell.prefix("; ".join(PREFIX) + "; ")
