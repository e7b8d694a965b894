# What rules are given of models and tasks: inputs, options, how they are started. What all of them share is in rules/common.smk.


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
        f"--store {name}={slices.store(RUN, name)} --statistics {name}={folder}/statistics.json"
        for name, folder in data_of(wildcards).items()
    )


def deadline(wildcards, resources):
    """Training on a cluster knows its time limit (minutes), whether or not a signal reaches it; at home it has none."""
    return (
        f" --wall-minutes {max(resources.runtime - 10, resources.runtime / 2):g}"
        if workflow.non_local_exec or workflow.remote_exec
        else ""
    )


def parent_of(wildcards):
    """The folder of the model whose weights this one starts from."""
    return f"{MODELS[RUN.models[MODEL_OF[wildcards.model]].finetune_from]}/model"


def prediction_gone(wildcards):
    place = f"{R}/downscale/{wildcards.task}"
    return gone(f"{place}.zarr/zarr.json", f"{place}.json", f"{place}.parts/*.json")


def request_config(wildcards):
    """Ancient: all that it says is in the receipt's name. It lies with the dataset, not with files that may be deleted."""
    source, name = RECEIPTS[f"{RESOURCES}/{wildcards.source}/requests/{wildcards.request}.done.json"]
    asked = f"{source}-{wildcards.request.rpartition('-')[2]}"
    return ancient(told(f"{DATASETS[name]}/requests/{asked}.json", "retrieve", source, name))
