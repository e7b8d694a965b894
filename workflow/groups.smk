# Small jobs that share a node: `groups` and `group-components` of a profile. A group is one job of the cluster, in which a Snakemake of
# its own starts as many of the group's jobs at a time as their threads fit on its cores.
import json
import os

GROUPS = "ORBIT2_GROUPS"


def hand_groups_on():
    """To submitted jobs, through their environment: the plugin keeps the groups of a profile to itself (its issue 469), and a job that
    does not know that its parts belong together runs them one after the other.
    """
    settings = workflow.group_settings
    os.environ[GROUPS] = json.dumps([dict(settings.overwrite_groups), dict(settings.group_components)])


def take_groups():
    """In a submitted job. Asked while jobs are planned: Snakemake reads the workflow before it has such settings."""
    if workflow.remote_exec and workflow.group_settings is not None and GROUPS in os.environ:
        settings = workflow.group_settings
        settings.overwrite_groups, settings.group_components = json.loads(os.environ[GROUPS])


def memory(wildcards, resources):
    """MiB that a command keeps within: its share of a node (`share_mb`) where jobs of a group run side by side, else what its job has."""
    return resources.get("share_mb") or resources.mem_mb
