"""The figures of a downscaling paper that rows alone make: ensembles, conservation, sizes, a region left out, waves."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from orbit2.metrics import registry
from orbit2.metrics.table import Table
from orbit2.report.figures import conservation, ensembles, hovmoller, leftout, waves
from orbit2.report.style import look
from orbit2.report.tables import Scores, plain

RAIN, T = "total_precipitation_24hr", "2m_temperature"


def scores(rows: list[tuple[str, str, str, str, float]], region: str = "global") -> Scores:
    built = Table("t", "d", "standard", "truth", "2020-01-01T00:00/2020-12-31T00:00", "v")
    for model, name, space, metric, value in rows:
        built.add(model, name, space, region, metric, "m", value)
    assert registry.unknown(built.frame()["metric"]) == []
    return Scores(built.frame(), "t")


def test_reliability_has_a_curve_per_event_and_leaves_out_what_rests_on_nothing() -> None:
    rows = [("net", RAIN, "physical", f"reliability_{what}_{event}_{k}", value) for event in ("1", "10") for k in range(5)
            for what, value in (("frequency", k / 5), ("area", 1e-6 if (event, k) == ("10", 4) else 0.2))]  # fmt: skip
    with look():
        figure = ensembles.reliability(scores(rows), "net", [RAIN], 4, "t")
        assert ensembles.reliability(scores(rows[:1]), "net", [RAIN], 4, "t") is None
    assert figure is not None and figure.csv is not None
    lines = figure.csv.splitlines()[1:]
    assert len(lines) == 9 and f"{RAIN},1,4,1,0.8" in lines and "furthest from the diagonal by 0.20" in figure.pictures[0].alt


def test_spread_and_error_are_the_rows_of_the_groups() -> None:
    rows = [("net", RAIN, space, f"binned_{what}_{k}", value * (1 + k)) for space in ("physical", "log1p") for k in range(4)
            for what, value in (("spread", 1.0), ("error", 2.0))]  # fmt: skip
    with look():
        figure = ensembles.spread_and_error(scores(rows), "net", [RAIN, T], "t")
        assert ensembles.spread_and_error(scores([]), "net", [RAIN], "t") is None
    assert figure is not None and figure.csv is not None and len(figure.pictures) == 2
    assert figure.csv.splitlines()[1] == f"{RAIN},physical,1,1,2" and "(correlation 1.00)" in figure.pictures[0].alt


def test_the_residuals_of_conservation_are_shares_that_add_up() -> None:
    shares = {"net": np.linspace(0.1, 0.7, 10), "bicubic": np.linspace(0, 0.3, 10)}
    rows = [(who, T, "physical", f"conservation_within_1e{power}", float(share)) for who, values in shares.items()
            for power, share in zip(range(-6, 4), values, strict=True)]  # fmt: skip
    with look():
        figure = conservation.residuals(scores(rows), "net", [T], "t")
        assert conservation.residuals(scores(rows[10:]), "net", [T], "t") is None  # not of the model
    assert figure is not None and figure.csv is not None
    lines = [line.split(",") for line in figure.csv.splitlines()[1:]]
    assert len(lines) == 22 and sum(float(line[3]) for line in lines) == pytest.approx(2)
    assert [float(line[3]) for line in lines if line[1] == "net"][-1] == pytest.approx(0.3)


def left_out(inside: float, elsewhere: float) -> Scores:
    built = Table("t", "d", "standard", "truth", "2020-01-01T00:00/2020-12-31T00:00", "v")
    for region, own in ((leftout.INSIDE, inside), (leftout.REST, elsewhere)):
        for who, value in (("net", own), ("bicubic", 2.0), ("bilinear", 2.5), ("delta", 0.1)):
            built.add(who, T, "physical", region, "rmse", "m", value)
    return Scores(built.frame(), "t")


def test_a_left_out_region_stands_beside_the_best_interpolation_and_not_beside_what_saw_its_truth() -> None:
    with look():
        figure = leftout.figure(left_out(1.5, 1.0), "net", [T, RAIN], "t")
        assert leftout.figure(scores([]), "net", [T], "t") is None
    assert figure is not None and figure.csv is not None
    assert figure.csv.splitlines()[1:] == [f"{T},left out,0.75,bicubic", f"{T},elsewhere,0.5,bicubic"]
    assert "holds there for 1 of the 1 variables" in plain(leftout.reading(left_out(1.5, 1.0), "net", [T], (0, 20, 350, 10)))
    assert "holds there for 0 of the 1" in plain(leftout.reading(left_out(2.5, 1.0), "net", [T], (0, 20, 350, 10)))
    assert "no lead that it could keep" in leftout.reading(left_out(2.5, 3.0), "net", [T], (0, 20, 350, 10))
    table = leftout.table(left_out(1.5, 1.0), "net", [T], "t")
    assert table is not None and [cell.value for cell in table.rows[0][1:]] == [1.5, 2.0, 1.0, 2.0]


def test_waves_are_drawn_and_told_with_a_verdict_only_where_there_is_one() -> None:
    lon, lag, day = np.arange(2.5, 360, 5.0), np.arange(-25, 26), 55_000 + 5 * np.arange(80)
    wave = np.cos(np.radians(lon)[None] - 2 * np.pi * day[:, None] / 45)
    wave[:5] = np.nan
    by_lon = np.cos(np.radians(lon - 90)[:, None] - 2 * np.pi * lag / 45)
    lat = np.arange(-28.75, 30, 2.5)
    by_lat = np.exp(-((lat / 12) ** 2))[:, None] * np.cos(2 * np.pi * lag / 45)
    data = xr.Dataset(
        {f"{RAIN}_waves": (("model", "wave_day", "wave_longitude"), np.stack([wave, 0.7 * wave])),
         f"{RAIN}_waves_by_longitude": (("model", "wave_longitude", "lag"), np.stack([by_lon, 0.7 * by_lon])),
         f"{RAIN}_waves_by_latitude": (("model", "wave_latitude", "lag"), np.stack([by_lat, 0.7 * by_lat]))},
        coords={"model": ["truth", "net"], "wave_longitude": lon, "lag": lag, "wave_latitude": lat, "reference_longitude": ("b", [80, 100]),
                "wave_day": ("wave_day", day, {"comment": "days after 1850-01-01, calendar noleap"})},
    )  # fmt: skip

    def told(judged: float, own: float) -> Scores:
        rows = [("(any)", "discriminate", judged), ("(truth)", "speed", 10.3), ("(truth)", "period", 45.0), ("net", "speed", 10.3),
                ("net", "pattern_r", 0.9), ("net", "nrmse", own), ("nearest", "pattern_r", 0.5), ("nearest", "nrmse", 0.8),
                ("net", "regression_longitude_r", 0.97), ("net", "regression_latitude_r", 0.96)]  # fmt: skip
        return scores([(who, RAIN, "physical", f"waves_{metric}", value) for who, metric, value in rows], "5S-5N")

    with look():
        figures = waves.figures(data, told(1, 0.4), RAIN, "net", "t")
        assert waves.figures(data, told(1, 0.4), T, "net", "t") == []
    assert [figure.name for figure in figures] == [f"waves_t_{RAIN}", f"wave_regressions_t_{RAIN}"]
    assert len(figures[1].pictures) == 4 and "80°E and 100°E" in figures[1].caption
    assert figures[0].csv is not None and ",2.5," in figures[0].csv.splitlines()[-72]
    assert "is below the lowest" in waves.reading(told(1, 0.4), "net", RAIN) and "not below" in waves.reading(told(1, 0.9), "net", RAIN)
    assert "No verdict" in waves.reading(told(0, 0.4), "net", RAIN) and waves.reading(scores([]), "net", RAIN) == ""
    table = waves.table(told(1, 0.4), "net", RAIN, "t")
    assert table is not None and [row[0].text for row in table.rows] == ["truth", "net", "nearest"]


@pytest.mark.parametrize(
    ("stamps", "rows"),
    [
        (["2000-07-19 00:00 UTC", "2000-07-20 00:00 UTC"], ["2000-07-19", "2000-07-20"]),
        (["2026-03-30 18:00 UTC", "2026-03-31 01:00 UTC"], ["03-30 18:00", "03-31 01:00"]),
        (["1999-12-31 18:00 UTC", "2000-01-01 00:00 UTC"], ["1999-12-31 18:00", "2000-01-01 00:00"]),
    ],
)
def test_rows_of_a_time_longitude_diagram_are_told_apart(stamps: list[str], rows: list[str]) -> None:
    assert hovmoller.dated(stamps) == rows
