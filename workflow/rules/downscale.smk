# Predictions. The Zarr itself is not declared, only its receipt: an interrupted one is resumed frame by frame.


rule downscale_task:
    input:
        config=f"{R}/config/downscale_{{task}}.json",
        model=lambda wildcards: f"{task_model(wildcards)}/config.json",
        data=task_inputs,
    output:
        f"{R}/downscale/{{task}}.json",
    log:
        f"{R}/logs/downscale_{{task}}.log",
    benchmark:
        f"{R}/logs/downscale_{{task}}.tsv"
    wildcard_constraints:
        task=either(TASKS),
    threads: 8
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        model=task_model,
        store=task_store,
        prediction=f"{R}/downscale/{{task}}.zarr",
    message:
        "downscale: {wildcards.task}"
    shell:
        "orbit2 downscale --config {input.config} --model {params.model} --store {params.store} --out {params.prediction} 2>&1 | tee -i {log}"


rule downscale:
    input:
        expand(rules.downscale_task.output, task=TASKS),
    localrule: True
