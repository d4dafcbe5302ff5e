# Needs an experiment's tables and figures; gives its page, and the list of all pages.


rule experiment_report:
    """Write an experiment's report: one HTML file that needs no other."""
    input:
        evaluations,
        rules.experiment_tables.output,
        figure_files,
        table="reports/{experiment}/tables/acr.html",
        figure="reports/{experiment}/figures/certified_accuracy.svg",
        experiment="reports/{experiment}/experiment.json",
    output:
        report(
            "reports/{experiment}/index.html",
            caption="../report/page.rst",
            category="3. Report",
            labels=labels(),
        ),
    log:
        "reports/{experiment}/logs/report.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_stage("report.page"),
        tables=subpath(input.table, parent=True),
        figures=subpath(input.figure, parent=True),
    message:
        "Report of {wildcards.experiment}"
    shell:
        "python -m smoothcert report {input.experiment:q} --tables {params.tables:q}"
        " --figures {params.figures:q} --output {output:q} > {log:q} 2>&1"


rule report_index:
    """List the experiments that have a report, those of other configurations too."""
    input:
        expand("reports/{experiment}/index.html", experiment=EXPERIMENTS),
    output:
        "reports/index.html",
    log:
        "reports/index.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_stage("report.index"),
        folder=output_folder,
    message:
        "Index of reports"
    shell:
        "python -m smoothcert index {params.folder:q} --output {output:q} > {log:q} 2>&1"
