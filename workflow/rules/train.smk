# Foundation models. Only the final model/ is declared: checkpoints beside it survive a failed job, and the next one resumes.
MODEL_FILES = [
    f"results/models/{{model}}/model/{name}"
    for name in ("config.json", "weights.safetensors", "normalisation.json", "card.md")
]
FOUNDATION = [folder for folder, name in MODEL_OF.items() if not RUN.models[name].finetune_from]


rule train_model:
    input:
        config=model_config,
        data=training_data,
    output:
        MODEL_FILES,
    log:
        "results/models/{model}/logs/train.log",
    wildcard_constraints:
        model=either(FOUNDATION),
    threads: 8
    resources:
        mem_mb=least("mem_mb", 6000),
        runtime=slice_minutes(240),
        nodes=training_nodes,
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
