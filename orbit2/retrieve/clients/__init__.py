"""The clients that talk to providers: one module each, all with the interface of `client.Client`.

A module `orbit2.retrieve.clients.<name>` has a function `connect(settings: SourcesConfig) -> Client`, which raises OrbitError
where credentials are missing. It is imported when the first request wants it, so that nobody needs a library he does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast, get_args

from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients.client import Client
from orbit2.sources.source import ClientName


def client(name: ClientName, settings: SourcesConfig) -> Client:
    """The client of that name, ready to fetch. Raises OrbitError for an unknown name or missing credentials."""
    if name not in get_args(ClientName):
        raise OrbitError("unknown client", where="client", got=str(name), allowed=", ".join(get_args(ClientName)),
                         hint="choose one of these")  # fmt: skip
    return cast(Client, import_module(f"orbit2.retrieve.clients.{name}").connect(settings))
