"""NASA Earthdata: login and search by `earthaccess`, files through its authenticated session. Never logs or returns a credential.

Request body: {"short_name", "version" (optional), "pattern" (of the file's name), "first", "last" (ISO times)}. The session is used
directly because earthaccess's own download has no time-out, no resume and no progress, and retries behind the transfer's back.
"""

from __future__ import annotations

import calendar
import fnmatch
import hashlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
from earthaccess import DataGranules

from orbit2.config.sources import EarthdataConfig, SourcesConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients import partial
from orbit2.retrieve.clients.client import Absent, Client, Report, Transient
from orbit2.retrieve.clients.earthdata_login import PASSING, Login, log_in, passing_failures, strategy
from orbit2.retrieve.clients.http import retry_after, shown
from orbit2.sources.source import Request

BLOCK = 1 << 18
LEAST_LIMIT = 2 * 2**30  # where the catalogue gives no size, no file is refused below this one
KEPT = 24  # searches remembered: half-hours of all years would fill the memory
_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_log = logging.getLogger(__name__)


def connect(settings: SourcesConfig) -> Client:
    """Raises OrbitError where no credentials are found; they are first used when a file is fetched."""
    return EarthdataClient(settings.earthdata, settings.transfer.timeout_seconds)


@dataclass(frozen=True)
class Granule:
    """One file in NASA's catalogue. `size` is exact bytes, `least` a lower bound from a rounded size; None where not given."""

    name: str
    url: str
    identifier: str
    size: int | None = None
    least: int | None = None
    algorithm: str | None = None
    checksum: str | None = None


class EarthdataClient:
    """Fetches granules of Earthdata collections. Safe to use from several threads."""

    def __init__(self, config: EarthdataConfig, timeout_seconds: float = 60.0) -> None:
        self.config, self._seconds = config, timeout_seconds
        self._strategy = strategy(config)
        self._mutex = threading.Lock()
        self._login: Login | None = None
        self._renewed = False
        self._local = threading.local()
        self._searches: dict[tuple[str, str, str, str], tuple[threading.Lock, list[list[Granule]]]] = {}

    def host(self, request: Request) -> str:
        return f"earthdata/{request.body['short_name']}"  # one collection lies on one host, known only after the search

    def fetch(self, request: Request, target: Path, report: Report) -> dict[str, Any]:
        """See `Client.fetch`. Facts: URL, the granule's name and identifier, ETag, and the checksum that NASA gave, if it did."""
        granule = self._find(request)
        etag = self._download(granule, target, granule.size or max(LEAST_LIMIT, 20 * request.bytes), report)
        self._verify(granule, target)
        partial.forget(target)
        facts = {"url": granule.url, "granule": granule.name, "identifier": granule.identifier, "etag": etag,
                 "provider_checksum": f"{granule.algorithm} {granule.checksum}" if granule.checksum else None}
        return {key: value for key, value in facts.items() if value}

    # --- login ------------------------------------------------------------------------------------------------------------------

    def _auth(self) -> Login:
        """Logged in once for all threads."""
        with self._mutex:
            if self._login is None:
                self._login = log_in(self.config, self._strategy, self._seconds)
            return self._login

    def _session(self) -> requests.Session:
        """This thread's session: the cookies that a host gave once are used again."""
        auth = self._auth()
        if getattr(self._local, "auth", None) is not auth:
            self._local.auth, self._local.session = auth, auth.get_session()
        session: requests.Session = self._local.session
        return session

    def _refused(self, where: str, used: Login | None) -> NoReturn:
        """A 401 to the login `used`: log in once more where there is a password, else the token is of no use."""
        with self._mutex:
            renew = self._login is not used  # another thread did already
            if not renew and used is not None and used.username and not self._renewed:
                self._login, self._renewed, renew = None, True, True
        if renew:
            raise Transient("the Earthdata token has expired; logging in again", wait=0.0)
        raise OrbitError("Earthdata refuses the credentials (HTTP 401)", where=where,
                         hint=f"the token is expired or invalid: make a new one at https://{self.config.login} (Generate Token) and set "
                              "EARTHDATA_TOKEN, or use EARTHDATA_USERNAME and EARTHDATA_PASSWORD or ~/.netrc")

    # --- search -----------------------------------------------------------------------------------------------------------------

    def _find(self, request: Request) -> Granule:
        """The newest granule whose file name fits. Raises Absent where NASA's catalogue has none."""
        body = request.body
        pattern = str(body["pattern"])
        fitting = [g for g in self._month(body) if fnmatch.fnmatchcase(g.name, pattern)]
        if not fitting:
            raise Absent(f"no granule {pattern} in NASA's catalogue")
        granule = max(fitting, key=lambda g: g.name)
        scheme, secure = urlsplit(granule.url).scheme, self.config.cmr.startswith("https://")
        if scheme != "https" and (secure or scheme != "http"):
            raise OrbitError("NASA's catalogue names no secure address", where=request.file, got=scheme, allowed="https",
                             hint="leave sources.earthdata.cmr as it is by default")  # fmt: skip
        return granule

    def _month(self, body: Mapping[str, Any]) -> list[Granule]:
        """All granules of the collection in the months that the request touches, searched once for all requests of these months."""
        first, last = str(body["first"]), str(body["last"])
        end = calendar.monthrange(int(last[:4]), int(last[5:7]))[1]
        key = (str(body["short_name"]), str(body.get("version", "")), f"{first[:7]}-01T00:00:00Z", f"{last[:7]}-{end}T23:59:59Z")
        with self._mutex:
            lock, found = self._searches.setdefault(key, (threading.Lock(), []))
            while len(self._searches) > KEPT:  # requests come in the order of time
                self._searches.pop(next(iter(self._searches)))
        with lock:
            if not found:
                found.append(self._search(*key))
            return found[0]

    def _search(self, short_name: str, version: str, first: str, last: str) -> list[Granule]:
        auth = self._auth()
        host = urlsplit(self.config.cmr).hostname or self.config.cmr
        try:
            with passing_failures(host):
                query = DataGranules(auth).short_name(short_name).temporal(first, last)
                granules = (query.version(version) if version else query).get_all()
        except RuntimeError as error:  # earthaccess wraps CMR's refusals in it
            answer = getattr(error.__cause__, "response", None)
            status = answer.status_code if answer is not None else 0
            if status == 401:
                self._refused(host, auth)
            if status in PASSING or answer is None:
                raise Transient(f"HTTP {status} from {host}", wait=_wait(answer)) from None
            raise OrbitError(f"NASA's catalogue refuses the search (HTTP {status})", where=host, got=shown(str(error)),
                             hint="what it answered says why; try again later") from None  # fmt: skip
        except (ValueError, KeyError, TypeError):  # not JSON, or not CMR's
            raise Transient(f"{host} did not answer as NASA's catalogue does") from None
        found = [granule for item in granules for granule in _parsed(item)]
        _log.info("%s: %d files in NASA's catalogue from %s to %s", short_name, len(found), first[:10], last[:10])
        return found

    # --- download ---------------------------------------------------------------------------------------------------------------

    def _download(self, granule: Granule, target: Path, limit: int, report: Report) -> str | None:
        """At most `limit` bytes into `target`, going on where an earlier call was cut; returns the ETag."""
        host = urlsplit(granule.url).hostname or granule.url
        have, validator = partial.held(target, granule.url)
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-", "If-Range": validator} if have else {})}
        with passing_failures(host), self._session().get(granule.url, stream=True, headers=headers) as response:
            if response.status_code == 416 and partial.complete(response.headers, have):
                return validator  # it was complete; only the rename was missing
            self._judge(response, granule, target, have, validator)
            have = have if response.status_code == 206 else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length is not None and length.isdigit() else granule.size
            if not have:
                target.unlink(missing_ok=True)
                partial.remember(target, granule.url, response.headers)
            got = have
            with open(target, "ab" if have else "wb") as out:
                for block in response.iter_content(BLOCK):
                    got += len(block)
                    if got > limit:
                        break
                    out.write(block)
                    report(got, total)
            if got > limit:
                target.unlink()
                raise OrbitError("file is larger than it can be", where=granule.name, got=f"more than {limit} bytes",
                                 hint="start again; where it stays so, look at the file at the provider's")  # fmt: skip
            if total is not None and got < total:
                raise Transient(f"connection to {host} cut after {got} of {total} bytes")
            etag: str | None = response.headers.get("ETag")
            return etag

    def _judge(self, response: requests.Response, granule: Granule, target: Path, have: int, validator: str) -> None:
        """Return where the answer is the file (or its rest); else raise what the answer means."""
        host, status = urlsplit(granule.url).hostname or granule.url, response.status_code
        hops = [*response.history, response]
        if granule.url.startswith("https:") and any(hop.url.startswith("http:") for hop in hops):
            raise OrbitError("server redirects from https to http", where=host,
                             hint="leave the addresses as they are by default; a proxy may be in the way")  # fmt: skip
        if status in (206, 416):
            if status == 206 and have and partial.continues(response.headers, have, validator):
                return
            target.unlink(missing_ok=True)
            raise Transient("the server did not continue the file where it was cut; starting it anew", wait=0.0)
        page = response.headers.get("Content-Type", "").lower().startswith("text/html")
        if status == 200 and page:
            login = urlsplit(f"//{self.config.login}").hostname
            text = _text(response)
            if urlsplit(response.url).hostname == login or "earthdata login" in text.lower():
                raise OrbitError("Earthdata asks for a login instead of sending the file", where=granule.name,
                                 hint=f"renew EARTHDATA_TOKEN, and approve the data centre's application at https://{self.config.login}/profile")
            raise Transient(f"{host} sent a web page instead of the file: {text}")
        match status:
            case 200:
                return
            case 404 | 410:
                raise Absent(f"HTTP {status} for {granule.name}")
            case 401:
                self._refused(host, getattr(self._local, "auth", None))
            case 403:
                raise OrbitError("access refused (HTTP 403)", where=granule.name, got=_text(response),
                                 hint=f"accept the licence and approve the data centre's application at https://{self.config.login}/profile")
            case _ if status in PASSING:
                raise Transient(f"HTTP {status} from {host}", wait=_wait(response))
        raise OrbitError(f"the server refuses the request (HTTP {status})", where=granule.name, got=_text(response),
                         hint="what it answered says why; `orbit2 doctor` checks the account")  # fmt: skip

    @staticmethod
    def _verify(granule: Granule, target: Path) -> None:
        """Raise Transient, and drop the file, where it is not what NASA's catalogue describes."""
        size, wrong = target.stat().st_size, None
        if granule.size is not None and size != granule.size:
            wrong = f"{size} bytes instead of {granule.size}"
        elif granule.least is not None and size < granule.least:
            wrong = f"{size} bytes, less than the catalogue says"
        elif granule.algorithm in _HASHES and granule.checksum:
            with open(target, "rb") as handle:
                found = hashlib.file_digest(handle, _HASHES[granule.algorithm]).hexdigest()
            if found.lower() != granule.checksum.lower():
                wrong = f"another {granule.algorithm} checksum than the catalogue's"
        if wrong:
            target.unlink()
            raise Transient(f"{granule.name}: {wrong}")


def _parsed(item: Mapping[str, Any]) -> list[Granule]:
    """The data files of a catalogue record, with what it says of each."""
    umm = item["umm"]
    held = (umm.get("DataGranule") or {}).get("ArchiveAndDistributionInformation") or []
    urls = list(dict.fromkeys(str(link["URL"]) for link in umm.get("RelatedUrls") or [] if link.get("Type") == "GET DATA"))
    urls = [url for url in urls if urlsplit(url).scheme in ("http", "https") and "/opendap/" not in url]
    granules = []
    for url in urls:
        name = urlsplit(url).path.rsplit("/", 1)[-1]
        about = next((a for a in held if a.get("Name") == name), held[0] if len(held) == 1 and len(urls) == 1 else {})
        checksum = about.get("Checksum") or {}
        megabytes = about.get("Size") if str(about.get("SizeUnit", "MB")).upper() == "MB" else None
        size = int(about["SizeInBytes"]) if about.get("SizeInBytes") else None
        granules.append(Granule(
            name=name, url=url, identifier=str(item["meta"]["concept-id"]), size=size,
            least=int(0.9e6 * float(megabytes)) if size is None and megabytes else None,
            algorithm=checksum.get("Algorithm"), checksum=checksum.get("Value")))
    return granules


def _wait(response: requests.Response | None) -> float | None:
    return None if response is None else retry_after(response.headers.get("Retry-After"))


def _text(response: requests.Response) -> str:
    """The beginning of an answer's text, as one short line."""
    head = next(response.iter_content(4096), b"")
    return shown(head.decode("utf-8", "replace")) or "nothing"
