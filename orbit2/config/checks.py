"""What must hold between the sections of a run: places, positions, times. From the configuration alone; raises ValueError or OrbitError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit2 import times
from orbit2.config.dataset import Period, duration
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.config.sources import traits
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, named

if TYPE_CHECKING:
    from orbit2.config.base import Box
    from orbit2.config.schema import DownscaleConfig, RunConfig

FINER = 0.99  # of the source's spacing: what rounding of coordinates leaves
GEOGRAPHIC = "set architecture.position: geographic"


def regions(run: RunConfig) -> None:
    """A model's box lies on every grid that it is trained on or applied to: a part outside would be left out without a word."""
    for name, model in run.models.items():
        for dataset in model.datasets:
            _inside(run, f"models.{name}.region", name, dataset, "coarse")
            if model.leave_out is not None:
                _box_inside(run, f"models.{name}.leave_out", model.leave_out, dataset, "fine")
    for name, task in run.downscale.items():
        _inside(run, f"downscale.{name}: region of '{task.model}'", task.model, task.dataset, task.input)


def _inside(run: RunConfig, user: str, model: str, dataset: str, side: str) -> None:
    region = run.models[model].region
    if region is not None:
        _box_inside(run, user, region, dataset, side)


def _box_inside(run: RunConfig, user: str, region: Box, dataset: str, side: str) -> None:
    name = run.datasets[dataset].coarse_grid if side == "coarse" else run.datasets[dataset].fine_grid
    grid = named(name)
    if not grid.holds(region):
        raise ValueError(f"{user} {list(region)} is not inside the grid of dataset '{dataset}' ({name}: {grid.describe()})")
    grid.window(region)  # raises where no cell's centre is inside


def spacings(run: RunConfig) -> None:
    """No grid is finer than the files that fill it, unless the dataset says so."""
    for name, dataset in run.datasets.items():
        sides = (("coarse_grid", dataset.coarse_grid, {dataset.source_of(key) for key in dataset.inputs}),
                 ("fine_grid", dataset.fine_grid, {dataset.source} if dataset.outputs else set()))  # fmt: skip
        for key, grid, sources in sides:
            for source in sorted(sources):
                told = finer(named(grid), run.sources.spacing(source))
                if told and not dataset.finer_than_source:
                    raise ValueError(f"datasets.{name}.{key}: {grid} is finer than {source} itself ({told}): its cells would repeat; "
                                     "choose a coarser grid, or say finer_than_source: true")  # fmt: skip


def finer(grid: AnyGrid, spacing: float) -> str | None:
    """By how much `grid` is finer than values every `spacing` degrees of latitude, in words; None where it is not."""
    if grid.resolution >= FINER * spacing:
        return None
    return f"{grid.resolution:.4g} degrees against {spacing:.4g}"


def synthetic(run: RunConfig) -> None:
    """A run is of the synthetic test world alone, or has nothing of it: no score of one is ever taken for one of the other."""
    made = [name for name, dataset in run.datasets.items() if traits(dataset.source).synthetic]
    real = [name for name in run.datasets if name not in made]
    if made and real:
        raise ValueError(f"datasets '{made[0]}' (the synthetic test world) and '{real[0]}' in one run: make two runs of them")


def blocks(run: RunConfig) -> None:
    """No test block meets, or comes close to, what the model or an ancestor learned from or was chosen by: weather is the same whatever
    the dataset that shows it. Of an imported model that is what its folder says, if it says it."""
    for name, model in run.models.items():
        tested = {f"models.{name}: dataset '{key}'": key for key in model.datasets}
        tested |= {f"downscale.{task}: dataset '{t.dataset}'": t.dataset
                   for task, t in run.downscale.items() if t.model == name and t.split == "test"}  # fmt: skip
        for older in run.lineage(name):
            if (found := run.models[older].imported) is not None:
                for which, start, end, calendar in found.facts.learned:
                    for user, key in tested.items():
                        _apart(run, user, key, Period(start=start, end=end), calendar, f"{which}, which '{older}' says that it saw")
            for learned in run.models[older].datasets:
                for block, period in run.datasets[learned].split.blocks.items():
                    for user, key in tested.items() if block != "test" else ():
                        told = f"{block} block of '{learned}', which model '{older}' saw"
                        _apart(run, user, key, period, run.datasets[learned].counted, told)


def imported(run: RunConfig, name: str, task: DownscaleConfig) -> None:
    """A task's dataset gives an imported model what it reads, in its refinement; of inputs that are mapped to a climate none is known."""
    section = run.models[task.model].imported
    if section is None:
        return
    dataset, facts, user = run.datasets[task.dataset], section.facts, f"downscale.{name}"
    if task.map_climate is not None:
        raise ValueError(f"{user}.map_climate: the climate that '{task.model}' was trained in is not here, for it was imported")
    factor = facts.network.refinement
    if task.input == "coarse" and dataset.outputs and dataset.refinement != factor:
        raise ValueError(f"{user}: '{task.model}' refines {factor} times, dataset '{task.dataset}' {dataset.refinement} times")
    given = dataset.inputs if task.input == "coarse" else dataset.outputs
    needed = facts.outputs if facts.network.kind == "orbit2" else ()  # its residual path reads them
    absent = [output for output in needed if output not in given]
    if absent:
        raise ValueError(f"{user}: '{task.model}' reads {', '.join(absent)}, which dataset '{task.dataset}' does not have: "
                         f"it has {', '.join(given)}")  # fmt: skip
    if not set(facts.inputs) & set(given):
        raise ValueError(f"{user}: dataset '{task.dataset}' has none of the inputs of '{task.model}': {', '.join(facts.inputs)}")
    if dataset.outputs and not set(facts.outputs) & set(dataset.outputs) and task.observations is None:
        raise ValueError(f"{user}: '{task.model}' predicts {', '.join(facts.outputs)}, of which dataset '{task.dataset}' has no truth: "
                         f"{', '.join(dataset.outputs)}")  # fmt: skip


def _apart(run: RunConfig, user: str, key: str, period: Period, calendar: str, seen: str) -> None:
    dataset = run.datasets[key]
    test, gap = dataset.split.test, dataset.gap
    (tested, until), (learned, to) = ([times.as_real(t) for t in p.bounds(c)] for p, c in ((test, dataset.counted), (period, calendar)))
    if tested - to < gap and learned - until < gap:
        raise ValueError(f"{user}: its test block ({test.start} to {test.end}) is not {duration(gap)} away from the {seen} "
                         f"({period.start} to {period.end}): scores would be of weather that it has learned")  # fmt: skip


def noise(run: RunConfig) -> None:
    """Members are made by noise, learned by `crps`; what is frozen was trained before."""
    for name, model in run.models.items():
        if model.imported is not None:
            continue
        architecture = run.architecture_of(name)
        if (wrong := unfit_noise(model.train, architecture)) is not None:
            raise ValueError(f"models.{name}: {wrong}")
        if model.train.freeze_trunk and (architecture.kind != "reslim" or model.finetune_from is None):
            raise ValueError(f"models.{name}: `freeze_trunk` keeps the weights of a Reslim that it was fine-tuned from: set finetune_from")


def unfit_noise(train: TrainConfig, architecture: ArchitectureConfig) -> str | None:
    """Why this loss and this architecture do not go together; None when they do."""
    if train.loss == "crps" and not architecture.noise.channels:
        return "loss `crps` needs members, which noise makes: set architecture.noise.channels above 0 (2 is fair)"
    if train.loss != "crps" and architecture.noise.channels:
        return f"loss `{train.loss}` never sees the members that architecture.noise makes: set train.loss: crps"
    return None


def climates(run: RunConfig) -> None:
    """Inputs are mapped to a dataset that the model was trained on, and nothing of that is fitted on what anything is judged by."""
    for name, task in run.downscale.items():
        if task.map_climate is None:
            continue
        trained, user = run.models[task.model].datasets, f"downscale.{name}.map_climate"
        if task.input != "coarse":
            raise ValueError(f"{user}: only with `input: coarse`")
        if task.map_climate.onto is not None and task.map_climate.onto not in trained:
            raise ValueError(f"{user}.onto: '{task.map_climate.onto}' is no dataset of '{task.model}': {', '.join(trained)}")
        for key in dict.fromkeys((*trained, task.dataset)):
            dataset = run.datasets[key]
            blocks = {block: period for block, period in dataset.split.blocks.items() if block != "train"}
            for block, period in blocks.items():
                (first, last), (begin, end) = ([times.of_any(times.day(text)) for text in (p.start, p.end)]
                                               for p in (task.map_climate.period, period))  # fmt: skip
                if first <= end and begin <= last:
                    fitted = task.map_climate.period
                    raise ValueError(f"{user}.period: {fitted.start} to {fitted.end} holds {block} years of '{key}' ({period.start} to "
                                     f"{period.end}): what is fitted on them knows what it is judged by")


def positions(run: RunConfig) -> None:
    """A table of positions serves one grid, whole: the model's and its ancestors' datasets, and every task."""
    for name in run.models:
        architecture = run.architecture_of(name)
        known = {f"models.{older}: {key}": _place(run, older, key, "coarse")
                 for older in run.lineage(name) for key in run.models[older].datasets}  # fmt: skip
        refuse_table(architecture, known, run.models[name].train.tiled, f"models.{name}")
        for task, section in run.downscale.items():
            if section.model == name:
                here = {f"downscale.{task}: {section.dataset}": _place(run, name, section.dataset, section.input)}
                tiled = section.tile not in (0, (0, 0))
                refuse_table(architecture, {**known, **here}, tiled, f"downscale.{task}")


def _place(run: RunConfig, model: str, dataset: str, side: str) -> Grid:
    region, found = run.models[model].region, run.datasets[dataset]
    grid = named(found.coarse_grid if side == "coarse" else found.fine_grid)
    return grid if region is None else grid.crop(*grid.window(region))


def refuse_table(architecture: ArchitectureConfig, grids: Mapping[str, AnyGrid], tiled: bool, where: str) -> None:
    """Raise OrbitError for a `table` of positions that meets tiles or more than one of `grids` (by who uses them): it has no place for
    a tile, and would be stretched over every grid alike, so that the same entry means other places."""
    if architecture.position != "table":
        return
    if tiled:
        raise OrbitError("a `table` position is the same for every tile: the model would not know where a tile is", where=where,
                         got="tiles", allowed="tile: 0", hint=GEOGRAPHIC)  # fmt: skip
    users = list(grids.items())
    for user, other in users[1:]:
        first, grid = users[0]
        if not grid.same_place(other):
            raise OrbitError("a `table` position serves one grid: on another one its entries would mean other places", where=where,
                             got=f"{first} on {grid.describe()}, {user} on {other.describe()}", hint=GEOGRAPHIC)  # fmt: skip
