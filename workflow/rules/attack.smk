# Needs a run's model; gives PREDICT's answers under attack. Rows of a killed job survive in an
# undeclared file beside them, and the next try continues after the last. Finished ones are not
# deleted before their job, which finds them sound or replaces them.


rule attack:
    """Attack one classifier on the images that are certified."""
    input:
        model="results/{run}/model.pt",
    output:
        table=update("results/{run}/{attack}/attacked.tsv"),
        description=update("results/{run}/{attack}/attacked.json"),
    log:
        "results/{run}/{attack}/attack.log",
    benchmark:
        "results/{run}/{attack}/attack.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=min(GPUS, 1),
    params:
        options=attack_options,
        code=attack_code,
        machine=machine_options,
        folder=output_folder,
    message:
        "Attack {wildcards.run}, {wildcards.attack}"
    shell:
        "python -m smoothcert attack {input.model:q} {params.options:q} {params.machine:q}"
        " --replace --output {params.folder:q} > {log:q} 2>&1"
