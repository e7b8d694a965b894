# Models that continue from another one, on a region or a subset of its outputs.
FINETUNED = [folder for folder, name in MODEL_OF.items() if RUN.models[name].finetune_from]


rule finetune_model:
    input:
        config=model_config,
        data=training_data,
        parent=lambda wildcards: ready(RUN.models[MODEL_OF[wildcards.model]].finetune_from),
    output:
        MODEL_FILES,
    log:
        "results/models/{model}/logs/finetune.log",
    wildcard_constraints:
        model=either(FINETUNED),
    threads: 8
    resources:
        mem_mb=least("mem_mb", 6000),
        runtime=slice_minutes(240),
        nodes=training_nodes,
    params:
        launch=launch,
        deadline=deadline,
        data=data_options,
        parent=parent_of,
        folder=subpath(output[0], ancestor=2),
    message:
        "finetune: {wildcards.model}"
    shell:
        "logged {log} {params.launch}orbit2 finetune --config {input.config} {params.data} --parent {params.parent} --out {params.folder}/model --checkpoints {params.folder}/checkpoints{params.deadline}"


rule finetune:
    input:
        expand(MODEL_FILES, model=FINETUNED),
    localrule: True
