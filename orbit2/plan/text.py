"""A plan as people read it: the verdict and what it costs first, then how that comes about. Finds nothing out by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orbit2.config.schema import RunConfig
from orbit2.grid import named
from orbit2.model.build import Downscaling
from orbit2.model.inspect import build, size, table, tokens
from orbit2.plan import advise, sequence, stages
from orbit2.plan.devices import HERE
from orbit2.plan.records import Memory, Model, Pieces, Plan, Stored, Task, Time, Training
from orbit2.retrieve.progress import human

NAMES = {"download": "downloads", "store": "pair stores", "model": "models", "checkpoints": "checkpoints", "prediction": "predictions"}
UNTOLD = "not told: disk of scores and report"


def render(plan: Plan, config: RunConfig) -> str:
    """All of it; `config` is the run that was planned."""
    models = {each.name: build(config, each.name) for each in plan.models}
    imported = dict.fromkeys(task.model for task in plan.tasks if task.model not in models)
    parts = [verdict(plan)]
    for each in plan.models:
        tasks = [task for task in plan.tasks if task.model == each.name]
        parts.append([*_model(config, each, models[each.name]), *(line for task in tasks for line in _task(task))])
    for name in imported:
        section, tasks = config.models[name].imported, [task for task in plan.tasks if task.model == name]
        assert section is not None
        there = "" if section.there else ", not there yet: sizes are those that its publisher tells"
        parts.append([f"{name}: imported from {section.folder}{there}; nothing is trained", *table(build(config, name), {}),
                      *(line for task in tasks for line in _task(task))])  # fmt: skip
    parts += [_disk(plan.stored), *_sequences(config, models), _assumptions(plan.assumptions)]
    return "\n\n".join("\n".join(part) for part in parts)


def verdict(plan: Plan) -> list[str]:
    """What a reader wants first: does it fit, what does it cost; a line for each training and task."""
    trained = [(f"model {model.name}", model.time, _worst(model)) for model in plan.models]
    predicted = [(f"task {task.name}", task.time, task.memory) for task in plan.tasks]
    pieces = [*((f"model {model.name} on {each.dataset}", each.memory) for model in plan.models for each in model.trainings),
              *((f"task {task.name}", task.memory) for task in plan.tasks)]  # fmt: skip
    bad = [(what, memory) for what, memory in pieces if memory.advice]
    where = f"on {place(plan)}"
    count = f"{len(bad)} of {len(pieces)}" if bad else f"all {len(pieces)}"
    lines = [f"{'does NOT fit' if bad else 'fits'} {where}: {count} parts of the run"]
    lines += [f"  {what}: {told(memory)}" for what, memory in bad]
    lines.append("  " + _row("", "memory of a device", "devices", "time", "device-hours", "slices", "energy"))
    lines += ["  " + _row(what, _share(memory), *_cells(time)) + ("   does NOT fit" if memory.advice else "   fits")
              for what, time, memory in (*trained, *predicted)]  # fmt: skip
    lines += [f"  model {model.name} takes months; it would need one of: {'; '.join(model.needs)}" for model in plan.models if model.needs]
    whole = plan.device_seconds
    if len(plan.times) > 1 and whole is not None:
        lines.append("  " + _row("in all", "", "", "", _hours(whole), "", _energy(plan.joules)))
    lines += dict.fromkeys(f"  time not told: {time.untold}" for time in plan.times if time.untold)
    lines += [f"  {line}" for line in (*_beside(plan), *_sums(plan))]
    return [*lines, f"  {UNTOLD}"]


def place(plan: Plan) -> str:
    """On what."""
    if plan.device in HERE and plan.devices == 1:
        return "this machine"
    return f"{plan.devices} {plan.device}" if plan.asked else f"a node of {plan.devices} {plan.device}"


def told(memory: Memory) -> str:
    """What is needed, what there is, and the verdict. The system's own share comes on top."""
    parts = " + ".join(f"{name} {size(count)}" for name, count in memory.parts.items())
    return f"{parts} = {size(memory.need)} of {size(memory.device)}: {memory.advice or 'fits'}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    for unit, length, least in (("years", 8766 * 3600.0, 2.0), ("h", 3600.0, 1.0), ("min", 60.0, 1.0)):
        if seconds >= least * length:
            return f"{seconds / length:,.{0 if seconds >= 100 * length else 1}f} {unit}"
    return f"{seconds:.2g} s"


def _worst(model: Model) -> Memory:
    """Of the datasets, the one that stands in the way, else the one that needs most."""
    return max((each.memory for each in model.trainings), key=lambda memory: (memory.advice is not None, memory.need))


def _row(what: str, *cells: str) -> str:
    widths = (24, 9, 12, 14, 8, 13)
    return f"{what:<34}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _share(memory: Memory) -> str:
    return f"{memory.need / 1e9:,.2f} of {memory.device / 1e9:,.0f} GB"


def _cells(time: Time) -> tuple[str, ...]:
    if time.wall is None or time.device_seconds is None:
        return (str(time.devices), "n/a", "n/a", "n/a", "n/a")
    return (str(time.devices), duration(time.wall), _hours(time.device_seconds), str(time.slices), _energy(time.joules))


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}" if hours >= 0.01 else "< 0.01"


def _energy(joules: float | None) -> str:
    if joules is None:
        return "n/a"
    kwh = joules / 3.6e6
    return f"{kwh / 1e3:,.1f} MWh" if kwh >= 1e3 else f"{kwh:,.3g} kWh" if kwh >= 0.01 else "< 0.01 kWh"


def _beside(plan: Plan) -> list[str]:
    """The other stages: a line for each, and what of them is not told."""
    if not plan.works:
        return []
    lines = [f"other stages, on {plan.cores:,} cores" + f"{'jobs':>42}{'time':>12}{'core-hours':>14}"]
    for stage, (jobs, work, wall) in stages.summed(plan.works, plan.cores).items():
        lines.append(f"{'  ' + stage:<54}{jobs:>12,}{duration(wall):>12}{_hours(work):>14}")
    why: dict[tuple[str, str], list[str]] = {}
    for one in plan.works:
        if one.untold:
            why.setdefault((one.stage, one.untold), []).append(one.name)
    return [*lines, *(f"  not told: {stage} {', '.join(names)}".rstrip() + f" ({untold})" for (stage, untold), names in why.items())]


def _sums(plan: Plan) -> list[str]:
    """Disk and download in a line each."""
    def both(kind: str) -> str:
        whole, missing = plan.of(kind)
        left = "" if missing == whole else f" ({human(missing)} to come)" if missing else " (there)"
        return f"{NAMES[kind]} {human(whole)}{left}"

    kinds = dict.fromkeys(each.kind for each in plan.stored)
    kept = [kind for kind in kinds if kind != "download"]
    whole, missing = (sum(plan.of(kind)[index] for kind in kept) for index in (0, 1))
    coming = missing + ("download" in kinds and plan.of("download")[1])
    lines = [f"disk: {human(whole)}, {human(missing)} of it still to be written: {', '.join(both(kind) for kind in kept)}"]
    if coming > plan.free:
        lines.append(f"disk: more is to come than the {human(plan.free)} that are free here")
    if "download" in kinds:
        whole, missing = plan.of("download")
        files = sum(each.files or 0 for each in plan.stored if each.kind == "download")
        lines.append(f"download: about {human(missing)} of {human(whole)} in {files:,} files")
        lines += [f"not told: downloads of {each.name} ({each.untold})" for each in plan.stored if each.untold]
    return lines


def _model(config: RunConfig, plan: Model, built: Downscaling) -> list[str]:
    grids = {each.dataset: named(config.datasets[each.dataset].coarse_grid) for each in plan.trainings}
    lines = [f"model         {plan.name}", *table(built, grids)]
    lines.append("memory of the training state (all of it; fsdp, sp and tp divide it):")
    lines += [f"  {part:<18}{size(count):>12}" for part, count in {**plan.state, "total": sum(plan.state.values())}.items()]
    for each in plan.trainings:
        lines += [*_training(plan, each), *advise.lines(each.halo, each.dataset, config, plan.name, built)]
    lines.append(f"training in all: {plan.flops / 1e15:.4f} PFLOP for {plan.steps} steps, {_spent(plan.time)}")
    return lines


def _training(model: Model, plan: Training) -> list[str]:
    unit = "tiles" if len(plan.cuts) > 1 else "samples"
    each = f"{plan.each} of {model.batch} samples of a step on each of {model.ranks} ranks ({model.precision})"
    once = f"{plan.together} at once (accumulate {model.accumulate}), checkpointing {model.checkpointing}"
    lines = [f"training on {plan.dataset}: {each}", *pieces(plan.cuts), f"  mesh {model.mesh}: {plan.parts} {unit} on a rank, {once}"]
    windows = plan.cuts[-1].windows
    if plan.drawn < windows:
        lines.append(f"  a step trains on {plan.drawn} of a sample's {windows} tiles")
    lines.append(f"  {told(plan.memory)}")
    if plan.exchanged:
        lines.append("  a rank exchanges in a step: " + ", ".join(f"{size(count)} over {axes}" for axes, count in plan.exchanged.items()))
    about = "" if plan.share == 1 else f"about {plan.share:.1%} of the steps: "
    work = f"{about}{plan.flops * model.batch * plan.steps / 1e15:.4f} PFLOP for {plan.steps:,.0f} steps of {model.batch} samples"
    return [*lines, f"  {plan.flops / 1e12:.4f} TFLOP per trained sample; {work}", f"  {_spent(plan.time)}"]


def _task(plan: Task) -> list[str]:
    lines = [f"downscale.{plan.name}: {plan.coarse[0]}x{plan.coarse[1]} -> {plan.fine[0]}x{plan.fine[1]}, {plan.samples:,} samples"
             + (f" of {plan.members} members" if plan.members else "")
             + (", made for comparison" if plan.parent else ""), *pieces(plan.cuts)]  # fmt: skip
    lines += [f"  {told(plan.memory)}", f"  {_spent(plan.time)}"]
    if plan.misplaced:
        lines.append(f"  {plan.misplaced} of {plan.cuts[-1].windows} windows begin inside a token of the untiled field (docs/tiles.md)")
    return lines


def _spent(time: Time) -> str:
    """Where the time goes."""
    if time.wall is None:
        return f"time not told: {time.untold}"
    where = ", ".join(f"{name} {seconds / time.wall:.0%}" for name, seconds in time.split.items() if seconds > 0.005 * time.wall)
    rate = f"; {time.rate / 1e12:,.3g} TFLOP/s a device" if time.rate else ""
    return f"{duration(time.wall)} on {time.devices} devices: {where}{rate}" + (f" ({time.share:.1%} of its peak)" if time.share else "")


def pieces(cuts: Sequence[Pieces]) -> list[str]:
    """A line per way to cut a sample."""
    rows = [["", "windows", "core", "window", "tokens each", "GFLOP a sample", "extra cells", "activations"]]
    for each in cuts:
        edges = ["x".join(str(n) for n in edge) for edge in (each.core, each.window)]
        rows.append([each.name, f"{each.windows}", *edges, f"{each.tokens:,}", f"{each.flops / 1e9:,.1f}", f"{each.extra:.0%}",
                     size(each.activations)])  # fmt: skip
    return ["  " + f"{row[0]:<13}{row[1]:>8}" + "".join(f"{cell:>16}" for cell in row[2:]) for row in rows]


def _disk(stored: Sequence[Stored]) -> list[str]:
    lines = ["disk and downloads" + f"{'in all':>40}{'to come':>14}{'files':>10}"]
    for each in stored:
        files = "" if each.files is None else f"{each.files:,}"
        lines.append(f"  {each.kind + ' ' + each.name:<44}" + (f"not told: {each.untold}" if each.untold else
                     f"{human(each.bytes):>12}{human(each.missing):>14}{files:>10}"))  # fmt: skip
        lines += [f"    {note}" for note in each.notes]
    return lines


def _assumptions(assumed: Mapping[str, float | str]) -> list[str]:
    return ["what times and sizes stand on (orbit2/plan/time.py says what each is and where it comes from)",
            *(f"  {name:<18}{value if isinstance(value, str) else f'{value:.4g}'}" for name, value in assumed.items())]  # fmt: skip


def _sequences(config: RunConfig, models: Mapping[str, Downscaling]) -> list[list[str]]:
    """The paper's arithmetic, once for every refinement and patch among the models that attend."""
    own: dict[tuple[int, int], dict[str, tuple[sequence.Output, int]]] = {}
    for name, built in models.items():
        for key in config.models[name].datasets:
            grid = named(config.datasets[key].coarse_grid)
            if count := tokens(built, grid):
                scale = built.config.refinement if built.config.kind == "reslim" else 1
                output = sequence.Output(*grid.refine(built.config.refinement).shape, len(built.outputs))
                own.setdefault((scale, built.config.patch), {})[f"{name} on {key}"] = (output, count)
    return [sequence.lines(scale, patch, rows) for (scale, patch), rows in own.items()]
