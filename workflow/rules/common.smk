# Shared by all rule files. The checked configuration, the folders, and the slices that tell each stage what it depends on.
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from orbit2 import lock, places
from orbit2.config import slices
from orbit2.config.begun import as_begun
from orbit2.config.load import from_mapping, machine_file, slice_text
from orbit2.config.migrate import waiting
from orbit2.errors import OrbitError
from orbit2.files import write_if_changed, write_json, write_text
from orbit2.sources.manifest import VERSION

if workflow.is_main_process:
    lock.announce()  # known to every job: what this run was refused, and who is still at work


@contextmanager
def one_line():
    """A mistake found while Snakemake reads the workflow or asks a function of it is one line and exit code 2, as everywhere in orbit2."""
    try:
        yield
    except OrbitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@one_line()
def checked_configuration():
    """The run as a RunConfig."""
    raw = {key: value for key, value in config.items() if key != "set"}
    overrides = config.get("set", [])
    files = [Path(name) for name in workflow.configfiles]
    run = from_mapping(
        raw,
        [overrides] if isinstance(overrides, str) else overrides,
        base=files[0].parent if files else None,
        where=" + ".join(map(str, files)) or "--config",
    )
    return as_begun(run)


@cache
@one_line()
def told(path, stage, *names):
    """A stage's slice of the configuration (science keys), written by real runs and only when it changed; its machine keys lie beside
    it, where no rule sees them. When only looking, what would change lies in .snakemake, newer than anything that was made.
    """
    take_groups()
    content = getattr(slices, stage)(RUN, *names)
    text = slice_text(content)
    if workflow.is_main_process:
        if looking():
            if not Path(path).is_file() or Path(path).read_text() != text:
                path = f".snakemake/orbit2/{path}"
                write_text(path, text)
        elif OLD:
            sys.exit(2)  # said below: nothing that is there is silently built again
        else:
            write_if_changed(path, text)
            workflow.iocache.exists_local[path] = True  # Snakemake may have looked through the folder before
            write_json(machine_file(Path(path)), slices.machine_keys(RUN, stage, *names))
    return path


@cache
def gone(product, *receipts):
    """A receipt whose product is gone does not count: a real run removes it, for one that only looks a new file stands for that."""
    left = [path for pattern in receipts for path in Path().glob(pattern)]
    if Path(product).exists() or not left or not workflow.is_main_process or workflow.touch:
        return []
    print(f"{product} is gone: it is made again when something needs it", file=sys.stderr)
    if looking():
        write_text(f".snakemake/orbit2/gone/{product}", "")
        return [f".snakemake/orbit2/gone/{product}"]
    for path in left:
        path.unlink()
    return []


def either(names):
    """A wildcard constraint that matches exactly these names."""
    return "|".join(sorted(names)) or "none"


def banner(*lines):
    """A framed message that also says where every log is."""
    lines = [*lines, f"Logs: results/data/*/logs, results/models/*/logs, {R}/logs"]
    width = max(map(len, lines))
    return "\n".join(["", "=" * width, *lines, "=" * width, ""])


def launch(wildcards, resources):
    """What a profile starts training with: nothing, its `launcher`, or one srun task per rank (`mpi: srun`)."""
    if resources.get("mpi") != "srun":
        return f"{resources.get('launcher', '')} ".lstrip()
    nodes, tasks = resources.get("nodes", 1), resources.get("tasks_per_node", 1)
    setup = resources.get("node_setup")
    first = f"prepared {places.shipped(setup)} {nodes} " if setup else ""
    return f"{first}srun --kill-on-bad-exit=1 --nodes={nodes} --ntasks={nodes * tasks} --ntasks-per-node={tasks} {resources.get('bind', '')} "


def receipts(wildcards):
    """What says that the provider files of a dataset are there. Ancient: fetching more for another run rebuilds nothing."""
    return [ancient(path) for path in WANTED[DATASET_OF[wildcards.data]].values()]


def store_of(wildcards):
    """A dataset's store; not a declared output, so that a failed job deletes nothing."""
    return STORES[DATASET_OF[wildcards.data]]


def task_store(wildcards):
    return STORES[PREDICTIONS[wildcards.task].dataset]


def task_inputs(wildcards):
    """The finished store that a task downscales, and the one whose climate its inputs are mapped to."""
    mapped = [slices.mapped_onto(RUN, wildcards.task)] if PREDICTIONS[wildcards.task].map_climate else []
    return [
        f"{DATASETS[name]}/finalised.json" for name in dict.fromkeys((PREDICTIONS[wildcards.task].dataset, *mapped))
    ]


def task_source(wildcards):
    """The stores that a prediction reads, as command-line options."""
    mapped = PREDICTIONS[wildcards.task].map_climate
    climate = f" --climate {STORES[slices.mapped_onto(RUN, wildcards.task)]}" if mapped else ""
    return f"--store {task_store(wildcards)}{climate}"


def task_truth(wildcards):
    """The finished observations that a task is scored against, if it has some of its own."""
    name = RUN.downscale[wildcards.task].observations
    return [] if name is None else f"{DATASETS[name]}/finalised.json"


def task_beside(wildcards):
    """What a task is scored beside: the fits of its dataset's baselines, the prediction of the model its own started from, other products."""
    fits, parent = FITS[wildcards.task], PARENTS[wildcards.task]
    others = [f"{DATASETS[name]}/finalised.json" for name in OTHERS[wildcards.task]]
    return [path for path in (fits, parent and f"{R}/downscale/{parent['prediction']}.json") if path] + others


def task_stores(wildcards):
    """The stores, fits and predictions that evaluate and diagnose read, as command-line options."""
    name, fits, parent = RUN.downscale[wildcards.task].observations, FITS[wildcards.task], PARENTS[wildcards.task]
    options = [f"--store {task_store(wildcards)}"]
    options += [f"--observations {STORES[name]}"] if name else []
    options += [f"--fits {fits}"] if fits else []
    options += [f"--parent {R}/downscale/{parent['prediction']}.zarr"] if parent else []
    return " ".join(options)


RUN = checked_configuration()
R = slices.run_folder(RUN)
RESOURCES = RUN.sources.resources

TASKS = list(RUN.downscale)

with one_line():  # all that functions of rules look up: what they are asked thousands of times cannot fail there
    # name -> folder, and the other way round for wildcards (a folder's last part is <name>-<hash>)
    DATASETS = {name: slices.dataset_folder(RUN, name) for name in RUN.datasets}
    MODELS = {name: slices.model_folder(RUN, name) for name, model in RUN.models.items() if model.imported is None}
    MODEL_PATHS = {name: slices.model_path(RUN, name) for name in RUN.models}
    DATASET_OF = {Path(folder).name: name for name, folder in DATASETS.items()}
    MODEL_OF = {Path(folder).name: name for name, folder in MODELS.items()}
    STORES = {name: slices.store(RUN, name) for name in RUN.datasets}
    FITS = {task: slices.fits(RUN, task) for task in TASKS}
    PARENTS = {task: slices.parent(RUN, task) for task in TASKS}
    OTHERS = {task: slices.others(RUN, task) for task in TASKS}
    PREDICTIONS = slices.predictions(RUN)  # the tasks, and what fine-tuned models are compared with
    WANTED = {name: slices.receipts(RUN, name) for name in RUN.datasets}
    OLD = waiting(Path("results"), [*DATASETS.values(), *MODELS.values()]) if workflow.is_main_process else []
# receipt -> the source and the dataset that it is of
RECEIPTS = {path: (source, name) for name, wanted in WANTED.items() for source, path in wanted.items()}
TRAINED_ON = {Path(DATASETS[name]).name for model in RUN.models.values() for name in model.datasets}
if OLD:
    print(
        f"error: {', '.join(OLD)}: made by an older orbit2: `orbit2 migrate results` keeps it; to build it anew, move it away first",
        file=sys.stderr,
    )


def task_config(stage):
    """What a rule of one task is told."""
    return lambda wildcards: told(f"{R}/config/{stage}_{wildcards.task}.json", stage, wildcards.task)


def data_config(wildcards):
    return told(f"results/data/{wildcards.data}/config.json", "dataset", DATASET_OF[wildcards.data])


def model_config(wildcards):
    return told(f"results/models/{wildcards.model}/config.json", "model", MODEL_OF[wildcards.model])
