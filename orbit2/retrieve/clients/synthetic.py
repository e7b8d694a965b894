"""Makes the files of the synthetic test world here. Never uses the network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from orbit2.config.sources import SYNTHETIC, SourcesConfig
from orbit2.grid import global_grid
from orbit2.retrieve.clients.client import Client, Report
from orbit2.sources.source import Request
from orbit2.sources.synthetic.provider import write_year
from orbit2.sources.synthetic.world import World


def connect(settings: SourcesConfig) -> Client:
    return SyntheticClient()


class SyntheticClient:
    """Request body: {"degrees", "seed", "year", "formula"}, and "bands" and "waves" where they are not 0."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._worlds: dict[tuple[float, int], World] = {}

    def host(self, request: Request) -> str:
        return "formula"

    def fetch(self, request: Request, target: Path, report: Report) -> dict[str, Any]:
        of = {key: float(request.body.get(key, 0.0)) for key in ("bands", "waves")}
        world = self._world(float(request.body["degrees"]), int(request.body["seed"]), **of)
        write_year(target, int(request.body["year"]), world)
        report(target.stat().st_size, target.stat().st_size)
        return {"origin": SYNTHETIC}

    def _world(self, degrees: float, seed: int, bands: float, waves: float) -> World:
        """One of its own for each file: a world remembers the days before. Its land is read once, by one thread (the netCDF library)."""
        with self._mutex:
            if (degrees, seed) not in self._worlds:
                self._worlds[degrees, seed] = World(global_grid(degrees), seed)
            known = self._worlds[degrees, seed]
        return World(known.grid, seed, known.land, known.altitude, bands, waves)
