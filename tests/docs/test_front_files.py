"""What stands at the front of the repository: containers, issue templates, the release workflow, the citation. Read, never built."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import orbit2
from tests.docs.blocks import ROOT

DOCKERFILE = (ROOT / "containers/Dockerfile").read_text(encoding="utf-8")
DEFINITION = (ROOT / "containers/orbit2.def").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def steps() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [(found[1], found[2].strip()) for found in re.finditer(r"^([A-Z]+) (.*)$", text, flags=re.MULTILINE)]


def copied() -> dict[str, str]:
    """source -> place below the work folder."""
    found = {}
    for kind, rest in steps():
        if kind == "COPY":
            *sources, place = shlex.split(rest)
            found |= {source: source if place == "./" else place for source in sources}
    return found


def sections() -> dict[str, list[str]]:
    """Of the Apptainer definition: name -> its lines; the head is ""."""
    parts = re.split(r"^%(\w+)\n", DEFINITION, flags=re.MULTILINE)
    texts = zip(["", *parts[1::2]], parts[::2], strict=True)
    return {name: [line.strip() for line in text.splitlines() if line.strip()] for name, text in texts}


def test_the_dockerfile_is_one() -> None:
    kinds = [kind for kind, _ in steps()]
    assert kinds[0] == "FROM" and kinds[-2:] == ["ENTRYPOINT", "CMD"]
    assert set(kinds) <= {"FROM", "LABEL", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}
    for kind, rest in steps():
        if kind == "RUN":
            subprocess.run(["bash", "-n", "-c", rest], check=True)
    assert copied() and all((ROOT / source).exists() for source in copied())


def test_what_the_builder_is_sent_is_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines and {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_the_definition_says_the_same_as_the_dockerfile() -> None:
    found = sections()
    assert f"From: {dict(steps())['FROM']}" in found[""]
    assert {tuple(line.split()) for line in found["files"]} == {(source, f"/opt/orbit2/{place}") for source, place in copied().items()}
    torch = next(rest for kind, rest in steps() if kind == "ARG").removeprefix("TORCH=").strip('"')
    assert found["arguments"] == [f"torch={torch}"]
    assert torch.split() == (ROOT / "Makefile").read_text(encoding="utf-8").split("torch>=2.6,", 1)[1].split(")", 1)[0].split()
    install = next(line for line in found["post"] if line.startswith("pip install") and " -c " in line)
    assert install in DOCKERFILE
    subprocess.run(["bash", "-n", "-c", "\n".join(found["post"]).replace("{{ torch }}", torch)], check=True)


def test_versions_are_in_step() -> None:
    said = {"Dockerfile": re.findall(r'image\.version="(.*)"', DOCKERFILE), "def": re.findall(r"image\.version (.*)", DEFINITION),
            "install": re.findall(r"orbit2-([\d.]+)-py3", (ROOT / "docs/install.md").read_text(encoding="utf-8"))}  # fmt: skip
    assert all(set(versions) == {orbit2.__version__} for versions in said.values()), said
    (python,) = re.findall(r"^FROM python:([\d.]+)", DOCKERFILE, flags=re.MULTILINE)
    least = PROJECT["requires-python"].removeprefix(">=")
    assert tuple(map(int, python.split("."))) >= tuple(map(int, least.split(".")))
    extras = set(PROJECT["optional-dependencies"])
    assert extras == set(re.findall(r"\.\[(\w+)\]'", (ROOT / "docs/install.md").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_what_is_copied_is_enough_to_build_the_package(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    for source, place in copied().items():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / place)
    built = next(WheelBuilder(str(tmp_path)).build(directory=str(tmp_path / "dist"), versions=["standard"]))
    assert Path(built).name == f"orbit2-{orbit2.__version__}-py3-none-any.whl"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_issue_templates_are_forms() -> None:
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) >= 3
    for path in forms:
        form = read(path)
        assert {"name", "description", "body"} <= set(form)
        parts = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in parts}) == len(parts) and all(part["attributes"]["label"] for part in parts)
        assert all(part["type"] in ("textarea", "input", "dropdown", "checkboxes") for part in parts)


def test_the_release_workflow_calls_what_there_is() -> None:
    (job,) = read(ROOT / ".github/workflows/release.yml")["jobs"].values()
    script = "\n".join(step["run"] for step in job["steps"] if "run" in step)
    subprocess.run(["bash", "-n", "-c", script], check=True)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (?:-s )?([\w-]+)", script):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    assert (ROOT / ".ci/run").is_file() and ".ci/run" in script


def test_the_notes_of_a_release_are_the_changelogs_section() -> None:
    def said(*targets: str) -> str:
        return subprocess.run(["make", "-s", *targets], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert said("version").strip() == orbit2.__version__
    notes = said("notes")
    assert "### In short" in notes and "\n## [" not in notes and not notes.startswith("## [")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(orbit2.__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, flags=re.MULTILINE)


def test_the_citation_has_what_its_format_asks_for() -> None:
    """Citation File Format 1.2.0: required keys of the whole, of references and of people."""
    cff = read(ROOT / "CITATION.cff")
    assert cff["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(cff) and cff["type"] == "software"
    for entry in (cff, cff["preferred-citation"], *cff["references"]):
        assert {"title", "authors"} <= set(entry) and all("name" in one or "family-names" in one for one in entry["authors"])
    assert all("type" in entry for entry in (cff["preferred-citation"], *cff["references"]))
    assert cff["license"] == PROJECT["license"]
