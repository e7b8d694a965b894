"""The README's numbers are those of the benchmarks and of plan, its commands exist, and it is short."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import typer.main

from orbit2.cli.command import app
from orbit2.config.load import CONFIG_ROOT
from tests.docs.blocks import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = {"2 m temperature (K)": "2m_temperature", "wind to the east, 10 m (m/s)": "10m_u_component_of_wind",
         "wind to the north, 10 m (m/s)": "10m_v_component_of_wind", "pressure at sea level (Pa)": "mean_sea_level_pressure",
         "rain (mm/day)": "precipitation_rate"}  # fmt: skip
METHODS = {"regression": "regression", "bicubic_log1p": "bicubic of logarithms"}
MACHINES = ("DGX H100 (8 GPUs)", "Frontier, two nodes (16 GCDs of MI250X)", "one H200")


def read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def table(header: str) -> list[list[str]]:
    """The rows below the table whose first line has `header`."""
    (found,) = re.findall(rf"^\|[^\n]*{re.escape(header)}[^\n]*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", TEXT, flags=re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found.splitlines()]


def test_it_is_one_screen() -> None:
    assert len(TEXT.splitlines()) <= 90 and max(map(len, TEXT.splitlines())) < 200


def test_skill_is_what_the_benchmark_measured() -> None:
    seeds = read("benchmarks/results/site_memory.json")["seeds"].values()
    rows = table("best simple method")
    assert [row[0] for row in rows] == list(NAMES)
    for name, bicubic, simple, ours in rows:
        held = [seed["rmse"][NAMES[name]] for seed in seeds]
        means = {method: sum(one[method] for one in held) / len(held) for method in held[0]}
        best = min((value, method) for method, value in means.items() if not method.endswith("memory"))
        digits = len(bicubic.partition(".")[2])
        assert (bicubic, ours) == (f"{means['bicubic']:.{digits}f}", f"{means['with memory']:.{digits}f}")
        assert simple == f"{best[0]:.{digits}f} ({METHODS[best[1]]})"


def test_speed_is_what_the_benchmarks_measured() -> None:
    rate = read("benchmarks/results/downscale_throughput.json")["fields_per_hour"]["two_cores"]
    assert f"{rate:.0f} fields an hour on two cores" in TEXT
    (row,) = (row for row in read("benchmarks/results/h200.json")["rows"]
              if (row["network"], row["side"], row["way"], row["batch"]) == ("full attention", "prediction", "eager", 8))  # fmt: skip
    assert re.search(rf"on an H200 {row['ms_per_sample']} ms\s+a field for the network alone", TEXT)


def test_costs_are_what_plan_says() -> None:
    costs = read("docs/costs.json")
    rows = table("downloads")
    assert [row[0].strip("`") for row in rows] == ["era5_pretrain", "prism_pretrain", "daymet_pretrain", "imerg_global"]
    for run, downloads, *hours in rows:
        cost = costs[run.strip("`")]
        size = cost["disk"]["download"] / 1e12
        assert downloads == (f"{size:.1f} TB" if size > 0.1 else f"{size:.2f} TB")
        assert hours == [f"{cost['machines'][machine]['training'] / 3600:.0f} h" for machine in MACHINES]


@pytest.mark.parametrize("words", sorted(set(re.findall(r"`orbit2 ([a-z].*?)`", TEXT))))
def test_every_command_exists_with_its_options(words: str) -> None:
    command: Any = typer.main.get_command(app)
    rest = shlex.split(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    if words.startswith("evaluate"):  # two products instead of a sub-command
        command = command.commands["judge"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert not hasattr(command, "commands") and {word for word in rest if word.startswith("-")} <= known
    for word in rest:
        assert not word.startswith(("config/", "profiles/")) or (CONFIG_ROOT.parent / word).exists()


def test_the_table_of_what_people_have_names_a_command_or_says_the_same() -> None:
    rows = table("do this")
    assert len(rows) >= 8 and all("`orbit2 " in does or "the same" in does for _, does in rows)
