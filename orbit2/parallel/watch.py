"""Ranks that notice each other's end: a dead or failed one brings the others down within a minute, one that hangs within minutes. The
first rank says which it was.

A collective waits for its peers as long as they work (hours, in inference); that they live, and get on, is told here, by a thread.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from orbit2.errors import EXIT_USER, OrbitError

BEAT = 2.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without one after which a rank counts as dead
HUNG = 60 * float(os.environ.get("ORBIT2_HUNG_MINUTES", "5"))  # seconds in one part of a step after which a rank hangs; 0: never
SLOW = 1800.0  # the same for what is only done now and then, and for the first few times of everything (compilation)
FIRST, RARE = 3, ("setup", "saving")
TEARDOWN = 60.0  # seconds that the collective library has to end in
GRACE = 2.0  # seconds that a failed rank has to print its own error first
AGAIN = "the same command goes on from what is saved"
LEFT, FAILED, SEEN, ABSENT = "left", "failed", "seen", "absent"
SAY, POLL = 30.0, 0.1  # seconds between two lines, and two looks, while ranks are missing
NAMED = 8  # missing ranks that a line names


class Watch:
    """This rank's signs of life in the ranks' common store, and its eyes on the others'.

    The first rank, which keeps the store, looks at everybody and writes the verdict; the others look at it and at the verdict.
    """

    def __init__(self, store: Store, rank: int, world: int, limit: timedelta) -> None:
        self.rank, self.world, self.limit = rank, world, limit
        self._server = store  # the first rank's: it ends with the last that holds it, and others may still ask
        self.store = PrefixStore("orbit2", store.clone())  # type: ignore[attr-defined]  # a connection of its own: the ranks' may be waiting
        self.store.set_timeout(timedelta(seconds=SILENCE))
        self._ending = False  # this rank's own affair: it needs nobody to end it
        self._over = threading.Event()
        self._part, self._parts, self._seen, self._at, self._longest = "", 0, Counter[str](), 0.0, 0.0
        if rank == 0:  # before anybody else writes
            self.store.multi_set([f"beat/{k}" for k in range(world)], [ABSENT] * world)  # type: ignore[attr-defined]
            self.store.set("open", "")
        self.store.wait(["open"], limit)
        self._who = f"process {os.getpid()} on {socket.gethostname()}"
        self.store.set(f"who/{rank}", self._who)
        self.store.set(f"beat/{rank}", "0")
        self.store.add("arrived", 1)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def meet(self) -> None:
        """Wait until all ranks are there; one that dies or fails meanwhile ends this process. Raises OrbitError after `limit`.

        The first rank says every SAY seconds who is missing.
        """
        try:
            self._wait_for_all()
        except RuntimeError:  # the store is gone, and with it the first rank: the thread finds out, and ends this process
            time.sleep(2 * BEAT + 2 * GRACE)
            raise

    def _wait_for_all(self) -> None:
        began, said, limit = time.monotonic(), time.monotonic(), self.limit.total_seconds()
        while True:
            if self.rank == 0 and self.store.add("arrived", 0) == self.world:
                self.store.set("all", "")
            if self.store.check(["all"]):
                return
            now = time.monotonic()
            if now - began > limit:
                raise OrbitError(f"the {self.world} ranks did not find each other", where=self._name(self.rank),
                                 got=f"after {limit:.0f} s {self._missing()}", hint="see the logs of those")  # fmt: skip
            if self.rank == 0 and now - said > SAY:
                said = now
                print(f"waiting since {now - began:.0f} s: {self._missing()}", file=sys.stderr, flush=True)
            time.sleep(POLL if self.rank == 0 else POLL * (1 + self.world / 1000))  # the store answers all of them

    def tick(self, part: str) -> None:
        """From now on this rank is at `part` of its work; "": at nothing that could hang, as one that waits for the others."""
        now = time.monotonic()
        if self._part and self._part not in RARE and self._seen[self._part] > FIRST:
            self._longest = max(self._longest, now - self._at)
        self._parts, self._part, self._at = self._parts + 1, part, now
        self._seen[part] += 1

    def _limit(self) -> float:
        """Seconds that this rank may be where it is; five times what it ever was, on a slow machine."""
        if not self._part or not HUNG:
            return 0.0
        return max(HUNG, SLOW) if self._part in RARE or self._seen[self._part] <= FIRST else max(HUNG, 5 * self._longest)

    def _missing(self) -> str:
        absent = [k for k, beat in enumerate(self._beats()) if beat == ABSENT]
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        return f"{len(absent)} of {self.world} ranks have not come: {', '.join(map(str, absent[:NAMED]))}{more}"

    def _name(self, rank: int) -> str:
        who = self._who if rank == self.rank else ""
        with suppress(RuntimeError):
            if not who and self.store.check([f"who/{rank}"]):
                who = self.store.get(f"who/{rank}").decode()
        return f"rank {rank} of {self.world} ({who or 'its host cannot be asked'})"

    def leave(self) -> None:
        """This rank has done its work. The first one waits here for the others: they may still ask it who lives."""
        self._ending = True
        if self.rank == 0:
            self._linger(None)
        else:
            self._end_thread()
            with suppress(RuntimeError):
                self.store.set(f"beat/{self.rank}", LEFT)

    def fail(self, error: BaseException) -> None:
        """This rank raises `error`: the others are told, unless it is they who raised it here by their death."""
        if _of_a_collective(error):
            time.sleep(SILENCE + 5 * BEAT + GRACE)  # meanwhile the thread finds out who is gone, and ends this process
        self._ending = True
        said = " ".join((str(error) if isinstance(error, OrbitError) else f"{type(error).__name__}: {error}").split())[:500]
        verdict = f"{EXIT_USER if isinstance(error, OrbitError) else 1} {self._name(self.rank)} failed: {said}"
        with suppress(RuntimeError):
            if self.rank == 0:
                self.store.set("verdict", verdict)
                atexit.register(self._linger, time.monotonic() + 4 * BEAT + GRACE)
            else:
                self._end_thread()
                self.store.set(f"beat/{self.rank}", f"{FAILED} {verdict}")

    def _linger(self, until: float | None) -> None:
        """Keep the store until nobody needs it; ranks that have not come yet are given SILENCE more, or they would look for it in vain."""
        with suppress(RuntimeError):
            while needing := [beat for beat in self._beats()[1:] if not beat.startswith((LEFT, FAILED, SEEN))]:
                late = SILENCE if ABSENT in needing else 0.0
                if self._over.wait(0.05) or (until is not None and time.monotonic() > until + late):
                    break
        self._end_thread()

    def _end_thread(self) -> None:
        self._over.set()
        self._thread.join()

    def _beats(self) -> list[str]:
        return [value.decode() for value in self.store.multi_get([f"beat/{k}" for k in range(self.world)])]

    def _look(self) -> None:
        keeper = self._name(0)  # while it can be asked
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            keeper = "torchrun, which started the ranks,"
        beats, changed, now = [""] * self.world, [time.monotonic()] * self.world, time.monotonic()
        moved, places = [time.monotonic()] * self.world, [""] * self.world
        verdict, count = "", 0
        while not self._over.wait(BEAT if count else 0):
            slept, now = time.monotonic() - now, time.monotonic()
            if slept > SILENCE / 2:  # suspended: the others' silence was this one's
                changed, moved = [now] * self.world, [now] * self.world
            count += 1
            try:
                self.store.set(f"beat/{self.rank}", f"{count} {self._parts} {self._limit():.0f} {self._part}")
                if self.rank == 0:
                    found = self._beats()
                elif self.store.check(["verdict"]):
                    verdict = self.store.get("verdict").decode()
                    found = beats
                else:
                    found = [self.store.get("beat/0").decode()]
            except RuntimeError:
                verdict, found = f"1 {keeper} is gone; {AGAIN}", beats
            for k, beat in enumerate(found):
                if beat != beats[k] or beat.startswith((LEFT, SEEN, ABSENT)):
                    beats[k], changed[k] = beat, now
                if beat.startswith(FAILED) and not verdict:
                    verdict = beat.removeprefix(FAILED).strip()
                elif now - changed[k] > SILENCE and not verdict:
                    verdict = f"1 {self._name(k)} is gone: no sign of life for {SILENCE:.0f} s; {AGAIN}"
                if (place := beat.partition(" ")[2]) != places[k]:
                    places[k], moved[k] = place, now
            if self.rank == 0 and not verdict:
                verdict = self._hanging([(place, now - since) for place, since in zip(places, moved, strict=True)])
            if verdict and not self._ending:
                self._obey(verdict)
            elif verdict and self.rank == 0:
                with suppress(RuntimeError):
                    self.store.set("verdict", verdict)
                self._over.set()

    def _obey(self, verdict: str) -> None:
        """End this process: its main thread may wait in a collective for ever."""
        with suppress(RuntimeError):
            if self.rank == 0:
                self.store.set("verdict", verdict)
            else:
                self.store.set(f"beat/{self.rank}", SEEN)
        code, _, what = verdict.partition(" ")
        if what.startswith(f"{self._name(self.rank)} hangs"):
            print(f"rank {self.rank} of {self.world} hangs here:", file=sys.stderr)
            traceback.print_stack(sys._current_frames().get(threading.main_thread().ident or 0))
        time.sleep(GRACE + (2 * BEAT if self.rank == 0 else 0))  # the first rank keeps the store: the others read it
        if self._ending:
            return
        if self._speaks(what):
            with suppress(OSError):  # whoever read it may be gone
                print(f"rank {self.rank} of {self.world} ends: {what}", file=sys.stderr, flush=True)
        os._exit(int(code))

    def _speaks(self, what: str) -> bool:
        """The first rank alone; without it a few of the others, not all on one node: the powers of two."""
        return self.rank == 0 or (what.startswith("rank 0 ") and self.rank & (self.rank - 1) == 0)

    def _hanging(self, ranks: list[tuple[str, float]]) -> str:
        """The verdict on ranks that have been at one part of their work for too long, each (where, seconds); "" where none has.

        Of ranks that wait for one another it is the one that is furthest behind.
        """
        at = [(int(parts), rank, float(limit), part, seconds) for rank, (place, seconds) in enumerate(ranks)
              for parts, limit, part in [[*place.split(" ", 2), "", "", ""][:3]] if parts.isdecimal() and limit != "0"]  # fmt: skip
        stuck = [one for one in at if one[4] > one[2]]
        if not stuck:
            return ""
        parts, rank, _, part, seconds = min(stuck)
        if any(behind < parts and still > BEAT * 5 for behind, _, _, _, still in at):  # it waits for that one, which has more time
            return ""
        beside = sum(1 for one in stuck if one[0] == parts) - 1
        others = f", and {beside} others with it" if beside else ""
        return f"1 {self._name(rank)} hangs: {seconds:.0f} s in {part}{others}; {AGAIN}"


_now: Watch | None = None


def tick(part: str) -> None:
    """This process is at another `part` of its work; "": it waits for the others (see Watch)."""
    if _now is not None:
        _now.tick(part)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """While it lasts, `tick` is heard."""
    global _now
    _now = watch
    try:
        yield
    finally:
        _now = None


@contextmanager
def ends_soon(code: int) -> Iterator[None]:
    """Everything is done and written; should what is left hang (a collective library's teardown), the process ends without it."""

    def end() -> None:
        print(f"the collective library did not end within {TEARDOWN:.0f} s: this process ends without it", file=sys.stderr, flush=True)
        os._exit(code)

    timer = threading.Timer(TEARDOWN, end)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(TEARDOWN + 5, exit=True)  # where the interpreter hangs with it
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


def _of_a_collective(error: BaseException) -> bool:
    """Whether torch.distributed raised it: as a rule because a peer is gone."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, RuntimeError) and any("torch/distributed" in frame.filename.replace(os.sep, "/") for frame in frames)
