# Providers' own files, untouched, with a manifest. Needs the internet for real providers, so it never runs on a compute node.
SOURCES = sorted({dataset.source for dataset in RUN.datasets.values()} | {"static"})


rule retrieve_source:
    input:
        [],
    output:
        f"{RESOURCES}/{{source}}/{VERSION}/manifest.json",
    log:
        "results/logs/retrieve_{source}.log",
    benchmark:
        "results/logs/retrieve_{source}.tsv"
    wildcard_constraints:
        source=either(SOURCES),
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=600,
    params:
        folder=subpath(output[0], parent=True),
    message:
        "retrieve: {wildcards.source}"
    shell:
        "orbit2 retrieve {wildcards.source} --out {params.folder} 2>&1 | tee -i {log}"


rule retrieve:
    input:
        expand(rules.retrieve_source.output, source=SOURCES),
    localrule: True
