"""What the tests of transfer and clients share: plain files on a local server, fetched through the real transfer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbit2.config.sources import SourcesConfig, TransferConfig
from orbit2.errors import OrbitError
from orbit2.retrieve import clients
from orbit2.retrieve.transfer import Outcome, transfer
from orbit2.sources import manifest
from orbit2.sources.source import Facts, Request

FACTS = Facts("Test files", "none", "10.1/x", "made by a test", "none")
MAGIC = b"DATA"


def content(number: int, size: int = 200_000) -> bytes:
    """Reproducible bytes that begin as `check` wants them."""
    return MAGIC + np.random.default_rng(number).bytes(size - len(MAGIC))


def request(url: str, file: str, *, day: int = 1, size: int = 200_000, **body: object) -> Request:
    stamp = np.datetime64("2020-01-01", "s") + np.timedelta64(day - 1, "D")
    return Request(file, "http", {"url": url, **body}, ("x",), stamp, stamp, size)


def settings(**changes: float) -> TransferConfig:
    return TransferConfig.model_validate({"backoff_seconds": 0.01, "backoff_limit": 0.05, "timeout_seconds": 5.0, **changes})


def check(path: Path, wanted: Request) -> None:
    if not path.read_bytes().startswith(MAGIC):
        raise OrbitError("not a data file", where=path, hint="look at it")


def fetch(folder: Path, requests: Sequence[Request], transfer_settings: TransferConfig | None = None, source: str = "plain") -> Outcome:
    """Fetch what the manifest does not have, as the stage does."""
    chosen = transfer_settings or settings()
    with manifest.ledger(folder, source) as ledger:
        missing = [r for r in requests if r.file not in ledger.files]
        return transfer(missing, planned=len(requests), ledger=ledger, check=check, facts=FACTS, settings=chosen,
                        connect=lambda name: clients.client(name, SourcesConfig(transfer=chosen)))
