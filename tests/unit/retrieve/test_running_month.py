"""The month that is not published whole yet: fetched day by day up to a recorded end, and gone on with by the next retrieve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.retrieve import run
from orbit2.sources import era5
from orbit2.sources.catalogue import open_source
from tests.data.servers.cds import KEY, CdsServer
from tests.unit.retrieve.test_shared_files import BOX, field


def test_up_to_the_last_complete_day_and_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDSAPI_KEY", KEY)
    with CdsServer(field) as server:
        settings = SourcesConfig.model_validate({"era5": {"url": server.api}, "transfer": {"backoff_seconds": 0.01, "per_host": 4}})

        def retrieve(day: str, first: str = "2020-01-30", dry_run: bool = False) -> tuple[int, dict[str, object]]:
            monkeypatch.setattr(era5, "today", lambda: np.datetime64(day, "D"))
            need = {"variables": ["2m_temperature"], "first": first, "last": "2020-02-29", "box": BOX}
            (tmp_path / "c.json").write_text(json.dumps({"source": "era5", "needs": [need], "settings": settings.model_dump(mode="json")}))
            before = len(server.submitted)
            run(source="era5", out=tmp_path / "era5/v1", config=tmp_path / "c.json", receipt=tmp_path / "done.json", dry_run=dry_run)
            return len(server.submitted) - before, json.loads((tmp_path / "done.json").read_text()) if not dry_run else {}

        retrieve("2020-02-09", dry_run=True)
        assert "5 files" in capsys.readouterr().out
        count, receipt = retrieve("2020-02-09")
        assert count == 2 + 3 and receipt["until"] == "2020-02-03"  # two days of January, three of February
        assert "ends at 2020-02-03, the last day that is published whole" in capsys.readouterr().out
        window = (np.datetime64("2020-01-30T00", "s"), np.datetime64("2020-02-03T23", "s"))
        assert open_source("era5", tmp_path, settings, {"2m_temperature": window}, BOX).sizes["time"] == 5 * 24
        with pytest.raises(OrbitError, match="2m_temperature is not retrieved for 1 days, the first 2020-02-04"):
            open_source("era5", tmp_path, settings, {"2m_temperature": (window[0], window[1] + np.timedelta64(1, "h"))}, BOX)
        assert retrieve("2020-02-09") == (0, receipt)  # nothing new
        count, receipt = retrieve("2020-02-11")
        assert count == 2 and receipt["until"] == "2020-02-05" and receipt["files"] == 7
        with pytest.raises(OrbitError, match=r"era5 is not published that far yet; got '2020-02-20 to .*allowed: up to 2020-02-10"):
            retrieve("2020-02-16", first="2020-02-20")
        count, receipt = retrieve("2020-03-06")
        assert count == 24 and receipt["files"] == 31 and "until" not in receipt
        assert retrieve("2020-04-20", first="2020-02-01")[0] == 0  # the month is asked for as one by now, and its days are there
        assert retrieve("2020-04-20")[0] == 1  # January was never there whole
