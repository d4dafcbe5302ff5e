"""How long this machine takes to train, to vote and to attack, measured on random images."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from smoothcert import cuda_graph, datasets, models
from smoothcert.datasets.base import Dataset, shuffled
from smoothcert.models.classifier import Classifier
from smoothcert.point import Point
from smoothcert.progress import say
from smoothcert.settings import Training
from smoothcert.smoothing.attack import perturb
from smoothcert.smoothing.protocol import BackendName, Precision
from smoothcert.smoothing.sampling import Sampler
from smoothcert.train import train

SECONDS = 1.5
"""Length of one measurement, about, without its warm-up."""
PARTS = 5
"""Parts of a measurement, whose spread is that of the result; two where a batch takes longer."""
UNTIMED = {"beta", "deferral", "epsilon", "eta", "gamma", "warmup"}
"""Parameters of methods that do not decide how long a step takes."""


@dataclass(frozen=True)
class TrainingImage:
    """What one image takes each time that training comes to it."""

    seconds: list[float]
    """One value for each part of the measurement."""
    forward: float
    """Passes through the network: of noisy copies, of steps of an attack, of clean images."""
    backward: float
    """Those through which a gradient came back."""


@dataclass(frozen=True)
class Vote:
    """What one vote of a certification takes."""

    seconds: list[float]
    """One value for each part of the measurement."""
    batch: int
    """Votes in one forward pass; a pass is whole even where fewer are wanted."""


def representative(point: Point) -> Point:
    """Return the point that stands for all whose training takes equally long for an image."""
    timed = point.training.model_dump(include={"batch_size", "augment", "precision"})
    return replace(
        point,
        sigma=0.5,
        weight=1.0 if point.parameters.regularized else 0.0,
        seed=0,
        # At a rate near 0 random labels cannot make the loss infinite, which training refuses.
        training=Training(epochs=1, lr=1e-12, **timed),
        parameters=type(point.parameters)(**point.parameters.model_dump(exclude=UNTIMED)),
    )


def training_image(point: Point, device: torch.device) -> TrainingImage:
    """Train a representative ``point`` for an epoch of random images, as long as it is measured.

    On a CPU a batch that takes long is measured on a part of it. Raises UserError if memory does
    not suffice.
    """
    say(f"measuring training: {point.arch}, {point.method}")
    images = _RandomImages(point, device)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        train(point, images, Path(folder), device)
    count = images.counted["steps"] * (images.smallest // point.parameters.minibatches)
    return TrainingImage(
        images.seconds, images.counted["forward"] / count, images.counted["backward"] / count
    )


def vote(
    specification: models.Specification,
    precision: Precision,
    backend: BackendName,
    device: torch.device,
) -> Vote:
    """Count votes of a fresh network.

    Raises UserError if the device lacks the precision or the back end.
    """
    say(f"measuring certification: {specification.arch}")
    sampler = Sampler(models.build(specification), 0.5, 0, device, precision, backend)
    shape = (specification.channels, specification.size, specification.size)
    images, rows = torch.rand(sampler.images, *shape), range(sampler.images)

    def seconds(n: int) -> float:
        started = time.perf_counter()
        sampler.counts(images, rows, "estimate", n)
        return time.perf_counter() - started

    n = sampler.batch
    seconds(n)
    while (taken := seconds(n)) < SECONDS / PARTS / 2:
        n *= 2
    n = max(round(SECONDS / PARTS / taken * n / sampler.batch), 1) * sampler.batch
    return Vote([seconds(n) / n / len(rows) for _ in range(_parts(taken))], sampler.batch)


def attack_step(specification: models.Specification, m: int, device: torch.device) -> list[float]:
    """Return the seconds of a step of the attack on an image, one value for each part.

    Raises UserError if memory does not suffice.
    """
    say(f"measuring the attack: {specification.arch}, m {m}")
    shape = (specification.channels, specification.size, specification.size)
    generator = torch.Generator(device).manual_seed(0)
    image = torch.rand(shape, generator=generator, device=device)
    classifier = models.build(specification).to(device)

    def seconds(steps: int) -> float:
        clock = _clock(device)
        perturb(classifier, image, 0, 0.5, m, 1.0, steps, generator)
        return clock()

    seconds(1)
    taken = seconds(1)
    steps = max(round(SECONDS / PARTS / taken), 1)
    return [seconds(steps) / steps for _ in range(_parts(taken))]


class _RandomImages(Dataset):
    """Batches of random images, which measure how long the training loop takes for each."""

    checksum = "random"

    def __init__(self, point: Point, device: torch.device):
        data = datasets.describe(point.dataset)
        size = point.training.batch_size
        shape = (size, data.channels, data.size, data.size)
        self._images = torch.randint(256, shape, dtype=torch.uint8, device=device)
        self._labels = torch.randint(data.classes, (size,), device=device)
        self.smallest = min(max(2, point.parameters.minibatches), size)
        self.counted: Counter[str] = Counter()
        self.seconds: list[float] = []

    def read_test(self, indices: Sequence[int]) -> Tensor:
        """Training reads none."""
        raise NotImplementedError

    def batches(
        self, size: int, augment: str, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches until all is measured; the next one is asked for when one is done."""
        device = generator.device

        def batch() -> tuple[Tensor, Tensor]:
            pool = self._images[:n], self._labels[:n]
            return next(shuffled(*pool, n, augment, generator))

        def timed(batches: int) -> Generator[tuple[Tensor, Tensor], None, float]:
            clock = _clock(device)
            for _ in range(batches):
                yield batch()
            return clock()

        n = self.smallest
        with _counting(self.counted):
            yield batch()
        if device.type == "cuda":
            n = size
            yield from (batch() for _ in range(cuda_graph.WARM_UP + 1))  # the rest is replayed
        while (taken := (yield from timed(1))) < SECONDS / PARTS and n < size:
            n = min(2 * n, size)
            yield batch()  # the first of a size also chooses algorithms
        repeats = max(round(SECONDS / PARTS / taken), 1)
        for _ in range(_parts(taken)):
            seconds = yield from timed(repeats)
            self.seconds.append(seconds / (repeats * n))


@contextlib.contextmanager
def _counting(found: Counter[str]) -> Iterator[None]:
    """Count images that pass forward through a classifier, gradients that return, and steps.

    Steps, since a GPU replays some without Python.
    """

    def count(module: torch.nn.Module, _: object, logits: Tensor) -> None:
        if isinstance(module, Classifier):
            found["forward"] += len(logits)
            if logits.requires_grad:
                logits.register_hook(lambda gradient: found.update(backward=len(gradient)))

    hooks = (
        register_module_forward_hook(count),
        register_optimizer_step_post_hook(lambda *_: found.update(steps=1)),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _parts(taken: float) -> int:
    """Return how many parts to measure if a batch took so many seconds."""
    return PARTS if taken < SECONDS else 2


def _clock(device: torch.device) -> Callable[[], float]:
    """Return a function that waits for the device and returns the seconds since now."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    started = now()
    return lambda: now() - started
