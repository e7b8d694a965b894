"""What the README and the tutorial tell people to type works, and no page links to nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.docs.blocks import ROOT, blocks, execute

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "profiles").rglob("*.md"), ROOT / "config/README.md"])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The parts of the repository that commands in the pages need, with results of their own."""
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_two_commands_stand_in_the_first_screen_of_the_readme() -> None:
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])
    assert "make demo" in first and "make test" in first


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", blocks(ROOT / "README.md")[0][1], flags=re.MULTILINE))
def test_make_targets_of_the_readme_exist(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "requirements" not in done.stdout and ".venv" in done.stdout


def test_make_demo_runs_the_workflow_and_prints_the_headline() -> None:
    printed = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    steps = ["snakemake --profile profiles/local all", "orbit2 report headline results/demo"]
    assert [printed.index(step) for step in steps] == sorted(printed.index(step) for step in steps)


def test_bash_blocks_of_the_page_on_stages(copy: Path) -> None:
    texts = [text for language, text in blocks(ROOT / "docs/stages.md") if language == "bash"]
    assert texts
    printed = "".join(execute("bash", text, copy) for text in texts)
    assert "Ready." in printed and ": ok" in printed and "report_page" in printed


def test_python_block_of_the_readme_and_its_command(copy: Path) -> None:
    import orbit2
    from orbit2.data.transforms import Normaliser
    from orbit2.model import folder
    from tests.data.small_models import INPUTS, OUTPUTS, STATICS, demo_model

    model = demo_model()
    names = {"mean": 280.0, "std": 20.0, "min": 200.0, "max": 320.0, "log1p_mean": 0.5, "log1p_std": 0.7, "count": 10}
    facts = {"coarse": dict.fromkeys(("2m_temperature", "precipitation_rate"), names), "fine": dict.fromkeys(OUTPUTS, names),
             "static": {side: {n: {"mean": 300.0, "std": 500.0} for n in STATICS} for side in ("coarse", "fine")}}
    assert set(INPUTS) == {*OUTPUTS, *STATICS}
    about = {"name": "reslim", "hash": "00000000"}
    for place in ("model", "results/models/reslim-00000000/model"):  # given by its path, and as the demo leaves it
        folder.save(copy / place, model, Normaliser.from_statistics(facts, 0.0), about)
    lat, lon = np.arange(-88.0, 90.0, 4.0), np.arange(2.0, 360.0, 4.0)
    shape = (1, len(lat), len(lon))
    xr.Dataset(
        {"t2m": (("time", "lat", "lon"), np.full(shape, 280.0, "float32"), {"units": "K"}),
         "pr": (("time", "lat", "lon"), np.full(shape, 1.0, "float32"), {"units": "mm/day"})},
        {"time": np.array(["2026-03-31"], "datetime64[ns]"), "lat": lat, "lon": lon},
    ).to_netcdf(copy / "coarse.nc")
    text = next(text for language, text in blocks(ROOT / "README.md") if language == "python")
    assert len([line for line in text.splitlines() if line.strip()]) == 5
    execute("python", text, copy)
    with xr.open_dataset(copy / "fine.nc") as fine, orbit2.sample() as week:
        assert fine["t2m"].shape == (2, 40, 360) and fine["tp"].attrs["units"] == "mm day-1"
        # untrained, the model is plain interpolation: near the truth, not at it
        truth = week["t2m"].isel(time=slice(0, 2)).sel(latitude=fine["lat"].values)
        assert 0.1 < float(np.sqrt(np.mean((fine["t2m"].values - truth.values) ** 2))) < 3
    command = re.findall(r"`(orbit2 downscale .+?)`", (ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert "wrote fine.zarr; is it good?" in execute("bash", command, copy)
    with xr.open_zarr(copy / "fine.zarr", consolidated=False) as stored:
        # a constant stays that constant
        assert stored["2m_temperature"].shape == (1, 180, 360)
        np.testing.assert_allclose(stored["2m_temperature"], 280.0, rtol=1e-4)


def test_the_tutorial_from_top_to_bottom(copy: Path) -> None:
    printed = [execute(language, text, copy) for language, text in blocks(ROOT / "docs/tutorial.md")]
    everything = "".join(printed)
    assert "did you mean 'learning_rate'?" in everything and "exit code 2" in everything
    assert "Report: results/tutorial/report/index.html" in everything
    assert (copy / "results/tutorial/report/index.html").stat().st_size > 100_000
    bootstrap = next(text for text in printed if "evaluate_task" in text and "train_model" not in text)
    assert "downscale_task" not in bootstrap and "regrid" not in bootstrap
    execute("bash", "snakemake all -n --profile profiles/local --configfile my_run.yaml 2>&1 | grep 'Nothing to be done'", copy)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            goal = page.parent / target if target else page
            assert goal.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(goal), f"{page.name} links to {target}#{anchor}"


def test_the_dag_picture_shows_every_rule() -> None:
    rules = {name for file in (ROOT / "workflow/rules").glob("*.smk")
             for name in re.findall(r"^rule (\w+_\w+):", file.read_text(encoding="utf-8"), flags=re.MULTILINE)}
    drawn = set(re.findall(r">(\w+)</text>", (ROOT / "docs/dag.svg").read_text(encoding="utf-8")))
    assert rules <= drawn, "run `make docs`"
