# The page people read. It enters `snakemake --report` too, with its figures and tables.


rule report_page:
    input:
        config=f"{R}/config/report.json",
        scores=rules.evaluate_merge.output,
        diagnostics=rules.diagnose_merge.output,
    output:
        report(
            f"{R}/report/index.html",
            category="Report",
            labels={"run": RUN.label, "file": "the whole report"},
            caption="../report/index.rst",
        ),
    log:
        f"{R}/logs/report.log",
    benchmark:
        f"{R}/logs/report.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=subpath(output[0], parent=True),
    message:
        "report: {output}"
    shell:
        "orbit2 report --config {input.config} --out {params.folder} 2>&1 | tee -i {log}"


rule report:
    input:
        rules.report_page.output,
    localrule: True
