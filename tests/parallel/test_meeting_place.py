"""Where ranks meet: a port that another program has for a while, or keeps."""

from __future__ import annotations

import socket
import threading
import time
from datetime import timedelta

import pytest

from orbit2.errors import OrbitError
from orbit2.parallel import launch
from orbit2.parallel.reduce import gathered
from tests.data import small_ranks
from tests.data.small_ranks import forked_ranks


def test_ranks_meet_once_their_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that looks for a port can itself be given it by the system; then the first rank has to wait a moment."""
    other, port = socket.socket(), small_ranks.free_port()
    other.bind(("", port))
    other.listen()
    monkeypatch.setattr(small_ranks, "free_port", lambda: port)
    closing = threading.Timer(1.5, other.close)
    closing.start()

    def act(rank: int) -> None:
        other.close()  # this process's share of it: the parent's goes later
        with launch.ranks():
            assert gathered(rank) == [0, 1]

    began = time.monotonic()
    codes, ended = forked_ranks(act)
    closing.join()
    assert codes == [0, 0] and min(ended) - began > 1.5


def test_a_port_that_another_keeps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = small_ranks.free_port()
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "TAKEN", timedelta(seconds=0.5))
    with socket.socket() as other:
        other.bind(("", port))
        other.listen()
        with pytest.raises(OrbitError, match=f"did not find each other.*already in use.*127.0.0.1:{port}"), launch.ranks():
            pass


def test_ports_are_none_that_a_client_is_given() -> None:
    assert min(launch.PORTS) > 1024 and max(launch.PORTS) < 32768  # Linux's net.ipv4.ip_local_port_range begins there
