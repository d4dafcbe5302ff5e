"""Training against a plain loop, the price of attacks, recorded steps, and bf16 against fp32.

    python benchmarks/training.py --data-dir DATA              # all four, on MNIST
    python benchmarks/training.py speed --repeats 9 --threads 1

speed: the training loop on LeNet, on a GPU on ResNet-110 and CIFAR-10 too, against what one writes
with torchvision: a DataLoader, with and without workers, that transforms image by image; float32.
attacks: an epoch of SmoothAdv over an epoch of Gaussian training, with T steps and m noises.
recording: on a GPU, steps that are recorded and replayed against steps taken one by one, and the
memory of both; random images, since only their shape counts.
precision: ACR and accuracy of LeNet trained in bf16 and in fp32 for three epochs, three seeds each.

For all but precision the sides run in turn, A B C A B C, each after a warm-up; each ratio is that
of two neighbours in time.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from common import run_command, summary, torch_defaults
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import transforms

from smoothcert import cuda_graph, datasets, methods, models, records
from smoothcert.datasets.base import InMemory
from smoothcert.device import choose, describe
from smoothcert.point import Point
from smoothcert.run_files import TRAINING_LOG
from smoothcert.settings import Training
from smoothcert.train import train

SIGMA, BATCH, LR = 0.5, 256, 0.01
NETWORKS = {"lenet": "mnist", "resnet20": "cifar10", "resnet110": "cifar10"}
STEPS = {"lenet": 500, "resnet20": 60, "resnet110": 20}
"""Of an epoch of part recording."""
ATTACKS = [{"steps": 4, "m": 2}, {"steps": 10, "m": 4}]
SEEDS = [0, 1, 2]

Side = Callable[[], float]
"""Trains for about a second or two; returns images a second."""


def main() -> None:
    """Measure and print, the results last."""
    parser = argparse.ArgumentParser(description="Measure training.")
    parts = {"speed": speed, "attacks": attacks, "recording": recording, "precision": precision}
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: {' '.join(parts)}")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="that holds MNIST")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5, help="of each side (default: 5)")
    parser.add_argument(
        "--archs", nargs="+", choices=NETWORKS, help="of speed (default: lenet; GPU: resnet110 too)"
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part {unknown.pop()}, only {', '.join(parts)}")
    device = choose(options.device, options.threads)
    lines = [line for part in options.parts or parts for line in parts[part](options, device)]
    print(f"\n{describe(device)}; {platform.platform()}")
    print(f"python {platform.python_version()}, torch {torch.__version__}, "
          f"torchvision {torchvision.__version__}; medians (ranges)")  # fmt: skip
    print("\n".join(lines))


def speed(options: argparse.Namespace, device: torch.device) -> list[str]:
    """Compare the training loop with the plain one."""
    lines = []
    for arch in options.archs or ["lenet", *(["resnet110"] if device.type == "cuda" else [])]:
        images = {"cpu": 40, "cuda": 200}[device.type] * BATCH
        sides = {
            f"plain loop, {workers} workers": plain_loop(arch, images, workers, options, device)
            for workers in (0, len(os.sched_getaffinity(0)))
        }
        plain = list(sides)
        data = first_images(arch, images, options)
        for number_format in ("fp32", "bf16"):
            name = f"training loop, {number_format}"
            sides[name] = loop(arch, data, device, precision=number_format)
        rates = measure(arch, sides, options.repeats)
        best = max(plain, key=lambda name: statistics.median(rates[name]))
        lines += compared(arch, rates, best)
    return lines


def attacks(options: argparse.Namespace, device: torch.device) -> list[str]:
    """Compare SmoothAdv with Gaussian training: (T + 1) m times as many passes, at most."""
    # On a GPU each epoch is recorded anew, so that only whole ones compare.
    counts = {"cpu": (20 * BATCH, 2 * BATCH), "cuda": (60_000, 60_000)}[device.type]
    many, few = (first_images("lenet", count, options) for count in counts)
    sides = {"gaussian": loop("lenet", many, device)}
    for attack in ATTACKS:
        name = "smoothadv, T = {steps}, m = {m}".format(**attack)
        sides[name] = loop("lenet", few, device, "smoothadv", attack)
    rates = measure("lenet", sides, options.repeats)
    lines = []
    for (name, values), attack in zip(list(rates.items())[1:], ATTACKS, strict=True):
        ratios = [a / b for a, b in zip(rates["gaussian"], values, strict=True)]
        passes = (attack["steps"] + 1) * attack["m"]
        lines.append(
            f"lenet: {name}: {summary(ratios, '.1f')} times an epoch of gaussian, "
            f"{statistics.median(ratios) / passes:.2f} times the {passes} passes"
        )
    return lines


def recording(options: argparse.Namespace, device: torch.device) -> list[str]:
    """Compare recorded steps with steps taken one by one."""
    if device.type != "cuda":
        return []
    lines = []
    for arch, steps in STEPS.items():
        data = random_images(arch, steps * BATCH)
        for number_format in ("fp32", "bf16"):
            epoch = loop(arch, data, device, precision=number_format)
            sides = {
                f"{number_format}, {name}": after(warm_up, epoch)
                for name, warm_up in (("one by one", sys.maxsize), ("recorded", cuda_graph.WARM_UP))
            }
            for name, side in sides.items():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                side()
                size = torch.cuda.max_memory_reserved() / 2**20
                lines.append(f"{arch}: {name}: {size:,.0f} MiB")
            lines += compared(arch, measure(arch, sides, options.repeats), next(iter(sides)))
    return lines


def after(warm_up: int, side: Side) -> Side:
    """Return the side with that number of steps before one is recorded."""

    def epoch() -> float:
        before, cuda_graph.WARM_UP = cuda_graph.WARM_UP, warm_up
        try:
            return side()
        finally:
            cuda_graph.WARM_UP = before

    return epoch


def measure(arch: str, sides: dict[str, Side], repeats: int) -> dict[str, list[float]]:
    """Return the images a second of each side, in every round."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(repeats):
        for name, side in sides.items():
            rates[name].append(side())
            print(f"{arch}: {name}: {rates[name][-1]:,.0f} images/s", flush=True)
    return rates


def compared(arch: str, rates: dict[str, list[float]], base: str) -> list[str]:
    """Return the lines of all sides, each over ``base``."""
    lines = []
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(values, rates[base], strict=True)]
        lines.append(
            f"{arch}: {name}: {summary(values, ',.0f')} images/s, "
            f"{summary(ratios, '.2f')} times {base}"
        )
    return lines


def plain_loop(
    arch: str, images: int, workers: int, options: argparse.Namespace, device: torch.device
) -> Side:
    """Return a loop as a researcher would write it."""
    steps = [transforms.ToTensor()]
    if NETWORKS[arch] == "cifar10":
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *steps]
    kind = {"mnist": torchvision.datasets.MNIST, "cifar10": torchvision.datasets.CIFAR10}
    data = kind[NETWORKS[arch]](
        options.data_dir, transform=transforms.Compose(steps), download=True
    )
    loader = DataLoader(
        Subset(data, range(min(images, len(data)))),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )
    specification = models.Specification.of(arch, datasets.describe(NETWORKS[arch]))
    model = models.build(specification).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)

    def epoch() -> float:
        started = time.perf_counter()
        total_loss = total_hits = seen = 0
        with torch_defaults():
            for inputs, targets in loader:
                inputs, targets = inputs.to(device), targets.to(device)
                inputs = inputs + torch.randn_like(inputs) * SIGMA
                outputs = model(inputs)
                loss = functional.cross_entropy(outputs, targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total_loss += loss.item() * len(inputs)
                total_hits += (outputs.argmax(1) == targets).sum().item()
                seen += len(inputs)
        return seen / (time.perf_counter() - started)

    return epoch


def loop(
    arch: str,
    data: InMemory,
    device: torch.device,
    method: str = "gaussian",
    parameters: dict | None = None,
    precision: str = "fp32",
) -> Side:
    """Return the training loop of the package."""
    augment = "crop-flip" if NETWORKS[arch] == "cifar10" else "none"
    training = Training(epochs=1, batch_size=BATCH, lr=LR, augment=augment, precision=precision)
    objective = methods.load(method)(**(parameters or {}))
    point = Point(NETWORKS[arch], arch, method, SIGMA, 0.0, 0, training, objective)

    def epoch() -> float:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            train(point, data, Path(folder), device)
            (row,) = csv.DictReader(
                Path(folder, TRAINING_LOG).read_text().splitlines(), delimiter="\t"
            )
        return len(data.train_labels) / float(row["seconds"])

    return epoch


def first_images(arch: str, count: int, options: argparse.Namespace) -> InMemory:
    """Return the first training images of the network's data set."""
    whole = datasets.load(NETWORKS[arch], options.data_dir)
    return only_training(whole.train_images[:count], whole.train_labels[:count])


def random_images(arch: str, count: int) -> InMemory:
    """Return random images of the shape of the network's data set."""
    shape = datasets.describe(NETWORKS[arch])
    generator = torch.Generator().manual_seed(0)
    size = (count, shape.channels, shape.size, shape.size)
    pixels = torch.randint(256, size, generator=generator, dtype=torch.uint8)
    return only_training(pixels, torch.randint(shape.classes, (count,), generator=generator))


def only_training(images: torch.Tensor, labels: torch.Tensor) -> InMemory:
    """Return a data set without test images."""
    return InMemory(images, labels, images[:0], labels[:0])


def precision(options: argparse.Namespace, device: torch.device) -> list[str]:
    """Compare what training in bf16 and in fp32 comes to, seed by seed."""
    values: dict[str, dict[str, list[float]]] = {}
    common = ["--data-dir", options.data_dir, "--threads", options.threads]
    common += ["--device", device.type]
    for seed in SEEDS:
        for number_format in ("fp32", "bf16"):
            with tempfile.TemporaryDirectory() as folder:
                run_command(
                    *("train", "--dataset", "mnist", "--arch", "lenet", "--method", "gaussian"),
                    *("--sigma", SIGMA, "--epochs", 3, "--lr", 0.03, "--seed", seed),
                    *("--precision", number_format, "--output", folder, *common),
                )
                table = Path(folder, "certificates")
                run_command(
                    *("certify", Path(folder, "model.pt"), "--subset", "every-50"),
                    *("--n", 10_000, "--output", table, *common),
                )
                rows = records.read(table)[0]
            found = values.setdefault(number_format, {"ACR": [], "accuracy": []})
            found["ACR"].append((rows["radius"] * rows["correct"]).mean())
            found["accuracy"].append(rows["correct"].mean())
    lines = []
    for what, single in values["fp32"].items():
        half = values["bf16"][what]
        differences = [b - a for a, b in zip(single, half, strict=True)]
        lines.append(
            f"{what}, {len(SEEDS)} seeds: fp32 {spread(single)}, bf16 {spread(half)}, "
            f"bf16 less fp32 {spread(differences)}"
        )
    return lines


def spread(values: list[float]) -> str:
    """Return the mean and the sample standard deviation."""
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    main()
