"""What stands in Markdown for GitHub, made fit for the site: the index's questions become its sidebar, pages of other folders its pages."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import verbs  # beside this file
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
# Pages that stay where they are read in the repository, and the page of the site that shows each.
ELSEWHERE = {"README.md": "site/start", "profiles/README.md": "site/profiles", "profiles/frontier/README.md": "frontier",
             "benchmarks/README.md": "site/benchmarks", "config/README.md": "configuration", "CHANGELOG.md": "site/changes",
             "CONTRIBUTING.md": "site/contributing"}  # fmt: skip
SHOWN = {page: text for text, page in ELSEWHERE.items() if page.startswith("site/")}
COMMANDS = "site/commands"  # written from the command line itself
LINK = re.compile(r"(?P<text>!?\[(?:[^][]|\[[^][]*\])*\])\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Sphinx's `source-read`: `source[0]` is what `page` says, to be changed in place."""
    path = Path(str(app.env.doc2path(page)))
    if path.suffix != ".md":
        return
    origin, text = path, source[0]
    if page == COMMANDS:
        text = verbs.page()
    elif page in SHOWN:
        origin = ROOT / SHOWN[page]
        app.env.note_dependency(str(origin))
        text = origin.read_text(encoding="utf-8")
    text = outside_code(text, lambda part: LINK.sub(lambda found: link(found, origin, path), part))
    source[0] = text + sidebar(text) if page == app.config.root_doc else text


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """`text` with `change` made to what is in no fenced block."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if place % 2 else change(part) for place, part in enumerate(parts))


def link(found: re.Match[str], origin: Path, shown: Path) -> str:
    """A link of `origin`, as it leads from `shown`: to the site's page of the same text, to a file to download, or (a folder) nowhere."""
    text, target, anchor = found["text"], found["target"], found["anchor"] or ""
    if not target or ":" in target:
        return found[0]
    place = (origin.parent / target).resolve()
    known = os.path.relpath(place, ROOT)
    if place.is_dir() and f"{known}/README.md" in ELSEWHERE:
        known += "/README.md"
    elif place.is_dir():
        return text[1:-1]
    goal = DOCS / f"{ELSEWHERE[known]}.md" if known in ELSEWHERE else place
    return f"{text}({os.path.relpath(goal, shown.parent)}{anchor})"


def sidebar(index: str) -> str:
    """A toctree for each `## Question` of the index, of the pages that it links to, in order, by the names that it gives them."""
    trees = []
    for question, section in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", index, flags=re.MULTILINE | re.DOTALL):
        pages = {os.path.splitext(target)[0]: text[1:-1] for text, target, _ in LINK.findall(section) if target.endswith((".md", ".ipynb"))}
        listed = "\n".join(f"{title} </{os.path.normpath(page)}>" for page, title in pages.items())
        if listed:
            trees.append(f"\n```{{toctree}}\n:hidden:\n:titlesonly:\n:caption: {question}\n\n{listed}\n```\n")
    return "\n" + "".join(trees)


def plain(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Sphinx's `autodoc-process-docstring`: docstrings are plain text, in which |x| and a * b mean what they say; `code` stays code."""
    for place, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = (re.sub(r"([|*])", r"\\\1", part) for part in parts[::2])
        lines[place] = "`".join(parts)
