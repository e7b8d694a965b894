"""Provider archives that are already on disk: whose file is it, and which request does it answer? Links are made beside what `retrieve`
fetches; nothing is copied, and no file of the user's is written to."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from orbit2.config.sources import SourcesConfig
from orbit2.door.ecmwf import LEXICON
from orbit2.door.places import SUFFIXES
from orbit2.errors import OrbitError
from orbit2.files import short_hash
from orbit2.progress import counted, number
from orbit2.sources import catalogue, manifest
from orbit2.sources.source import Need, Request, Source

log = logging.getLogger(__name__)
HOUR = np.timedelta64(3600, "s")
TOLD = 5  # files that are no provider's, of which the reason is said
ENDS = (*SUFFIXES, ".nc4", ".bil.zip", ".tif")


@dataclass(frozen=True)
class Recognised:
    """A file of the user's, and the request that it answers."""

    path: Path
    source: str
    request: Request


def adopt(folder: Path, settings: SourcesConfig, only: str | None = None) -> None:
    """Enter the provider files below `folder` (of the source `only`, where given) into the manifests under `sources.resources`.

    Files are told by what they hold, so that they may have any name. Prints what was found, and what is no file of a provider. Raises
    OrbitError where nothing is.
    """
    if not folder.is_dir():
        raise OrbitError("not a folder", where=folder, hint="--adopt FOLDER looks through all files below it")
    paths = list(_files(folder))
    providers = {name: catalogue.source(name, settings) for name in KINDS if only in (None, name)}
    if not providers:
        raise OrbitError("archives of this source are not recognised", where="SOURCE", got=only, allowed=", ".join(KINDS),
                         hint="name files of your own under `files` of a dataset instead")  # fmt: skip
    with ThreadPoolExecutor(settings.transfer.workers) as pool:
        told = list(counted(pool.map(lambda path: recognise(path, providers), paths), "looking through files", len(paths), "file"))
    found = [one for one in told if isinstance(one, Recognised)]
    for name, provider in providers.items():
        own = [one for one in found if one.source == name]
        if own:
            print(_enter(own, provider, Path(settings.resources) / name / manifest.VERSION))
    others = [(path, why) for path, why in zip(paths, told, strict=True) if isinstance(why, str)]
    for path, why in others[:TOLD]:
        print(f"  not adopted: {path}: {why}")
    if len(others) > TOLD:
        print(f"  and {len(others) - TOLD} more files that are no provider's")
    if not found:
        raise OrbitError("no provider's file is in this folder", where=folder, got=f"{len(paths)} files", allowed=", ".join(providers),
                         hint="your own data need no adoption: see `source: files`")  # fmt: skip


def recognise(path: Path, providers: dict[str, Source]) -> Recognised | str:
    """Whose file it is, checked as if it had just been fetched; else why it is nobody's."""
    reasons = {}
    for name, provider in providers.items():
        try:
            request = KINDS[name](path, provider)
            if request is not None:
                provider.check(path, request)
                return Recognised(path, name, request)
        except OrbitError as error:
            reasons[name] = str(error).replace(f"{path}: ", "")
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())[:300] or "no provider's layout"


def _enter(own: Sequence[Recognised], provider: Source, out: Path) -> str:
    """Links and records of one source; those that are there already stay."""
    size = links = 0
    with manifest.ledger(out, provider.name) as ledger:
        for one in own:
            place = out / one.request.file
            known = ledger.files.get(one.request.file)
            if known is not None and manifest.untouched(out, known):
                continue
            if os.path.lexists(place) and not place.is_symlink():
                continue  # fetched: retrieve says whether it is whole
            place.unlink(missing_ok=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(one.path.resolve())
            facts, request = provider.facts, one.request
            ledger.add(manifest.entry(
                place, file=request.file, origin=f"adopted: {one.path.resolve()}", licence=facts.licence, doi=facts.doi,
                attribution=facts.attribution, variables=request.variables, first=request.first, last=request.last, box=request.box,
                quick=True))  # fmt: skip
            links, size = links + 1, size + one.path.stat().st_size
    first, last = min(one.request.first for one in own), max(one.request.last for one in own)
    return (f"{provider.name}: {number(len(own), 'file')} recognised ({str(first)[:10]} to {str(last)[:10]}), {links:,} of them new"
            f" ({size / 1e9:,.1f} GB), linked from {out}")  # fmt: skip


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if name.lower().endswith(ENDS))


def _prism(path: Path, provider: Source) -> Request | None:
    from orbit2.sources.prism import ELEMENTS
    from orbit2.sources.prism_zip import inspect

    with open(path, "rb") as handle:
        if handle.read(2) != b"PK":
            return None
    found = inspect(path)
    name = next((name for name, element in ELEMENTS.items() if element == found.element), None)
    if name is None:
        raise OrbitError("not an element that is used", where=path, got=found.element, allowed=", ".join(ELEMENTS.values()),
                         hint="leave the file out of the folder")  # fmt: skip
    return provider.plan(Need((name,), found.day, found.day))[0]


def _imerg(path: Path, provider: Source) -> Request | None:
    from orbit2.sources.imerg import NAME, Imerg, granule_of

    found = granule_of(path, cast(Imerg, provider).config.product)
    day = found.day.astype("datetime64[D]")
    return next((r for r in provider.plan(Need((NAME,), day, day)) if r.body.get("slot") in (None, found.slot)), None)


def _daymet(path: Path, provider: Source) -> Request | None:
    from orbit2.sources.daymet import held_in

    for name in provider.offers():
        days = held_in(path, name)
        if days is not None:
            return provider.plan(Need((name,), days[0], days[0]))[0]
    return None


def _era5(path: Path, provider: Source) -> Request | None:
    """By the hours that all fields of the file have, and the area that it covers."""
    from orbit2.sources.era5 import held_in

    held = held_in(path, [name for name in provider.offers() if name in LEXICON])
    if held is None:
        return None
    variables, first, last, box = held
    return Request(f"adopted/{short_hash([str(path.resolve())])}{path.suffix}", "cds", {"adopted": str(path)}, variables, first, last,
                   path.stat().st_size, box)  # fmt: skip


KINDS: dict[str, Callable[[Path, Source], Request | None]] = {"prism": _prism, "imerg": _imerg, "daymet": _daymet, "era5": _era5}
