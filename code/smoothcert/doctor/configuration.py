"""A look at a configuration before it is run."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from smoothcert import config_files, cost, datasets, published, runs
from smoothcert.analysis import claims
from smoothcert.config import Config, Experiment
from smoothcert.doctor import sizes
from smoothcert.doctor.data_files import IMAGE_FOLDERS, missing
from smoothcert.doctor.findings import Finding, Findings
from smoothcert.doctor.machine import Machine
from smoothcert.errors import UserError
from smoothcert.published import logs
from smoothcert.smoothing import modes
from smoothcert.smoothing.bounds import largest_radius
from smoothcert.smoothing.protocol import Protocol

# The subsets that the literature certifies, with the papers. Their tables list certified accuracy
# at multiples of 0.25 up to the radius of n unanimous votes.
PUBLISHED_SUBSETS = {
    "mnist": {"all": "Jeong & Shin 2020"},
    "cifar10": {
        "all": "Salman et al. 2019, Jeong & Shin 2020",
        "every-20": "Cohen et al. 2019",
        "500-999": "Zhai et al. 2020",
    },
    "imagenet": {"every-100": "Cohen et al. 2019, Jeong & Shin 2020"},
}
PUBLISHED_STEP = 0.25

DECODING_THREADS = 8
"""One process decodes 100 to 200 images of ImageNet a second; a GPU trains a ResNet-50 on over a
thousand."""


def examine(paths: Sequence[Path], machine: Machine) -> list[Finding]:
    """Return the findings on the configuration that the files give together."""
    try:
        settings = config_files.read(config_files.merged(paths))
    except UserError as error:
        return [Finding("error", str(error))]
    found = []
    for experiment in settings.experiments:
        for check in (radius_cap, attack_cap, comparability, one_seed, cut_short):
            for finding in check(experiment):
                found.append(
                    Finding(finding.level, f"experiment {experiment.name}: {finding.text}")
                )
    everywhere = (papers, threads, memory, device, bf16, downloads, named_files, disk, folders)
    for check in everywhere:
        found += check(settings, machine)
    return found


def radius_cap(experiment: Experiment) -> Findings:
    """Find an n too small for the radii that tables list."""
    protocol, listed = experiment.certification, {}
    for sigma in {run.point.sigma for run in runs.written(experiment)}:
        wanted = _listed_radius(experiment, sigma)
        if not modes.of(protocol, sigma).largest_radius(sigma) >= wanted:
            listed[sigma] = wanted
    if not listed:
        return
    sigma = max(listed, key=lambda sigma: listed[sigma] / sigma)
    radius, cap = listed[sigma], modes.of(protocol, sigma).largest_radius(sigma)

    # Asked of the mode, which may leave its last look a share of alpha alone.
    def cap_of(n: int) -> float:
        return modes.of(protocol.model_copy(update={"n": n}), sigma).largest_radius(sigma)

    tables = "the published tables" if experiment.dataset in PUBLISHED_SUBSETS else "the tables"
    enough = bisect_left(range(sys.maxsize), radius, lo=protocol.n, key=cap_of)
    yield Finding(
        "warning",
        f"n {protocol.n} caps radii at {cap:.2f} for sigma {sigma:.2f}, below radius {radius:.2f} "
        f"of {tables}; set certification.n to {enough} or more",
    )


def attack_cap(experiment: Experiment) -> Findings:
    """Find bounds of attacks at which nothing can be certified, at any noise level."""
    if not experiment.attack:
        return
    protocol = experiment.certification
    sigmas = {run.point.sigma for run in runs.written(experiment)}
    cap = max(modes.of(protocol, sigma).largest_radius(sigma) for sigma in sigmas)
    if beyond := [epsilon for epsilon in experiment.attack.epsilons if epsilon > cap]:
        yield Finding(
            "warning",
            f"n {protocol.n} caps radii at {cap:.2f}, so that nothing is certified at epsilon "
            f"{beyond[0]:g} of the attack, whatever the model; raise certification.n, or leave it "
            "out of attack.epsilons",
        )


def _listed_radius(experiment: Experiment, sigma: float) -> float:
    """Return the largest radius of published tables, or else the first positive one of ours."""
    if experiment.dataset not in PUBLISHED_SUBSETS:
        return experiment.radius_step
    cap = largest_radius(published.PROTOCOL["n"], published.PROTOCOL["alpha"], sigma)
    return cap // PUBLISHED_STEP * PUBLISHED_STEP


def comparability(experiment: Experiment) -> Findings:
    """Warn where numbers will not compare with the published ones of the data set."""
    protocol, subsets = experiment.certification, PUBLISHED_SUBSETS.get(experiment.dataset)
    if subsets is None:
        return
    images = datasets.describe(experiment.dataset).test_images
    ours, theirs = [], []
    same = [Protocol(subset=one).indices(images) for one in subsets]
    # The published logs, where an experiment has them, tell what was published on any subset.
    if not _has_logs(experiment) and protocol.indices(images) not in same:
        ours.append(f"subset {protocol.subset}")
        sources = (f"{subset} ({source})" for subset, source in subsets.items())
        theirs.append(f"subset {' or '.join(sources)}")
    for key, votes in published.PROTOCOL.items():
        if getattr(protocol, key) != votes:
            ours.append(f"{key} {getattr(protocol, key)}")
            theirs.append(f"{key} {votes}")
    if protocol.mode == "staged":
        ours.append(f"mode {protocol.mode}")
        theirs.append("mode fixed")
    if ours:
        yield Finding(
            "warning",
            f"no published number has {', '.join(ours)}, so these will not compare with them; "
            f"to compare, set certification to {', '.join(theirs)}",
        )


def cut_short(experiment: Experiment) -> Findings:
    """Warn of methods whose training ends before they are what they are called."""
    for entry in experiment.methods:
        epochs = entry.training.epochs
        if entry.logs:
            continue
        if (deferral := getattr(entry.parameters, "deferral", 0)) >= epochs:
            yield Finding(
                "warning",
                f"{entry.title} trains for {epochs} epochs, and its radius term starts after "
                f"{deferral}; set parameters.deferral to less",
            )
        if (warmup := getattr(entry.parameters, "warmup", 0)) > epochs:
            yield Finding(
                "warning",
                f"{entry.title} trains for {epochs} epochs, and its attack reaches epsilon after "
                f"{warmup}; set parameters.warmup to {epochs} or less",
            )


def one_seed(experiment: Experiment) -> Findings:
    """Warn where tables will show no spread over seeds."""
    seeds: dict[str, set[int]] = {}
    for run in runs.written(experiment):
        seeds.setdefault(run.label, set()).add(run.point.seed)
    single = [label for label, its in seeds.items() if len(its) == 1]
    if single:
        of = "" if len(single) == len(seeds) else f" (of {', '.join(single)})"
        yield Finding(
            "warning",
            f"one seed{of} shows no spread over seeds; set several, as in seeds: [0, 1, 2, 3, 4]",
        )


def papers(settings: Config, machine: Machine) -> Findings:
    """Find what tables cannot read of the papers' claims and the numbers that these are about."""
    try:
        claims.check(settings.experiments)
    except UserError as error:
        yield Finding("error", str(error))


def threads(settings: Config, machine: Machine) -> Findings:
    """Warn if a job wants more threads than there are cores, or too few to decode its images."""
    if settings.threads > machine.cores:
        yield Finding(
            "warning",
            f"threads {settings.threads} is more than this machine's number of cores; set it to "
            f"{machine.cores} or less",
        )
    elif settings.device != "cpu" and settings.threads < DECODING_THREADS:
        for name in _names(settings, lambda one: one.dataset in IMAGE_FOLDERS):
            yield Finding(
                "warning",
                f"experiment {name}: threads {settings.threads} cannot decode images as fast as a "
                f"GPU trains on them; set it to {DECODING_THREADS} or more",
            )


def memory(settings: Config, machine: Machine) -> Findings:
    """Warn if the jobs that ``--cores all`` starts together need more memory than there is."""
    cores = min(settings.threads, machine.cores)
    trainings = sum(job.stage == "train" for job in cost.jobs(settings))
    jobs = min(machine.cores // cores, trainings * settings.shards)
    if _on_gpu(settings, machine):
        jobs = min(jobs, machine.gpus)
    fitting = max(machine.memory // sizes.JOB_MEMORY, 1)
    if jobs > fitting:
        yield Finding(
            "warning",
            f"{jobs} jobs at once need {jobs} GiB of memory or more, and this machine has "
            f"{machine.memory / 2**30:.1f}; run Snakemake with --cores {fitting * cores} or less",
        )


def device(settings: Config, machine: Machine) -> Findings:
    """Find a device that this machine lacks, and back ends that do not compute on it."""
    if settings.device == "cuda" and not machine.gpus:
        yield Finding(
            "warning",
            "device cuda needs a GPU, which this machine lacks: jobs that run here will fail; run "
            "them where there is one, or set it to auto",
        )
    if _on_gpu(settings, machine):
        if not machine.compiler:
            yield Finding(
                "error",
                "certification on a GPU needs a C compiler; install one (as in the packages gcc "
                "and python3-dev)",
            )
        for name in _names(settings, lambda one: one.certification.backend == "openvino"):
            yield Finding(
                "error",
                f"experiment {name}: backend openvino does not compute on a GPU; set "
                "certification.backend to auto, or device to cpu",
            )


def bf16(settings: Config, machine: Machine) -> Findings:
    """Find bf16 where what computes lacks it; of GPUs nothing is known here."""
    if settings.device == "cuda" or _on_gpu(settings, machine):
        return

    def refused(one: Experiment) -> bool:
        protocol = one.certification
        return protocol.precision == "bf16" and (protocol.backend == "torch" or not machine.bf16)

    def emulated(one: Experiment) -> bool:
        return not machine.bf16 and any(e.training.precision == "bf16" for e in one.methods)

    for name in _names(settings, refused):
        yield Finding(
            "error",
            f"experiment {name}: certification.precision bf16 needs a CPU that has it and backend "
            "openvino; set the precision to auto, or the backend to auto on such a CPU",
        )
    for name in _names(settings, emulated):
        yield Finding(
            "warning",
            f"experiment {name}: this CPU only emulates bf16, slowly; set training.precision to "
            "fp32",
        )


def downloads(settings: Config, machine: Machine) -> Findings:
    """Note the data sets and published logs that are not there yet.

    Find those that nobody can download. Only runs that are no log need their data set.
    """
    data_dir = Path(settings.data_dir)
    for name in dict.fromkeys(point.dataset for point in runs.points(settings)):
        yield from missing(name, data_dir, "data_dir")
    if not _names(settings, _has_logs):
        return
    if fault := logs.misnamed():
        yield Finding("error", fault)
    elif not (folder := logs.folder(data_dir)).is_dir():
        yield Finding(
            "note",
            f"the published logs are not in {folder} and will be downloaded; without a network, "
            f"set {logs.VARIABLE} to a folder that holds them",
        )


def named_files(settings: Config, machine: Machine) -> Findings:
    """Find the checkpoints and extra images that training would refuse.

    Not yet there, and hence not looked at, is what runs of the configuration start from.
    """
    trainings = [job for job in cost.jobs(settings) if job.stage == "train"]
    made = runs.made(settings)
    seen = set()
    for job in trainings:
        point, training = job.point, job.point.training
        start = None if training.init_from in made else training.init_from
        named = (point.dataset, point.arch, start, training.init_head, training.extra_images)
        if named in seen or not (start or training.extra_images):
            continue
        seen.add(named)
        try:
            _read_files(*named)
        except UserError as error:
            yield Finding("error", f"experiment {job.experiment}: {error}")


def _read_files(dataset: str, arch: str, start: str | None, head: str, more: str | None) -> None:
    """Read weights to start from and extra images, or raise the UserError of training."""
    from smoothcert import extra, initial, models

    data = datasets.describe(dataset)
    if start:
        classifier = models.build(models.Specification.of(arch, data))
        initial.start_from(classifier, Path(start), head)
    if more:
        extra.read(Path(more), data)


def disk(settings: Config, machine: Machine) -> Findings:
    """Note the jobs and the disk that all runs take; warn if the disk is too small.

    What experiments share counts once, and what is finished already counts too.
    """
    every = cost.jobs(settings)
    rows = sum(job.rows for job in every)
    trained = [job.point.arch for job in every if job.stage == "train"]
    size = 4e6 * sum(sizes.WEIGHTS.get(arch, max(sizes.WEIGHTS.values())) for arch in trained)
    size += sizes.ROW_BYTES * rows
    stages = Counter(job.stage for job in every)
    names = {"train": "trainings", "certify": "certifications", "attack": "attacks"}
    counts = "; ".join(f"{names[stage]}: {count}" for stage, count in stages.items())
    unknown = ", ".join(sorted(set(trained) - set(sizes.WEIGHTS)))
    most = f", with {unknown} as large as the largest network here" if unknown else ""
    work = f"{counts}; disk: about {_megabytes(size)}{most}; smoothcert cost estimates the hours"
    yield Finding("note", work if every else "nothing to train or certify")
    if size > machine.free:
        yield Finding(
            "warning",
            f"the results take {_megabytes(size)} and {_megabytes(machine.free)} are free; free "
            "some, or copy config/ to a folder on a larger disk and run Snakemake with --directory",
        )


def folders(settings: Config, machine: Machine) -> Findings:
    """Find folders that every run must write into and cannot."""
    for folder in machine.unwritable:
        yield Finding(
            "error",
            f"the folder {folder} cannot be written; give yourself the right to, or copy config/ "
            "to a folder of your own and run Snakemake with --directory",
        )


def _names(settings: Config, concerned: Callable[[Experiment], bool]) -> list[str]:
    return [experiment.name for experiment in settings.experiments if concerned(experiment)]


def _has_logs(experiment: Experiment) -> bool:
    return any(run.log for run in runs.written(experiment))


def _on_gpu(settings: Config, machine: Machine) -> bool:
    return settings.device != "cpu" and machine.gpus > 0


def _megabytes(number: float) -> str:
    return f"{math.ceil(number / 1e6):,} MB"
