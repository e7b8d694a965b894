"""One archive to send with a question: versions, configuration, the last logs. No secret, no name of the user or the machine is in it."""

from __future__ import annotations

import getpass
import json
import netrc
import os
import platform
import re
import socket
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from orbit2.errors import OrbitError
from orbit2.files import atomic

LOGS, TAIL = 12, 200_000  # newest logs, and the last bytes of each
KEYS = ("KEY", "TOKEN", "PASSWORD", "SECRET", "CREDENTIAL", "USERNAME")  # of environment variables whose values are never written
SAID = re.compile(r"(?i)\b((?:api[_-]?key|token|password|secret|authorization|cookie)[\"']?\s*[:=]\s*(?:bearer\s+|basic\s+)?)"
                  r"[\"']?[^\s\"',;&]{4,}")  # fmt: skip
IN_ADDRESS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")  # user:password@host
LONG = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[\w-]{20,}\.[\w-]{20,}\.[\w-]{10,}\b")  # JSON web tokens
HIDDEN = "***"


def bundle(out: Path, findings: str, root: Path = Path(), run: Path | None = None) -> list[str]:
    """Write `out` (.zip); the names of what is in it. `findings`: what the doctor says; `run`: a configuration (YAML) to add.

    From `root`, the folder that snakemake is started in: the newest logs of the workflow and its stages, and what each run was told.
    Raises OrbitError where `out` is no .zip, exists and is no bundle, or `run` is no file.
    """
    if out.suffix != ".zip":
        raise OrbitError("a bundle is an archive", where="--bundle", got=out, allowed="a file name that ends in .zip",
                         hint="e.g. --bundle question.zip")  # fmt: skip
    if out.exists() and not _is_bundle(out):
        raise OrbitError("something else is there", where=out, hint="nothing of yours is overwritten: give another name")
    parts = {"doctor.txt": findings, "versions.txt": versions()}
    if run is not None:
        if not run.is_file():
            raise OrbitError("configuration file not found", where=run, hint="check the spelling of the path")
        parts[f"run/{run.name}"] = run.read_text(encoding="utf-8", errors="replace")
    for path in sorted((root / "results").glob("*/config/report.json")):
        parts[f"runs/{path.parts[-3]}.json"] = path.read_text(encoding="utf-8", errors="replace")
    for path in newest(root):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            parts[f"logs/{path.relative_to(root)}"] = file.read().decode(errors="replace")
    hide = secrets()
    with atomic(out) as half, zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(f"orbit2-bundle/{cleaned(name, hide)}", cleaned(text, hide))
    return list(parts)


def newest(root: Path) -> list[Path]:
    """The logs that changed last: Snakemake's own and those of stages."""
    places = (".snakemake/log/*.log", "results/*/logs/**/*.log", "results/*/*/logs/**/*.log")
    found = {path for place in places for path in root.glob(place) if path.is_file() and not path.name.startswith(".")}
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:LOGS]


def versions() -> str:
    """Python, system and every installed package."""
    installed = sorted({f"{one.name}=={one.version}" for one in metadata.distributions()}, key=str.lower)
    return "\n".join([f"Python {platform.python_version()} on {platform.platform()}", *installed, ""])


def secrets() -> dict[str, str]:
    """What must not be told -> what stands for it: credentials known here, the user's and the machine's names, the home folder."""
    hidden = {value: HIDDEN for name, value in os.environ.items() if any(key in name.upper() for key in KEYS) and len(value) > 3}
    with suppress(OSError):
        text = Path(os.environ.get("CDSAPI_RC", "~/.cdsapirc")).expanduser().read_text(encoding="utf-8")
        hidden |= dict.fromkeys(re.findall(r"^\s*key\s*:\s*(\S+)", text, flags=re.MULTILINE), HIDDEN)
    with suppress(OSError, netrc.NetrcParseError):
        for login, account, password in netrc.netrc().hosts.values():
            hidden |= {word: HIDDEN for word in (login, account, password) if word and len(word) > 3}
    names = {str(Path.home()): "~", socket.gethostname(): "HOST"}
    with suppress(OSError, KeyError):
        names[getpass.getuser()] = "USER"
    return hidden | {name: other for name, other in names.items() if len(name) > 3 and name not in (*hidden, "root", "user")}


def cleaned(text: str, hide: dict[str, str]) -> str:
    """`text` without what is to be hidden, and without what looks like a credential."""
    for word in sorted(hide, key=len, reverse=True):
        text = text.replace(word, hide[word]).replace(json.dumps(word)[1:-1], hide[word])
    return LONG.sub(HIDDEN, IN_ADDRESS.sub(HIDDEN, SAID.sub(rf"\1{HIDDEN}", text)))


def _is_bundle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.startswith("orbit2-bundle/") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
