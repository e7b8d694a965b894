"""The walk of somebody new finds what a page says, types it as it stands, and fails where a word is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.newcomer import walk
from tests.newcomer.said import steps
from tests.newcomer.shell import Outcome, Shell, environment

ROOT = walk.ROOT


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, tmp_path)


def test_steps_of_the_readme_in_their_order() -> None:
    found = steps(ROOT / "README.md", ROOT)
    words = [step.words for step in found]
    assert words[:3] == ["make demo", "make test", "make demo"] and "source .venv/bin/activate" in words
    python = next(step for step in found if step.language == "python")
    assert words.index("source .venv/bin/activate") < found.index(python)  # or nobody could run it
    first = words.index("orbit2 new my_run --coarse 'era5/*.nc' --fine 'wrf/*.nc' --hours 2")
    assert words[first + 1] == "orbit2 run my_run.yaml" and found[first].line > python.line


def test_what_is_not_typed_as_it_stands_is_on_a_page() -> None:
    said = {step.words for page in walk.PAGES for step in steps(ROOT / page, ROOT)}
    assert set(walk.INSTEAD) | set(walk.SHORT) <= said and any(words.startswith(walk.HAVING) for words in said)
    assert all(any(words.startswith(start) for words in said) for start in walk.MAY_REFUSE)


def test_a_block_a_table_and_a_file_that_is_typed_in(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    typed = "cat > a <<'E'\n# kept\nE\n"
    page.write_text(f"a `word` and `orbit2 plan x.yaml`\n```bash\nls   # look\n# nothing\necho 2\n```\n```bash\n{typed}```\n")
    assert [(step.line, step.language, step.words) for step in steps(page, tmp_path)] == [
        (1, "inline", "orbit2 plan x.yaml"), (3, "bash", "ls"), (5, "bash", "echo 2"), (8, "bash", typed)]  # fmt: skip


def test_one_shell_in_which_only_what_was_typed_holds(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    with shell:
        assert shell.type("orbit2 --version").code == 127  # no environment is active
        assert shell.type("export PATH=$PWD/bin:$PATH").code == 0
        done = shell.type("print(2 +\n3)\n", "python")
        assert (done.code, done.printed.strip()) == (0, "5")
        assert shell.type("false").code == 1 and shell.type("read answer").code == 1  # nobody answers
        assert shell.type("sleep 20", limit=0.3).code == 124
    kept = environment(tmp_path, {"PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin", "PYTHONPATH": "x", "PIP_INDEX_URL": "y",
                                  "ORBIT2_MODELS": "z", "VIRTUAL_ENV": str(Path(sys.executable).parents[1])})  # fmt: skip
    assert kept == {"PIP_INDEX_URL": "y", "HOME": str(tmp_path), "PATH": "/usr/bin"}


def test_a_page_that_lacks_a_word_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "README.md").write_text("```\ntrue # well\n```\n`orbit2 evaluate a.nc`\n", encoding="utf-8")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(source), *words], check=True)
    monkeypatch.setattr(walk, "ROOT", source)
    monkeypatch.setattr(walk, "PAGES", ("README.md",))
    assert walk.main(["--out", str(tmp_path / "table.md")]) == 1
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| README.md:2 | `true` | 0:00 |  |" in text and "failed, exit code 127" in text
    assert "2 steps, 1 failed" in capsys.readouterr().out


def test_a_refusal_counts_only_where_it_may_be() -> None:
    def fine(words: str, code: int) -> bool:
        (step,) = [step for page in walk.PAGES for step in steps(ROOT / page, ROOT) if step.words == words][:1]
        return walk.Walked(step, words, "", Outcome(code, 0.0, "")).fine

    assert fine("orbit2 doctor --profile frontier", 2) and not fine("orbit2 doctor", 2) and not fine("orbit2 doctor --profile frontier", 1)
