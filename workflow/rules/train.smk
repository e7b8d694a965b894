# Foundation models. Only the final model/ is declared: checkpoints beside it survive a failed job, and the next one resumes.
MODEL_FILES = [
    f"results/models/{{model}}/model/{name}"
    for name in ("config.json", "weights.safetensors", "normalisation.json", "card.md")
]
FOUNDATION = [folder for folder, name in MODEL_OF.items() if not RUN.models[name].finetune_from]


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


rule train_model:
    input:
        config=model_config,
        data=training_data,
    output:
        MODEL_FILES,
    log:
        "results/models/{model}/logs/train.log",
    benchmark:
        "results/models/{model}/logs/train.tsv"
    wildcard_constraints:
        model=either(FOUNDATION),
    threads: 8
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        launch=launch,
        deadline=deadline,
        data=data_options,
        folder=subpath(output[0], ancestor=2),
    message:
        "train: {wildcards.model}"
    shell:
        "logged {log} {params.launch}orbit2 train --config {input.config} {params.data} --out {params.folder}/model --checkpoints {params.folder}/checkpoints{params.deadline}"


rule train:
    input:
        expand(MODEL_FILES, model=FOUNDATION),
    localrule: True
