# The page people read. It enters `snakemake --report` too, with its figures and tables.


rule report_page:
    input:
        config=lambda wildcards: told(f"{R}/config/report.json", "report"),
        scores=rules.evaluate_merge.output,
        diagnostics=rules.diagnose_merge.output,
    output:
        page=report(
            f"{R}/report/index.html",
            category="Report",
            labels={"run": RUN.label, "file": "the whole report"},
            caption="../report/index.rst",
        ),
        figures=report(
            directory(f"{R}/report/figures"),
            patterns=["{name}.png"],
            category=shown_as("figure", "part"),
            subcategory=shown_as("figure", "section"),
            labels=labels_of("figure"),
            caption="../report/figures.rst",
        ),
        tables=report(
            directory(f"{R}/report/tables"),
            patterns=["{name}.csv"],
            category="Numbers",
            subcategory=shown_as("table", "section"),
            labels=labels_of("table"),
            caption="../report/tables.rst",
        ),
    log:
        f"{R}/logs/report.log",
    benchmark:
        f"{R}/logs/report.tsv"
    threads: 3
    resources:
        mem_mb=least("mem_mb", 4000),
        runtime=minutes(60),
    params:
        memory=memory,
        folder=subpath(output.page, parent=True),
        banner=RUN.banner,  # what captions begin with: data of no real world
    message:
        "report: {output.page}"
    shell:
        "logged {log} orbit2 report --config {input.config} --out {params.folder} --memory-mb {params.memory} --threads {threads}"


rule report:
    input:
        rules.report_page.output.page,
    localrule: True
