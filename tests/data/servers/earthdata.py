"""NASA Earthdata on this machine: the catalogue (CMR), login (EDL) and protected files that `earthaccess` asks for.

    with EarthdataServer(truth, box=(30, 34, 250, 254)) as server:   # truth(variable, day, lat, lon) -> mm or K
        settings = EarthdataConfig(cmr=server.url); os.environ["EARTHDATA_TOKEN"] = server.token

Files are made when first asked for: Daymet years (365 days of the real 1 km grid's cells around `box`), IMERG days and half-hours
(0.1 degree cells around `box`). `absent` names files that the catalogue does not list. The https login is `LoginServer`.
"""

from __future__ import annotations

import base64
import datetime
import fnmatch
import hashlib
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from tests.data import daymet_files, imerg_files
from tests.data.servers.base import Answer, Seen, Server

Truth = Callable[[str, np.datetime64, np.ndarray, np.ndarray], np.ndarray]  # variable, day, lat [Y, X], lon [Y, X] -> mm or K
TOKEN = "tok3n-that-must-never-be-seen"
RAIN = "total_precipitation_24hr"
_RUNS = {"": "F", "-L": "L", "-E": "E"}


class EarthdataServer(Server):
    """Catalogue and protected files on one http address; data need `Authorization: Bearer <token>`."""

    def __init__(self, field: Truth, *, box: Sequence[float] | None = None, token: str = TOKEN, absent: Sequence[str] = (),
                 sizes: bool = False, letter: str = "B", years: tuple[int, int] = (1980, 2025)) -> None:
        super().__init__()
        self.field, self.box, self.token, self.absent = field, box, token, tuple(absent)
        self.sizes, self.letter, self.years = sizes, letter, years
        self._made: dict[str, bytes] = {}
        self._making = threading.Lock()

    def respond(self, request: Seen) -> Answer:
        """The catalogue also answers without a token, as CMR does; a wrong token is refused there too."""
        sent = request.headers.get("authorization")
        if sent is not None and sent != f"Bearer {self.token}":
            return _json({"errors": ["Token does not exist"]}, 401)
        match request.path.split("/")[1:]:
            case ["search", "granules.umm_json"]:
                return self._search(request)
            case ["search", "collections.umm_json"]:
                return _json({"hits": 0, "items": []}, headers={"CMR-Hits": "0"})
            case ["data", _, name]:
                if sent is None:
                    return _json({"error": "unauthorized"}, 401)
                if any(fnmatch.fnmatch(name, pattern) for pattern in self.absent):
                    return Answer(b"not found", 404, "text/plain")
                return Answer(self.content(name), headers={"Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"})
        return Answer(b"not found", 404, "text/plain")

    def content(self, name: str) -> bytes:
        """The bytes of a file, made once."""
        with self._making:
            if name not in self._made:
                with tempfile.TemporaryDirectory() as folder, NETCDF4_PYTHON_LOCK:
                    self._made[name] = self._make(Path(folder) / name).read_bytes()
            return self._made[name]

    # --- catalogue --------------------------------------------------------------------------------------------------------------

    def _search(self, request: Seen) -> Answer:
        asked = request.query
        short = asked.get("short_name", [""])[0]
        first, last = (np.datetime64(text.removesuffix("Z"), "s") for text in asked["temporal[]"][0].split(","))
        found = [name for name in self._names(short, asked.get("version", [None])[0], first, last)
                 if not any(fnmatch.fnmatch(name, pattern) for pattern in self.absent)]
        size = int(asked.get("page_size", ["10"])[0])
        after = request.headers.get("cmr-search-after")
        begin = json.loads(after)[0] if after else 0
        page = found[begin : begin + size]
        headers = {"CMR-Hits": str(len(found)), "CMR-Took": "1"}
        if page:
            headers["CMR-Search-After"] = json.dumps([begin + len(page)])
        return _json({"hits": len(found), "took": 1, "items": [self._record(short, name) for name in page]}, headers=headers)

    def _names(self, short: str, version: str | None, first: np.datetime64, last: np.datetime64) -> list[str]:
        days = np.arange(first.astype("datetime64[D]"), last.astype("datetime64[D]") + 1)
        if short == "Daymet_Daily_V4R1_2129":
            years = sorted({int(str(day)[:4]) for day in days})
            return [f"daymet_v4_daily_{region}_{name}_{year}.nc" for year in years if self.years[0] <= year <= self.years[1]
                    for region in ("hi", "na", "pr") for name in ("dayl", "prcp", "srad", "swe", "tmax", "tmin", "vp")]
        if short.startswith("GPM_3IMERGD") and version in ("06", "07"):
            run = next(infix for infix, code in _RUNS.items() if short == f"GPM_3IMERGD{code}")
            ending = f"V07{self.letter}.nc4" if version == "07" else "V06.nc4"
            return [f"3B-DAY{run}.MS.MRG.3IMERG.{str(day).replace('-', '')}-S000000-E235959.{ending}" for day in days]
        if short.startswith("GPM_3IMERGHH") and version in ("06", "07"):
            run = {"": "", "L": "-L", "E": "-E"}[short.removeprefix("GPM_3IMERGHH")]
            return [f"3B-HHR{run}.MS.MRG.3IMERG.{str(day).replace('-', '')}-S{m // 60:02d}{m % 60:02d}00-E{m // 60:02d}{m % 60 + 29:02d}59."
                    f"{m:04d}.V{version}{self.letter}.HDF5" for day in days for m in range(0, 1440, 30)]
        return []

    def _record(self, short: str, name: str) -> dict[str, Any]:
        """A granule as CMR's umm_json gives it: ORNL with exact sizes and SHA-256, GES DISC with a rounded size."""
        provider = "ORNL_CLOUD" if name.startswith("daymet") else "GES_DISC"
        about: dict[str, Any] = {"Name": name}
        if self.sizes and name.startswith("daymet_v4_daily_na_") and name.split("_")[-2] in daymet_files.UNITS:
            content = self.content(name)
            about |= {"SizeInBytes": len(content), "Size": len(content) / 2**20, "SizeUnit": "MB", "Format": "netCDF-4",
                      "Checksum": {"Value": hashlib.sha256(content).hexdigest(), "Algorithm": "SHA-256"}}
        elif self.sizes and provider == "GES_DISC":
            about = {"Name": "Not provided", "Size": len(self.content(name)) / 1e6, "SizeUnit": "MB", "Format": "Not provided"}
        identity = int(hashlib.md5(name.encode()).hexdigest()[:8], 16)
        return {
            "meta": {"concept-type": "granule", "concept-id": f"G{identity}-{provider}", "provider-id": provider, "revision-id": 1,
                     "native-id": name, "revision-date": "2024-01-01T00:00:00.000Z"},
            "umm": {
                "GranuleUR": f"Daymet_Daily_V4R1.{name}" if provider == "ORNL_CLOUD" else f"{short}:{name}",
                "CollectionReference": {"ShortName": short, "Version": "4.1"},
                "RelatedUrls": [
                    {"URL": f"{self.url}/data/{short}/{name}", "Type": "GET DATA"},
                    {"URL": f"s3://cumulus-prod-protected/{short}/{name}", "Type": "GET DATA VIA DIRECT ACCESS"},
                    {"URL": f"https://opendap.earthdata.nasa.gov/collections/C1/granules/{name}", "Type": "USE SERVICE API",
                     "Subtype": "OPENDAP DATA"}],
                "DataGranule": {"DayNightFlag": "Unspecified", "ProductionDateTime": "2024-01-01T00:00:00.000Z",
                                "ArchiveAndDistributionInformation": [about]},
                "MetadataSpecification": {"Name": "UMM-G", "Version": "1.6.6", "URL": "https://cdn.earthdata.nasa.gov/umm/granule/v1.6.6"}}}

    # --- files ------------------------------------------------------------------------------------------------------------------

    def _make(self, path: Path) -> Path:
        name = path.name
        if name.startswith("daymet"):
            short, year = name.removesuffix(".nc").split("_")[-2:]
            x, y = daymet_files.window(self.box) if self.box else (daymet_files.GRID_X, daymet_files.GRID_Y)
            return daymet_files.write(path, short, daymet_files.days_of(int(year)),
                                      lambda day, lat, lon: self.field(daymet_files.CANONICAL[short], day, lat, lon), x, y)
        stamp = name.split("3IMERG.")[1]
        day = np.datetime64(f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}")
        lat, lon = imerg_files.window(self.box) if self.box else (imerg_files.LAT, imerg_files.LON)
        version = "07" if ".V07" in name else "06"
        if "-DAY" in name:
            return imerg_files.daily(path, day, lambda when, la, lo: self.field(RAIN, when, la, lo), version=version, lat=lat, lon=lon)
        begin = day.astype("datetime64[s]") + np.timedelta64(60 * int(stamp.split(".")[1]), "s")
        return imerg_files.half_hour(path, begin, lambda when, la, lo: self.field(RAIN, day, la, lo) / 24, version=version,
                                     lat=lat, lon=lon)


class LoginServer(Server):
    """Earthdata Login over https with a certificate made on the spot: `certificate` goes into REQUESTS_CA_BUNDLE, `host` is the login."""

    def __init__(self, folder: Path, *, username: str = "someone", password: str = "pa55word-unseen", token: str = TOKEN) -> None:
        super().__init__()
        self.username, self.password, self.token = username, password, token
        self.certificate = folder / "login.pem"
        _certify(self.certificate)

    def __enter__(self) -> Self:
        super().__enter__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.host = f"localhost:{self._http.server_port}"  # another name than the data's: the password must go here only
        self.url = f"https://{self.host}"
        return self

    def respond(self, request: Seen) -> Answer:
        right = "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if request.headers.get("authorization") != right:
            return _json({"error": "invalid_credentials", "error_description": "Invalid user credentials"}, 401)
        if (request.method, request.path) == ("POST", "/api/users/find_or_create_token"):
            return _json({"access_token": self.token, "token_type": "Bearer", "expiration_date": "12/31/2099"})
        return Answer(b"not found", 404, "text/plain")


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(json.dumps(content).encode(), status, "application/json;charset=utf-8", headers or {}, ranges=False, etag="")


def _certify(path: Path) -> None:
    """A self-signed certificate for localhost with its key, PEM."""
    from cryptography import x509  # comes with google-auth
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256()))
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
