# Scores of every prediction beside its baselines, then one table. The baselines that learn are fitted once per dataset. A task's days
# are read by month, once for this stage and for diagnose; what both make of a task are sums of the same parts. A part itself (HDF5) is
# nobody's output, only its receipt: Snakemake deletes what a failed group declared, and parts must survive each other.
from orbit2.config.comparisons import fit_memory_mb
from orbit2.metrics.months import merge_memory_mb, merge_threads, plan_jobs

with one_line():
    FIT_MB = {folder: fit_memory_mb(RUN.datasets[name]) for folder, name in DATASET_OF.items()}
    MONTHS = {task: plan_jobs(RUN, task) for task in TASKS}  # job -> the parts that it makes
    MERGE_THREADS = {task: merge_threads(RUN, task) for task in TASKS}
    MERGE_MB = {task: merge_memory_mb(RUN, task) for task in TASKS}


rule evaluate_fit:
    input:
        config=data_config,
        data="results/data/{data}/finalised.json",
    output:
        "results/data/{data}/baselines.nc",
    log:
        "results/data/{data}/logs/baselines.log",
    benchmark:
        "results/data/{data}/logs/baselines.tsv"
    wildcard_constraints:
        data=either(DATASET_OF),
    threads: 1
    resources:
        mem_mb=lambda wildcards: least("mem_mb", max(12000, FIT_MB[wildcards.data])),
        runtime=minutes(240),
    params:
        store=store_of,
    message:
        "evaluate: baselines fitted to the training block of {wildcards.data}"
    shell:
        "logged {log} orbit2 evaluate fit --config {input.config} --store {params.store} --out {output}"


rule evaluate_part:
    input:
        config=task_config("part"),
        prediction=f"{R}/downscale/{{task}}.json",
        truth=task_truth,
        beside=task_beside,
        gone=lambda wildcards: [
            path
            for part in MONTHS[wildcards.task][wildcards.part]
            for path in gone(
                f"{R}/evaluate/{wildcards.task}/parts/{part}.h5",
                f"{R}/evaluate/{wildcards.task}/parts/{wildcards.part}.json",
            )
        ],
    output:
        f"{R}/evaluate/{{task}}/parts/{{part}}.json",
    log:
        f"{R}/logs/evaluate_{{task}}_{{part}}.log",
    benchmark:
        f"{R}/logs/evaluate_{{task}}_{{part}}.tsv"
    wildcard_constraints:
        task=either(TASKS),
        part=r"\d{4}(\d{2})?(to\d{4}(\d{2})?)?(on)?",
    threads: 1
    resources:
        mem_mb=least("mem_mb", 4000),
        runtime=minutes(120),
    params:
        memory=memory,
        prediction=f"{R}/downscale/{{task}}.zarr",
        stores=task_stores,
        parts=lambda wildcards: " ".join(f"--part {part}" for part in MONTHS[wildcards.task][wildcards.part]),
        # a file, or the folder of several
        gathered=lambda wildcards: (
            f"{R}/evaluate/{wildcards.task}/parts"
            if len(MONTHS[wildcards.task][wildcards.part]) > 1
            else f"{R}/evaluate/{wildcards.task}/parts/{wildcards.part}.h5"
        ),
    message:
        "evaluate: {wildcards.part} of {wildcards.task}"
    shell:
        "logged {log} orbit2 evaluate part --config {input.config} --prediction {params.prediction} {params.stores} {params.parts} --out {params.gathered} --receipt {output} --memory-mb {params.memory} --threads {threads}"


rule evaluate_task:
    input:
        config=task_config("evaluate"),
        parts=task_parts,
        prediction=f"{R}/downscale/{{task}}.json",
        truth=task_truth,
        beside=task_beside,
    output:
        table=f"{R}/evaluate/{{task}}/metrics.parquet",
        fields=expand(f"{R}/evaluate/{{{{task}}}}/{{name}}.nc", name=["maps", "spectra", "density", "seams"]),
    log:
        f"{R}/logs/evaluate_{{task}}.log",
    benchmark:
        f"{R}/logs/evaluate_{{task}}.tsv"
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
        merged=f"{R}/evaluate/metrics.parquet",
        parts=f"{R}/evaluate/{{task}}/parts",
        folder=subpath(output.table, parent=True),
    message:
        "evaluate: {wildcards.task}, all its months"
    shell:
        "logged {log} orbit2 evaluate --config {input.config} --prediction {params.prediction} {params.stores} --parts {params.parts} --out {params.folder} --outdates {params.merged} --memory-mb {params.memory} --threads {threads}"


rule evaluate_merge:
    input:
        expand(rules.evaluate_task.output.table, task=TASKS),
    output:
        f"{R}/evaluate/metrics.parquet",
    log:
        f"{R}/logs/evaluate_merge.log",
    benchmark:
        f"{R}/logs/evaluate_merge.tsv"
    threads: 1
    resources:
        mem_mb=least("mem_mb", 2000),
        runtime=minutes(30),
    message:
        "evaluate: one table of scores"
    shell:
        "logged {log} orbit2 evaluate merge {input} --out {output}"


rule evaluate:
    input:
        rules.evaluate_merge.output,
    localrule: True
