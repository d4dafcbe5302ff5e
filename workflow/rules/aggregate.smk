# Needs certificates; gives each run's summary, then each experiment's tables and figures.


rule summarize:
    """Summarise one run's certificates."""
    input:
        epochs="results/{run}/train.tsv",
        table="results/{run}/{protocol}/certificates.tsv",
        description="results/{run}/{protocol}/certificates.json",
    output:
        "results/{run}/{protocol}/summary.json",
    log:
        "results/{run}/{protocol}/summarize.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_stage("analysis.summary"),
        folder=subpath(input.table, parent=True),
    message:
        "Summarise {wildcards.run}, {wildcards.protocol}"
    shell:
        "python -m smoothcert summarize {params.folder:q} > {log:q} 2>&1"


rule experiment:
    """Write down what an experiment consists of."""
    output:
        "reports/{experiment}/experiment.json",
    log:
        "reports/{experiment}/logs/experiment.log",
    localrule: True
    params:
        content=manifest,
    message:
        "List the runs of {wildcards.experiment}"
    run:
        write_manifest(params.content, Path(output[0]), Path(log[0]))


rule experiment_tables:
    """Write an experiment's tables."""
    input:
        summaries,
        experiment="reports/{experiment}/experiment.json",
    output:
        expand(
            "reports/{{experiment}}/tables/{table}.{suffix}",
            table=TABLES,
            suffix=["csv", "md", "tex"],
        ),
        html=[
            report(
                f"reports/{{experiment}}/tables/{name}.html",
                caption="../report/table.rst",
                category="1. Tables",
                labels={"experiment": "{experiment}", "table": title},
            )
            for name, title in TABLES.items()
        ],
    log:
        "reports/{experiment}/logs/tables.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=tables_code,
        folder=output_folder,
    message:
        "Tables of {wildcards.experiment}"
    shell:
        "python -m smoothcert tables {input.experiment:q} --output {params.folder:q}"
        " > {log:q} 2>&1"


rule experiment_figures:
    """Draw an experiment's figures."""
    input:
        summaries,
        experiment="reports/{experiment}/experiment.json",
    output:
        expand(
            "reports/{{experiment}}/figures/{figure}.{suffix}",
            figure=["certified_accuracy", "training"],
            suffix=["pdf", "png"],
        ),
        certified_accuracy=report(
            "reports/{experiment}/figures/certified_accuracy.svg",
            caption="../report/certified_accuracy.rst",
            category="2. Figures",
            labels={"experiment": "{experiment}", "figure": "certified accuracy"},
        ),
        training=report(
            "reports/{experiment}/figures/training.svg",
            caption="../report/training.rst",
            category="2. Figures",
            labels={"experiment": "{experiment}", "figure": "training"},
        ),
    log:
        "reports/{experiment}/logs/figures.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_stage("analysis.figures"),
        folder=output_folder,
    message:
        "Figures of {wildcards.experiment}"
    shell:
        "python -m smoothcert figures {input.experiment:q} --output {params.folder:q}"
        " > {log:q} 2>&1"
