"""What certification costs beyond speed: precision, votes saved by mode radius, memory.

    python benchmarks/certification.py --data-dir DATA

Trains LeNet on MNIST for three epochs at sigma 0.5 (in a scratch folder), then
* compares the radii of every 50th image, n = 10,000, in bf16 and fp32 on the same noise with
  those in fp32 on redrawn noise,
* counts the votes of mode radius at r = 0.5, n = 100,000, on every 20th image,
* compares the peak memory of certifying 100 and 10,000 images.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
from pathlib import Path

import numpy as np
import openvino
import torch
from common import run_command

from smoothcert import checkpoint, datasets, records
from smoothcert.datasets.base import to_unit
from smoothcert.device import choose, describe
from smoothcert.smoothing.bounds import certified_radius, lower_bound
from smoothcert.smoothing.sampling import Sampler

SIGMA, ALPHA = 0.5, 0.001


def main() -> None:
    """Measure and print, the results last."""
    parser = argparse.ArgumentParser(description="Measure the costs of certification.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="that holds MNIST")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    device = choose("auto", options.threads)
    print(f"{describe(device)}, Python {platform.python_version()}, torch {torch.__version__}, "
          f"OpenVINO {openvino.__version__.split('-')[0]}")  # fmt: skip
    common = ["--data-dir", options.data_dir, "--threads", options.threads]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run_command(
            *("train", "--dataset", "mnist", "--arch", "lenet", "--method", "gaussian"),
            *("--sigma", SIGMA, "--epochs", 3, "--lr", 0.03, "--output", folder, *common),
        )
        lines = [
            *precision(folder / "model.pt", options.data_dir, device),
            votes_of_mode_radius(folder / "model.pt", common),
            memory(folder / "model.pt", common),
        ]
    print("\n".join(lines))


def precision(model: Path, data_dir: Path, device: torch.device) -> list[str]:
    """Compare bf16 with fp32 on the same noise, and fp32 with itself on redrawn noise."""
    n, trained, data = 10_000, checkpoint.load(model), datasets.load("mnist", data_dir)
    indices = list(range(0, 10_000, 50))
    images, labels = to_unit(data.test_images[indices]), data.test_labels[indices].numpy()

    def radii(precision: str, seed: int) -> np.ndarray:
        sampler = Sampler(trained.classifier, SIGMA, seed, device, precision)
        counts = sampler.counts(images, indices, "estimate 0", n).numpy()
        right = counts[np.arange(len(indices)), labels]
        return certified_radius(lower_bound(right, n, ALPHA), SIGMA)

    single = radii("fp32", 0)
    lines = []
    for name, settings in (("bf16, same noise", ("bf16", 0)), ("fp32, other noise", ("fp32", 1))):
        other = radii(*settings)
        apart = np.abs(other - single)
        lines.append(
            f"radii of {len(indices)} images at n = {n}, fp32 against {name}: mean difference "
            f"{apart.mean():.5f}, largest {apart.max():.4f}; ACR {single.mean():.4f} against "
            f"{other.mean():.4f}"
        )
    return lines


def votes_of_mode_radius(model: Path, common: list) -> str:
    """Count the votes that deciding for one radius takes."""
    n, folder = 100_000, model.parent / "radius"
    run_command(
        *("certify", model, "--mode", "radius", "--radius", 0.5, "--subset", "every-20"),
        *("--n", n, "--output", folder, *common),
    )
    votes = records.read(folder)[0]["n"]
    return (
        f"mode radius at r = 0.5, {len(votes)} images: {votes.mean():,.0f} votes an image "
        f"(median {votes.median():,.0f}, most {votes.max():,}), 1/{n / votes.mean():.0f} of fixed"
    )


def memory(model: Path, common: list) -> str:
    """Compare peak memory for few and for many images, each in a process of its own."""
    peaks = []
    for last in (99, 9_999):  # the smaller first: the system reports the largest child so far
        run_command(
            *("certify", model, "--subset", f"0-{last}", "--n", 100),
            *("--output", model.parent / str(last), *common),
        )
        peaks.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    return f"peak memory: {peaks[0]:,.0f} MiB for 100 images, {peaks[1]:,.0f} MiB for 10,000"


if __name__ == "__main__":
    main()
