"""Commands with SLURM's names that write down how they were called, and answer as told. Nothing is queued; the real thing: slurm.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CONFIGURATION = "MinJobAge = 300 sec\nMaxArraySize = 1001\nJobRequeue = 1\n"
PARTITION = "PartitionName={name}\n   AllowAccounts=ALL\n   MaxNodes={nodes} MaxTime={time} MinNodes=0\n   State=UP TotalNodes=9472\n"
CALL = """#!/bin/bash
{{ printf '%s\\0' "$@" > {folder}/calls/$$.part; mv {folder}/calls/$$.part {folder}/calls/{name}.$$; }}
{answer}
"""
SRUN = """while [[ "${1:-}" == --* ]]; do shift; done
exec "$@"
"""


class StandIns:
    """In the folder `bin`: sbatch (prints a job's number), squeue and sacct (all is done), scontrol, sacctmgr, sshare, srun (runs its
    command once), and more given as name -> shell lines."""

    def __init__(self, folder: Path, more: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        for name in ("bin", "calls"):
            (folder / name).mkdir(parents=True)
        shown = "".join(f"{name}) cat <<'END'\n{PARTITION.format(name=name, **facts)}END\n;;\n" for name, facts in {
            "batch": {"nodes": "UNLIMITED", "time": "12:00:00"}, "extended": {"nodes": "64", "time": "1-00:00:00"}}.items())
        answers = {
            "sbatch": "echo $$", "squeue": "", "sacct": "", "scancel": "", "sinfo": "", "sshare": "echo abc123", "sacctmgr": "echo abc123",
            "scontrol": f'case "$2" in\nconfig) cat <<\'END\'\n{CONFIGURATION}END\n;;\npartition) case "$3" in\n{shown}'
                        '*) echo "Partition $3 not found"; exit 1;;\nesac;;\nesac',
            "srun": SRUN, **(more or {}),
        }  # fmt: skip
        for name, answer in answers.items():
            script = folder / "bin" / name
            script.write_text(CALL.format(folder=folder, name=name, answer=answer))
            script.chmod(0o755)

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of each call of a command, in no order."""
        return [path.read_text().split("\0")[:-1] for path in (self.folder / "calls").glob(f"{name}.*")]
