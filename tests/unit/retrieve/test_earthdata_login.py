"""Logging in to Earthdata: where credentials are found, what is said when they are wrong, and that they are never shown."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients import client
from orbit2.retrieve.clients.client import Transient
from tests.data.earthdata_client import PASSWORD, connect, fetch, rain_on
from tests.data.servers.base import page, status
from tests.data.servers.earthdata import TOKEN, EarthdataServer, LoginServer

pytestmark = pytest.mark.usefixtures("nobody")


def test_without_credentials_the_three_ways_are_named() -> None:
    with pytest.raises(OrbitError, match=r"EARTHDATA_TOKEN.*EARTHDATA_USERNAME and EARTHDATA_PASSWORD.*~/\.netrc"):
        client("earthdata", SourcesConfig())


def test_half_a_pair_is_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_USERNAME", "someone")
    with pytest.raises(OrbitError, match="no Earthdata credentials"):
        client("earthdata", SourcesConfig())


def test_a_token_with_a_line_feed_works_and_a_damaged_one_is_not_shown(
    server: EarthdataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", f"{TOKEN}\n")
    fetch(connect(server), rain_on("2020-05-04")[0], tmp_path / "a.part")
    monkeypatch.setenv("EARTHDATA_TOKEN", "two-l1nes\nof-token")
    with pytest.raises(OrbitError, match="EARTHDATA_TOKEN holds characters that no token has") as caught:
        connect(server)
    assert "two-l1nes" not in str(caught.value)


def test_an_empty_token_gives_way_to_user_and_password(server: EarthdataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoginServer(tmp_path) as login:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(login.certificate))
        for name, value in (("TOKEN", ""), ("USERNAME", login.username), ("PASSWORD", PASSWORD)):
            monkeypatch.setenv(f"EARTHDATA_{name}", value)
        fetch(connect(server, login=login.host), rain_on("2020-05-04")[0], tmp_path / "a.part")
        assert login.seen


@pytest.mark.parametrize("text", ["machine elsewhere.org login a password b\n", ""])
def test_a_netrc_without_the_login_host_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "netrc").write_text(text)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(OrbitError, match="no Earthdata credentials"):
        client("earthdata", SourcesConfig())


def test_a_broken_netrc_is_named_without_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine urs.earthdata.nasa.gov login me pasword {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(OrbitError, match=r"netrc: cannot be read as a netrc file") as caught:
        client("earthdata", SourcesConfig())
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("way", ["environment", "netrc"])
def test_user_and_password_are_exchanged_for_a_token_over_https(
    server: EarthdataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with LoginServer(tmp_path) as login:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(login.certificate))
        if way == "environment":
            monkeypatch.setenv("EARTHDATA_USERNAME", login.username)
            monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
        else:
            (tmp_path / "netrc").write_text(f"machine {login.host}\n  login {login.username}\n  password {PASSWORD}\n")
            (tmp_path / "netrc").chmod(0o600)
            monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        connected = connect(server, login=login.host)
        facts = [fetch(connected, r, tmp_path / f"{i}.part") for i, r in enumerate(rain_on("2020-05-04", "2020-05-05"))]
        assert {r.path for r in login.seen} == {"/api/users/find_or_create_token"}
        assert sum(r.status == 200 for r in login.seen) == 1  # one login for all files
    assert all("authorization" in r.headers for r in server.seen) and PASSWORD not in str([r.headers for r in server.seen])
    for secret in (PASSWORD, TOKEN):
        assert secret not in caplog.text and secret not in json.dumps(facts)


def test_a_wrong_password_is_said_without_the_password(
    server: EarthdataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with LoginServer(tmp_path) as login:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(login.certificate))
        monkeypatch.setenv("EARTHDATA_USERNAME", login.username)
        monkeypatch.setenv("EARTHDATA_PASSWORD", "wrong-one")
        with pytest.raises(OrbitError, match=r"refuses the user name or password \(HTTP 401\); check EARTHDATA_USERNAME") as caught:
            fetch(connect(server, login=login.host), rain_on("2020-05-04")[0], tmp_path / "a.part")
        assert "wrong-one" not in str(caught.value) + caplog.text and "Invalid user" not in caplog.text  # nor the server's whole answer
        login.script("find_or_create_token", status(503), status(503))
        with pytest.raises(Transient, match=r"HTTP 503"):
            fetch(connect(server, login=login.host), rain_on("2020-05-04")[0], tmp_path / "a.part")
        login.script("find_or_create_token", page(), page())
        with pytest.raises(Transient, match="did not answer with"):
            fetch(connect(server, login=login.host), rain_on("2020-05-04")[0], tmp_path / "a.part")


def test_an_untrusted_certificate_is_explained(server: EarthdataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoginServer(tmp_path) as login:
        monkeypatch.setenv("EARTHDATA_USERNAME", login.username)
        monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
        with pytest.raises(OrbitError, match=r"certificate is not trusted.*REQUESTS_CA_BUNDLE"):
            fetch(connect(server, login=login.host), rain_on("2020-05-04")[0], tmp_path / "a.part")


def test_an_expired_token_is_refused_with_what_to_do_and_never_shown(
    server: EarthdataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EARTHDATA_TOKEN", "an-0ld-token")
    with pytest.raises(OrbitError, match=r"refuses the credentials \(HTTP 401\).*expired or invalid.*EARTHDATA_TOKEN") as caught:
        fetch(connect(server), rain_on("2020-05-04")[0], tmp_path / "a.part")
    assert "an-0ld-token" not in str(caught.value) + caplog.text


def test_a_token_that_expires_on_the_way_is_renewed_once_where_there_is_a_password(
    server: EarthdataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [request] = rain_on("2020-05-04")
    with LoginServer(tmp_path) as login:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(login.certificate))
        monkeypatch.setenv("EARTHDATA_USERNAME", login.username)
        monkeypatch.setenv("EARTHDATA_PASSWORD", PASSWORD)
        connected = connect(server, login=login.host)
        server.script("/data/", status(401), status(401))
        with pytest.raises(Transient, match="logging in again"):
            fetch(connected, request, tmp_path / "a.part")
        with pytest.raises(OrbitError, match="HTTP 401"):
            fetch(connected, request, tmp_path / "a.part")
        assert sum(r.path.endswith("find_or_create_token") and "authorization" in r.headers for r in login.seen) == 2
