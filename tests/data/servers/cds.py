"""A Climate Data Store as cdsapi 0.7.7 speaks to it: jobs that wait in a queue, results made on demand from an analytic field.

    with CdsServer(field=lambda name, times, lat, lon: ...) as server:
        server.accept(dataset)                      # its licence; datasets are accepted unless `licences` says otherwise
        ... CDSAPI_KEY = server.key, sources.era5.url = server.api ...
        assert len(server.submitted) == 1

Other faults (cut, status, wrong_length, ...) by `server.script("/asset", cut(1000))`, see `base.py`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.data.era5_cds import Field, result
from tests.data.servers.base import Answer, Seen, Server

KEY = "12345678-secret-token-of-the-test-90ab"


@dataclass
class Job:
    id: str
    dataset: str
    request: Mapping[str, Any]
    looks: int = 0  # how often it was asked for
    content: bytes | None = None
    type: str = ""
    gone: str = ""  # "job": deleted; "result": its results; "asset": its file
    sent: list[int] = field(default_factory=list)


class CdsServer(Server):
    """`polls`: looks at a job until it is done. `fails`: messages with which the next jobs end, one each ("" succeeds)."""

    def __init__(self, field: Field, *, polls: int = 1, key: str = KEY, unaccepted: Collection[str] = (), fails: Collection[str] = (),
                 expver: str = "0001", spacing: float = 0.25) -> None:
        super().__init__()
        self.field, self.polls, self.key, self.expver, self.spacing = field, polls, key, expver, spacing
        self.unaccepted, self.fails = set(unaccepted), list(fails)
        self.jobs: dict[str, Job] = {}
        self.failed: dict[str, str] = {}
        self.size_error = 0  # added to the size that results claim
        self.checksum: str | None = None  # instead of the right one

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    @property
    def submitted(self) -> list[Job]:
        return list(self.jobs.values())

    def __enter__(self) -> CdsServer:
        self._folder = tempfile.TemporaryDirectory()
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()

    def respond(self, request: Seen) -> Answer:
        parts = request.path.strip("/").split("/")
        if parts[0] == "asset":
            return self._asset(parts[1])
        if parts[:3] == ["api", "catalogue", "v1"]:
            return _json({"messages": []})
        if parts[:3] != ["api", "retrieve", "v1"]:
            return _json({"title": "not found"}, 404)
        if request.headers.get("private-token") != self.key:
            return _json({"type": "permission denied", "title": "operation not allowed", "status": 401,
                          "detail": "authentication failed"}, 401)
        if parts[3] == "processes":
            return self._process(request, parts[4], submit=len(parts) > 5 and request.method == "POST")
        return self._job(parts[4], results=len(parts) > 5, request=request)

    def _process(self, request: Seen, dataset: str, *, submit: bool) -> Answer:
        if not submit:
            return _json({"id": dataset, "title": dataset, "version": "1.0.0", "links": []})
        if dataset in self.unaccepted:
            return _json({"type": "permission denied", "title": "required licences not accepted", "status": 403, "detail":
                          f"Not all the required licences have been accepted; please visit {self.url}/datasets/{dataset}?tab=download"
                          "#manage-licences to accept the required licence(s)."}, 403)
        body = json.loads(request.body)["inputs"]
        with self._lock:
            number = f"{len(self.jobs):08x}-0000-4000-8000-{hashlib.md5(request.body).hexdigest()[:12]}"
            job = self.jobs[number] = Job(number, dataset, body)
            if self.fails and (message := self.fails.pop(0)):
                self.failed[number] = message
        return _json(self._status(job), 201)

    def _status(self, job: Job) -> dict[str, Any]:
        done = job.looks > self.polls
        waiting = "accepted" if job.looks < max(self.polls, 1) else "running"
        state = ("failed" if job.id in self.failed else "successful") if done else waiting
        here = f"{self.api}/retrieve/v1/jobs/{job.id}"
        links = [{"href": here, "rel": "self" if job.looks else "monitor", "type": "application/json"}]
        if done:
            links.append({"href": f"{here}/results", "rel": "results"})
        return {"processID": job.dataset, "type": "process", "jobID": job.id, "status": state, "created": "2026-01-01T00:00:00",
                "updated": "2026-01-01T00:00:00", "links": links, "metadata": {"origin": "api"}}

    def _job(self, number: str, *, results: bool, request: Seen) -> Answer:
        job = self.jobs.get(number)
        if job is None or job.gone == "job":
            return _json({"type": "job not found", "title": "job not found", "detail": f"job {number} not found"}, 404)
        if not results:
            job.looks += 1
            return _json(self._status(job))
        if number in self.failed:
            return _json({"type": "job results failed", "title": "The job has failed", "status": 400, "detail": "",
                          "traceback": self.failed[number]}, 400)
        if job.gone == "result":
            return _json({"type": "results expired", "title": "results expired", "detail": "results have expired"}, 404)
        content = self._content(job)
        return _json({"asset": {"value": {
            "type": job.type, "href": f"{self.url}/asset/{number}/{number}{_SUFFIX[job.type]}", "file:size": len(content) + self.size_error,
            "file:checksum": self.checksum or hashlib.md5(content).hexdigest(), "file:local_path": f"s3://cache/{number}"}}})

    def _content(self, job: Job) -> bytes:
        with self._lock:
            if job.content is None:
                job.content, job.type = result(
                    job.request, self.field, Path(self._folder.name), expver=self.expver, spacing=self.spacing)
        return job.content

    def _asset(self, number: str) -> Answer:
        job = self.jobs.get(number)
        if job is None or job.gone:
            return Answer(b"<Error><Code>NoSuchKey</Code></Error>", 404, "application/xml")
        return Answer(self._content(job), type=job.type)


_SUFFIX = {"application/netcdf": ".nc", "application/zip": ".zip", "application/x-grib": ".grib"}


def _json(content: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(json.dumps(content).encode(), status, "application/json", ranges=False)
