"""What the tests of the Earthdata client share: a truth to serve, requests for it, and one call that fetches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orbit2.config.sources import EarthdataConfig, ImergConfig
from orbit2.retrieve.clients.earthdata import EarthdataClient
from orbit2.sources.imerg import Imerg
from orbit2.sources.source import Need, Request
from tests.data.servers.earthdata import RAIN, EarthdataServer

PASSWORD = "pa55word-unseen"


def truth(variable: str, day: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return 280.0 + lat + 0.1 * lon + 0.01 * (day - np.datetime64("2020-01-01")).astype(int)


def connect(server: EarthdataServer, *, login: str = "urs.example.invalid", seconds: float = 5.0) -> EarthdataClient:
    return EarthdataClient(EarthdataConfig(cmr=server.url, login=login), seconds)


def rain_on(*days: str, **config: object) -> list[Request]:
    wanted = [np.datetime64(day, "D") for day in days]
    return Imerg(ImergConfig(**config)).plan(Need((RAIN,), wanted[0], wanted[-1]))  # type: ignore[arg-type]


def fetch(connected: EarthdataClient, request: Request, target: Path) -> dict[str, object]:
    return connected.fetch(request, target, lambda got, total: None)
