"""What `pip install .` brings: the command, the library and the workflow. `make test-wheel` installs it beside nothing and runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.docs.blocks import ROOT, blocks, execute

BROUGHT = ("workflow", "config", "profiles")  # folders of the checkout, in the wheel below orbit2/share


def tracked(*folders: str) -> set[str]:
    """Files that git has, or, without git, that lie there."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", *folders], capture_output=True, text=True, check=False)
    found = done.stdout.splitlines() if done.returncode == 0 and done.stdout else [
        path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]  # fmt: skip
    return {name for name in found if "__pycache__" not in name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])))


def test_the_wheel_holds_the_library_and_the_workflow(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
        mode = archive.getinfo("orbit2/share/profiles/frontier/pack.sh").external_attr >> 16
    assert {f"orbit2/share/{name}" for name in tracked(*BROUGHT)} <= names
    assert tracked("orbit2") <= names
    assert "orbit2 = orbit2.cli:main" in entry and mode & 0o100
    foreign = {name.split("/")[0] for name in names} - {"orbit2"}
    assert all(re.fullmatch(r"orbit2-[\d.]+\.dist-info", name) for name in foreign), foreign
    assert wheel.stat().st_size < 15e6


def test_every_word_that_is_brought_is_found_there(wheel: Path) -> None:
    """What the rules source and include lies in the wheel too."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        files = {name: archive.read(name).decode() for name in names if name.endswith((".smk", "Snakefile"))}
    included = {f"orbit2/share/workflow/{word}" for text in files.values() for word in re.findall(r'include: "([^"]+)"', text)}
    assert len(included) > 10 and included <= names and set(files) - included == {"orbit2/share/workflow/Snakefile"}


@pytest.mark.slow
def test_the_wheel_of_the_source_archive_is_the_same(wheel: Path, tmp_path: Path) -> None:
    source = next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    again = next(WheelBuilder(str(folder)).build(directory=str(tmp_path / "dist"), versions=["standard"]))
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


@pytest.mark.slow
def test_what_the_page_has_done_from_any_folder(tmp_path: Path) -> None:
    (text,) = (text for language, text in blocks(ROOT / "docs/install.md") if language == "bash")
    said = execute("bash", text, tmp_path)
    assert "retrieve_source" in said and "frontier" in said and not (tmp_path / "my_project/results").exists()


@pytest.mark.slow
def test_installed_alone_it_runs_the_workflow(wheel: Path, tmp_path: Path) -> None:
    """In a virtual environment of its own, which finds the packages of this one, and a folder that is no checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    bin = tmp_path / "venv/bin"
    place = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    (place / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(bin / "python"), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    text = blocks(ROOT / "docs/tutorial.md")[0][1]
    (tmp_path / "here").mkdir()
    (tmp_path / "here/my_run.yaml").write_text(text.split("<<'YAML'\n")[1].split("\nYAML")[0], encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def orbit2(*words: str, code: int = 0) -> str:
        done = subprocess.run([bin / "orbit2", *words], cwd=tmp_path / "here", env=environment, capture_output=True, text=True,
                              timeout=500, check=False)  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    where = subprocess.run([bin / "python", "-c", "import orbit2.places as p; print(p.TOP)"], cwd=tmp_path, env=environment,
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert Path(where.strip()) == place / "orbit2/share"
    few = ("--set", "models.small.train.steps=4", "--set", "models.small.train.validate_every=2")
    assert "train_model" in orbit2("run", "my_run.yaml", "train", *few, "-n")
    orbit2("run", "my_run.yaml", "train", *few)
    assert list((tmp_path / "here/results/models").glob("small-*/model/weights.safetensors"))
    assert "Nothing to be done" in orbit2("run", "my_run.yaml", "train", *few)
    assert "small" in orbit2("model", "list")
    assert "retrieve_source" in orbit2("run", "demo", "retrieve", "-n", "--", "--cores", "1")
    assert "no such target" in orbit2("run", "demo", "retrive", code=2)
