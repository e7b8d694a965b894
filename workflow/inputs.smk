# What rules are given of models and tasks: inputs, options, how they are started. What all of them share is in rules/common.smk.

from orbit2.config.needs import STATIC
from orbit2.queues import working
from orbit2.regrid.parts import unbuilt
from orbit2.sources.receipts import lost


def data_of(wildcards):
    """dataset -> its folder, for the datasets that a model is trained on."""
    return {name: DATASETS[name] for name in RUN.models[MODEL_OF[wildcards.model]].datasets}


def training_data(wildcards):
    """The finished stores and statistics that a model waits for."""
    return [
        f"{folder}/{name}" for folder in data_of(wildcards).values() for name in ("finalised.json", "statistics.json")
    ]


def data_options(wildcards):
    """The same as command-line options."""
    return " ".join(
        f"--store {name}={STORES[name]} --statistics {name}={folder}/statistics.json"
        for name, folder in data_of(wildcards).items()
    )


def deadline(wildcards, resources):
    """What can stop in time knows a cluster's limit (minutes), whether or not a signal reaches it and SLURM answers; at home there is none.

    A dry run, which has no executor to ask, knows a cluster by its partition.
    """
    cluster = workflow.non_local_exec or workflow.remote_exec or resources.get("slurm_partition")
    return f" --wall-minutes {working(resources.runtime):g}" if cluster else ""


def parent_of(wildcards):
    """The folder of the model whose weights this one starts from."""
    return MODEL_PATHS[RUN.models[MODEL_OF[wildcards.model]].finetune_from]


def ready(name):
    """What says that a model is there; an imported one is known by what is in it (the job's configuration holds that), not by where or how
    old it is, and may lack where one only looks."""
    if RUN.models[name].imported is None:
        return f"{MODEL_PATHS[name]}/config.json"
    there(name)
    return []


@cache
@one_line()
def there(name):
    """Whether an imported model's folder is there. A run that is to do something ends where it is not."""
    section = RUN.models[name].imported
    if not section.there and workflow.is_main_process:
        if not looking():
            section.refuse_absent(name)
        print(
            f"models.{name}: {section.folder} is not there yet, this only plans: docs/published_weights.md says how to get and import it",
            file=sys.stderr,
        )
    return section.there


def task_model(wildcards):
    return MODEL_PATHS[PREDICTIONS[wildcards.task].model]


def task_ready(wildcards):
    return ready(PREDICTIONS[wildcards.task].model)


def task_parts(wildcards):
    """What says that a task's months are there."""
    return [f"{R}/evaluate/{wildcards.task}/parts/{part}.json" for part in MONTHS[wildcards.task]]


def prediction_gone(wildcards):
    place = f"{R}/downscale/{wildcards.task}"
    return gone(f"{place}.zarr/zarr.json", f"{place}.json", f"{place}.parts/*.json")


@cache
@one_line()
def look_for_lost(receipt):
    """Says which of a receipt's files are gone that a part of its dataset is still to be built from; a finished store needs none.

    Where no part is built yet the receipt does not count, and what lacks is fetched again. Later it does count, and the command that
    fetches is named: Snakemake would build again every part that depends on the receipt.
    """
    source, name = RECEIPTS[receipt]
    folder, store, files = Path(DATASETS[name]), Path(STORES[name]), Path(RESOURCES) / source / VERSION
    if not Path(receipt).is_file() or not workflow.is_main_process or workflow.touch:
        return
    if (folder / "finalised.json").is_file():
        return
    built = any((folder / "parts").glob("[0-9]*.json"))
    if built and source == STATIC:  # read once, by init
        return
    absent = lost(Path(receipt), files, unbuilt(RUN.datasets[name], store, folder / "parts"))
    if not absent:
        return
    others = f" and {len(absent) - 1} more" if absent[1:] else ""
    print(f"{absent[0]}{others} is gone or cut short: ", end="", file=sys.stderr)
    if built:
        asked = f"{folder}/requests/{source}-{Path(receipt).name.removesuffix('.done.json').rpartition('-')[2]}.json"
        print(
            f"{name} still needs it, fetch it again: orbit2 retrieve {source} --config {asked} --out {files}",
            file=sys.stderr,
        )
        return
    print(f"what {name} needs of it is fetched again", file=sys.stderr)
    if not looking():  # a dry run says it and shows the rest
        Path(receipt).unlink()


def request_config(wildcards):
    """Ancient: all that it says is in the receipt's name. It lies with the dataset, not with files that may be deleted."""
    receipt = f"{RESOURCES}/{wildcards.source}/requests/{wildcards.request}.done.json"
    look_for_lost(receipt)
    source, name = RECEIPTS[receipt]
    asked = f"{source}-{wildcards.request.rpartition('-')[2]}"
    return ancient(told(f"{DATASETS[name]}/requests/{asked}.json", "retrieve", source, name))
