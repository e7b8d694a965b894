# Predictions. The Zarr itself is not declared, only its receipt: an interrupted one is resumed item by item. A task with several
# `blocks` is init, then its blocks side by side (an array on SLURM), then finalise; any other is one job.
BLOCKS = {task: section.blocks for task, section in PREDICTIONS.items()}
WHOLE = [task for task in PREDICTIONS if BLOCKS[task] == 1]
SPLIT = [task for task in PREDICTIONS if BLOCKS[task] > 1]


rule downscale_task:
    input:
        config=task_config("downscale"),
        model=task_ready,
        data=task_inputs,
        gone=prediction_gone,
    output:
        f"{R}/downscale/{{task}}.json",
    log:
        f"{R}/logs/downscale_{{task}}.log",
    wildcard_constraints:
        task=either(WHOLE),
    threads: 8
    resources:
        mem_mb=least("mem_mb", 6000),
        runtime=minutes(240),
    params:
        launch=launch,
        deadline=deadline,
        model=task_model,
        store=task_source,
        prediction=f"{R}/downscale/{{task}}.zarr",
    message:
        "downscale: {wildcards.task}"
    shell:
        "logged {log} {params.launch}orbit2 downscale --config {input.config} --model {params.model} {params.store} --out {params.prediction} --memory-mb {resources.mem_mb} --threads {threads}{params.deadline}"


rule downscale_init:
    input:
        config=task_config("downscale"),
        model=task_ready,
        data=task_inputs,
        gone=prediction_gone,
    output:
        f"{R}/downscale/{{task}}.parts/init.json",
    log:
        f"{R}/logs/downscale_{{task}}_init.log",
    benchmark:
        f"{R}/logs/downscale_{{task}}_init.tsv"
    wildcard_constraints:
        task=either(SPLIT),
    threads: 1
    resources:
        mem_mb=least("mem_mb", 4000),
        runtime=minutes(60),
    params:
        model=task_model,
        store=task_source,
        prediction=f"{R}/downscale/{{task}}.zarr",
    message:
        "downscale: new store for {wildcards.task}"
    shell:
        "logged {log} orbit2 downscale --config {input.config} --model {params.model} {params.store} --out {params.prediction} --block init --receipt {output} --memory-mb {resources.mem_mb} --threads {threads}"


rule downscale_block:
    input:
        config=task_config("downscale"),
        model=task_ready,
        data=task_inputs,
        init=f"{R}/downscale/{{task}}.parts/init.json",
    output:
        f"{R}/downscale/{{task}}.parts/{{block}}.json",
    log:
        f"{R}/logs/downscale_{{task}}_{{block}}.log",
    wildcard_constraints:
        task=either(SPLIT),
        block=r"\d+of\d+",
    threads: 8
    resources:
        mem_mb=least("mem_mb", 6000),
        runtime=minutes(240),
    params:
        launch=launch,
        deadline=deadline,
        model=task_model,
        store=task_source,
        prediction=f"{R}/downscale/{{task}}.zarr",
        share=lambda wildcards: wildcards.block.replace("of", "/"),
    message:
        "downscale: {wildcards.task}, block {params.share}"
    shell:
        "logged {log} {params.launch}orbit2 downscale --config {input.config} --model {params.model} {params.store} --out {params.prediction} --block {params.share} --receipt {output} --memory-mb {resources.mem_mb} --threads {threads}{params.deadline}"


rule downscale_finalise:
    input:
        config=task_config("downscale"),
        model=task_ready,
        data=task_inputs,
        blocks=lambda wildcards: [
            f"{R}/downscale/{wildcards.task}.parts/{i}of{BLOCKS[wildcards.task]}.json"
            for i in range(BLOCKS[wildcards.task])
        ],
    output:
        f"{R}/downscale/{{task}}.json",
    log:
        f"{R}/logs/downscale_{{task}}_finalise.log",
    benchmark:
        f"{R}/logs/downscale_{{task}}_finalise.tsv"
    wildcard_constraints:
        task=either(SPLIT),
    threads: 1
    resources:
        mem_mb=least("mem_mb", 4000),
        runtime=minutes(60),
    params:
        model=task_model,
        store=task_source,
        prediction=f"{R}/downscale/{{task}}.zarr",
    message:
        "downscale: {wildcards.task} complete"
    shell:
        "logged {log} orbit2 downscale --config {input.config} --model {params.model} {params.store} --out {params.prediction} --block finalise --memory-mb {resources.mem_mb} --threads {threads}"


rule downscale:
    input:
        [f"{R}/downscale/{task}.json" for task in PREDICTIONS],
    localrule: True
