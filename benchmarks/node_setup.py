"""Frontier's set-up of a job's nodes (profiles/frontier/node.sh), with cp for sbcast and a tmpfs for the node's disk: how many files of
the shared file system a rank still opens, and what packing, broadcasting and unpacking this environment take.

python benchmarks/node_setup.py; exits 1 when a rank opens more than a tenth of the files it opened without

A rank is a Python that imports what a training does; files are counted by Python's own audit hook (every open) and by its map of libraries.
No file system here is Lustre, so seconds of a start are shown, not judged. The Python that the environment was made from is not
broadcast: what is still opened is its standard library.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orbit2.files import write_json
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "node_setup.json"
TMPFS = Path("/dev/shm")
CLAIM = 0.1
NODES = 8
RANK = """
import json, os, sys, time
began, opened = time.monotonic(), set()
sys.addaudithook(lambda event, given: opened.add(given[0]) if event == "open" and isinstance(given[0], str) else None)
import orbit2.train.trainer, orbit2.cli
with open("/proc/self/maps") as maps:
    opened |= {line.split(None, 5)[5].strip() for line in maps if "/" in line}
print(json.dumps({"seconds": time.monotonic() - began, "files": sorted(os.path.realpath(p) for p in opened if os.path.isfile(p)),
                  "code": orbit2.__file__, "cache": os.environ.get("ORBIT2_CACHE"), "miopen": os.environ.get("MIOPEN_USER_DB_PATH")}))
"""


def rank(project: Path, commands: Path, disk: Path, nodes: int) -> dict[str, Any]:
    """What one rank of a job of so many nodes says, the lines of the set-up beside it."""
    path = f"{commands}:{project / '.venv/bin'}:/usr/bin:/bin"
    line = 'source workflow/scripts/prepared.sh; prepared profiles/frontier/node.sh "$0" srun python -P "$1"'
    environment = {"PATH": path, "PYTHONPATH": str(project), "ORBIT2_NODE_DISK": str(disk), "SLURM_JOB_ID": "1", "USER": "me"}
    began = time.monotonic()
    done = subprocess.run(["bash", "-c", line, str(nodes), str(commands / "rank.py")], cwd=project, env=environment, text=True,
                          capture_output=True, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    *said, last = done.stdout.splitlines()
    return {**json.loads(last), "said": said, "wall": time.monotonic() - began}


def main() -> int:
    work, disk = Path(tempfile.mkdtemp(prefix="node-setup-")), Path(tempfile.mkdtemp(prefix="node-disk-", dir=TMPFS))
    try:
        return measure(work, disk)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)


def measure(work: Path, disk: Path) -> int:
    commands = work / "bin"
    commands.mkdir()
    for name, text in {"srun": 'while [[ "${1:-}" == --* ]]; do shift; done\nexec "$@"', "sbcast": 'shift\ncp "$1" "$2"'}.items():
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    (commands / "rank.py").write_text(RANK)
    project = work / "project"
    project.mkdir()
    for name in ("orbit2", "profiles", "workflow"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = Path(sys.prefix).resolve()
    (project / ".venv").symlink_to(environment)
    rank(project, commands, disk, 1)  # compiles what is not compiled yet
    before = rank(project, commands, disk, 1)
    began = time.monotonic()
    subprocess.run(["bash", str(project / "profiles/frontier/pack.sh")], check=True)
    packed = time.monotonic() - began
    archive = next((project / ".snakemake/orbit2").glob("environment-*"))
    first = rank(project, commands, disk, NODES)
    after = rank(project, commands, disk, NODES)
    shared = (str(project.resolve()), str(environment))
    counts = {name: sum(file.startswith(shared) for file in one["files"]) for name, one in (("before", before), ("after", after))}
    base = sum(not file.startswith((*shared, str(disk))) for file in after["files"])
    on_node = {key: str(after[key]).startswith(str(disk)) for key in ("code", "cache", "miopen")}
    record = {
        "code_version": code_version(), "archive_bytes": archive.stat().st_size, "pack_seconds": round(packed, 1),
        "set_up_seconds": round(first["wall"] - first["seconds"], 1), "files_of_project": counts, "files_of_python": base,
        "import_seconds": {"before": round(before["seconds"], 2), "after": round(after["seconds"], 2)}, "on_node": on_node,
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    print("\n".join(first["said"]))
    write_json(RESULTS, record)
    holds = counts["after"] <= CLAIM * counts["before"] and all(on_node.values())
    print("holds" if holds else "DOES NOT HOLD")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
