"""Puts the report together: sections, one self-contained page, PNG and CSV beside it. Never leaves half a report behind."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from orbit2.errors import OrbitError
from orbit2.files import write_text
from orbit2.hands import apart
from orbit2.progress import counted, doing
from orbit2.provenance import code_version
from orbit2.report.figures.fields import open_netcdf
from orbit2.report.inputs import Inputs, read
from orbit2.report.interactive.shelf import Shelf
from orbit2.report.interactive.widgets import Address, environment, script
from orbit2.report.pages import ablation, climate, costs, decision, jobs, monsoon, records, seams, sections, sure, tasks
from orbit2.report.pages.blocks import Section
from orbit2.report.style import look
from orbit2.report.tables import Scores, csv_text, plain
from orbit2.report.tables.uses import WORDS

MAX_BYTES = 10_000_000
MARGIN = 50_000  # bytes
PARTS = ("index.html", "figures", "tables")
CONTENTS = "contents.csv"
Drawn = Callable[[], Section | Sequence[Section]]


def run(*, config: Path, out: Path, root: Path = Path("."), foresee: costs.Foresee | None = None) -> None:
    """Write the report of a run into the folder `out`: index.html, figures/*.png and tables/*.csv.

    `config` is the run's report slice (JSON); its paths are relative to `root`. `foresee` tells what plan says
    of what was done. The folder is replaced as a whole at the end.
    Raises OrbitError for a folder that holds something else, naming a missing file and the stage that writes it.
    """
    out, root = Path(out), Path(root)
    _check_place(out)
    doing("reading scores and fields")
    inputs = read(Path(config), root)
    doing("drawing")
    with look():
        chapters = build(inputs, Path(config), out, foresee)
    write(out, page(inputs, chapters), chapters)


def write(out: Path, page: Page, chapters: Sequence[Section]) -> None:
    """The page, its pictures and tables into the folder `out`, which is replaced as a whole.

    Raises OrbitError for one that holds other things.
    """
    _check_place(out)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.part")
    try:
        for chapter in counted(chapters, "writing", len(chapters), "chapter"):
            for figure in chapter.figures():
                figure.write(temporary, page.banner)
            for table in chapter.tables():
                table.write(temporary)
        page.shelf.write(temporary)
        write_text(temporary / "tables" / CONTENTS, contents(chapters, page.banner))
        write_text(temporary / "index.html", page.html)
        _replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def contents(chapters: Sequence[Section], banner: str = "") -> str:
    """Every figure and table of the page as CSV: kind, name (of its files), part and section of the page, title, caption (the banner's
    words first)."""
    rows = [("figure", one.name, chapter, one.title, one.caption) for chapter in chapters for one in chapter.figures()]
    rows += [("table", one.name, chapter, one.name.replace("_", " "), one.caption) for chapter in chapters for one in chapter.tables()]
    return csv_text(pd.DataFrame(
        [(kind, name, chapter.part, chapter.title, title, f"{banner}. {plain(caption)}".removeprefix(". "))
         for kind, name, chapter, title, caption in rows],
        columns=["kind", "name", "part", "section", "title", "caption"]))  # fmt: skip


def _check_place(out: Path) -> None:
    """Raise OrbitError when writing the report would delete what is no report."""
    if not (out.exists() or out.is_symlink()):
        return
    others = [out.name]
    if out.is_dir() and not out.is_symlink():
        others = sorted(path.name for path in out.iterdir() if path.name not in PARTS)
    if others:
        raise OrbitError("the report's folder would be replaced, and holds other things", where=out, got=", ".join(others[:5]),
                         allowed=f"a new folder, or an older report ({', '.join(PARTS)})", hint="give another --out")  # fmt: skip


def _replace(new: Path, out: Path) -> None:
    """Move the finished folder into place; an older report disappears only then."""
    old = new.with_suffix(".old")
    if out.exists():
        os.replace(out, old)
    os.replace(new, out)
    shutil.rmtree(old, ignore_errors=True)


def build(inputs: Inputs, config: Path, out: Path, foresee: costs.Foresee | None = None) -> list[Section]:
    """All sections in reading order, drawn by as many processes as may be used."""
    task = inputs.main_task()
    for name in ("spectra.nc", "density.nc", "maps.nc"):
        open_netcdf(task.evaluate / name, "evaluate")  # found missing or damaged before any drawing
    scores = Scores(inputs.scores, task.name)
    own: list[Drawn] = [
        lambda: sections.headline(inputs, task, scores),
        lambda: sure.sections(inputs, task),
        lambda: sections.map_section(inputs, task),
        lambda: sections.spectra_section(task, scores),
        lambda: sections.density_section(task, scores),
        lambda: sections.patterns_section(inputs, task, scores),
    ] if task.has_truth else [lambda: tasks.observed_section(inputs, task)]  # fmt: skip
    told = {task.name, *([one.name] if (one := sure.task_of(inputs, task)) is not None else [])}
    others = [other for other in inputs.tasks.values() if other.name not in told]
    chapters: list[Drawn] = [
        lambda: decision.section(inputs, task.scored),
        *own,
        lambda: ablation.sections(inputs, task),
        lambda: ablation.left_out_sections(inputs, task),
        lambda: ablation.extreme_year_sections(inputs, task),
        lambda: climate.sections(inputs, task.scored),
        lambda: monsoon.sections(inputs, task.scored),
        lambda: monsoon.wave_sections(inputs, task.scored),
        *(partial(tasks.regional_section, inputs, other) for other in others if other.has_truth),
        *(partial(tasks.observed_section, inputs, other) for other in others if other.observations is not None),
        *(partial(tasks.zero_shot_section, inputs, other) for other in others if not other.has_truth and other.observations is None),
        *(partial(seams.sections, inputs, one) for one in inputs.tasks.values()),
        lambda: sections.training_section(inputs),
        lambda: jobs.sections(inputs),
        lambda: costs.cost_section(inputs, foresee),
        lambda: jobs.checks_section(inputs),
        lambda: records.provenance_section(inputs, config, out),
        lambda: records.limits_section(inputs, task),
        lambda: records.glossary_section(),
    ]
    return [section for drawn in apart(chapters) for section in ([drawn] if isinstance(drawn, Section) else drawn)]


def page(inputs: Inputs, chapters: list[Section]) -> Page:
    """The HTML page of a run."""
    lead = sections.lead(inputs, inputs.main_task())
    return rendered(inputs.config.report.title, f"orbit2 report · run {inputs.label}", lead, chapters, "the run's own files",
                    inputs.config.banner)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """HTML, and the pictures for which it had no room."""

    html: str
    shelf: Shelf
    banner: str = ""


def rendered(title: str, kicker: str, lead: Sequence[str], chapters: list[Section], source: str, banner: str = "") -> Page:
    """A page below 10 MB: it holds the pictures that are in view first; those for which there is no room lie beside it.

    `banner` stays in sight, and stands on every printed page.
    """
    css = Markup(files("orbit2.report").joinpath("templates/style.css").read_text(encoding="utf-8"))
    code = script()
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    footer = f"Made by orbit2 {code_version()} from {source}. Pictures and numbers lie beside this page in figures/ and tables/."

    def html(address: Address) -> str:
        return environment().get_template("report.html.j2").render(
            title=title, banner=banner, kicker=kicker, lead=lead, sections=chapters, levels=WORDS, css=css, uri=address, footer=footer,
            several=len({chapter.part for chapter in chapters}) > 1, code_version=code_version(), script=code,
            script_hash=f"sha256-{digest}",
        )  # fmt: skip

    pictures = [one for chapter in chapters for one in chapter.pictures()]
    shelf = Shelf(0)
    shelf.place(pictures)  # the page's own size, every picture beside it
    text = html(shelf.address)
    room = MAX_BYTES - len(text.encode("utf-8"))
    while room > 0:
        shelf = Shelf(room, shelf.packed)
        shelf.place(pictures)
        text = html(shelf.address)
        over = len(text.encode("utf-8")) - MAX_BYTES
        if over < 0:
            break
        room -= over + MARGIN  # a picture may be shown twice
    return Page(text, shelf, banner)
