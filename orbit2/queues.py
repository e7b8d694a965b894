"""What a queue gives a job: by the profile's `time_limits`, and by SLURM's own description of a partition. Submits and changes nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orbit2.errors import OrbitError
from orbit2.scheduler import PATIENCE, seconds

HINT = "change it in the profile; `orbit2 doctor --profile PROFILE` looks at everything"
SAVING = 10  # minutes of a job that are kept free: its start, the last save
LARGEST = 1 << 20  # nodes: more than anybody has
FORM = '"PARTITION: NODES=MINUTES NODES=MINUTES, PARTITION: ..."'


@dataclass(frozen=True)
class Bins:
    """Of one partition, in order: (most nodes of a job in this bin, most minutes that it may ask for)."""

    rows: tuple[tuple[int, int], ...]

    @property
    def most_nodes(self) -> int:
        return self.rows[-1][0]

    def minutes(self, nodes: int) -> int | None:
        """What a job of `nodes` nodes may ask for; None where the partition takes none that large."""
        return next((minutes for most, minutes in self.rows if nodes <= most), None)


def bins(text: str) -> Mapping[str, Bins]:
    """partition -> its bins, of a text like FORM. Raises OrbitError for any other text."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rows = part.partition(":")
        pairs = [re.fullmatch(r"(\d+)=(\d+)", word) for word in rows.split()]
        if not name.strip() or not pairs or None in pairs:
            raise OrbitError("not a table of time limits", where="time_limits", got=part, allowed=FORM,
                             hint="mend time_limits in the profile")  # fmt: skip
        table = tuple(sorted((int(pair[1]), int(pair[2])) for pair in pairs if pair))
        if any(most < 1 or minutes < 1 for most, minutes in table) or len({most for most, _ in table}) < len(table):
            raise OrbitError("not a table of time limits", where="time_limits", got=part, allowed="each NODES once, both numbers from 1",
                             hint="mend time_limits in the profile")  # fmt: skip
        found[name.strip()] = Bins(table)
    return found


def working(minutes: float) -> float:
    """Minutes of a job in which a training gets on: all but SAVING, half of a short job."""
    return max(minutes - SAVING, minutes / 2)


def hours(own: int | None, queue: Bins | None, jobs: int) -> dict[int, float]:
    """most nodes of a job -> hours in which `jobs` jobs one after the other get on: of `own` minutes each, else of all the queue gives."""
    rows = ((LARGEST, own),) if own is not None else queue.rows if queue else ()
    return {most: jobs * working(minutes) / 60 for most, minutes in rows}


@dataclass(frozen=True)
class Partition:
    """As the batch system describes it; None: no limit."""

    name: str
    up: bool
    minutes: int | None
    nodes: int | None
    accounts: frozenset[str] | None

    def refuses(self, nodes: int, minutes: int, account: str | None = None) -> tuple[str, str, str] | None:
        """Why a job would wait here for ever: (what, asked, allowed)."""
        if not self.up:
            return "the partition is not up", self.name, ""
        if self.minutes is not None and minutes > self.minutes:
            return "more time than the partition gives (PartitionTimeLimit)", f"{minutes} min", f"{self.minutes} min"
        if self.nodes is not None and nodes > self.nodes:
            return "more nodes than the partition gives (PartitionNodeLimit)", f"{nodes} nodes", f"{self.nodes} nodes"
        if self.accounts is not None and account is not None and account.lower() not in self.accounts:
            return "the account may not use the partition", account, ", ".join(sorted(self.accounts))
        return None


def partition(name: str) -> Partition | None:
    """What SLURM says of a partition; None where it cannot be asked. Raises OrbitError where there is none of that name."""
    said = ask("scontrol", "show", "partition", name, "--oneliner")
    if said is None:
        return None
    if said.code:
        if "not found" in said.text.lower():
            raise OrbitError("no such partition", where="slurm_partition", got=name, allowed=", ".join(_partitions()) or "see `sinfo`",
                             hint="mend slurm_partition in the profile")  # fmt: skip
        return None
    facts = dict(word.partition("=")[::2] for word in said.text.split())
    limit, nodes, accounts = (facts.get(key, "") for key in ("MaxTime", "MaxNodes", "AllowAccounts"))
    most = seconds(limit)
    return Partition(
        name,
        facts.get("State", "UP") == "UP",
        int(limit) if limit.isdecimal() else None if most is None else int(most // 60),
        int(nodes) if nodes.isdecimal() else None,
        None if accounts in ("", "ALL") else frozenset(accounts.lower().split(",")),
    )


def _partitions() -> list[str]:
    said = ask("sinfo", "--noheader", "--format=%R")
    return sorted(set(said.text.split())) if said is not None and not said.code else []


def accounts(user: str) -> frozenset[str] | None:
    """The accounts that a user may charge, in lower case; None where nobody knows (no accounting)."""
    for command in (("sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={user}", "format=account"),
                    ("sshare", "-U", "--noheader", "--format=Account%256")):  # fmt: skip
        said = ask(*command)
        if said is not None and not said.code and said.text.split():
            return frozenset(word.lower() for word in said.text.split())
    return None


@dataclass(frozen=True)
class Asked:
    """One job, or several alike."""

    what: str
    partition: str
    nodes: int
    minutes: int
    account: str | None = None


def refuse(jobs: Iterable[Asked], own: Mapping[str, Bins] | None = None) -> None:
    """Raises OrbitError for a job that its partition would never start: it would wait, and all that needs it.

    `own`: what the profile says that partitions give.
    """
    known: dict[str, Partition | None] = {}
    for job in sorted(set(jobs), key=lambda job: (job.what, -job.minutes, -job.nodes)):
        table = (own or {}).get(job.partition)
        if table is not None and job.minutes > (most := table.minutes(job.nodes) or 0):
            raise OrbitError(f"{job.what}: more time than the queue gives so many nodes", where=f"partition {job.partition}",
                             got=f"{job.minutes} min on {job.nodes} node(s)", allowed=f"{most} min", hint=HINT)  # fmt: skip
        if job.partition not in known:
            known[job.partition] = partition(job.partition)
        found = known[job.partition]
        if found is not None and (wrong := found.refuses(job.nodes, job.minutes, job.account)):
            what, got, allowed = wrong
            raise OrbitError(f"{job.what}: {what}", where=f"partition {job.partition}", got=got, allowed=allowed,
                             hint=HINT)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    text: str
    code: int


def ask(*command: str) -> Said | None:
    """Run a command of the batch system; None where there is none, or it does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return Said(done.stdout + (done.stderr if done.returncode else ""), done.returncode)
