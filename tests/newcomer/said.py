"""What a page tells its reader to type, in the order in which it stands there. Types nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

VERBS = ("source ", "orbit2 ", "snakemake ", "make ", "pip ")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """`words` as they stand on line `line` of `page`; `language`: bash, python, or inline (a command in a sentence or a table)."""

    page: str
    line: int
    language: str
    words: str


def steps(page: Path, root: Path) -> list[Step]:
    """Blocks, line by line where they are commands of a shell, and whole commands between backticks (a verb with what follows it)."""
    text, name = page.read_text(encoding="utf-8"), str(page.relative_to(root))
    found: list[tuple[int, str, str]] = []
    for block in BLOCK.finditer(text):
        if block[1] == "python":
            found.append((block.start(2), "python", block[2]))
        elif block[1] in ("", "bash") and "<<" in block[2]:  # a file that is typed in: all at once
            found.append((block.start(2), "bash", block[2]))
        elif block[1] in ("", "bash"):
            found += [(block.start(2) + line.start(), "bash", line[1].strip())
                      for line in re.finditer(r"^([^#\n]+?)\s*(?:#.*)?$", block[2], flags=re.MULTILINE)]  # fmt: skip
    plain = BLOCK.sub(lambda block: " " * len(block[0]), text)
    for span in re.finditer(r"`([^`\n]+)`", plain):
        if span[1].startswith(VERBS):
            found.append((span.start(1), "inline", span[1]))
    return [Step(name, text.count("\n", 0, at) + 1, language, words) for at, language, words in sorted(found)]
