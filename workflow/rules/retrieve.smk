# Providers' own files, untouched, with a manifest. Needs the internet for real providers, so it never runs on a compute node.
# The output is a receipt: files and manifest belong to every run that wants them, and a failed job deletes none of them.


rule retrieve_source:
    input:
        config=lambda wildcards: told(
            RECEIPTS[wildcards.source].replace(".done.json", ".json"), "retrieve", wildcards.source
        ),
    output:
        f"{RESOURCES}/{{source}}/requests/{{request}}.done.json",
    log:
        "results/logs/retrieve_{source}_{request}.log",
    benchmark:
        "results/logs/retrieve_{source}_{request}.tsv"
    wildcard_constraints:
        source=either(RECEIPTS),
        request="[0-9a-f]{8}",
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10000,
    params:
        folder=f"{RESOURCES}/{{source}}/{VERSION}",
    message:
        "retrieve: {wildcards.source}"
    shell:
        "logged {log} orbit2 retrieve {wildcards.source} --config {input.config} --out {params.folder} --receipt {output}"


rule retrieve:
    input:
        RECEIPTS.values(),
    localrule: True
