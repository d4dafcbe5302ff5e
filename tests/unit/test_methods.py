"""Each loss against its formula, written out here in float64, and against plausible mistakes."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from smoothcert import methods
from smoothcert.methods.base import Smoothing

M, B, CLASSES, WEIGHT, ETA = 3, 5, 7, 4.0, 0.3


def logits(seed=0):
    return np.random.default_rng(seed).normal(scale=2.0, size=(M, B, CLASSES))


def released(z, swap=False, detach=None, summed=False, wrong_entropy=False):
    """Return Jeong & Shin's equation 9 in its released form, or one of its mutants."""
    each = softmax(z, axis=-1)
    mean = each.mean(0) if detach is None else detach
    log_each, log_mean = log_softmax(z, axis=-1), np.log(mean)
    if swap:
        divergence = (each * (log_each - log_mean)).sum(-1)
    else:
        divergence = (mean * (log_mean - log_each)).sum(-1)
    divergence = divergence.sum(0) if summed else divergence.mean(0)
    entropy = -(mean * log_mean).sum(-1)
    if wrong_entropy:
        entropy = -(each * log_each).sum(-1).mean(0)
    return (WEIGHT * divergence + ETA * entropy).mean()


def first(z):
    """Return the first form: the entropy is that of the softmax of the mean probabilities."""
    each = softmax(z, axis=-1)
    mean = each.mean(0)
    divergence = (mean * (np.log(mean) - np.log(each))).sum(-1).mean(0)
    twice = softmax(mean, axis=-1)
    return WEIGHT * (divergence - (twice * np.log(twice)).sum(-1)).mean()


def gradient(function, z, step=1e-5):
    """Return the gradient of ``function`` by central differences."""
    result = np.zeros_like(z)
    for place in np.ndindex(*z.shape):
        shift = np.zeros_like(z)
        shift[place] = step
        result[place] = (function(z + shift) - function(z - shift)) / (2 * step)
    return result


def computed(form, z):
    objective = methods.load("consistency")(m=M, eta=ETA, form=form)
    tensor = torch.tensor(z, requires_grad=True)
    value = objective.regularizer(tensor, WEIGHT)
    value.backward()
    return value.item(), tensor.grad.numpy()


@pytest.mark.parametrize(("form", "formula"), [("released", released), ("first", first)])
def test_consistency_is_its_formula(form, formula):
    z = logits()
    value, slope = computed(form, z)
    assert value == pytest.approx(formula(z), rel=1e-10)
    np.testing.assert_allclose(slope, gradient(formula, z), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("mutant", ["swap", "summed", "wrong_entropy"])
def test_the_value_tells_mutants(mutant):
    z = logits()
    value, _ = computed("released", z)
    assert abs(value - released(z, **{mutant: True})) > 1e-3


def test_the_gradient_tells_a_detached_mean():
    z = logits()
    _, slope = computed("released", z)
    mean = softmax(z, axis=-1).mean(0)
    detached = gradient(lambda at: released(at, detach=mean), z)
    assert np.abs(slope - detached).max() > 1e-3


def test_equal_predictions_leave_only_the_entropy():
    z = np.repeat(logits()[:1], M, axis=0)
    probabilities = softmax(z[0], axis=-1)
    entropy = -(probabilities * np.log(probabilities)).sum(-1).mean()
    assert computed("released", z)[0] == pytest.approx(ETA * entropy, rel=1e-9)


def test_the_double_softmax_is_almost_constant():
    value, _ = computed("first", np.repeat(logits()[:1], M, axis=0))
    assert 0.97 * np.log(CLASSES) < value / WEIGHT <= np.log(CLASSES)


def test_saturated_predictions_stay_finite():
    z = np.zeros((M, B, CLASSES))
    z[:, :, 0] = 1e4
    for form in ("released", "first"):
        value, slope = computed(form, z)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


class Recorder(torch.nn.Module):
    """Keeps its inputs; its logits are the first pixels."""

    def forward(self, images):
        self.images = images
        return images.flatten(1)[:, :CLASSES]


def terms(name, weight=0.0, sigma=0.5, **parameters):
    images = torch.rand(B, 1, 4, 4)
    model = Recorder()
    smoothing = Smoothing(sigma, 0, torch.Generator().manual_seed(0))
    labels = torch.arange(B)
    result = methods.load(name)(**parameters).loss(model, images, labels, smoothing, weight)
    return result, model.images, images, labels


def test_gaussian_is_the_cross_entropy_of_noisy_images():
    result, noisy, images, labels = terms("gaussian")
    expected = -log_softmax(noisy.flatten(1)[:, :CLASSES].double().numpy(), axis=1)
    expected = expected[np.arange(B), labels].mean()
    assert result.classification.item() == pytest.approx(expected, rel=1e-5)
    assert result.regularizer.item() == 0
    assert (noisy - images).std().item() == pytest.approx(0.5, rel=0.25)


def test_consistency_sees_every_image_under_m_fresh_noises():
    result, noisy, images, labels = terms("consistency", WEIGHT, m=M, eta=ETA)
    assert noisy.shape[0] == M * B
    noise = noisy.view(M, B, -1) - images.view(1, B, -1)
    assert len({round(value, 4) for value in noise[:, 0, 0].tolist()}) == M
    z = noisy.flatten(1)[:, :CLASSES].double().numpy()
    expected = -log_softmax(z, axis=1)[np.arange(M * B), np.tile(labels, M)].mean()
    assert result.classification.item() == pytest.approx(expected, rel=1e-5)
    assert result.regularizer.item() == pytest.approx(released(z.reshape(M, B, -1)), rel=1e-4)
