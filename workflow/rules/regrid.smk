# Coarse/fine pairs on disk: init makes the empty store, parts fill it side by side, finalise declares it complete.
# The store itself is nobody's output: Snakemake deletes what a failed job declared, and parts must survive each other.
from orbit2.regrid.parts import plan_parts

with one_line():
    PARTS = {
        Path(folder).name: [part.id for part in plan_parts(RUN.datasets[name])] for name, folder in DATASETS.items()
    }


rule regrid_init:
    input:
        config=data_config,
        files=receipts,
        gone=lambda wildcards: gone(
            f"{store_of(wildcards)}/zarr.json",
            f"results/data/{wildcards.data}/finalised.json",
            f"results/data/{wildcards.data}/parts/*.json",
        ),
    output:
        "results/data/{data}/parts/init.json",
    log:
        "results/data/{data}/logs/regrid_init.log",
    benchmark:
        "results/data/{data}/logs/regrid_init.tsv"
    wildcard_constraints:
        data=either(PARTS),
    threads: 1
    resources:
        mem_mb=least("mem_mb", 4000),
        runtime=minutes(60),
    params:
        store=store_of,
        resources=RESOURCES,
    message:
        "regrid: new store for {wildcards.data}"
    shell:
        "logged {log} orbit2 regrid init --config {input.config} --resources {params.resources} --store {params.store} --out {output}"


rule regrid_part:
    input:
        config=data_config,
        init="results/data/{data}/parts/init.json",
        files=receipts,
    output:
        "results/data/{data}/parts/{part}.json",
    log:
        "results/data/{data}/logs/regrid_{part}.log",
    benchmark:
        "results/data/{data}/logs/regrid_{part}.tsv"
    wildcard_constraints:
        data=either(PARTS),
        part=r"\d+",
    threads: 1
    resources:
        mem_mb=least("mem_mb", 8000),
        runtime=minutes(240),
    params:
        memory=memory,
        store=store_of,
        resources=RESOURCES,
    message:
        "regrid: part {wildcards.part} of {wildcards.data}"
    shell:
        "logged {log} orbit2 regrid part --config {input.config} --resources {params.resources} --store {params.store} --part {wildcards.part} --out {output} --memory-mb {params.memory} --threads {threads}"


rule regrid_finalise:
    input:
        config=data_config,
        parts=lambda wildcards: [f"results/data/{wildcards.data}/parts/{part}.json" for part in PARTS[wildcards.data]],
    output:
        "results/data/{data}/finalised.json",
    log:
        "results/data/{data}/logs/regrid_finalise.log",
    benchmark:
        "results/data/{data}/logs/regrid_finalise.tsv"
    wildcard_constraints:
        data=either(PARTS),
    threads: 1
    resources:
        mem_mb=least("mem_mb", 4000),
        runtime=minutes(60),
    params:
        store=store_of,
        parts="results/data/{data}/parts",
    message:
        "regrid: {wildcards.data} complete"
    shell:
        "logged {log} orbit2 regrid finalise --config {input.config} --store {params.store} --out {output} {params.parts}"


rule regrid:
    input:
        expand(rules.regrid_finalise.output, data=PARTS),
    localrule: True
