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
        content=manifest_checksum,
    message:
        "List the runs of {wildcards.experiment}"
    run:
        write_manifest(wildcards.experiment, Path(output[0]), Path(log[0]))


rule experiment_tables:
    """Write an experiment's tables."""
    input:
        evaluations,
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
                labels=labels(table=title),
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
        claims=claims_checksum,
        folder=output_folder,
    message:
        "Tables of {wildcards.experiment}"
    shell:
        "python -m smoothcert tables {input.experiment:q} --output {params.folder:q}"
        " > {log:q} 2>&1"


# Which figures there are depends on the experiment, so each has a rule of its own.
for experiment, content in EXPERIMENTS.items():

    rule:
        """Draw an experiment's figures."""
        name:
            f"experiment_figures_{experiment}"
        input:
            evaluations,
            experiment="reports/{experiment}/experiment.json",
        output:
            [
                report(
                    f"reports/{{experiment}}/figures/{name}.svg",
                    caption=f"../report/{name}.rst",
                    category="2. Figures",
                    labels=labels(figure=figures.FIGURES[name].title),
                )
                for name in figures.names(content)
            ],
            expand(
                "reports/{{experiment}}/figures/{name}.{suffix}",
                name=figures.names(content),
                suffix=[suffix for suffix in figures.FIGURE_FORMATS if suffix != "svg"],
            ),
        log:
            "reports/{experiment}/logs/figures.log",
        wildcard_constraints:
            experiment=re.escape(experiment),
        localrule: True
        conda:
            "../../environment.yml"
        params:
            code=figures_code,
            folder=output_folder,
        message:
            "Figures of {wildcards.experiment}"
        shell:
            "python -m smoothcert figures {input.experiment:q} --output {params.folder:q}"
            " > {log:q} 2>&1"
