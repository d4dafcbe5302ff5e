# Needs an experiment's list of runs; gives certificates of those that are published logs.


rule published_logs:
    """Fetch the published certification logs, if they are absent, and record their checksums."""
    output:
        "results/published-logs/files.json",
    log:
        "results/published-logs/files.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_stage("published.logs"),
        data_dir=data_dir,
    message:
        "Data set published-logs"
    shell:
        "python -m smoothcert data published-logs --data-dir {params.data_dir:q}"
        " --output {output:q} > {log:q} 2>&1"


rule import_logs:
    """Take over the published logs of an experiment as certificates."""
    input:
        "results/published-logs/files.json",
        experiment="reports/{experiment}/experiment.json",
    output:
        "results/published-logs/{experiment}.json",
    log:
        "results/published-logs/{experiment}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_stage("analysis.import_logs"),
        data_dir=data_dir,
    message:
        "Import logs of {wildcards.experiment}"
    shell:
        "python -m smoothcert import-logs {input.experiment:q} --data-dir {params.data_dir:q}"
        " --output {output:q} > {log:q} 2>&1"
