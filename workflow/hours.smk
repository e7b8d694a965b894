# Node-hours of what is still to run, by rule: said after a dry run, where the profile names a `device`.
import atexit
import subprocess

from orbit2.nodehours import Job, Submitted, render, rows

DEVICE_RULES = ("train_model", "finetune_model")


def submitted():
    """The cluster's jobs: groups, and jobs alone. Nodes of trainings are those of the profile, or plan's."""
    together = {}
    for job in workflow.dag.needrun_jobs(exclude_finished=False):
        if not job.rule.norun and job.rule.name not in workflow._localrules:
            together.setdefault(workflow.dag.get_job_group(job) or job, []).append(job)
    found = []
    for jobs in together.values():
        ranks = jobs[0].resources.get("mpi") == "srun"
        found.append(Submitted(tuple(map(counted, jobs)), int(jobs[0].resources.get("nodes") or 1) if ranks else 1))
    return found


def counted(job):
    named = {"data": DATASET_OF, "model": MODEL_OF}
    wildcards = dict(job.wildcards.items())
    (kind,) = [kind for kind in (*named, "task") if kind in wildcards] or [None]
    name = "" if kind is None else named.get(kind, {}).get(wildcards[kind], wildcards[kind])
    share = 1 / BLOCKS[name] if job.rule.name == "downscale_block" else 1.0
    return Job(job.rule.name, name, job.threads, share)


def told_seconds(device, nodes):
    """What plan tells, by a process of its own (torch), remembered in .snakemake until something that it depends on changes."""
    asked = {"run": RUN.model_dump(mode="json"), "device": device, "nodes": nodes}
    path = Path(f".snakemake/orbit2/hours/{short_hash([asked, orbit2.__version__])}.json")
    if not path.is_file():
        command = [sys.executable, "-m", "orbit2.plan.hours"]
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
        if done.returncode:
            raise OrbitError(
                "plan tells no hours",
                where="plan",
                got=done.stderr.strip().splitlines()[-1:],
                hint="`orbit2 plan` of the run says why",
            )
        write_json(path, json.loads(done.stdout))
    return read_json(path)


def say_hours():
    """Never stops a run: what plan cannot tell is said."""
    device = said("device", "train_model")
    if device is None or not workflow.is_main_process or getattr(workflow, "_dag", None) is None:
        return
    try:
        jobs = submitted()
        if not jobs:
            return
        nodes = {job.name: each.nodes for each in jobs for job in each.jobs if job.rule in DEVICE_RULES}
        cores = workflow.resource_settings.cores or 1
        print(render(rows(jobs, told_seconds(device, nodes), cores)), file=sys.stderr)
    except OrbitError as error:
        print(f"node-hours: {error}", file=sys.stderr)


atexit.register(lambda: say_hours() if workflow.executor_plugin is not None and workflow.dryrun else None)
