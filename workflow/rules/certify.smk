# Needs a run's model; gives its certificates under one protocol. Rows of a killed job survive in
# an undeclared file beside them, and the next try continues after the last.


rule certify:
    """Certify one classifier on the protocol's test images."""
    input:
        model="results/{run}/model.pt",
    output:
        table="results/{run}/{protocol}/certificates.tsv",
        description="results/{run}/{protocol}/certificates.json",
    log:
        "results/{run}/{protocol}/certify.log",
    benchmark:
        "results/{run}/{protocol}/certify.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=min(GPUS, 1),
    params:
        options=certify_options,
        code=certify_code,
        machine=machine_options,
        folder=subpath(output.table, parent=True),
    message:
        "Certify {wildcards.run}, {wildcards.protocol}"
    shell:
        "python -m smoothcert certify {input.model:q} {params.options:q} {params.machine:q}"
        " --output {params.folder:q} > {log:q} 2>&1"
