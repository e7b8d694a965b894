"""PRISM's web service on this machine: /<region>/<resolution>/<element>/<YYYYMMDD> -> zip; each file twice a day at most.

    with PrismServer(lambda element, day: zip_bytes or None) as server:
        config = PrismConfig(url=server.url + "/prism/data/get")

Past the limit it answers like the service: status 200 and a sentence. A day that it does not have: 404, or the service's own
sentence about an invalid date (`invalid_date_says`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from tests.data.servers.base import Answer, Seen, Server

LIMIT = ("You have tried to download the file {file} more than twice in one day (Pacific local time).  "
         "Note that repeated offenses may result in your IP address being blocked.")
_PATH = re.compile(r".*/(?P<region>[a-z]{2})/(?P<resolution>4km|800m)/(?P<element>[a-z]+)/(?P<day>\d{8})$")


class PrismServer(Server):
    """`zips` gives the content for an element and a day (YYYYMMDD), or None where there is none."""

    def __init__(
        self, zips: Callable[[str, str], bytes | None], *, limit: int = 2, etags: bool = True, invalid_date_says: bool = False
    ) -> None:
        super().__init__()
        self._zips, self._limit, self._etags, self._says = zips, limit, etags, invalid_date_says
        self.downloads: Counter[str] = Counter()

    def respond(self, request: Seen) -> Answer:
        match = _PATH.fullmatch(request.path)
        content = self._zips(match["element"], match["day"]) if match else None
        if match is None or content is None:
            if match and self._says:
                return Answer(f"Invalid date: {match['day']}</br>Valid day ranges for the given month are 01-30".encode(), 200, "text/html",
                              ranges=False, etag="")
            return Answer(b"<html><body>Not Found</body></html>", 404, "text/html")
        file = f"prism_{match['element']}_{match['region']}_{match['resolution']}_{match['day']}.zip"
        with self._lock:
            self.downloads[file] += "range" not in request.headers
            over = self.downloads[file] > self._limit
        if over:
            return Answer(LIMIT.format(file=file).encode(), 200, "text/html; charset=UTF-8", ranges=False, etag="")
        headers = {"Content-Disposition": f'attachment; filename="{file}"'}
        return Answer(content, 200, "application/zip", headers, ranges=self._etags, etag=None if self._etags else "")
