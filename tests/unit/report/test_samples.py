"""Any sample and any box of a run, and a month of it as moving pictures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio_ffmpeg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orbit2.cli import main
from orbit2.errors import OrbitError
from orbit2.report import samples
from orbit2.report.figures import moving
from orbit2.report.inputs import read


@pytest.mark.parametrize(("region", "box"), [
    ("20N-40N,70E-100E", (20, 40, 70, 100)), ("10S-10N,170E-170W", (-10, 10, 170, 190)), ("45.5n – 60N, 20W-5E", (45.5, 60, 340, 5)),
])  # fmt: skip
def test_boxes_are_written_as_people_write_them(region: str, box: tuple[float, ...]) -> None:
    assert samples.box_of(region) == box


@pytest.mark.parametrize("region", ["20-40,70-100", "40N-20N,70E-100E", "20N-95N,0E-10E", "20N-40N", "", "20N-40N,10E-400E"])
def test_other_regions_are_refused(region: str) -> None:
    with pytest.raises(OrbitError, match="not a region"):
        samples.box_of(region)


def test_a_sample_of_a_box_is_drawn_with_its_cells(made: SimpleNamespace, tmp_path: Path) -> None:
    given: dict[str, Any] = {"config": made.slice, "root": made.root, "out": tmp_path, "task": "test", "variables": ["precipitation_rate"]}
    picture, cells = samples.draw(**given, time="2026-03-27T04:00", region="15N-60N,45W-30E")
    task = read(made.slice, made.root).tasks["test"]
    table = pd.read_csv(cells)
    inside = (table.lat > 15) & (table.lat < 60)
    assert inside.all() and ((table.lon > 315) | (table.lon < 30)).all() and len(table) == 12 * 20
    row = table.iloc[7]
    place = np.argmin(np.abs(task.grid.lat - row.lat)), np.argmin(np.abs(task.grid.lon - row.lon))
    (column,) = (name for name in table.columns if name.startswith("truth"))
    assert row[column] == pytest.approx(task.truth("precipitation_rate", 1)[place], rel=1e-5)
    assert picture.name == "test_precipitation_rate_20260327T0400.png" and np.asarray(Image.open(picture)).std() > 20
    (world,) = samples.draw(**given, time="2026-03-27T04")
    assert world == picture  # the same sample: written anew, without a box


@pytest.mark.parametrize(("asked", "said"), [
    ({"time": "2026-03-28"}, "no sample"), ({"time": "2026-03-27"}, "several samples"), ({"time": ""}, "no sample"),
    ({"time": "2026-03-27T04", "task": "none"}, "no such task"), ({"time": "2026-03-27T04", "variables": ["rain"]}, "does not predict"),
    ({"time": "2026-03-27T04", "task": "conus", "region": "20S-0N,100E-120E"}, "no cell"),
])  # fmt: skip
def test_what_is_not_there_is_named(made: SimpleNamespace, tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(OrbitError, match=said):
        samples.draw(config=made.slice, root=made.root, out=tmp_path, **asked)
    assert not list(tmp_path.iterdir())


def test_a_month_moves(made: SimpleNamespace, tmp_path: Path) -> None:
    """A GIF by the command line; an MP4 that ffmpeg reads again: as many frames as samples, and they differ."""
    words = ["--config", str(made.slice), "--root", str(made.root), "--month", "2026-03", "--region", "15N-60N,45W-30E"]
    with pytest.raises(SystemExit) as ended:
        main(["report", "animate", *words, "--out", str(tmp_path / "month.gif"), "--variable", "precipitation_rate", "--task", "test"])
    assert ended.value.code == 0
    with Image.open(tmp_path / "month.gif") as gif:
        assert gif.n_frames == 4
        frames = []
        for i in range(4):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    orange = [(np.abs(frame[-8:] - (0xD5, 0x5E, 0x00)).sum(-1) < 60).any(0).sum() for frame in frames]  # the bar below
    assert orange == sorted(set(orange)) and (np.abs(frames[1] - frames[2])[:-60].sum() > 1e5)
    assert samples.animate(config=made.slice, root=made.root, month="2026-03", out=tmp_path / "month.mp4", task="conus") == (4, 4)
    probe = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "month.mp4"), "-f", "null", "-"], capture_output=True,
                           text=True, check=True)  # fmt: skip
    assert "h264" in probe.stderr and "frame=    4" in probe.stderr and "yuv420p" in probe.stderr
    for asked, said in (({"month": "2026-04", "out": "a.gif"}, "no sample"), ({"month": "2026-03", "out": "a.avi"}, "not a kind")):
        with pytest.raises(OrbitError, match=said):
            samples.animate(config=made.slice, root=made.root, month=asked["month"], out=tmp_path / asked["out"])


def test_long_months_are_thinned_evenly() -> None:
    assert moving.evenly(range(31)) == list(range(31)) and moving.evenly(range(744)) == list(range(0, 744, 3))
