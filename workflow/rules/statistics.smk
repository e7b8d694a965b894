# Mean and spread of every field, from the training block only.


rule statistics_dataset:
    input:
        config=data_config,
        store="results/data/{data}/finalised.json",
    output:
        "results/data/{data}/statistics.json",
    log:
        "results/data/{data}/logs/statistics.log",
    benchmark:
        "results/data/{data}/logs/statistics.tsv"
    wildcard_constraints:
        data=either(TRAINED_ON),
    threads: 8
    resources:
        mem_mb=least("mem_mb", 4000),
        runtime=minutes(240),
    params:
        memory=memory,
        store=store_of,
    message:
        "statistics: {wildcards.data}"
    shell:
        "logged {log} orbit2 statistics --config {input.config} --store {params.store} --out {output} --memory-mb {params.memory} --threads {threads}"


rule statistics:
    input:
        expand(rules.statistics_dataset.output, data=TRAINED_ON),
    localrule: True
