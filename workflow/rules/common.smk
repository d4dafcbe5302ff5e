# All helper Python of the workflow: it reads the configuration and names files.
import os
import re
import sys
from pathlib import Path

CODE = Path(workflow.basedir).parent / "code"
sys.path.insert(0, str(CODE))

from smoothcert import commands, config_files, files, finished, fingerprint, gpus, published, runs
from smoothcert.analysis import claims, figures
from smoothcert.analysis.tables import TABLES
from smoothcert.errors import UserError

# Jobs find this interpreter as `python`, and the package, whether or not it is installed and
# the environment activated. A conda environment of --sdm conda is put in front of both.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    PYTHONPATH=os.pathsep.join([str(CODE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
)

try:
    for path in workflow.configfiles:
        config_files.load(Path(path))  # Snakemake takes the last of equal keys without a word
    SETTINGS = config_files.read(config)
    EXPERIMENTS = {one.name: runs.manifest(SETTINGS, one) for one in SETTINGS.experiments}
    if SETTINGS.partial:
        EXPERIMENTS = finished.manifests(EXPERIMENTS.values())
    else:
        runs.refuse_absent_files(SETTINGS)
    if workflow.is_main_process:
        claims.check(SETTINGS.experiments)  # not in every job, since only tables read them
except UserError as error:
    sys.exit(str(error))
# Captions and the report quote the configuration with all defaults filled in.
config.update(SETTINGS.model_dump(mode="json"))

POINTS = {str(point.folder): point for point in runs.points(SETTINGS)}
PROTOCOLS = {
    experiment.certification.folder: experiment.certification for experiment in SETTINGS.experiments
}
ATTACKS = {
    attack.folder: attack for experiment in SETTINGS.experiments if (attack := experiment.attacking)
}
GPUS = gpus.count() if SETTINGS.device != "cpu" else 0

# Without --resources gpu=N, a local run starts no more GPU jobs than the machine has GPUs.
# Snakemake sets _nodes where jobs are submitted instead.
if (
    workflow.is_main_process
    and workflow.global_resources["_nodes"].value is None
    and "gpu" not in workflow.global_resources
):
    workflow.global_resources["gpu"] = GPUS


wildcard_constraints:
    experiment="|".join(map(re.escape, EXPERIMENTS)),
    run="|".join(map(re.escape, POINTS)),
    protocol="|".join(map(re.escape, PROTOCOLS)),
    attack="|".join(map(re.escape, ATTACKS)),
    number=r"\d+",
    total=r"\d+",


# Snakemake does not track parameters that derive from threads, input or output. Where the data
# lies and what computes may change without a rerun; hence the otherwise unused arguments.
def data_dir(wildcards, output):
    """Return the folder of the data sets."""
    return SETTINGS.data_dir


def machine_options(wildcards, threads):
    """Return the options that say where a job runs."""
    return commands.options(
        {"data_dir": SETTINGS.data_dir, "device": SETTINGS.device, "threads": threads}
    )


def data_code(wildcards):
    """Return the fingerprint of the data set's code."""
    return fingerprint.of_data(wildcards.dataset)


def run_data(wildcards):
    """Return the record of the run's data set."""
    return f"results/{POINTS[wildcards.run].dataset}/dataset.json"


def run_files(wildcards):
    """Return the files that the run's training starts from or adds to its images."""
    training = POINTS[wildcards.run].training
    return [file for file in (training.init_from, training.extra_images) if file]


def train_options(wildcards):
    """Return the options of `smoothcert train` for the run."""
    return commands.train(POINTS[wildcards.run])


def train_code(wildcards):
    """Return the fingerprint of the run's training code."""
    return fingerprint.of_training(POINTS[wildcards.run])


def certify_options(wildcards):
    """Return the protocol's options of `smoothcert certify`."""
    return commands.evaluate(PROTOCOLS[wildcards.protocol])


def shard_options(wildcards):
    """Return the options of `smoothcert certify` for one shard."""
    return [*certify_options(wildcards), f"--shard={wildcards.number}/{wildcards.total}"]


def shard_tables(wildcards):
    """Return the tables of all shards of a certification."""
    folder = f"results/{wildcards.run}/{wildcards.protocol}"
    total = SETTINGS.shards
    return [
        f"{folder}/shard-{number}-of-{total}/certificates.tsv" for number in range(1, total + 1)
    ]


def shard_descriptions(wildcards):
    """Return the descriptions that belong to the shards' tables."""
    return [str(Path(table).with_suffix(".json")) for table in shard_tables(wildcards)]


def shard_folders(wildcards, input):
    """Return the folders of the shards."""
    return [Path(table).parent for table in input.tables]


def certify_code(wildcards):
    """Return the fingerprint of the run's certification code."""
    point = POINTS[wildcards.run]
    return fingerprint.of_certification(point.dataset, point.arch)


def attack_options(wildcards):
    """Return the options of `smoothcert attack` for the attack."""
    return commands.evaluate(ATTACKS[wildcards.attack])


def attack_code(wildcards):
    """Return the fingerprint of the code that attacks the run."""
    point = POINTS[wildcards.run]
    return fingerprint.of_attack(point.dataset, point.arch)


def manifest_checksum(wildcards):
    """Return the checksum of what an experiment consists of.

    It stands for the content, which Snakemake would print whenever it changes: tens of kilobytes.
    """
    return files.digest(EXPERIMENTS[wildcards.experiment])


def write_manifest(experiment, output, log):
    """Write what an experiment consists of, and its number of runs into the log."""
    content = EXPERIMENTS[experiment]
    files.write_json(output, content)
    files.write_text(log, f"{len(content['runs'])} runs\n")


def labels(**more):
    """Return what labels an artefact of an experiment in Snakemake's report."""

    def of_experiment(wildcards):
        points = [run["point"] for run in EXPERIMENTS[wildcards.experiment]["runs"]]
        names = ("dataset", "method", "sigma")
        found = {name: {str(point[name]): None for point in points} for name in names}
        short = {name: ", ".join(values) for name, values in found.items()}
        if len(found["method"]) > 1:  # whose names would leave no room beside them
            short["method"] = f"{len(found['method'])} methods"
        return {"experiment": wildcards.experiment, **more, **short}

    return of_experiment


def evaluations(wildcards):
    """Return what tables, figures and page of an experiment need: a summary for each run.

    They read what it was made of, too. Snakemake makes that again, if it was deleted since, only for
    who needs it; in all other cases its names would but lengthen what Snakemake prints. The next
    run makes them once more, as they need less again.
    """
    listed = EXPERIMENTS[wildcards.experiment]["runs"]
    found = []
    for run in listed:
        if not run["log"]:
            certified = run["certificates"]
            read = [f"{certified}/certificates.{suffix}" for suffix in ("tsv", "json")]
            read.append(f"{run['folder']}/train.tsv")
            found.append(f"{certified}/summary.json")
            if Path(found[-1]).exists():
                found += [name for name in read if not Path(name).exists()]
        if run["attacked"]:
            found += [f"{run['attacked']}/{name}" for name in ("attacked.tsv", "attacked.json")]
    imported = [f"results/published-logs/{wildcards.experiment}.json"]
    return found + imported * any(run["log"] for run in listed)


def tables_code(wildcards):
    """Return the fingerprint of the code of all tables."""
    modules = [f"analysis.tables.{name}" for name in TABLES]
    return fingerprint.of_stage("analysis.write_tables", *modules)


def claims_checksum(wildcards):
    """Return the checksum of the papers' claims, training and numbers, which tables read too."""
    numbers = sorted(published.FOLDER.glob("*.csv"))
    read = [claims.FILE, published.FOLDER / published.training.FILE, *numbers]
    return files.digest([files.sha256(path) for path in read])


def figures_code(wildcards):
    """Return the fingerprint of the code of an experiment's figures."""
    names = figures.names(EXPERIMENTS[wildcards.experiment])
    modules = [f"analysis.figures.{name}" for name in names]
    return fingerprint.of_stage("analysis.draw_figures", *modules)


def figure_files(wildcards):
    """Return the figures of an experiment, in all formats."""
    names = figures.names(EXPERIMENTS[wildcards.experiment])
    formats = figures.FIGURE_FORMATS
    folder = f"reports/{wildcards.experiment}/figures"
    return expand(f"{folder}/{{name}}.{{suffix}}", name=names, suffix=formats)


def output_folder(wildcards, output):
    """Return the folder of a rule's first output."""
    return Path(output[0]).parent
