"""Periods as people write them: quoted or not; what numpy would read as something else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from orbit2.config.dataset import DatasetConfig, Period


@pytest.mark.parametrize(("text", "first", "last"), [
    ("{start: 2020-01-01, end: 2020-02-29}", "2020-01-01T00:00:00", "2020-02-29T23:59:59"),
    ("{start: '2020-01-01', end: '2020-02-29'}", "2020-01-01T00:00:00", "2020-02-29T23:59:59"),
    ("{start: 2020-01-01 06:00:00, end: 2020-01-02T18:00:00}", "2020-01-01T06:00:00", "2020-01-02T18:00:00"),
    ("{start: '2020-01-01T06:00', end: '2020-01-01'}", "2020-01-01T06:00:00", "2020-01-01T23:59:59"),
])
def test_dates_with_and_without_quotes_are_the_same(text: str, first: str, last: str) -> None:
    period = Period.model_validate(yaml.safe_load(text))
    assert (period.first, period.last) == (np.datetime64(first), np.datetime64(last))


@pytest.mark.parametrize("end", ["2020", "2020-06", "20200601", "NaT", "today", "2021-02-31", "2020-06-01T12", "2020-06-01T12:00Z", 2020])
def test_what_is_no_whole_date_is_refused(end: object) -> None:
    with pytest.raises(ValidationError, match=r"date|string"):
        Period.model_validate({"start": "2020-01-01", "end": end})


def test_a_day_that_the_calendar_of_the_data_does_not_have_is_refused(root: Path) -> None:
    section = yaml.safe_load((root / "config" / "datasets" / "synthetic.yaml").read_text())
    assert DatasetConfig.model_validate(section)
    section["split"]["test"]["end"] = "2009-02-30"
    with pytest.raises(ValidationError, match="02-30"):
        DatasetConfig.model_validate(section)
