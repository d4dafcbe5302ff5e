"""Recorded steps compute what steps taken one by one do."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from smoothcert import cuda_graph, datasets, methods
from smoothcert.datasets.base import Dataset, InMemory
from smoothcert.device import choose
from smoothcert.point import Point
from smoothcert.run_files import MODEL, TRAINING_LOG
from smoothcert.settings import Training
from smoothcert.train import train


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return choose("cuda", 1)


def draw(generator, images, labels, factor):
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return factor * (images.float() + noise).sum((1, 2, 3)).sum() + labels.sum()


def test_a_cpu_takes_steps_as_they_are():
    generator = torch.Generator("cpu")
    step = partial(draw, generator)
    assert cuda_graph.replayed(step, generator) is step


@pytest.mark.gpu
def test_sizes_factors_and_noise_follow_the_calls(gpu):
    """Three kinds of steps in turn, and draws between them."""
    results = []
    for replay in (True, False):
        generator = torch.Generator(gpu).manual_seed(7)
        step = partial(draw, generator)
        if replay:
            step = cuda_graph.replayed(step, generator)
        values = []
        for call in range(30):
            size, factor = [(8, 1.0), (8, 0.5), (3, 1.0)][call % 3]
            pixels = torch.randint(256, (size, 1, 4, 4), generator=generator, device=gpu)
            values.append(
                step(pixels.to(torch.uint8), torch.full((size,), call, device=gpu), factor)
            )
        results.append(torch.stack(values))
    assert results[0].equal(results[1])
    assert len(results[0].unique()) == 30


@pytest.mark.gpu
def test_noise_follows_on_a_busy_gpu(gpu, monkeypatch):
    """Work of others delays what recording leaves behind."""
    begin = torch.cuda.CUDAGraph.capture_begin

    def late(*arguments, **options):
        torch.cuda._sleep(10**9)  # cycles, half a second
        begin(*arguments, **options)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_begin", late)
    test_sizes_factors_and_noise_follow_the_calls(gpu)


@pytest.fixture
def both_ways(gpu, tmp_path, monkeypatch) -> Callable[[Point, Dataset], None]:
    """Return a function that trains with and without recording and compares what comes out."""
    recordings = []
    record = cuda_graph._Recording.__init__
    monkeypatch.setattr(
        cuda_graph._Recording,
        "__init__",
        lambda self, *parts: recordings.append(parts) or record(self, *parts),
    )

    def compare(point: Point, data: Dataset) -> None:
        models, logs = [], []
        for warm_up in (cuda_graph.WARM_UP, 10**9):
            monkeypatch.setattr(cuda_graph, "WARM_UP", warm_up)
            recordings.clear()
            folder = tmp_path / str(warm_up)
            train(point, data, folder, gpu)
            assert bool(recordings) == (warm_up < 10**9)
            models.append((folder / MODEL).read_bytes())
            lines = (folder / TRAINING_LOG).read_text().splitlines()
            logs.append([line.rsplit("\t", 1)[0] for line in lines])  # without the seconds
        assert models[0] == models[1]
        assert logs[0] == logs[1]

    return compare


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("method", "parameters", "precision"),
    [
        *((name, {}, "fp32") for name in methods.names()),
        ("gaussian", {}, "bf16"),
        ("smoothadv", {}, "bf16"),
        ("smoothadv", {"attack": "ddn"}, "fp32"),
        ("smoothadv", {"gradient": "gradient-free"}, "fp32"),
        ("smoothadv", {"train_on": "one"}, "fp32"),
    ],
)
def test_recorded_training_gives_the_same_weights(
    both_ways, tmp_path, method, parameters, precision
):
    objective = methods.load(method)
    training = Training(epochs=2, batch_size=64, lr=0.05, precision=precision)
    weight = 2.0 if objective.regularized else 0.0
    point = Point("digits", "convnet8", method, 0.25, weight, 0, training, objective(**parameters))
    both_ways(point, datasets.load("digits", tmp_path))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_so_it_does_with_batchnorm_crops_and_extra_images(both_ways, tmp_path, precision):
    """Batches of two factors, in an order drawn at random, and smaller ones at the end."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (600, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (600,), generator=generator)
    extra = tmp_path / "extra.npz"
    np.savez(extra, images=images[400:].permute(0, 2, 3, 1).numpy(), labels=labels[400:].numpy())
    training = Training(
        epochs=2, batch_size=32, lr=0.05, augment="crop-flip", precision=precision,
        extra_images=str(extra), extra_weight=0.5,
    )  # fmt: skip
    objective = methods.load("smoothadv")(m=2, steps=2)
    point = Point("cifar10", "resnet20", "smoothadv", 0.25, 0.0, 0, training, objective)
    both_ways(point, InMemory(images[:400], labels[:400], images[:0], labels[:0]))


WAITS = """
import torch
from smoothcert import cuda_graph
from smoothcert.device import choose

device = choose("cuda", 1)
step = cuda_graph.replayed(lambda images, labels, factor: BODY, torch.Generator(device))
images, labels = torch.ones(2, 1, 1, 1, device=device), torch.ones(2, device=device)
for _ in range(cuda_graph.WARM_UP):
    step(images, labels, 1.0)
print("recording", flush=True)
step(images, labels, 1.0)
"""


@pytest.mark.gpu
@pytest.mark.parametrize(
    "body", ["images * labels.sum().item()", "images + torch.tensor(2.0, device=images.device)"]
)
def test_a_step_that_waits_is_refused_in_one_line(gpu, body):
    """In a process of its own, since a recording that fails leaves torch 2.11 unusable."""
    result = subprocess.run(
        [sys.executable, "-c", WAITS.replace("BODY", body)], capture_output=True, text=True
    )
    assert result.stdout == "recording\n"
    assert "UserError: a training step waits for the GPU" in result.stderr
