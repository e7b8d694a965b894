# Climate diagnostics of every prediction, then one table: of what the months of a task left for both stages (evaluate_part). A new file
# of regions, or another threshold, is asked of the days that those kept.
with one_line():
    REGIONS = slices.region_files(RUN)


rule diagnose_task:
    input:
        config=task_config("diagnose"),
        parts=task_parts,
        prediction=f"{R}/downscale/{{task}}.json",
        truth=task_truth,
        beside=task_beside,
        regions=REGIONS,
    output:
        table=f"{R}/diagnose/{{task}}/regions.parquet",
        fields=expand(
            f"{R}/diagnose/{{{{task}}}}/{{name}}", name=["regions.nc", "hovmoller.nc", "climate.nc", "notes.json"]
        ),
    log:
        f"{R}/logs/diagnose_{{task}}.log",
    benchmark:
        f"{R}/logs/diagnose_{{task}}.tsv"
    wildcard_constraints:
        task=either(TASKS),
    threads: lambda wildcards: MERGE_THREADS[wildcards.task]
    resources:
        mem_mb=lambda wildcards: least("mem_mb", MERGE_MB[wildcards.task]),
        runtime=minutes(120),
    params:
        memory=memory,
        prediction=f"{R}/downscale/{{task}}.zarr",
        stores=task_stores,
        merged=f"{R}/diagnose/metrics.parquet",
        parts=f"{R}/evaluate/{{task}}/parts",
        folder=subpath(output.table, parent=True),
    message:
        "diagnose: {wildcards.task}, all its months"
    shell:
        "logged {log} orbit2 diagnose --config {input.config} --prediction {params.prediction} {params.stores} --parts {params.parts} --out {params.folder} --outdates {params.merged} --memory-mb {params.memory} --threads {threads}"


rule diagnose_merge:
    input:
        expand(rules.diagnose_task.output.table, task=TASKS),
    output:
        f"{R}/diagnose/metrics.parquet",
    log:
        f"{R}/logs/diagnose_merge.log",
    benchmark:
        f"{R}/logs/diagnose_merge.tsv"
    threads: 1
    resources:
        mem_mb=least("mem_mb", 2000),
        runtime=minutes(30),
    message:
        "diagnose: one table of diagnostics"
    shell:
        "logged {log} orbit2 diagnose merge {input} --out {output}"


rule diagnose:
    input:
        rules.diagnose_merge.output,
    localrule: True
