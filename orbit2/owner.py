"""Who writes a product: a JSON file beside it that tells job, host and process, with a heart-beat. Needs no locks of the file system,
and never takes a product from an owner that may be alive.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from orbit2 import jobs
from orbit2.errors import OrbitError

BEAT = 10.0  # seconds between two heart-beats
GONE = 25.0  # seconds without one after which an owner counts as dead whose job has ended, as the scheduler says, or is this very job
SILENCE = 120.0  # the same of a process on another machine where no scheduler can be asked
PATIENCE = (60.0, 5.0)  # seconds that a second one waits for a live owner: in a batch job (where the one before may be ending), elsewhere
POLL, ASK = 0.2, 15.0  # seconds between two looks, and between two questions to the scheduler
NAME = "owner.json"
HEAD, DIGITS = '{"beat": "', 10  # the heart-beat is written in place, over digits at the beginning of the file

log = logging.getLogger(__name__)


class Owner:
    """This process's claim to `path`, once it is `hold`-ing it. Its thread writes the heart-beat, and ends the process when the claim
    does not stand any more."""

    def __init__(self, path: Path, doing: str, about: Mapping[str, Any] | None = None) -> None:
        self.path, self.token = path, uuid.uuid4().hex
        content = {
            **(about or {}),
            "token": self.token,
            "doing": doing,
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "host": socket.gethostname(),
            "machine": machine(),
            "pid": os.getpid(),
            "start": round(psutil.Process().create_time(), 2),
            "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "run": os.environ.get("ORBIT2_RUN", ""),
        }
        self._own = path.with_name(f".{path.name.lstrip('.')}.{self.token[:8]}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._own.write_text(HEAD + "0" * DIGITS + '", ' + json.dumps(content)[1:] + "\n", encoding="utf-8")
            self._handle = os.open(self._own, os.O_RDWR)
        except OSError as error:
            with suppress(OSError):
                self._own.unlink(missing_ok=True)
            raise OrbitError(f"cannot be created ({error.strerror or error})", where=path,
                             hint="check the folder, its permissions and the space left") from None  # fmt: skip
        self._beats, self._last = 0, time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="owner", daemon=True)

    def take(self, dead: str | None = None) -> bool:
        """Make it this process's: where nobody has it, or instead of the owner with the token `dead`. False: another one was quicker."""
        if dead is None:
            return self._create()
        guard = self.path.with_name(f"{self.path.name}.taking")
        try:
            os.close(os.open(guard, os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # whoever takes over has it for a moment; one who died then, for SILENCE
            with suppress(FileNotFoundError):
                if time.time() - guard.stat().st_mtime > SILENCE:
                    guard.unlink()
            return False
        try:
            if read(self.path).get("token", "") != dead:
                return False
            os.replace(self._own, self.path)
            return True
        finally:
            guard.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            os.link(self._own, self.path)
        except FileExistsError:
            return False
        except OSError:  # no hard links here
            try:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
            os.replace(self._own, self.path)
        self._own.unlink(missing_ok=True)
        return True

    def live(self) -> None:
        """Begin to beat."""
        self._last = time.monotonic()
        self._thread.start()

    def sure(self, now: bool = False) -> None:
        """Before something is written that must not be written twice: quick, unless this process was suspended for a while, or `now`.

        Raises OrbitError when another process has taken over meanwhile.
        """
        if (now or time.monotonic() - self._last > 3 * BEAT) and not self._stands():
            raise self._lost()

    def give_up(self) -> None:
        """It is nobody's any more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(OSError):
            if read(self.path).get("token") == self.token:
                self.path.unlink()
        self._own.unlink(missing_ok=True)
        os.close(self._handle)

    def _stands(self) -> bool:
        """Whether the claim is still this process's; writes a heart-beat."""
        try:
            if read(self.path).get("token") != self.token:
                return False
            self._beats += 1
            os.pwrite(self._handle, str(self._beats).zfill(DIGITS).encode(), len(HEAD))
            os.fsync(self._handle)
            self._last = time.monotonic()
        except OSError as error:  # a file system that hangs for a while is no reason to end
            log.debug("%s: no heart-beat (%s)", self.path, error)
        return True

    def _lost(self) -> OrbitError:
        found = read(self.path)
        got = described(found) if found else "no owner at all"
        return OrbitError("another process has taken over what this one was writing", where=self.path, got=got,
                          hint="this one ends, so that nothing is written twice")  # fmt: skip

    def _live(self) -> None:
        while not self._over.wait(BEAT):
            if not self._stands() and not self._over.is_set():
                with suppress(OSError):
                    print(f"error: {self._lost()}", file=sys.stderr, flush=True)
                os._exit(1)  # its main thread may be writing


@contextmanager
def hold(
    path: Path, doing: str, *, patience: float | None = None, rivals: Callable[[], Iterable[Path]] = tuple,
    say: Callable[[str], object] = log.info, about: Mapping[str, Any] | None = None,
) -> Iterator[Owner]:
    """Be the one process that is `doing` this ("trains in this folder"), by the owner file `path`.

    Where a live process has it: wait for `patience` seconds (None: PATIENCE), then raise OrbitError that names it; where a dead one had
    it, take over; either is said. `rivals` lists the owner files of whoever may not be alive beside this one; `about` goes into the file.
    """
    until = time.monotonic() + (PATIENCE["SLURM_JOB_ID" not in os.environ] if patience is None else patience)
    for rival in rivals():
        _outlive(rival, until, None, say)
    owner = Owner(path, doing, about)
    try:
        _outlive(path, until, owner, say)
        for rival in rivals():  # who came at the same moment
            _outlive(rival, until, None, say)
        owner.live()
        try:
            yield owner
        except Exception:
            owner.sure(now=True)  # what could not be written because another one tidied up here says so
            raise
    finally:
        owner.give_up()


def outlive(path: Path, patience: float, say: Callable[[str], object] = log.info) -> None:
    """Wait until nobody alive has `path`. Raises OrbitError where somebody lives on after `patience` seconds."""
    _outlive(path, time.monotonic() + patience, None, say)


def _outlive(path: Path, until: float, owner: Owner | None, say: Callable[[str], object]) -> None:
    """Wait until nobody alive has `path`; with `owner` it is then its own. Raises OrbitError where somebody lives on."""
    began = since = time.monotonic()
    asked, needed, beat, told = -math.inf, 0.0, "", False
    while True:
        if owner is not None and owner.take():
            return
        found = read(path)
        now = time.monotonic()
        if not found and not path.exists():
            if owner is None:
                return
            continue
        if (seen := f"{found.get('token')} {found.get('beat')}") != beat:
            asked = asked if beat and seen.split()[0] == beat.split()[0] else -math.inf  # another owner than before
            beat, since = seen, now if beat else since
        if now - asked > ASK:
            asked, needed = now, silence_needed(found)
        if now - since >= needed:
            if owner is None:
                return
            if owner.take(found.get("token", "")):
                say(f"takes over from {described(found)}, which is gone")
                return
        elif now > until and (needed == math.inf or since > began):
            job = f" (scancel {found['job']})" if found.get("job") else ""
            raise OrbitError(f"another process {found.get('doing', 'is at work here')}", where=path.parent, got=described(found),
                             hint=f"wait for it, or stop it{job}: the same command then goes on from what is saved")  # fmt: skip
        elif not told and now - began > POLL:
            told = True
            how = "" if needed == math.inf else f"; takes over when it shows no life for {needed:.0f} s"
            say(f"waits: {described(found)} {found.get('doing', 'is at work here')}{how}")
        time.sleep(POLL)


def silence_needed(found: Mapping[str, Any]) -> float:
    """Seconds without a heart-beat after which this owner counts as dead: none where it certainly is, infinitely many where it lives."""
    if found.get("machine") == machine():
        try:
            process = psutil.Process(int(found["pid"]))
            same = abs(process.create_time() - float(found["start"])) < 2
            if process.status() == psutil.STATUS_ZOMBIE:
                return 0.0
            return math.inf if same else GONE  # its number was given away, or the clock was set
        except (KeyError, ValueError, psutil.NoSuchProcess):
            return 0.0
        except psutil.Error:
            return math.inf
    job = str(found.get("job", ""))
    if not job:
        return SILENCE
    if job == os.environ.get("SLURM_JOB_ID"):  # started again by the scheduler, or a step before this one
        return GONE
    lives = jobs.lives(job)
    return SILENCE if lives is None else math.inf if lives else GONE


def read(path: Path) -> dict[str, Any]:
    """What an owner file says; nothing where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def described(found: Mapping[str, Any]) -> str:
    """Process, host, job and since when, in a few words."""
    job = f", job {found['job']}" if found.get("job") else ""
    return f"process {found.get('pid', '?')} on {found.get('host', '?')}{job}, since {found.get('since', '?')}"


def machine() -> str:
    """What tells this boot of this machine, and its table of processes, from every other one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"
