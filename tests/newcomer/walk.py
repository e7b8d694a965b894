"""Follow the README, and the page on stages, as somebody new does: a fresh clone, a fresh environment, an empty home, no word but theirs.

    python -m tests.newcomer.walk              # all of it: an installation, both demos and the tests; half an hour or more
    python -m tests.newcomer.walk --short      # the demo with few steps, the rest of these named only; the table says so

Types each step in one shell, times it, writes a table (build/newcomer.md) and ends with exit code 1 where a step fails: where it needs a
word that the page does not say, an answer to a question, or a file that the page speaks of and nobody has.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.newcomer.said import Step, steps
from tests.newcomer.shell import Outcome, Shell

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/stages.md")
# Words of a sentence that are no whole command, and commands that are another step's: what is said instead of them, or nothing, and why.
INSTEAD: dict[str, tuple[str, str]] = {
    "make demo": ("", "said before"), "make test": ("", "said before"),
    "pip install .": ("", "the other way to install; make test-wheel walks it"),
    "orbit2 map-climate": ("orbit2 map-climate --help", "a word of a sentence"),
    "orbit2 model import": ("orbit2 model import --help", "a word of a sentence"),
    "orbit2 run my_run.yaml": ("orbit2 run my_run.yaml --dry-run", "it is sized for two hours: what would run"),
    "orbit2 run my_run.yaml --profile frontier": ("orbit2 run my_run.yaml --profile frontier --dry-run", "no Frontier here"),
    "orbit2 run my_run.yaml evaluate": ("orbit2 run my_run.yaml evaluate --dry-run", "it is sized for two hours: what would run"),
    "snakemake --profile profiles/local evaluate": ("snakemake --profile profiles/local -n evaluate", "what would run"),
    "snakemake --profile profiles/frontier all": ("snakemake --profile profiles/frontier -n all", "no Frontier here: what would run"),
    "orbit2 run": ("orbit2 run --help", "a word of a sentence"),
}  # fmt: skip
SHORT: dict[str, tuple[str, str]] = {
    "make demo": ("make install && .venv/bin/orbit2 run demo --set models.reslim.train.steps=20 --set models.members.train.steps=4",
                  "cut short: 20 and 4 steps of training"),
    "make test": ("make -n test", "cut short: only that it exists"),
    "make demo-climate": ("make -n demo-climate", "cut short: only that it exists"),
}  # fmt: skip
MAY_REFUSE = ("orbit2 doctor --profile", "orbit2 run my_run.yaml --profile frontier", "snakemake --profile profiles/frontier")  # code 2
HAVING = "orbit2 downscale coarse.nc --model model"  # before it, what somebody has is put into place


@dataclass(frozen=True)
class Walked:
    step: Step
    typed: str
    why: str
    outcome: Outcome

    @property
    def fine(self) -> bool:
        return self.outcome.code == 0 or (self.outcome.code == 2 and self.step.words.startswith(MAY_REFUSE))


def typed(step: Step, short: bool) -> tuple[str, str]:
    """What is typed of a step, and why that is not what the page says."""
    if step.language == "inline" and step.words in INSTEAD:
        return INSTEAD[step.words]
    return SHORT.get(step.words, (step.words, "")) if short else (step.words, "")


def walk(clone: Path, home: Path, short: bool) -> list[Walked]:
    walked: list[Walked] = []
    with Shell(clone, home, lambda line: print(f"    {line}", end="", flush=True)) as shell:
        for page in PAGES:
            for step in steps(clone / page, clone):
                words, why = typed(step, short)
                if not words or any(step.words == one.step.words for one in walked):
                    continue
                if step.words.startswith(HAVING):
                    shell.type("python -m tests.newcomer.having")
                print(f"{step.page}:{step.line}: {words.strip()}", flush=True)
                walked.append(Walked(step, words, why, shell.type(words, "python" if step.language == "python" else "bash")))
                if walked[-1].outcome.code == 124:
                    return walked
    return walked


def table(walked: Sequence[Walked]) -> str:
    lines = ["| page | step | time | |", "|---|---|---|---|"]
    for one in walked:
        words = one.step.words.strip().splitlines()[0] + (" ..." if "\n" in one.step.words.strip() else "")
        said = ("" if one.fine else f"**failed, exit code {one.outcome.code}: {_last(one.outcome.printed)}** ") + one.why
        minutes, seconds = divmod(round(one.outcome.seconds), 60)
        lines.append(f"| {one.step.page}:{one.step.line} | `{words.replace('|', '/')}` | {minutes}:{seconds:02d} | {said.strip()} |")
    whole, rest = divmod(round(sum(one.outcome.seconds for one in walked)), 60)
    return "\n".join([*lines, f"| | all | {whole}:{rest:02d} | |", ""])


def _last(printed: str) -> str:
    errors = [line for line in printed.splitlines() if line.startswith("error")] or printed.strip().splitlines() or ["nothing was printed"]
    return errors[-1].strip()[:300].replace("|", "/")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the demo with few steps, the tests named only")
    parser.add_argument("--keep", type=Path, help="folder for the clone, which is kept; default: a temporary one")
    parser.add_argument("--out", type=Path, default=ROOT / "build/newcomer.md", help="the table")
    said = parser.parse_args(arguments)
    folder = said.keep or Path(tempfile.mkdtemp(prefix="newcomer-"))
    clone, home = folder / "orbit2", folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    try:
        walked = walk(clone, home, said.short)
    finally:
        if said.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    text = table(walked)
    said.out.parent.mkdir(parents=True, exist_ok=True)
    said.out.write_text(text, encoding="utf-8")
    failed = [one for one in walked if not one.fine]
    print(f"\n{text}\n{len(walked)} steps, {len(failed)} failed; wrote {said.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
