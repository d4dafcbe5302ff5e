# Needs the data set's record; gives each run's model.pt and train.tsv. A failed or killed job
# leaves resume.pt beside them, which Snakemake does not know and hence does not delete; the next
# try continues from it. A finished model is not deleted before its job, which finds that nothing has
# changed or trains it anew.


rule train:
    """Train one classifier."""
    input:
        run_data,
        run_files,
    output:
        model=update("results/{run}/model.pt"),
        epochs=update("results/{run}/train.tsv"),
    log:
        "results/{run}/train.log",
    benchmark:
        "results/{run}/train.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=min(GPUS, 1),
    params:
        options=train_options,
        code=train_code,
        machine=machine_options,
        folder=output_folder,
    message:
        "Train {wildcards.run}"
    shell:
        "python -m smoothcert train {params.options:q} {params.machine:q}"
        " --replace --output {params.folder:q} > {log:q} 2>&1"
