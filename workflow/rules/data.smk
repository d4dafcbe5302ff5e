# Needs nothing; gives results/{dataset}/dataset.json and the data set's files below data_dir.


rule data:
    """Fetch a data set, if it is absent, and record its sizes and checksum."""
    output:
        "results/{dataset}/dataset.json",
    log:
        "results/{dataset}/dataset.log",
    benchmark:
        "results/{dataset}/dataset.benchmark.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=data_code,
        data_dir=data_dir,
    message:
        "Data set {wildcards.dataset}"
    shell:
        "python -m smoothcert data {wildcards.dataset:q} --data-dir {params.data_dir:q}"
        " --output {output:q} > {log:q} 2>&1"
