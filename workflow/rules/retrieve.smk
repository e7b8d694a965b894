# Providers' own files, untouched, with a manifest. Needs the internet for real providers, so it never runs on a compute node.
# The output is a receipt: files and manifest belong to every run that wants them, and a failed job deletes none of them.
# One for each dataset and source, so that a new dataset concerns no finished one; jobs of one source wait for each other's lock.


rule retrieve_source:
    input:
        config=request_config,
    output:
        f"{RESOURCES}/{{source}}/requests/{{request}}.done.json",
    log:
        "results/logs/retrieve_{source}_{request}.log",
    benchmark:
        "results/logs/retrieve_{source}_{request}.tsv"
    wildcard_constraints:
        source=either({source for source, _ in RECEIPTS.values()}),
        request=either({Path(path).name.removesuffix(".done.json") for path in RECEIPTS}),
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10000,
    params:
        folder=f"{RESOURCES}/{{source}}/{VERSION}",
    message:
        "retrieve: {wildcards.source} for {wildcards.request}"
    shell:
        "logged {log} orbit2 retrieve {wildcards.source} --config {input.config} --out {params.folder} --receipt {output}"


rule retrieve:
    input:
        list(RECEIPTS),
    localrule: True
