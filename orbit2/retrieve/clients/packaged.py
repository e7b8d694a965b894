"""Writes the files that ship with orbit2, as if a provider had sent them. Never uses the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orbit2.config.sources import SourcesConfig
from orbit2.retrieve import packaged
from orbit2.retrieve.clients.client import Client, Report
from orbit2.sources.source import Request


def connect(settings: SourcesConfig) -> Client:
    return PackagedClient()


class PackagedClient:
    """Request body: {"packaged": "sample" | "static"}."""

    def host(self, request: Request) -> str:
        return "packaged"

    def fetch(self, request: Request, target: Path, report: Report) -> dict[str, Any]:
        item = packaged.ITEMS[str(request.body["packaged"])]
        item.write(target)
        report(target.stat().st_size, target.stat().st_size)
        return {"origin": item.origin}
