"""A run on the user's own files: looked at, split, sized, checked and written. Reads headers and a field of each variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from orbit2.config.files import COARSEN, FROM_FILES, FilesConfig
from orbit2.config.load import from_mapping
from orbit2.config.own_files import even, grids_of, held_in, one_grid
from orbit2.config.own_times import Samples, counted, samples_in
from orbit2.config.schema import RunConfig
from orbit2.door.headers import Header
from orbit2.errors import OrbitError, Unsaid, one_of
from orbit2.grid import named
from orbit2.plan.machine import Machine
from orbit2.plan.text import verdict
from orbit2.progress import doing
from orbit2.start import write
from orbit2.start.asking import Ask, Said, settled
from orbit2.start.jobs import samples_per_part
from orbit2.start.look import Side, day_start, lines, look, span
from orbit2.start.size import sized
from orbit2.start.split import Blocks, blocks

DATASET = "mine"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Grids:
    """As the YAML names them, and why."""

    coarse: str
    fine: str
    factor: int
    why: str


def new(
    name: str, files: Mapping[str, Sequence[str]], said: Said, hours: float, on: Machine, folder: Path, ask: Ask, say: Say
) -> Path:
    """Write `folder/NAME.yaml` for `files` of `coarse` (may be none), `fine` and `statics`; `said`: answers that were given already.

    Raises OrbitError for what cannot work, and where an answer is missing that nobody gives (`ask`). Then nothing is written.
    """
    path = write.place(name, folder)
    sides: dict[str, Side] = {}
    for side in ("coarse", "fine"):
        if files.get(side):
            doing(f"looking at the {side} files")
            sides[side] = settled(partial(_looked, side, files[side], said), said, ask)
            for line in lines(sides[side]):
                say(line)
    inputs, outputs = _variables(sides, said)
    where: dict[str, str] = {}
    for side, found in sides.items():
        begins = day_start(found.headers)
        if begins is not None and f"day_starts.{side}" not in said and len(sides) > 1:
            said[f"day_starts.{side}"] = begins
            where[side] = "by the files' time bounds"
    section, grids, samples, calendar = settled(lambda: _together(sides, files, said, inputs, outputs), said, ask)
    split = blocks(samples.common, samples.step, calendar)
    say(f"together: {span(samples.common, calendar)}")
    say(f"  factor {grids.factor}: {grids.why}")
    say(f"  split {split.why}: " + ", ".join(f"{key} {block['start']} to {block['end']}" for key, block in _periods(split).items()))
    dataset = {"source": "files", "files": section, "inputs": inputs, "outputs": outputs, "coarse_grid": grids.coarse,
               "fine_grid": grids.fine, "split": _split(split)}  # fmt: skip
    dataset = from_mapping({"label": name, "datasets": {DATASET: dataset}, "models": {"m": {
        "datasets": [DATASET], "architecture": {"refinement": grids.factor}}}}).datasets[DATASET].model_dump(mode="json")  # fmt: skip
    conserve = "coarse" not in sides and set(outputs) <= set(inputs)
    chosen = sized({"label": name, "datasets": {DATASET: dataset}}, DATASET, hours, on, conserve=conserve)
    for line in (*chosen.notes, *verdict(chosen.plan)):
        say(line)
    models = {
        "architecture": (chosen.architecture, "block means of the output are the input: the coarse side is made of the fine one" if conserve
                         else "conserve: true only where the coarse files are block means of the fine ones"),
        "train": (chosen.train, f"as many steps as {hours:g} hours allow here; {chosen.notes[-1]}"),
    }  # fmt: skip
    content = write.text(name, _head(path, sides, hours, on), DATASET, "files", _files(section, said, where),
                         [*_keys(inputs, outputs, grids), *_parts(chosen.config, on)], _dates(split), models, chosen.task)  # fmt: skip
    from_mapping(yaml.safe_load(content), where=path)  # what is written works
    write.write(path, content)
    return path


def _looked(side: str, patterns: Sequence[str], said: Said) -> Side:
    inputs, outputs = (list(said.get(key) or ()) for key in ("inputs", "outputs"))
    wanted = inputs if side == "coarse" else outputs
    return look(side, patterns, said.get("rename") or {}, said.get("accumulated"), wanted)


def _variables(sides: Mapping[str, Side], said: Said) -> tuple[list[str], list[str]]:
    """Inputs and outputs: those that are asked for, else all that a side has. Raises OrbitError for one that it has not."""
    found = []
    for key, side in (("inputs", sides.get("coarse") or sides["fine"]), ("outputs", sides["fine"])):
        asked = list(said.get(key) or side.names)
        for name in asked:
            if name not in side.names:
                raise OrbitError(f"the {side.side} files do not hold it", where=f"--{key}", got=name, allowed=", ".join(side.names),
                                 hint=one_of(name, side.names))  # fmt: skip
        found.append(asked)
    return found[0], found[1]


def _together(
    sides: Mapping[str, Side], files: Mapping[str, Sequence[str]], said: Said, inputs: list[str], outputs: list[str]
) -> tuple[dict[str, Any], Grids, Samples, str]:
    """The `files` section, both grids, the samples that all variables have, and their calendar."""
    rename = {**{theirs: ours for side in sides.values() for theirs, ours in side.rename.items()}, **(said.get("rename") or {})}
    section: dict[str, Any] = {key: list(files[key]) for key in ("coarse", "fine", "statics") if files.get(key)}
    section |= {key: value for key, value in (("rename", rename), ("accumulated", said.get("accumulated"))) if value}
    for key in ("day_starts", "stamps"):
        told = {side: said[f"{key}.{side}"] for side in ("coarse", "fine") if f"{key}.{side}" in said}
        if told:
            section[key] = told
    config = FilesConfig.model_validate(section)
    wanted = {"coarse_files": inputs, "files": outputs} if "coarse" in sides else {"files": list(dict.fromkeys((*outputs, *inputs)))}
    held = {source: held_in(config, source, names, sides["coarse" if source == "coarse_files" else "fine"].headers)
            for source, names in wanted.items()}  # fmt: skip
    grids = _grids({"coarse" if source == "coarse_files" else "fine": one_grid(one) for source, one in held.items()}, said)
    calendar = counted(held, None)
    return section, grids, samples_in(config, held, calendar, "native"), calendar


def _grids(own: Mapping[str, Header], said: Said) -> Grids:
    """The files' own grids where these serve. Raises Unsaid for a grid or a factor that does not follow from the files."""
    fine = said.get("fine_grid")
    if fine is None:
        fine = FROM_FILES
        try:
            even(own["fine"].grid)
        except OrbitError as error:
            raise Unsaid(error.what, ("fine_grid",), where=error.where, got=error.got,
                         hint="name a grid that they are averaged to: --fine-grid") from None  # fmt: skip
    target = own["fine"].grid if fine == FROM_FILES else named(fine)
    factor = said.get("factor")
    if "coarse" in own and factor is None and "digest" not in own["coarse"].cells:
        try:
            coarse, cut = grids_of({"coarse_grid": FROM_FILES, "fine_grid": fine}, own)
            return Grids(FROM_FILES, fine, named(cut).nests_in(named(coarse)), "fine cells fill coarse ones, both are used as they are")
        except OrbitError:
            factor = round(own["coarse"].grid.km / target.km)
            if factor < 2:
                raise OrbitError("the fine files are no finer than the coarse ones", where="--fine", got=target.describe(),
                                 allowed=f"cells of less than half of {own['coarse'].about}",
                                 hint="leave --coarse out: then block means of the fine files are the input") from None  # fmt: skip
    if factor is None:
        raise Unsaid("how much coarser the inputs shall be does not follow from the files", ("factor",), where="--factor", got="nothing",
                     hint="say it with --factor")  # fmt: skip
    if fine != FROM_FILES or target.periodic:  # blocks must fill all of it
        good = [n for n in range(2, min(target.shape)) if not target.shape[0] % n and not target.shape[1] % n]
        if not good or ("factor" in said and factor not in good):
            raise OrbitError("the fine grid does not divide into such blocks", where="--factor", got=factor,
                             allowed=", ".join(map(str, good[:12])), hint="choose one of these factors, or another grid with --fine-grid")
        near = factor
        factor = min(good, key=lambda n: abs(n - near))
    why = (f"the coarse files are averaged to blocks of {factor} x {factor} fine cells, which do not fill theirs" if "coarse" in own
           else f"the input is the truth's own means over blocks of {factor} x {factor} cells")  # fmt: skip
    grids_of({"coarse_grid": f"{COARSEN}{factor}", "fine_grid": fine}, own)
    return Grids(f"{COARSEN}{factor}", fine, factor, why)


def _periods(split: Blocks) -> dict[str, dict[str, str]]:
    blocks = {"train": split.train, "validation": split.validation, "test": split.test}
    return {name: {"start": first, "end": last} for name, (first, last) in blocks.items()}


def _split(split: Blocks) -> dict[str, Any]:
    found = _periods(split)
    return {**found} if split.gap_days is None else {**found, "gap_days": split.gap_days}


def _dates(split: Blocks) -> write.Section:
    comments = {"train": split.why, "gap_days": "less than a week: the record is short, and days of two blocks are alike"}
    return [(key, value, comments.get(key, "")) for key, value in _split(split).items()]


def _files(section: Mapping[str, Any], said: Said, where: Mapping[str, str]) -> write.Section:
    comments = {
        "coarse": "what a model will be given", "fine": "the truth", "statics": "orography (m), land_sea_mask (0 to 1)",
        "rename": "NAME IN THE FILES: orbit2's name", "accumulated": "over how long amounts of rain are taken",
        "day_starts": "when a date begins, hours UTC" + "".join(f"; {side} {why}" for side, why in where.items()),
        "stamps": "what of its hour a stamp names",
    }  # fmt: skip
    found = [(key, value, comments[key]) for key, value in section.items()]
    return [*found, ("credit", said.get("credit"), "who made these files, and their licence: stands in the model's card and in the report")]


def _keys(inputs: list[str], outputs: list[str], grids: Grids) -> write.Section:
    return [("inputs", inputs, ""), ("outputs", outputs, ""), ("coarse_grid", grids.coarse, f"factor {grids.factor}: {grids.why}"),
            ("fine_grid", grids.fine, ""),
            ("statics", ["land_sea_mask", "orography", "slope"], "what no file has, orbit2 brings along")]  # fmt: skip


def _parts(config: RunConfig, on: Machine) -> write.Section:
    found = samples_per_part(config, DATASET, on.sheet.cores)
    return [] if found is None else [("samples_per_part", found, "of a job: one for a month of so small fields is not worth its start")]


def _head(path: Path, sides: Mapping[str, Side], hours: float, on: Machine) -> list[str]:
    told = [f"Written by `orbit2 new` for {hours:g} hours on {on.device if on.device != 'this' else 'this machine'}; every line may be"
            " changed (docs/own_data.md, docs/configuration.md)."]  # fmt: skip
    told += [line for side in sides.values() for line in lines(side)]
    return [*told, f"Check: orbit2 config check {path}; costs: orbit2 plan {path} --device this; run it:", f"  {write.command(path)}"]
