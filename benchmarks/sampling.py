"""Samples a second of the sampling engine against a plain loop, and how often votes agree.

    python benchmarks/sampling.py            # LeNet, ResNet-20, ResNet-110; ResNet-50 on a GPU
    python benchmarks/sampling.py lenet --repeats 9 --threads 1

The plain loop is what a user writes with torch's defaults (on a GPU, TF32 in convolutions, and no
demand for equal sums): one image at a time, batches of 1,000, float32, votes copied to the host
and counted there one by one. The sides run in turn, A B C A B C; each ratio is that of two
neighbours in time. Networks have random weights, on which the time does not depend, but for the
agreement of bf16 with fp32, vote by vote: that is measured after a short training on
scikit-learn's digits, because random networks are full of near ties.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from common import summary, torch_defaults
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from smoothcert import datasets, models
from smoothcert.device import choose, describe
from smoothcert.models import Specification
from smoothcert.models.classifier import Classifier
from smoothcert.smoothing import backends
from smoothcert.smoothing.sampling import Sampler

SIGMA = 0.5
SECONDS = 2.0
"""Length of one measurement, about."""
TRAINING_STEPS = {"lenet": 300, "resnet20": 80, "resnet110": 40}


def main() -> None:
    """Measure the named architectures and print the results."""
    parser = argparse.ArgumentParser(description="Measure the sampling engine.")
    parser.add_argument("archs", nargs="*", help="default: lenet resnet20 resnet110 [resnet50]")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5, help="of each side (default: 5)")
    parser.add_argument(
        "--precisions", nargs="+", choices=["auto", "fp32", "bf16"], default=["auto", "fp32"]
    )
    options = parser.parse_args()
    device = choose(options.device, options.threads)
    archs = options.archs or ["lenet", "resnet20", "resnet110"]
    if not options.archs and device.type == "cuda":
        archs.append("resnet50")
    peak = matrix_peak(device) if device.type == "cuda" else None
    results = []
    for arch in archs:
        results += measure(arch, device, options.precisions, options.repeats, peak)
        if arch in TRAINING_STEPS and len(options.precisions) == 2:
            results.append(f"{arch}: {agreement(arch, device, options.precisions)}")
    print(f"\n{describe(device)}; {platform.platform()}")
    print(f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")
    if peak:
        print(f"bf16 matrix multiplication: {peak / 1e12:.0f} TFLOP/s")
    print(f"medians of {options.repeats} (ranges in brackets), {SIGMA = }")
    print("\n".join(results))


def measure(
    arch: str, device: torch.device, precisions: list[str], repeats: int, peak: float | None
) -> list[str]:
    """Return the lines of one architecture."""
    classifier = build(arch).to(device)
    size = classifier.specification.size
    shape = (classifier.specification.channels, size, size)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.compiler.reset()  # a process compiles a function eight times at most
    sides: dict[str, Callable[[int], Tensor]] = {
        "plain loop, fp32": lambda n: plain_loop(classifier, image.to(device), n)
    }
    warm_up = {}
    for precision in precisions:
        started = time.perf_counter()
        sampler = Sampler(build(arch), SIGMA, 0, device, precision)
        images = image.expand(sampler.images, -1, -1, -1)

        def count(n: int, sampler: Sampler = sampler, images: Tensor = images) -> Tensor:
            votes = -(-n // len(images))
            return sampler.counts(images, range(len(images)), "estimate", votes)

        count(1)
        name = "{backend} {version}, {precision}".format(**sampler.evaluation)
        warm_up[name] = time.perf_counter() - started
        sides[name] = count
    sizes = {name: suitable_size(side) for name, side in sides.items()}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            started = time.perf_counter()
            votes = int(side(sizes[name]).sum())
            rates[name].append(votes / (time.perf_counter() - started))
            print(f"{arch}: {name}: {rates[name][-1]:,.0f} samples/s", flush=True)
    flops = count_flops(arch, shape)
    plain = rates["plain loop, fp32"]
    lines = []
    for name, values in rates.items():
        line = f"{arch}: {name}: {summary(values, ',.0f')} samples/s"
        if name in warm_up:
            ratios = [a / b for a, b in zip(values, plain, strict=True)]
            line += f", {summary(ratios, '.1f')} times the plain loop"
            line += f", warm-up {warm_up[name]:.1f} s"
            if peak and name.endswith("bf16"):
                line += f", {statistics.median(values) * flops / peak:.1%} of the matrix peak"
        lines.append(line)
    return lines


def plain_loop(classifier: Classifier, image: Tensor, n: int, batch: int = 1000) -> Tensor:
    """Return the counts of ``n`` votes, as a user would write it."""
    counts = np.zeros(classifier.specification.classes, dtype=int)
    with torch_defaults(), torch.no_grad():
        while n > 0:
            size = min(batch, n)
            copies = image.repeat((size, 1, 1, 1))
            votes = classifier(copies + torch.randn_like(copies) * SIGMA).argmax(1)
            for vote in votes.cpu().numpy():
                counts[vote] += 1
            n -= size
    return torch.from_numpy(counts)


def suitable_size(side: Callable[[int], Tensor]) -> int:
    """Return a multiple of 1,000 votes that takes about SECONDS, or 1,000 if those take longer."""
    n = 1000
    side(1)  # anew, since the back ends built after it made torch forget what it had compiled
    while True:
        started = time.perf_counter()
        side(n)
        seconds = time.perf_counter() - started
        if seconds > SECONDS / 4:
            return max(1000, round(n * SECONDS / seconds / 1000) * 1000)
        n *= 2


def agreement(arch: str, device: torch.device, precisions: list[str]) -> str:
    """Return how many votes two precisions share on the same noise, after a short training."""
    classifier = build(arch).to(device).train()
    specification = classifier.specification
    digits = load_digits()
    small = torch.tensor(digits.images[:, None], dtype=torch.float32, device=device) / 16
    images = functional.interpolate(small, size=(specification.size, specification.size))
    images = images.expand(-1, specification.channels, -1, -1)
    labels = torch.tensor(digits.target, device=device)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3)
    for step in range(TRAINING_STEPS[arch]):
        batch = torch.arange(32 * step, 32 * (step + 1), device=device) % 1500
        noisy = images[batch] + SIGMA * torch.randn_like(images[batch])
        loss = functional.cross_entropy(classifier(noisy), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = classifier.state_dict()
    votes, names = [], []
    for precision in precisions:
        classifier = build(arch)
        classifier.load_state_dict(weights)
        backend = backends.build(classifier, SIGMA, device, "auto", precision)
        names.append(backend.precision)
        votes.append(
            torch.cat([backend.votes(images[row], row, 100) for row in range(1500, 1550)]).cpu()
        )
    same, all_votes = int((votes[0] == votes[1]).sum()), len(votes[0])
    classes = len(votes[1].unique())
    return (
        f"{same / all_votes:.2%} of {all_votes:,} votes of {names[0]} are those of "
        f"{names[1]} (on {classes} classes)"
    )


def build(arch: str) -> Classifier:
    """Return the same random network at every call, in eval mode."""
    torch.manual_seed(0)
    data = datasets.describe({"lenet": "mnist", "resnet50": "imagenet"}.get(arch, "cifar10"))
    mean, std = ((value,) * data.channels for value in (0.5, 0.25))
    specification = Specification(arch, data.channels, data.size, data.classes, mean, std)
    return models.build(specification).eval()


def count_flops(arch: str, shape: tuple[int, int, int]) -> int:
    """Return the floating-point operations of one sample, two for each multiplication."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        build(arch)(torch.zeros(1, *shape))
    return counter.get_total_flops()


def matrix_peak(device: torch.device, size: int = 8192, products: int = 30) -> float:
    """Return the measured operations a second of bf16 matrix products of random numbers."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(products):
        a @ b
    torch.cuda.synchronize(device)
    return 2 * size**3 * products / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
