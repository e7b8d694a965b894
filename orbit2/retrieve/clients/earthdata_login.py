"""Login to NASA Earthdata by `earthaccess`, and what failures on the way mean. Never logs or returns a credential."""

from __future__ import annotations

import logging
import netrc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from earthaccess import Auth
from earthaccess.auth import BasicAuthResponseHook, netrc_path
from earthaccess.exceptions import LoginAttemptFailure, LoginStrategyUnavailable
from earthaccess.system import PROD, CMRBaseURL, EDLHostname, System
from requests.adapters import HTTPAdapter

from orbit2.config.sources import EarthdataConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients.client import Transient
from orbit2.retrieve.clients.http import shown

PASSING = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 507})  # statuses that may be better next time
_CUT = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)


class _Timed(HTTPAdapter):
    """Gives every request a time-out: a server that falls silent counts as lost."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.seconds
        return super().send(request, *args, **kwargs)


class Login(Auth):
    """earthaccess's login with time-outs, the status of its last answer, and login hosts that have a port."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.status = 0

    def get_session(self) -> requests.Session:
        session = super().get_session()
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Timed(self.seconds))
        session.hooks["response"] = [self._note]
        if self.username and self.password:
            host = urlsplit(f"//{self.system.edl_hostname}").hostname or ""
            session.hooks["response"].insert(0, BasicAuthResponseHook(host, (self.username, self.password)))
        return session

    def _get_credentials(self, username: str | None, password: str | None, user_token: str | None) -> bool:
        """An empty EARTHDATA_TOKEN is none; one read from a file may end with a line feed."""
        return bool(super()._get_credentials(username, password, (user_token or "").strip() or None))

    def _note(self, response: requests.Response, **_: Any) -> requests.Response:
        self.status = response.status_code
        return response


def strategy(config: EarthdataConfig) -> str:
    """Where the credentials are. Raises OrbitError naming the three places where there are none."""
    token = os.environ.get("EARTHDATA_TOKEN", "").strip()
    if not all("!" <= character <= "~" for character in token):  # a library's own message would show it
        raise OrbitError("EARTHDATA_TOKEN holds characters that no token has", where="EARTHDATA_TOKEN",
                         hint="copy it again, in one line without spaces")  # fmt: skip
    if token or (os.environ.get("EARTHDATA_USERNAME") and os.environ.get("EARTHDATA_PASSWORD")):
        return "environment"
    path = netrc_path()
    try:
        known = netrc.netrc(str(path)).authenticators(config.login) if path.is_file() else None
    except netrc.NetrcParseError:
        raise OrbitError("cannot be read as a netrc file", where=path, allowed=f"machine {config.login} login NAME password WORD",
                         hint="write the line as shown") from None  # fmt: skip
    except OSError as error:
        raise OrbitError(f"cannot be read ({error.strerror})", where=path, hint="give yourself the right to read it (chmod 600)") from None
    if known is None or not known[0] or not known[2]:
        raise OrbitError("no Earthdata credentials", where=config.login,
                         hint="set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or add "
                              f"`machine {config.login} login NAME password WORD` to ~/.netrc (free account: https://{config.login})")
    return "netrc"


def log_in(config: EarthdataConfig, strategy: str, seconds: float) -> Login:
    warnings.filterwarnings("ignore", message=r"As of version 1\.0", category=FutureWarning)  # earthaccess warns of its own methods
    auth = Login(seconds)
    system = System(cmr_base_url=CMRBaseURL(f"{config.cmr}/search/"), status_url=PROD.status_url, status_api_url=PROD.status_api_url,
                    edl_hostname=EDLHostname(config.login))
    quiet = logging.getLogger("earthaccess.auth")
    quiet.addFilter(_not_errors)  # it logs the server's whole answer; the exception below says what matters
    try:
        with passing_failures(config.login):
            auth.login(strategy=strategy, system=system)
    except LoginAttemptFailure:
        if auth.status in PASSING:
            raise Transient(f"HTTP {auth.status} from {config.login}") from None
        raise OrbitError(f"Earthdata refuses the user name or password (HTTP {auth.status})", where=config.login,
                         hint="check EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or the entry in ~/.netrc") from None
    except LoginStrategyUnavailable as error:
        raise OrbitError("no Earthdata credentials", where=config.login, hint=shown(str(error))) from None
    except (ValueError, KeyError, TypeError):
        raise Transient(f"{config.login} did not answer with a token") from None
    finally:
        quiet.removeFilter(_not_errors)
    return auth


def _not_errors(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


@contextmanager
def passing_failures(host: str) -> Iterator[None]:
    """Failures of the network as Transient, without addresses (a redirect's may hold a signature)."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise OrbitError("the server's certificate is not trusted", where=host,
                             hint="behind a proxy with its own certificate, set REQUESTS_CA_BUNDLE") from None
        raise Transient(f"secure connection to {host} failed") from None
    except requests.exceptions.Timeout:
        raise Transient(f"no answer from {host} in time") from None
    except requests.exceptions.JSONDecodeError:
        raise Transient(f"{host} did not answer with JSON") from None
    except requests.exceptions.TooManyRedirects:
        raise OrbitError("server redirects in a circle", where=host, hint="the credentials may be refused: renew EARTHDATA_TOKEN") from None
    except _CUT as error:
        raise Transient(f"connection to {host} failed ({type(error).__name__})") from None
