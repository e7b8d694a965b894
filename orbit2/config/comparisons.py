"""What a task is scored beside, from the configuration alone: fitted baselines, and the model that a fine-tuned one started from."""

from __future__ import annotations

from orbit2.config.base import Box
from orbit2.config.dataset import DatasetConfig
from orbit2.config.schema import DownscaleConfig, RunConfig
from orbit2.grid import named
from orbit2.variables import log_scored

SAME = ("dataset", "split", "input", "tile", "members", "precision")  # of two predictions that can be compared

ONE_FIELD = {"members": 0, "seed": 0, "reference": None}  # of the same task without members


def parents(config: RunConfig) -> dict[str, tuple[str, str]]:
    """Task -> (the model that its model was fine-tuned from, the name of that one's prediction), where both predict the same; of a task
    with members its `reference`, one field: else its own model without noise.

    A task of the run that predicts the same samples with the parent serves; where there is none, one is made beside it (`<task>_parent`),
    but not for a task on a data set without a truth of its own: that is inference, too large to be done twice for a comparison.
    """
    found: dict[str, tuple[str, str]] = {}
    for task, section in config.downscale.items():
        parent = config.models[section.model].finetune_from
        if section.members:
            parent, section = section.reference or section.model, section.model_copy(update=ONE_FIELD)
        elif "parent" not in config.evaluate.baselines:
            continue
        if parent is None or section.input != "coarse" or not _applies(config, parent, section):
            continue
        twin = next((name for name, other in config.downscale.items() if other.model == parent and _same(other, section)), None)
        if twin is not None or config.datasets[section.dataset].outputs:
            found[task] = parent, twin or _free(f"{task}_parent", config)
    return found


def predictions(config: RunConfig) -> dict[str, DownscaleConfig]:
    """Every prediction of the run by name: the tasks, and those of parents that no task makes."""
    made = {name: config.downscale[task].model_copy(update={**ONE_FIELD, "model": parent, "observations": None})
            for task, (parent, name) in parents(config).items() if name not in config.downscale}
    return {**config.downscale, **made}


def fitted_on(config: RunConfig, task: str) -> str | None:
    """The dataset whose training block a task's fitted baselines, thresholds and climatology come from; None where it has no pairs."""
    section = config.downscale[task]
    dataset = config.datasets[section.dataset]
    return section.dataset if dataset.outputs and dataset.split.train is not None else None


def fit_memory_mb(dataset: DatasetConfig) -> int:
    """What `orbit2 evaluate fit` holds at most (MiB), from above: bytes per fine cell of its sums, monthly means and maps, and what it
    works with (2.5 GiB; measured at 720 x 1440 with two variables: 1.9 GiB in all, 3.4 here)."""
    shared = [name for name in dataset.outputs if name in dataset.inputs]
    labels = len(shared) + sum(log_scored(name) for name in shared)  # rain in ln(1 + x) too
    rows, columns = named(dataset.fine_grid).shape
    each = 60 * len(dataset.outputs) + (80 + 60 + 16) * labels + 84 * len(shared) + 128
    return 2560 + (rows * columns * each >> 20)


PRODUCTS = {"sample": "ERA5", "era5": "ERA5", "prism": "PRISM", "daymet": "DAYMET", "imerg": "IMERG",
            "synthetic": "synthetic test world", "files": "own files", "coarse_files": "own coarse files"}  # fmt: skip


def experiment(config: RunConfig, task: str) -> str:
    """What a task makes of what: `ERA5 to DAYMET`, or with the truth's own averages among the inputs `ERA5 + coarse DAYMET to DAYMET`.

    Two experiments, whose scores are not to be compared (evaluation.md 0, fact 6). A task without a truth is `ERA5, finer than any truth`.
    """
    section = config.downscale[task]
    dataset = config.datasets[section.dataset]
    given = list(dict.fromkeys(PRODUCTS.get(dataset.source_of(name), dataset.source_of(name)) for name in dataset.inputs))
    if section.observations is not None:
        source = config.datasets[section.observations].source
    elif section.input == "coarse" and dataset.outputs:
        source = dataset.source
    else:
        return f"{' + '.join(given)}, finer than any truth"
    truth = PRODUCTS.get(source, source)
    others = [product for product in given if product != truth]
    return " + ".join([*others, *([f"coarse {truth}"] if truth in given else [])]) + f" to {truth}"


OBSERVED = ("prism", "daymet", "imerg")  # sources that are products of observations


def others(config: RunConfig, task: str) -> tuple[str, ...]:
    """Datasets of the run that hold another observational product of what a task is scored against: the finest of each, by product."""
    section = config.downscale[task]
    truth = config.datasets[section.observations or section.dataset]
    if not config.evaluate.other_products or not truth.outputs or (section.observations is None and section.input != "coarse"):
        return ()
    if truth.source not in OBSERVED:
        return ()
    found: dict[str, str] = {}
    for name, dataset in config.datasets.items():
        if dataset.source in OBSERVED and dataset.source != truth.source and set(dataset.outputs) & set(truth.outputs):
            best = found.get(dataset.source)
            if dataset.step_hours == truth.step_hours and (
                best is None or named(dataset.fine_grid).resolution < named(config.datasets[best].fine_grid).resolution):
                found[dataset.source] = name
    return tuple(found.values())


def _applies(config: RunConfig, parent: str, section: DownscaleConfig) -> bool:
    """Whether the parent predicts something of what its child does, from something of what its child is given, where its child does."""
    model, dataset = config.models[parent], config.datasets[section.dataset]
    if model.imported is not None:
        inputs, outputs = set(model.imported.facts.inputs), set(model.imported.facts.outputs)
    else:
        inputs = {name for key in model.datasets for name in config.datasets[key].inputs}
        outputs = set(model.outputs or (name for key in model.datasets for name in config.datasets[key].outputs))
    child = config.models[section.model]
    wanted = set(child.outputs or (name for key in child.datasets for name in config.datasets[key].outputs))
    return bool(inputs & set(dataset.inputs) and outputs & wanted) and _covers(model.region, child.region)


def _covers(whole: Box | None, part: Box | None) -> bool:
    if whole is None:
        return True
    if part is None:
        return False
    turn = (part[2] - whole[2]) % 360
    return whole[0] <= part[0] and part[1] <= whole[1] and turn + (part[3] - part[2]) % 360 <= (whole[3] - whole[2]) % 360


def _same(other: DownscaleConfig, section: DownscaleConfig) -> bool:
    enough = other.max_samples == 0 or 0 < section.max_samples <= other.max_samples
    tiles = other.tile == 0 or (other.halo, other.blend) == (section.halo, section.blend)
    return enough and tiles and all(getattr(other, key) == getattr(section, key) for key in SAME)


def _free(name: str, config: RunConfig) -> str:
    while name in config.downscale:
        name += "_parent"
    return name
