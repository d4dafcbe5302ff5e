"""The adversarial methods: what they attack, what they train on and how they leave the model."""

import csv

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from smoothcert import checkpoint, datasets, methods, train
from smoothcert.datasets.base import to_unit
from smoothcert.methods import consistency
from smoothcert.methods.base import Smoothing
from smoothcert.point import Point
from smoothcert.settings import Training

B, M, CLASSES, SIGMA, EPSILON = 8, 3, 3, 0.5, 0.4
SHARED = {"m": M, "epsilon": EPSILON, "steps": 4, "warmup": 5}
ONE = {"train_on": "one"}
ADVERSARIAL = [
    ("smoothadv", SHARED),
    ("smoothadv", {**SHARED, "m": 1}),
    ("smoothadv", {**SHARED, **ONE}),
    ("smoothadv", {**SHARED, "attack": "ddn"}),
    ("smoothadv", {**SHARED, "gradient": "gradient-free"}),
    ("pgd", SHARED),
    ("pgd", {**SHARED, "noise": "after"}),
    ("pgd", {**SHARED, "noise": "none", "m": 1}),
    ("smoothadv_consistency", SHARED),
]


class Recorder(nn.Module):
    """A small network with BatchNorm that keeps its inputs, under attack and in training."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(),
            nn.Linear(64, CLASSES),
        )  # fmt: skip
        self.layers[4].weight.data.mul_(5)  # far from linear
        self.attacked, self.trained = [], []

    def forward(self, images):
        (self.trained if self.training else self.attacked).append(images.detach())
        assert self.training == self.layers[0].weight.requires_grad
        return self.layers(images)


def images_and_labels():
    images = torch.rand(B, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return 0.1 + 0.8 * images, torch.arange(B) % CLASSES


def step(name, parameters, epoch=4, weight=0.0):
    """Return the model and the terms after one step; epoch 4 has the full epsilon."""
    model = Recorder()
    smoothing = Smoothing(SIGMA, epoch, torch.Generator().manual_seed(0))
    objective = methods.load(name)(**parameters)
    return model, objective.loss(model, *images_and_labels(), smoothing, weight)


@pytest.mark.parametrize(("name", "parameters"), ADVERSARIAL, ids=str)
def test_the_attack_leaves_no_trace_in_the_model(name, parameters):
    model, terms = step(name, parameters)
    norm = model.layers[1]
    assert model.training
    assert norm.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert len(model.trained) == norm.num_batches_tracked == 1
    # The running mean is 0.1 times that of the training forward alone.
    mean = model.layers[0](model.trained[0]).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    (terms.classification + terms.regularizer).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.layers[4].parameters())


@pytest.mark.parametrize(
    ("name", "parameters"), [ADVERSARIAL[i] for i in (0, 1, 3, 4, 5, 8)], ids=str
)
def test_attack_and_training_share_their_noises(name, parameters):
    model, _ = step(name, parameters)
    m, (images, _) = parameters["m"], images_and_labels()
    first, last = (x.view(m, *images.shape) for x in (model.attacked[0], model.trained[0]))
    assert len(model.attacked) == parameters["steps"]
    noise = first - images  # the attack starts at the image itself
    assert noise.std().item() == pytest.approx(SIGMA, rel=0.2)
    delta = last - first
    torch.testing.assert_close(delta, delta[:1].expand_as(delta), atol=1e-6, rtol=0)
    assert delta.flatten(2).norm(dim=2).max() <= EPSILON + 4 / 510 + 1e-5


def test_training_on_one_copy_attacks_with_all():
    """In parts of B // m images, so that memory does not grow with m; then one forward pass."""
    model, _ = step("smoothadv", {**SHARED, **ONE})
    images, _ = images_and_labels()
    parts, steps = images.chunk(M), SHARED["steps"]
    assert len(model.attacked) == M * steps
    firsts = [x.view(M, -1, *images.shape[1:]) for x in model.attacked[::steps]]
    assert [len(x[0]) for x in firsts] == [len(part) for part in parts]
    first_copies = torch.cat([x[0] for x in firsts])
    delta = model.trained[0] - first_copies
    assert delta.flatten(1).norm(dim=1).max() <= EPSILON * (1 + 1e-4)
    assert delta.flatten(1).norm(dim=1).min() > 0


@pytest.mark.parametrize("noise", ["after", "none"])
def test_pgd_without_noise_in_the_attack(noise):
    parameters = {**SHARED, "noise": noise, "m": 1 if noise == "none" else M}
    model, _ = step("pgd", parameters)
    images, _ = images_and_labels()
    assert torch.equal(model.attacked[0], images)
    trained = model.trained[0].view(-1, *images.shape) - images
    if noise == "none":
        assert trained.flatten(2).norm(dim=2).max() <= EPSILON * (1 + 1e-4)
    else:
        assert (trained[0] - trained[1]).std().item() == pytest.approx(SIGMA * 2**0.5, rel=0.2)


@pytest.mark.parametrize(("name", "parameters"), ADVERSARIAL, ids=str)
def test_the_loss_is_the_cross_entropy_of_the_copies_trained_on(name, parameters):
    model, terms = step(name, parameters, weight=0.0)
    inputs, (_, labels) = model.trained[0], images_and_labels()
    z = model.layers(inputs).detach().double().numpy()
    labels = np.tile(labels.numpy(), len(z) // B)
    expected = -log_softmax(z, axis=1)[np.arange(len(z)), labels].mean()
    assert terms.classification.item() == pytest.approx(expected, rel=1e-5)
    assert terms.hits.item() == pytest.approx((z.argmax(1) == labels).mean())
    if name != "smoothadv_consistency":
        assert terms.regularizer.item() == 0


@pytest.mark.parametrize("form", ["released", "first", "xent", "kl", "mse"])
def test_consistency_is_that_of_the_attacked_copies(form):
    how = {"form": form, "eta": 0.3} if form == "released" else {"form": form}
    model, terms = step("smoothadv_consistency", SHARED | how, weight=4.0)
    z = model.layers(model.trained[0]).view(M, B, CLASSES)
    expected = consistency.Objective(m=M, **how).regularizer(z, 4.0)
    assert terms.regularizer.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("name", "parameters"), [ADVERSARIAL[i] for i in (0, 4, 5, 8)], ids=str)
@pytest.mark.parametrize(("epoch", "share"), [(0, 0.2), (1, 0.4), (4, 1), (9, 1)])
def test_epsilon_warms_up(name, parameters, epoch, share):
    model, _ = step(name, parameters, epoch)
    first, last = model.attacked[0], model.trained[0]
    lengths = (last - first).flatten(1).norm(dim=1)
    assert lengths.max().item() == pytest.approx(share * EPSILON, rel=1e-3)
    # So does the step: the first one is epsilon / 2 long where no bound is met.
    moved = (model.attacked[1] - first).flatten(1).norm(dim=1)
    assert moved.max().item() == pytest.approx(share * EPSILON / 2, rel=1e-3)


def test_methods_attack_their_own_objectives():
    """The first step goes along the estimate of its objective's gradient, along no other."""
    images, labels = images_and_labels()

    def first_move(name, parameters):
        model, _ = step(name, parameters)
        copies = [x.view(-1, *images.shape) for x in model.attacked[:2]]
        found = (copies[1] - copies[0])[0]
        return found / found.flatten(1).norm(dim=1).view(-1, 1, 1, 1), copies[0], model

    def along(noisy, model, loss):
        model.eval()
        noisy = noisy.clone().requires_grad_()
        log_p = model.layers(noisy.flatten(0, 1)).log_softmax(1).view(*noisy.shape[:2], CLASSES)
        p = log_p[:, torch.arange(B), labels]
        if loss == "gradient-free":
            gradient = -(p.exp()[..., None, None, None] * (noisy - images)).mean(0).detach()
        else:
            value = -p.exp().mean(0).log() if loss == "smoothed" else -p.mean(0)
            gradient = torch.autograd.grad(value.sum(), noisy)[0].sum(0)
        return gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    for name, mine, extra in (
        ("smoothadv", "smoothed", {}),
        ("smoothadv", "gradient-free", {"gradient": "gradient-free"}),
        ("smoothadv_consistency", "smoothed", {}),
        ("pgd", "expectation", {}),
    ):
        found, noisy, model = first_move(name, {**SHARED, "epsilon": 0.02, **extra})
        model.layers[1].reset_running_stats()
        for loss in ("smoothed", "expectation", "gradient-free"):
            off = (found - along(noisy, model, loss)).abs().max()
            assert off < 1e-3 if loss == mine else off > 0.05


def test_jeongs_attack_projects_before_it_clamps():
    """The two conventions end elsewhere; both share noises, objective and step."""
    found = {}
    for name in ("smoothadv", "smoothadv_consistency"):
        model, _ = step(name, {**SHARED, "epsilon": 2.0})
        images, _ = images_and_labels()
        noisy = [x[-1].view(M, *images.shape) for x in (model.attacked[:1], model.trained)]
        found[name] = (noisy[1] - noisy[0])[0].flatten(1).norm(dim=1)
    assert (found["smoothadv_consistency"] < 1.99).any()
    assert (found["smoothadv"] - found["smoothadv_consistency"]).abs().max() > 0.01


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return datasets.load("digits", tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("name", "weight", "parameters"),
    [
        ("stability", 2.0, {}),
        ("macer", 2.0, {"k": 4, "deferral": 2}),
        *((name, 0.0, parameters) for name, parameters in ADVERSARIAL[:-1]),
        ("smoothadv_consistency", 2.0, {**SHARED, "eta": 0.1}),
        *(("consistency", 1.0, {"m": 2, "form": form}) for form in ("first", "xent", "kl", "mse")),
    ],
    ids=str,
)
def test_methods_train_on_digits(digits, tmp_path, device, name, weight, parameters):
    if "steps" in parameters:
        parameters = {**parameters, "steps": 2, "warmup": 2, "m": min(parameters["m"], 2)}
    point = Point(
        dataset="digits",
        arch="convnet8",
        method=name,
        sigma=0.25,
        weight=weight,
        seed=0,
        training=Training(epochs=3, batch_size=32, lr=0.05),
        parameters=methods.load(name)(**parameters),
    )
    train.train(point, digits, tmp_path, device)
    with (tmp_path / "train.tsv").open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert all(np.isfinite([float(value) for value in row.values()]).all() for row in rows)
    accuracies = [float(row["noisy_accuracy"]) for row in rows]
    assert accuracies[-1] > max(accuracies[0], 0.2)
    if name != "macer":  # whose loss grows by the deferred term
        assert float(rows[-1]["loss"]) < 0.95 * float(rows[0]["loss"])
    model = checkpoint.load(tmp_path / "model.pt").classifier.eval()
    hits = model(to_unit(digits.test_images)).argmax(1) == digits.test_labels
    assert hits.float().mean() > 0.5
