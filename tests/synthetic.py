"""Results of an experiment that nobody ran: certificates and logs drawn at random, plausible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

from smoothcert import config_files, datasets, files, records, runs
from smoothcert.analysis.write_tables import write_tables
from smoothcert.point import Point
from smoothcert.run_files import CERTIFICATES, CERTIFICATES_DESCRIPTION
from smoothcert.settings import Training
from smoothcert.smoothing import modes
from smoothcert.smoothing.bounds import certified_radius
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.settings import Attack

CONFIGURATION = {
    "name": "synthetic",
    "title": "Digits, drawn at random",
    "dataset": "digits",
    "arch": "convnet8",
    "sigmas": [0.25, 0.5],
    "seeds": [0, 1, 2],
    "training": {"epochs": 5},
    "certification": {"subset": "every-4", "n": 10_000},
    "methods": [
        {"method": "gaussian"},
        {"method": "consistency", "lambda": 5, "label": "Consistency"},
    ],
}

SWEEP = [
    {"method": "gaussian"},
    {"method": "consistency", "lambda": [10, 1], "family": "Consistency"},
    {
        "method": "consistency",
        "lambda": 10,
        "label": "KL",
        "family": "Consistency",
        "parameters": {"m": 4, "form": "kl"},
    },
]
"""Methods of which one has several values of lambda, m and form."""

STAGED = {"subset": "every-4", "n": 100_000, "mode": "staged"}
"""A protocol whose largest radius is not that of alpha: 3.8036 at sigma 1, not 3.8115."""

FAR_APART = [{"method": "gaussian"}, {"method": "consistency", "lambda": 50}]
"""Methods that differ a lot."""

ATTACK = {"attack": {"epsilons": [0.5, 0.25, 3.0], "steps": 7, "m": 5, "n": 300}}
"""Attacks, of which the last is beyond every radius."""

PUBLISHED = {
    "dataset": "cifar10",
    "arch": "resnet110",
    "certification": {"subset": "all", "n": 100_000},
    "seeds": [0],
    "published": {"source": "salman2019", "table": "best_models/cifar10/cohen"},
}
"""Changes that name published accuracies of Gaussian training, and certify as they were."""

AS_PUBLISHED = {
    "n0": 100,
    "n": 100_000,
    "alpha": 0.001,
    **Training(epochs=90, lr=0.01, lr_step=30, lr_convention="jeong").model_dump(),
}
"""Columns of runs on MNIST that were certified and trained as Jeong & Shin's."""

PARAMETERS = {
    "gaussian": {"lambda": 0.0},
    "consistency": {"lambda": 20.0, "m": 2, "form": "first"},
    "macer": {"lambda": 16.0, "k": 16, "gamma": 8.0, "beta": 16.0, "deferral": 31},
}
"""Columns of their methods' own settings in the author response, at sigma 0.5."""


def write_experiment(folder: Path, **changes: Any) -> Path:
    """Write results and manifest of CONFIGURATION with ``changes`` into ``folder``.

    Paths in the manifest are relative to ``folder``, which should be the working directory.
    Returns the manifest's path relative to it.
    """
    settings = config_files.read({"experiments": [{**CONFIGURATION, **changes}]})
    (experiment,) = settings.experiments
    protocol = experiment.certification
    content = runs.manifest(settings, experiment)
    labels = list(dict.fromkeys(run["label"] for run in content["runs"]))
    for run in content["runs"]:
        point = Point.read(run["point"])
        strength = 1 + 0.15 * labels.index(run["label"]) + 0.01 * point.weight
        results, certificates = folder / run["folder"], folder / run["certificates"]
        write_run(results, certificates, point, protocol, strength)
        if run["attacked"]:
            write_attacked(folder / run["attacked"], certificates, point, experiment.attacking)
    manifest = Path("reports", experiment.name, "experiment.json")
    files.write_json(folder / manifest, content)
    return manifest


def written(folder: Path, **changes) -> Path:
    """Return the folder of the tables of an experiment with ``changes``."""
    write_tables(write_experiment(folder, **changes), Path("tables"))
    return Path("tables")


def rows(markdown: Path) -> list[list[str]]:
    """Return the cells of all rows of all tables in a Markdown file."""
    lines = markdown.read_text(encoding="utf-8").splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]


def write_run(
    folder: Path, certificates: Path, point: Point, protocol: Protocol, strength: float
) -> None:
    """Write the training log and the certificates of one run; more strength, larger radii."""
    rng = np.random.default_rng([point.seed, int(1000 * point.sigma * strength)])
    origin = {
        "smoothcert": "0.1.0",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "code": "0123456789abcdef",
        "data": "ab" * 32,
        "device": "cpu (Imagined, 1 thread)",
        "python": "3.11.7",
        "torch": "2.15.0+cpu",
    }
    log = training_log(point, rng)
    files.write_text(folder / "train.tsv", log.to_csv(sep="\t", index=False))
    images = datasets.describe(point.dataset).test_images
    table = certificate_table(protocol.indices(images), point.sigma, protocol, strength, rng)
    files.write_text(certificates / CERTIFICATES, table.to_csv(sep="\t", index=False))
    files.write_json(
        certificates / CERTIFICATES_DESCRIPTION,
        {
            "point": point.content,
            "protocol": protocol.model_dump(mode="json"),
            "model": {"sha256": "cd" * 32, "provenance": origin},
            "provenance": origin,
            "evaluation": {"backend": "openvino", "version": "1", "precision": "fp32"},
            "identity": "synthetic",
            "shard": "1/1",
            "images": len(table),
            "test_images": images,
        },
    )


def write_attacked(folder: Path, certificates: Path, point: Point, attack: Attack) -> None:
    """Write the answers under an attack that breaks an image somewhat beyond its radius."""
    rng = np.random.default_rng(point.seed)
    table = pd.read_csv(certificates / CERTIFICATES, sep="\t")
    clean = np.where(rng.random(len(table)) < 0.95, table["top"], records.ABSTAIN)
    clean = np.where(table["correct"], table["label"], clean)
    breaks_at = table["radius"] * rng.uniform(1, 1.6, len(table)) + 1e-6
    parts = []
    for epsilon in attack.epsilons:
        right = (clean == table["label"]) & (epsilon < breaks_at)
        answer = np.where(right, table["label"], records.ABSTAIN)
        columns = {"idx": table["idx"], "label": table["label"], "clean": clean, "epsilon": epsilon}
        parts.append(pd.DataFrame({**columns, "predict": answer, "correct": right.astype(int)}))
    rows = pd.concat(parts).sort_values("idx", kind="stable")
    files.write_text(folder / "attacked.tsv", rows.to_csv(sep="\t", index=False))
    about = files.read_json(certificates / CERTIFICATES_DESCRIPTION)
    about["protocol"] = attack.model_dump(mode="json")
    files.write_json(folder / "attacked.json", about)


def certificate_table(
    indices: range, sigma: float, protocol: Protocol, strength: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Return certificates whose margins, in units of sigma, are normally distributed.

    A mode of several looks is done with every second image one look before the last.
    """
    images, mode = len(indices), modes.of(protocol, sigma)
    margins = rng.normal(1.8 * strength, 1.2, images)
    look = np.maximum(len(mode.looks) - 1 - np.arange(images) % 2, 0)
    n = np.array(mode.looks)[look]
    count = rng.binomial(n, np.maximum(ndtr(margins), 0.4))
    p_lower = np.choose(look, [mode.judge(i, count)[0] for i in range(len(mode.looks))])
    label = np.random.default_rng(0).integers(0, 10, images)  # all runs have the same test images
    top = np.where(rng.random(images) < 0.97, label, (label + 1) % 10)
    certified = p_lower >= 0.5
    return pd.DataFrame(
        {
            "idx": indices,
            "label": label,
            "predict": np.where(certified, top, records.ABSTAIN),
            "radius": certified_radius(p_lower, sigma),
            "correct": (certified & (top == label)).astype(int),
            "time": rng.normal(0.2, 0.01, images).round(4),
            "top": top,
            "count0": protocol.n0,
            "n0": protocol.n0,
            "count": count,
            "n": n,
            "p_lower": p_lower,
            "mode": protocol.mode,
            "batch": 100,
        }
    )


def training_log(point: Point, rng: np.random.Generator) -> pd.DataFrame:
    """Return a log whose loss falls and whose accuracy rises with noise on top."""
    epochs = np.arange(point.training.epochs)
    fall = np.exp(-3 * epochs / len(epochs))
    regularizer = 0.2 * fall * point.weight / 5 * rng.normal(1, 0.05, len(epochs))
    return pd.DataFrame(
        {
            "epoch": epochs + 1,
            "lr": [point.training.learning_rate(epoch) for epoch in epochs],
            "loss": (0.3 + 2 * fall) * rng.normal(1, 0.03, len(epochs)) + regularizer,
            "regularizer": regularizer,
            "noisy_accuracy": 0.95 - 0.8 * fall * rng.normal(1, 0.03, len(epochs)),
            "seconds": rng.normal(2, 0.1, len(epochs)),
        }
    )
