"""Recorded steps compute what steps taken one by one do."""

from functools import partial

import pytest
import torch

from smoothcert import cuda_graph, datasets, methods
from smoothcert.device import choose
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training
from smoothcert.train import LOG, MODEL, train


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
    gpu, tmp_path, monkeypatch, method, parameters, precision
):
    objective = methods.load(method)
    point = Point(
        dataset="digits",
        arch="convnet8",
        method=method,
        sigma=0.25,
        weight=2.0 if objective.regularized else 0.0,
        seed=0,
        training=Training(epochs=2, batch_size=64, lr=0.05, precision=precision),
        parameters=objective(**parameters),
    )
    data = datasets.load("digits", tmp_path)
    recordings = []
    record = cuda_graph._Recording.__init__
    monkeypatch.setattr(
        cuda_graph._Recording,
        "__init__",
        lambda self, *parts: recordings.append(parts) or record(self, *parts),
    )
    train(point, data, tmp_path / "recorded", gpu)
    assert recordings
    monkeypatch.setattr(cuda_graph, "WARM_UP", 10**9)
    recordings.clear()
    train(point, data, tmp_path / "one by one", gpu)
    assert not recordings
    models = [(tmp_path / name / MODEL).read_bytes() for name in ("recorded", "one by one")]
    assert models[0] == models[1]
    logs = [(tmp_path / name / LOG).read_text() for name in ("recorded", "one by one")]
    rows = [[line.rsplit("\t", 1)[0] for line in log.splitlines()] for log in logs]
    assert rows[0] == rows[1]


@pytest.mark.gpu
def test_a_step_that_waits_is_refused_in_one_line(gpu):
    generator = torch.Generator(gpu)
    step = cuda_graph.replayed(
        lambda images, labels, factor: images * labels.sum().item(), generator
    )
    images, labels = torch.ones(2, 1, 1, 1, device=gpu), torch.ones(2, device=gpu)
    for _ in range(cuda_graph.WARM_UP):
        step(images, labels, 1.0)
    with pytest.raises(UserError, match="a method's loss must not ask for values"):
        step(images, labels, 1.0)
