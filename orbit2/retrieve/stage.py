"""Fetch a source into its folder, once: plan, transfer, receipt. A file counts only when the manifest lists it with a matching checksum."""

from __future__ import annotations

import logging
import signal
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np

from orbit2.config import needs, slices
from orbit2.config.load import load, read_slice, validate
from orbit2.config.schema import RunConfig
from orbit2.config.sources import TRAITS, SourcesConfig, traits
from orbit2.errors import Interrupted, OrbitError, did_you_mean
from orbit2.files import short_hash, write_json
from orbit2.retrieve import adopt, clients, plan, recognise, transfer
from orbit2.retrieve.clients.cds_key import licences
from orbit2.retrieve.packaged import ITEMS, Packaged
from orbit2.retrieve.progress import human
from orbit2.sources import catalogue, manifest, receipts
from orbit2.sources.source import ClientName, Need, Request, Shared, Source

HOUR = np.timedelta64(3600, "s")
LONGEST = np.timedelta64(366, "D")  # of what one file covers
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    source: Source
    requests: list[Request]
    settings: SourcesConfig
    until: np.datetime64 | None = None  # the last day that is published, where more is wanted
    together: Sequence[Request] = ()  # how the whole run asks for the same files of a shared source


def run(
    *, source: str, out: Path, config: Path | None = None, receipt: Path | None = None, dry_run: bool = False, verify: bool = False
) -> None:
    """Complete the files of `source` under `out`; says so and does nothing where they are complete already.

    `config` is a slice: {"source", "needs", "settings"}, with "together" (what the run needs in all) what lacks is fetched as files
    that its other datasets can use too. Without one, only what ships with orbit2 can be had.
    `dry_run` prints counts, sizes and notes. `verify` reads every file again and fetches what differs. `receipt` (JSON) is
    written when all is there. Raises OrbitError for what cannot be retrieved; Interrupted on SIGTERM (run again to resume).
    """
    given = None if config is None else read_slice(config)
    if source in TRAITS and traits(source).adopted:
        adopt.run(source, _needs_of(given, source, config), out, receipt, dry_run=dry_run)
        return
    _run(_job(source, given, config), out, receipt, dry_run, verify)


def run_config(
    *, config: Path, source: str | None = None, out: Path | None = None, receipt: Path | None = None,
    dry_run: bool = False, verify: bool = False, overrides: Sequence[str] = (),
) -> None:
    """The same for a run's YAML: one `source` of the run, or all of them, each under <resources>/<source>/<version>.

    `overrides` (`dotted.key=value`) are laid over the file.
    """
    run_configuration = load(config, overrides)
    known = needs.sources_of(run_configuration)
    if source is not None and source not in known:
        raise OrbitError("the run does not use this source", where=config, got=source, allowed=", ".join(known),
                         hint="leave SOURCE out for all of the run")  # fmt: skip
    if source is None and len(known) > 1 and (out is not None or receipt is not None):
        raise OrbitError("the run has several sources: name one of them to use --out or --receipt", where=config, allowed=", ".join(known),
                         hint="give SOURCE, or leave --out and --receipt out")  # fmt: skip
    asked = [source] if source else known
    for name in (name for name in asked if traits(name).adopted):
        place = out or Path(run_configuration.sources.resources) / name / manifest.VERSION
        adopt.run(name, needs.retrieve(run_configuration, name)["needs"], place, receipt, dry_run=dry_run)
    jobs = [_job(name, slices.whole(run_configuration, "retrieve", name), config) for name in asked if not traits(name).adopted]
    for job in jobs:
        _run(job, out or Path(job.settings.resources) / job.source.name / manifest.VERSION, receipt, dry_run, verify)
    if dry_run and len(jobs) > 1:
        print(plan.total([request for job in jobs for request in job.requests]))


def run_adopt(*, folder: Path, config: Path | None = None, source: str | None = None, overrides: Sequence[str] = ()) -> None:
    """Take the provider archives below `folder` for what `retrieve` would fetch (see `recognise.adopt`), with the settings of a run's
    YAML; what lacks is fetched by the next `retrieve`."""
    recognise.adopt(folder, SourcesConfig() if config is None else load(config, overrides).sources, source)


@dataclass(frozen=True)
class Outstanding:
    """`files` of a source that a run wants, of about `bytes`, and what is `missing` of these. `notes`: what to know before paying.

    `clients` fetch what is missing; `licences`: pages where theirs are accepted, once and by hand.
    """

    files: int
    bytes: int
    missing: int
    notes: tuple[str, ...]
    clients: tuple[ClientName, ...] = ()
    licences: tuple[str, ...] = ()


def outstanding(run_configuration: RunConfig, source: str) -> Outstanding:
    """What of a `source` of a run is still to be fetched. Talks to no provider; raises OrbitError for what cannot be retrieved."""
    if traits(source).adopted:
        held = adopt.listed(source, needs.retrieve(run_configuration, source)["needs"])
        return Outstanding(len(held), sum(int(r["bytes"]) for r in held), 0, ("the files stay where they are",))
    job = _job(source, slices.whole(run_configuration, "retrieve", source), source)
    there, _ = _there(job, Path(job.settings.resources) / job.source.name / manifest.VERSION)
    missing = [request for request in job.requests if request.file not in there]
    notes = tuple(dict.fromkeys(request.note for request in missing if request.note))
    fetching = tuple(dict.fromkeys(request.client for request in missing))
    pages = (licences(job.settings.era5.url, request.body["dataset"]) for request in missing if request.client == "cds")
    return Outstanding(len(job.requests), sum(r.bytes for r in job.requests), sum(r.bytes for r in missing), notes, fetching,
                       tuple(dict.fromkeys(pages)))  # fmt: skip


def _needs_of(given: Any, name: str, where: object) -> list[Any]:
    if not isinstance(given, dict) or given.get("source") != name or not isinstance(given.get("needs"), list):
        raise OrbitError("not a retrieve configuration of this source", where=where, got=name, allowed='{"source", "needs", "settings"}',
                         hint="give the run's YAML, or the slice that the workflow wrote")  # fmt: skip
    return list(given["needs"])


def _job(name: str, given: Any, where: object) -> _Job:
    if given is None:
        if name not in ITEMS:
            raise OrbitError("this source cannot be retrieved without --config", where="SOURCE", got=name, allowed=", ".join(ITEMS),
                             hint=did_you_mean(name, ITEMS) or "give the run's YAML file")  # fmt: skip
        return _Job(Packaged(name), Packaged(name).plan(), SourcesConfig())
    if not isinstance(given, dict) or not {"source", "needs", "settings"} <= set(given):
        raise OrbitError("not a retrieve configuration", where=where, allowed='{"source", "needs", "settings"}',
                         hint="give the run's YAML, or the slice that the workflow wrote")  # fmt: skip
    if given["source"] != name:
        raise OrbitError("configuration is for another source", where=where, got=str(given["source"]), allowed=name,
                         hint="give the slice of this source")  # fmt: skip
    settings = validate(SourcesConfig, given["settings"], where)
    if settings.packaged(name):
        return _Job(Packaged(name), Packaged(name).plan(), settings)
    source = catalogue.source(name, settings)
    wanted = plan.needs(given["needs"], where)
    if not traits(name).shared:
        return _Job(source, plan.requests(source, wanted), settings)
    until = _published(source, wanted, where)
    return _Job(source, plan.requests(source, wanted), settings, until, _together(source, given.get("together", []), where))


def _together(source: Source, raw: Sequence[Mapping[str, Any]], where: object) -> list[Request]:
    """Nothing where another dataset of the run asks for what cannot be had: its own retrieve says so."""
    try:
        return plan.requests(source, plan.needs(raw, where))
    except OrbitError:
        return []


def _published(source: Source, wanted: Sequence[Need], where: object) -> np.datetime64 | None:
    """The provider's last day, where more is wanted. Raises OrbitError for a period of which nothing is there yet."""
    last = cast(Shared, source).published()
    future = [need for need in wanted if need.first > last]
    if future:
        raise OrbitError(f"{source.name} is not published that far yet", where=where, got=f"{future[0].first} to {future[0].last}",
                         allowed=f"up to {last}, the last complete day", hint="change the periods, or retrieve later")
    return last if any(need.last > last for need in wanted) else None


def _run(job: _Job, out: Path, receipt: Path | None, dry_run: bool, verify: bool) -> None:
    name = job.source.name
    if dry_run:
        print(_dry(job, out))
        if job.until is not None:
            print(_ends(job))
        return
    with _terminating(), manifest.ledger(out, name) as ledger:
        threads = job.settings.transfer.workers
        missing = _missing(job.requests, ledger, verify, threads)
        if not missing:
            print(f"{name}: complete, nothing to do")
        elif shared := _missing(plan.touching(job.together, missing), ledger, False, threads):
            _fetch(job, shared, ledger, out)
            missing = _missing(job.requests, ledger, False, threads)
        if missing:
            _fetch(job, missing, ledger, out)
        if job.until is not None:
            print(_ends(job))
        if receipt is not None:
            write_json(receipt, _receipt(job, ledger))


def _fetch(job: _Job, missing: Sequence[Request], ledger: manifest.Ledger, out: Path) -> None:
    name, size = job.source.name, sum(r.bytes for r in missing)
    _log.info("%s: %s files to fetch to %s (%s wanted), about %s", name, f"{len(missing):,}", out, f"{len(job.requests):,}", human(size))
    transfer.enough_space(out, size)
    done = transfer.transfer(
        missing, planned=max(len(job.requests), len(missing)), ledger=ledger, connect=lambda which: clients.client(which, job.settings),
        check=job.source.check, facts=job.source.facts, settings=job.settings.transfer)
    print(f"{name}: {done.fetched} files ({human(done.bytes)}) to {out}" + (f", {done.gaps} gaps" if done.gaps else ""))


def _ends(job: _Job) -> str:
    return f"  {job.source.name} ends at {job.until}, the last day that is published whole; retrieve again later for the days after it"


def _missing(requests: Sequence[Request], ledger: manifest.Ledger, verify: bool, threads: int) -> list[Request]:
    """The requests whose files are not there as recorded. A touched file is read again; a changed one is not listed any more."""

    def there(request: Request) -> bool:
        record = ledger.files.get(request.file)
        if record is None:
            return False
        touched = not manifest.untouched(ledger.folder, record)
        if (verify or touched) and not manifest.intact(ledger.folder, record):
            ledger.drop(request.file)
            return False
        if touched:
            ledger.add({**record, "modified_ns": (ledger.folder / request.file).stat().st_mtime_ns})
        return True

    with ThreadPoolExecutor(threads) as pool:
        absent = [request for request, found in zip(requests, pool.map(there, requests), strict=True) if not found]

    def whole(record: manifest.Record) -> bool:
        return manifest.intact(ledger.folder, record) if verify else manifest.untouched(ledger.folder, record)

    elsewhere = Elsewhere(ledger.source, ledger.files.values(), requests)
    return [request for request in absent if not ((held := elsewhere.holding(request)) and all(map(whole, held)))]


class Elsewhere:
    """Files of a shared source that other requests asked for: what they hold is read by what they hold, and not fetched again.

    Files of the same box answer request by request, files of a larger one only for all requests of a box at once (what is read together
    comes from files of one box).
    """

    def __init__(self, source: str, records: Iterable[manifest.Record], requests: Sequence[Request]) -> None:
        self._by_box: dict[tuple[float, ...] | None, list[manifest.Record]] = {}
        for record in records if traits(source).shared else ():
            if record.get("variables") and record.get("first"):
                self._by_box.setdefault(_box(record.get("box")), []).append(record)
        self._firsts = {}
        for held_box, held in self._by_box.items():
            held.sort(key=lambda r: str(r["first"]))
            self._firsts[held_box] = [str(r["first"]) for r in held]
        self._larger: dict[tuple[float, ...] | None, tuple[float, ...] | None] = {}
        for box in {_box(r.box) for r in requests} - {None}:
            own = [r for r in requests if _box(r.box) == box]
            outer = (b for b in self._by_box if b != box and (b is None or manifest.covers(b, box)))  # type: ignore[arg-type]
            found = next((b for b in sorted(outer, key=lambda b: (b is None, b or ())) if all(self._in(b, r) for r in own)), box)
            if found != box:
                self._larger[box] = found

    def holding(self, request: Request) -> list[manifest.Record]:
        """Records that have every variable of `request` for its whole time; none where one is not there."""
        box = _box(request.box)
        return self._in(box, request) or (self._in(self._larger[box], request) if box in self._larger else [])

    def _in(self, box: tuple[float, ...] | None, request: Request) -> list[manifest.Record]:
        if not self._by_box.get(box):
            return []
        first, last = manifest.stamp(request.first), manifest.stamp(request.last)
        firsts, earliest = self._firsts.get(box, []), manifest.stamp(request.first - LONGEST)
        around = self._by_box.get(box, [])[bisect_left(firsts, earliest) : bisect_right(firsts, last)]
        near = [r for r in around if r["file"] != request.file and r["last"] >= first]
        found: dict[str, manifest.Record] = {}
        for name in request.variables:
            chosen = _covering([r for r in near if name in r["variables"]], first, last)
            if not chosen:
                return []
            found |= {str(r["file"]): r for r in chosen}
        return list(found.values())


def _box(box: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if box is None else tuple(box)


def _covering(records: Sequence[manifest.Record], first: str, last: str) -> list[manifest.Record]:
    """As few as possible that have all from `first` to `last`, one following on another within an hour; none where they leave a hole."""
    chosen: list[manifest.Record] = []
    reached: np.datetime64 = np.datetime64(first, "s") - HOUR
    while reached < np.datetime64(last, "s"):
        best = max((r for r in records if np.datetime64(r["first"], "s") <= reached + HOUR), key=lambda r: str(r["last"]), default=None)
        if best is None or np.datetime64(best["last"], "s") <= reached:
            return []
        chosen.append(best)
        reached = np.datetime64(best["last"], "s")
    return chosen


def _dry(job: _Job, out: Path) -> str:
    return plan.summary(job.source.name, job.requests, *_there(job, out))


def _there(job: _Job, out: Path) -> tuple[dict[str, int], set[str]]:
    """Bytes of the requests that are complete (0: another file holds what it asks for), and the files that the provider had not."""
    known = manifest.read(out) if (out / manifest.NAME).is_file() or (out / manifest.JOURNAL).is_file() else {"files": [], "gaps": []}
    planned = {r.file for r in job.requests}
    there = {str(r["file"]): int(r["bytes"]) for r in known["files"] if r["file"] in planned and (out / str(r["file"])).is_file()}
    elsewhere = Elsewhere(job.source.name, known["files"], job.requests)
    there |= {r.file: 0 for r in job.requests if r.file not in there and (held := elsewhere.holding(r))
              and all((out / str(record["file"])).is_file() for record in held)}
    return there, {str(g["file"]) for g in known["gaps"]}


def _receipt(job: _Job, ledger: manifest.Ledger) -> dict[str, Any]:
    """What a later stage may depend on: equal receipts mean equal files."""
    elsewhere = Elsewhere(job.source.name, ledger.files.values(), job.requests)
    found = [[ledger.files[r.file]] if r.file in ledger.files else elsewhere.holding(r) for r in job.requests]
    records = list({str(record["file"]): record for held in found for record in held}.values())
    return {
        "source": job.source.name, "files": len(records), "bytes": sum(int(r["bytes"]) for r in records),
        "gaps": sorted(r.file for r in job.requests if r.file in ledger.gaps), "plan": plan.digest(job.requests),
        "content": short_hash([[r["file"], r["sha256"]] for r in records], 16), "held": receipts.held(records),
        **({} if job.until is None else {"until": str(job.until)}),
    }


@contextmanager
def _terminating() -> Iterator[None]:
    """SIGTERM ends the transfer in order (Interrupted), as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signals
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted("finished files are kept; run retrieve again to go on")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
