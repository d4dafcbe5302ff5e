# Needs a run's model; gives its certificates under one protocol. Rows of a killed job survive in
# an undeclared file beside them, and the next try continues after the last. Finished certificates
# are not deleted before their job, which finds them sound or replaces them. With several shards, a
# job certifies each part of the images, and their tables are merged.


rule certify:
    """Certify one classifier on the protocol's test images."""
    input:
        model="results/{run}/model.pt",
    output:
        table=update("results/{run}/{protocol}/certificates.tsv"),
        description=update("results/{run}/{protocol}/certificates.json"),
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
        folder=output_folder,
    message:
        "Certify {wildcards.run}, {wildcards.protocol}"
    shell:
        "python -m smoothcert certify {input.model:q} {params.options:q} {params.machine:q}"
        " --replace --output {params.folder:q} > {log:q} 2>&1"


use rule certify as certify_shard with:
    output:
        table=temp("results/{run}/{protocol}/shard-{number}-of-{total}/certificates.tsv"),
        description=temp("results/{run}/{protocol}/shard-{number}-of-{total}/certificates.json"),
    log:
        "results/{run}/{protocol}/shard-{number}-of-{total}.log",
    benchmark:
        "results/{run}/{protocol}/shard-{number}-of-{total}.benchmark.tsv"
    params:
        options=shard_options,
        code=certify_code,
        machine=machine_options,
        folder=output_folder,
    message:
        "Certify {wildcards.run}, {wildcards.protocol}, shard {wildcards.number} of {wildcards.total}"


rule merge_shards:
    """Join the shards of a certification."""
    input:
        tables=shard_tables,
        descriptions=shard_descriptions,
    output:
        table=update("results/{run}/{protocol}/certificates.tsv"),
        description=update("results/{run}/{protocol}/certificates.json"),
    log:
        "results/{run}/{protocol}/merge.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        shards=shard_folders,
        folder=output_folder,
    message:
        "Merge the shards of {wildcards.run}, {wildcards.protocol}"
    shell:
        "python -m smoothcert merge {params.shards:q} --replace --output {params.folder:q}"
        " > {log:q} 2>&1"


if SETTINGS.shards > 1:

    ruleorder: merge_shards > certify

else:

    ruleorder: certify > merge_shards
