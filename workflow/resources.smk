# What jobs are given. Rules say what they need at least; a profile's `default-resources` win where they are larger, its
# `set-resources` always. Where it has `time_limits`, no job asks for more time than its partition gives that many nodes.

from dataclasses import asdict

import orbit2
from orbit2.files import read_json, short_hash
from orbit2.queues import Asked, bins, hours, refuse
from orbit2.scheduler import job_nodes


def said(name, rulename=None, wildcards=None):
    """What the profile says of a resource, for this rule or for all; None where it says nothing, or an expression of no `wildcards`."""
    settings = workflow.resource_settings
    for given in (settings.overwrite_resources.get(rulename, {}), settings.default_resources or {}):
        if name in given:
            found = given[name]
            if wildcards is not None and found.is_evaluable():
                asked = {"input": (), "attempt": 1, "threads": 1, "rulename": rulename, "async_run": None}
                return found.evaluate(wildcards, **asked).value
            return found.raw if isinstance(found.raw, int) else str(found.raw).strip("'\"")
    return None


def least(name, need):
    """What jobs need of a resource, or more where the profile's default is more. 0 there is more than anything: a node is the
    job's alone, and nothing need be asked for."""
    default = said(name)
    return default if isinstance(default, int) and (default == 0 or default > need) else need


@cache
@one_line()
def queue():
    """The bins of the profile's partition, if the profile knows them."""
    return bins(str(said("time_limits") or "")).get(str(said("slurm_partition")))


def nodes_of(wildcards, rulename):
    """The nodes that a job is given."""
    found = said("nodes", rulename, wildcards)
    if rulename in (
        "train_model",
        "finetune_model",
    ) and "nodes" not in workflow.resource_settings.overwrite_resources.get(rulename, {}):
        found = training_nodes(wildcards, rulename) or found
    return found or 1


def minutes(need):
    """The time of a job that needs this many minutes at least, as far as its queue gives them."""

    def given(wildcards, rulename):
        most = queue() and queue().minutes(nodes_of(wildcards, rulename))
        return min(filter(None, (least("runtime", need), most)))

    return given


def slice_minutes(need):
    """The time of a training, which goes on in the next job: all that the queue gives its nodes; without a known queue as others."""

    def given(wildcards, rulename):
        most = queue() and queue().minutes(nodes_of(wildcards, rulename))
        return most or least("runtime", need)

    return given


def training_nodes(wildcards, rulename):
    """The full nodes of a training: what plan finds for the `device` that the profile names, none where it names none.

    `nodes` in the profile stands in place of this function.
    """
    if said("device", rulename) is None or workflow.execution_settings is None:  # --dag and the like start nothing
        return None
    if not workflow.is_main_process and (given := job_nodes()) is not None:
        return given
    jobs = said("slices", rulename) or 1
    own = workflow.resource_settings.overwrite_resources[rulename].get("runtime").raw
    given = hours(own if isinstance(own, int) else None, queue(), jobs)
    return planned_nodes(
        MODEL_OF[wildcards.model], said("device", rulename), said("tasks_per_node", rulename), tuple(given.items())
    )


@cache
@one_line()
def planned_nodes(name, device, per_node, hours):
    """The same, remembered in .snakemake until something that it depends on changes. `hours`: of all its jobs, by the most nodes of one."""
    asked = {"model": slices.whole(RUN, "model", name), "device": device, "per_node": per_node, "hours": hours}
    asked["version"] = orbit2.__version__
    path = Path(f".snakemake/orbit2/nodes/{name}-{short_hash(asked)}.json")
    if path.is_file():
        found = read_json(path)
    else:
        from orbit2.plan.nodes import nodes  # brings torch

        found = asdict(nodes(RUN, name, device, per_node=per_node, hours=dict(hours) or None))
        write_json(path, found)
    takes = "" if found["hours"] is None else f", about {found['hours']:,.1f} h"
    wrong = f"; plan says it does not do: {found['problem']}" if found["problem"] else ""
    print(
        f"{name}: {found['count']} node(s) of {device}{takes}{wrong} (`nodes` in the profile replaces this)",
        file=sys.stderr,
    )
    return found["count"]


def asked_of_queue():
    """What the run's jobs, and groups of them, that are still to be done ask of their partitions; nothing where they run right here."""
    if not workflow.non_local_exec:
        return set()
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    units = {workflow.dag.get_job_group(job) or job for job in jobs}
    return {
        Asked(
            unit.groupid if unit.is_group() else unit.rule.name,
            unit.resources.slurm_partition,
            unit.resources.get("nodes", 1),
            unit.resources.get("runtime", 0),
            unit.resources.get("slurm_account"),
        )
        for unit in units
        if "slurm_partition" in unit.resources.keys()
    }
