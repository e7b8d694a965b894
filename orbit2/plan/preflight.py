"""Can a run go through with this profile, here? Asked before anything is submitted: queue, account, modules, nodes, space, providers."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orbit2 import places, queues
from orbit2.config import slices
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.model.inspect import build
from orbit2.plan.disk import stored
from orbit2.plan.doctor import Finding
from orbit2.plan.nodes import nodes
from orbit2.retrieve import clients
from orbit2.retrieve.progress import human
from orbit2.retrieve.stage import outstanding

EXAMPLES = ("ABC123", "my_account")  # accounts of the profiles as they come
TRAINING = {False: "train_model", True: "finetune_model"}  # the rule, by whether a model continues from another
BROADCAST = 8  # nodes from which jobs broadcast their environment, as in profiles/frontier/node.sh


@dataclass(frozen=True)
class Profile:
    """What a profile says. Values that are Python expressions count as not said."""

    file: Path
    text: Mapping[str, Any]

    def said(self, name: str, rule: str | None = None) -> Any:
        """Of a resource, for one rule or for all."""
        own = self.text.get("set-resources", {}).get(rule, {})
        found = own.get(name, self.text.get("default-resources", {}).get(name))
        return found.strip("'\"") if isinstance(found, str) else found

    @property
    def bins(self) -> queues.Bins | None:
        return self.bins_of()

    def bins_of(self, rule: str | None = None) -> queues.Bins | None:
        """Of the partition that a rule's jobs, or all others, are submitted to."""
        return queues.bins(str(self.said("time_limits") or "")).get(str(self.said("slurm_partition", rule)))


def read(name: str) -> Profile:
    """A profile by its folder, or by its name (`places.profile`). Raises OrbitError where there is none."""
    file = places.profile(name) / "config.yaml"
    return Profile(file, yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def examine(profile: Profile, config: RunConfig) -> list[Finding]:
    """Everything, in the order it is shown."""
    jobs = list(_trainings(profile, config))
    return [*_queue(profile, [job for _, job in jobs if job]), *(finding for finding, _ in jobs), *_environment(profile, jobs),
            *_space(config), *_providers(config)]  # fmt: skip


def _queue(profile: Profile, jobs: list[queues.Asked]) -> Iterator[Finding]:
    if profile.text.get("executor") != "slurm":
        return
    account, name = profile.said("slurm_account"), profile.said("slurm_partition")
    own = queues.accounts(getpass.getuser())
    if account in EXAMPLES or not account:
        yield Finding("Queue", "account", "missing", f"edit slurm_account in {profile.file} (it is {account!r})")
    elif own is None:
        yield Finding("Queue", "account", "note", f"{account}: not checked, neither sacctmgr nor sshare tells yours")
    elif account.lower() not in own:
        yield Finding("Queue", "account", "missing", f"{account} is not one of yours: {', '.join(sorted(own))}")
    else:
        yield Finding("Queue", "account", "ok", account)
    if shutil.which("sbatch") is None:
        yield Finding("Queue", "slurm", "missing", "no sbatch here: start on a login node of the cluster")
        return
    try:
        found = queues.partition(name)
    except OrbitError as error:
        yield Finding("Queue", "partition", "missing", str(error))
        return
    if found is None:
        yield Finding("Queue", "partition", "note", f"{name}: not checked, scontrol does not answer")
    else:
        most = f"{found.nodes} nodes" if found.nodes else "any number of nodes"
        limits = [f"{found.minutes} min" if found.minutes else "no time limit", most]
        wrong = found.refuses(1, 1, account)
        yield Finding("Queue", "partition", "missing" if wrong else "ok", f"{name}: {wrong[0] if wrong else ', '.join(limits)}")
        for job in jobs:
            if wrong := found.refuses(job.nodes, job.minutes):
                yield Finding("Queue", job.what, "missing", f"{wrong[0]}: {wrong[1]}, allowed {wrong[2]}")
    if profile.said("time_limits") and profile.bins is None:
        yield Finding("Queue", "time limits", "note", f"the profile knows none of partition {name}: rules' own times are asked for")
    yield from _too_long(profile)
    yield from _requeue(profile)


def _too_long(profile: Profile) -> Iterator[Finding]:
    """Rules other than trainings whose own time in the profile is beyond the queue's."""
    for rule, own in profile.text.get("set-resources", {}).items():
        minutes, count, bins = own.get("runtime"), own.get("nodes", 1), profile.bins_of(rule)
        if rule in TRAINING.values() or bins is None or not (isinstance(minutes, int) and isinstance(count, int)):
            continue
        if minutes > (most := bins.minutes(count) or 0):
            yield Finding("Queue", rule, "missing", f"{minutes} min asked for, and this partition gives {count} node(s) {most}")


def _requeue(profile: Profile) -> Iterator[Finding]:
    """Whether jobs may go back to the queue: as they ask themselves (sbatch --requeue, --no-requeue), else as the site has it."""
    said = queues.ask("scontrol", "show", "config")
    site = None if said is None or said.code else re.search(r"^JobRequeue\s*=\s*(\d+)", said.text, flags=re.MULTILINE)
    asked, refused = (profile.text.get(f"slurm-{name}") is True for name in ("requeue", "no-requeue"))
    if site is None and not (asked or refused):
        return
    if asked or (not refused and site is not None and site[1] == "1"):
        yield Finding("Queue", "requeueing", "ok", "a job that stopped in time, or lost a node, goes on under its own number")
    else:
        why = "the profile says slurm-no-requeue" if refused else "JobRequeue is 0 here, and the profile does not say slurm-requeue: true"
        yield Finding("Queue", "requeueing", "note", f"not allowed ({why}): such a job is submitted again")


def _trainings(profile: Profile, config: RunConfig) -> Iterator[tuple[Finding, queues.Asked | None]]:
    """Nodes and time of each training that the profile gives a device, and whether plan says that it does."""
    for name, model in config.models.items():
        if model.imported is not None:
            continue
        rule = TRAINING[model.finetune_from is not None]
        device, own, each = (profile.said(key, rule) for key in ("device", "nodes", "tasks_per_node"))
        if device is None:
            continue
        fixed = isinstance(profile.text["set-resources"][rule].get("nodes"), int)
        minutes, bins = profile.said("runtime", rule), profile.bins
        jobs = profile.said("slices", rule) or 1
        if fixed:
            count, told, level = own, "as the profile says", "ok"
        else:
            hours = queues.hours(minutes if isinstance(minutes, int) else None, bins, jobs)
            found = nodes(config, name, device, per_node=each, hours=hours or None)
            count, told = found.count, f"about {found.hours:,.1f} h" if found.hours else "hours not known"
            level = "missing" if found.problem else "ok"
            told += f"; plan says it does not do: {found.problem}" if found.problem else ""
        limit = minutes if isinstance(minutes, int) else bins.minutes(count) if bins else None
        asked = queues.Asked(f"{rule} {name}", str(profile.said("slurm_partition")), count, limit or 0)
        if bins and (most := bins.minutes(count) or 0) < asked.minutes:
            level, told = "missing", f"{asked.minutes} min asked for, and this partition gives {count} node(s) {most}"
        yield Finding("Training", name, "missing" if level == "missing" else "ok", f"{count} node(s) of {device}, {told}"), asked


def _environment(profile: Profile, jobs: list[tuple[Finding, queues.Asked | None]]) -> Iterator[Finding]:
    """What the profile's own scripts want: modules of env.sh, the archive of pack.sh."""
    script, pack = profile.file.with_name("env.sh"), profile.file.with_name("pack.sh")
    if script.is_file():
        text = script.read_text(encoding="utf-8")
        wanted = [word for line in re.findall(r"^module load (.*?)(?:#.*)?$", text, flags=re.MULTILINE) for word in line.split()]
        loaded = os.environ.get("LOADEDMODULES", "").split(":")
        absent = [word for word in wanted if not any(word in (name, name.partition("/")[0]) for name in loaded)]
        told = f"not loaded: {', '.join(absent)}; `source {script}` first" if absent else ", ".join(wanted)
        yield Finding("Environment", "modules", "missing" if absent else "ok", told)
    many = max((job.nodes for _, job in jobs if job), default=0)
    if pack.is_file() and many >= BROADCAST:
        done = subprocess.run(["bash", str(pack), "--name"], capture_output=True, text=True, check=False)
        archive = Path(done.stdout.strip())
        there = not done.returncode and archive.is_file()
        told = str(archive) if there else f"{many} nodes would read the environment from the shared file system: run {pack} (some minutes)"
        yield Finding("Environment", "archive for nodes", "ok" if there else "note", told)


def _space(config: RunConfig) -> Iterator[Finding]:
    """What is still to be written, by file system."""
    sizes = {name: sum(p.numel() for p in build(config, name).parameters()) for name in config.models}
    wanted: dict[int, list[Any]] = {}
    for one in stored(config, sizes):
        folder = Path(config.sources.resources if one.kind == "download" else "results").absolute()
        place = next(path for path in (folder, *folder.parents) if path.exists())
        row = wanted.setdefault(place.stat().st_dev, [place, 0])
        row[1] += one.missing
    for place, size in wanted.values():
        free = shutil.disk_usage(place).free
        enough = size <= free
        told = f"{human(size)} are still to be written at {place}, {human(free)} free"
        yield Finding("Space", str(place), "ok" if enough else "missing", told)


def _providers(config: RunConfig) -> Iterator[Finding]:
    """Credentials, and licences to be accepted, of what is still to be fetched; what is there needs none."""
    for source in slices.sources_of(config):
        try:
            found = outstanding(config, source)
        except OrbitError as error:
            yield Finding("Providers", source, "missing", str(error))
            continue
        if not found.missing:
            yield Finding("Providers", source, "ok", "nothing to fetch")
        for name in found.clients if found.missing else ():
            told = f"about {human(found.missing)} to fetch by {name}"
            try:
                clients.client(name, config.sources)
            except OrbitError as error:
                yield Finding("Providers", source, "missing", f"{told}: {error}")
                continue
            pages = f"; accept the licences once, at {', '.join(found.licences)}" if found.licences and name == "cds" else ""
            yield Finding("Providers", source, "note" if pages else "ok", told + pages)
