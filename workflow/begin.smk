# Whether this call of Snakemake does something itself, and then its claim to the folder that it runs in.
import os
from functools import partial

from orbit2 import stop


@cache
@one_line()
def begin():
    """Once, as soon as Snakemake knows that this call is to do something: the folder is this run's."""
    say = partial(print, file=sys.stderr, flush=True)
    executor = lock.LOCAL if workflow.local_exec else workflow.executor_plugin.name
    if lock.begin(executor, say):  # files have changed since Snakemake began to look at them
        lock.leave()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    stop.heed()


def looking():
    """This call does nothing itself: -n, --dag, --summary, --lint. What queued jobs read is left alone."""
    if workflow.executor_plugin is None or workflow.dryrun:
        return True
    begin()
    return False
