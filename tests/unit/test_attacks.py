"""The attacks against classifiers whose best perturbation is known."""

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import log_softmax, softmax
from torch import nn

from smoothcert.attacks.ddn import ddn
from smoothcert.attacks.pgd import pgd
from smoothcert.attacks.settings import Perturbation
from smoothcert.attacks.victim import Victim

SHAPE = (1, 4, 4)
CONVENTIONS = ["salman", "jeong"]


def generator():
    return torch.Generator().manual_seed(0)


class Linear(nn.Module):
    """Two classes: class 1 where w . x + bias > 0."""

    def __init__(self, w, bias=0.0):
        super().__init__()
        self.register_buffer("w", w)
        self.bias = bias

    def forward(self, images):
        score = images.flatten(1) @ self.w.flatten() + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def interior(count=5):
    return 0.5 + 0.05 * random(count, *SHAPE, seed=1).clamp(-3, 3)


def lengths(images):
    return images.flatten(1).norm(dim=1)


class TestPgd:
    @pytest.mark.parametrize("convention", CONVENTIONS)
    @pytest.mark.parametrize("objective", ["smoothed", "expectation", "base"])
    @pytest.mark.parametrize("steps", [1, 2, 10])
    def test_goes_straight_against_a_linear_classifier(self, convention, objective, steps):
        w, images, epsilon = random(*SHAPE), interior(), 0.2
        labels = torch.tensor([1, 0, 1, 1, 0])
        noise = 0.25 * random(3, *images.shape, seed=2)
        victim = Victim(Linear(w), labels, noise, objective)
        found = pgd(victim, images, epsilon, steps, generator(), convention=convention)
        signs = (1.0 - 2.0 * labels).view(-1, 1, 1, 1)
        best = images + signs * epsilon * w / w.norm()
        assert lengths(found - best).max() < 1e-4

    def test_gradient_free_goes_the_same_way(self):
        w, images, epsilon = random(*SHAPE), interior(2), 0.2
        noise = 0.25 * random(40_000, *images.shape, seed=2)
        victim = Victim(Linear(w), torch.tensor([1, 0]), noise)
        found = pgd(victim, images, epsilon, 1, generator(), estimator="gradient-free")
        best = epsilon * torch.stack([-w, w]) / w.norm()
        assert lengths(found - images - best).max() < 0.1 * epsilon

    @pytest.mark.parametrize(
        ("convention", "expected"), [("salman", (0.1, 0.5)), ("jeong", (0.1, 0.4))]
    )
    def test_order_of_the_projections(self, convention, expected):
        """One step of length 1 along (0.6, 0.8) from (0.9, 0.5), epsilon 0.5."""
        image = torch.tensor([0.9, 0.5]).view(1, 1, 1, 2)
        victim = Victim(Linear(torch.tensor([-0.6, -0.8])), torch.tensor([1]), objective="base")
        found = pgd(victim, image, 0.5, 1, generator(), convention=convention)
        if convention == "salman":  # clamped to (0.1, 0.5), which is then longer than 0.5
            expected = np.array(expected) * 0.5 / np.hypot(*expected)
        np.testing.assert_allclose((found - image).flatten(), expected, atol=1e-6)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    @pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
    def test_stays_in_the_ball_and_in_the_box(self, convention, epsilon):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
        images = torch.rand(64, *SHAPE, generator=generator())
        images[:16] = images[:16].round()
        noise = 0.5 * random(3, *images.shape)
        victim = Victim(network, torch.arange(64) % 4, noise)
        for steps in (1, 3, 10):
            found = pgd(victim, images, epsilon, steps, generator(), convention=convention)
            assert lengths(found - images).max() <= epsilon * (1 + 1e-5)
            assert lengths(found - images).min() > 0
            assert found.min() >= 0
            assert found.max() <= 1

    def test_a_vanishing_gradient_is_replaced_by_noise_in_one_convention(self):
        images = interior()
        victim = Victim(Linear(torch.zeros(SHAPE)), torch.ones(5).long(), objective="base")
        moved = pgd(victim, images, 0.2, 2, generator())
        assert lengths(moved - images).min() > 0.19
        assert torch.equal(moved, pgd(victim, images, 0.2, 2, generator()))
        assert torch.equal(images, pgd(victim, images, 0.2, 2, generator(), convention="jeong"))

    def test_a_small_gradient_shortens_the_step_in_one_convention(self):
        """The gradient of the mean over one image is 1e-8 / 2 long: a third of a step."""
        w = torch.full(SHAPE, 0.25e-8)
        images = interior(1)
        victim = Victim(Linear(w), torch.tensor([1]), objective="base")
        found = [lengths(pgd(victim, images, 0.2, 4, generator(), convention=c) - images)
                 for c in CONVENTIONS]  # fmt: skip
        assert found[0].item() == pytest.approx(0.2, rel=1e-4)
        assert found[1].item() == pytest.approx(4 * 0.1 / 3, rel=1e-3)


class TestDdn:
    @staticmethod
    def distance(w, bias, images, noise=None):
        """Return how far each image lies from where the majority of the noises turns."""
        score = (images * w).flatten(1).sum(1) + bias
        if noise is not None:
            score = score + (noise * w).flatten(2).sum(2).median(0).values
        return score / w.norm()

    @pytest.mark.parametrize("noisy", [False, True])
    def test_ends_near_the_boundary(self, noisy):
        w, images, epsilon = random(*SHAPE), interior(), 0.5
        bias = 0.3 * w.norm() - (images * w).flatten(1).sum(1).mean()
        noise = 0.1 * random(5, *images.shape, seed=2)
        distance = self.distance(w, bias, images, noise if noisy else None)
        assert distance.min() > 0.1
        assert distance.max() < epsilon
        model, labels = Linear(w, bias), torch.ones(5).long()
        victim = Victim(model, labels, noise, "smoothed" if noisy else "base")
        found = ddn(victim, images, epsilon, 100, generator(), quantize=False)
        length = lengths(found - images)
        assert ((length >= distance * (1 - 1e-5)) & (length <= distance * 1.05)).all()
        assert victim.fooled(victim.logits(found)).all()
        assert length.max() <= epsilon * (1 + 1e-5)

    @pytest.mark.parametrize("epsilon", [0.05, 0.2, 0.5])
    def test_quantized_result_is_an_8_bit_image_near_the_ball(self, epsilon):
        w, images = random(*SHAPE), (interior() * 255).round() / 255
        images[0] = images[0].round()
        bias = 0.3 * w.norm() - (images * w).flatten(1).sum(1)
        victim = Victim(Linear(w, bias), torch.ones(5).long(), objective="base")
        found = ddn(victim, images, epsilon, 100, generator())
        assert lengths(found - images).max() <= epsilon + 4 / 510
        assert lengths(found - images).max() > 0
        assert ((found * 255).round() / 255 - found).abs().max() < 1e-6
        assert found.min() >= 0
        assert found.max() <= 1

    @pytest.mark.parametrize(
        ("steps", "relative"), [(1, 0), (2, 1), (3, 0.9975), (4, 0.9975 * 0.95)]
    )
    def test_norms_of_the_first_steps(self, steps, relative):
        """Tested are 0, 1.05 and, once fooled, 0.95 times each last norm; never the last step."""
        w, images, epsilon = random(*SHAPE), interior(1), 0.2
        bias = 0.1 * w.norm() - (images * w).sum()
        victim = Victim(Linear(w, bias), torch.tensor([1]), objective="base")
        found = ddn(victim, images, epsilon, steps, generator(), quantize=False)
        assert lengths(found - images).item() == pytest.approx(relative * epsilon, rel=1e-4)

    @pytest.mark.parametrize(("epsilon", "norms"), [(0.2, (0.21, 0.2205)), (3.0, (2.0, 2.0))])
    def test_first_two_iterates(self, epsilon, norms):
        """Of three steps: 0.7525 and 0.2575 long; no norm exceeds the far corner's, here 2."""
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2)).double()
        network[3].bias.data[1] += 9  # never fooled
        inputs = []
        network.register_forward_hook(lambda module, given, output: inputs.append(given[0]))
        image = torch.full((1, *SHAPE), 0.5, dtype=torch.float64)
        victim = Victim(network, torch.tensor([1]), objective="base")
        ddn(victim, image, epsilon, 3, generator(), quantize=False)
        delta = torch.zeros_like(image)
        for found, length, norm in zip(inputs[1:3], (0.7525, 0.2575), norms, strict=True):
            slope, _ = victim.gradient(image + delta)
            delta = delta + length * slope / slope.norm()
            delta = (image + delta * norm / delta.norm()).clamp(0, 1) - image
            torch.testing.assert_close(found.detach(), image + delta)

    @pytest.mark.parametrize("label", [0, 1])
    def test_without_success_or_need_the_image_returns(self, label):
        images = (interior() * 255).round() / 255
        victim = Victim(Linear(random(*SHAPE), 1e3), torch.full((5,), label), objective="base")
        assert torch.equal(ddn(victim, images, 0.5, 20, generator()), images)

    def test_lowest_class_wins_a_tied_vote(self):
        logits = torch.eye(3)[torch.tensor([[2, 1], [1, 2]])]  # two noises, two images
        victim = Victim(nn.Identity(), torch.tensor([1, 2]))
        assert victim.fooled(logits).tolist() == [False, True]


class OneDimensional(nn.Module):
    """Three classes whose logits depend on the pixels' mean alone, smoothly."""

    def forward(self, images):
        return self.logits(images.flatten(1).sum(1) / 2)  # unit direction (1, 1, 1, 1) / 2

    @staticmethod
    def logits(t):
        return torch.stack([torch.zeros_like(t), 3 * torch.tanh(2 * t - 1), torch.sin(4 * t)], -1)


class TestGradient:
    SIGMA, LABEL = 0.5, 1
    IMAGE = torch.tensor([0.2, 0.4, 0.3, 0.1], dtype=torch.float64).view(1, 1, 2, 2)

    def quadrature(self, objective):
        """Return d/dt of -log E p or E -log p at the image, E by 100 Gauss-Hermite nodes."""
        nodes, masses = hermegauss(100)
        masses = masses / masses.sum()

        def value(t):
            z = OneDimensional.logits(torch.from_numpy(t + self.SIGMA * nodes)).numpy()
            p = softmax(z, axis=-1)[:, self.LABEL]
            return -np.log(masses @ p) if objective == "smoothed" else -(masses @ np.log(p))

        at, step = self.IMAGE.sum().item() / 2, 1e-5
        return (value(at + step) - value(at - step)) / (2 * step)

    def estimate(self, m, seed, objective="smoothed", estimator="plug-in"):
        seeded = torch.Generator().manual_seed(seed)
        noise = self.SIGMA * torch.randn(
            (m, *self.IMAGE.shape), generator=seeded, dtype=torch.float64
        )
        victim = Victim(OneDimensional(), torch.tensor([self.LABEL]), noise, objective)
        if estimator == "plug-in":
            gradient, _ = victim.gradient(self.IMAGE)
        else:
            mean = victim.logits(self.IMAGE).softmax(-1).mean(0)[0, self.LABEL]
            gradient = victim.gradient_free(self.IMAGE) / (self.SIGMA**2 * mean)
        return gradient.sum().item() / 2

    @pytest.mark.parametrize(
        ("objective", "estimator"),
        [("smoothed", "plug-in"), ("expectation", "plug-in"), ("smoothed", "gradient-free")],
    )
    def test_approaches_quadrature_as_m_grows(self, objective, estimator):
        exact = self.quadrature(objective)

        def error(m):
            found = [self.estimate(m, seed, objective, estimator) for seed in range(20)]
            return np.sqrt(np.mean((np.array(found) - exact) ** 2))

        few, many = error(100), error(10_000)
        assert many < few / 5  # 1 / sqrt(m) makes it 1 / 10
        assert many < 0.05 * abs(exact)

    def test_the_two_orders_differ(self):
        smoothed, expectation = map(self.quadrature, ("smoothed", "expectation"))
        assert abs(smoothed - expectation) > 0.2 * abs(smoothed)

    def test_objectives_are_their_formulas(self):
        z = np.random.default_rng(0).normal(scale=2, size=(4, 5, 3))
        label = np.arange(5) % 3
        log_p = log_softmax(z, axis=-1)[:, np.arange(5), label]
        formulas = {"smoothed": -np.log(np.exp(log_p).mean(0)).mean(), "expectation": -log_p.mean()}
        for objective, expected in formulas.items():
            victim = Victim(nn.Identity(), torch.from_numpy(label), objective=objective)
            assert victim.loss(torch.from_numpy(z)).item() == pytest.approx(expected, rel=1e-12)

    def test_one_noise_makes_the_orders_one_and_knows_no_floor(self):
        logits = torch.tensor([[[100.0, 0.0]]], requires_grad=True)
        for objective in ("smoothed", "expectation", "base"):
            loss = Victim(nn.Identity(), torch.tensor([1]), objective=objective).loss(logits)
            assert loss.item() == pytest.approx(100)

    def test_the_floor_of_the_mean(self):
        logits = torch.tensor([100.0, 0.0]).expand(2, 1, 2)
        loss = Victim(nn.Identity(), torch.tensor([1])).loss(logits)
        assert loss.item() == pytest.approx(-np.log(1e-20), rel=1e-5)


class TestFrozen:
    @staticmethod
    def network():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, 3),
        )  # fmt: skip

    @pytest.mark.parametrize("attack", [pgd, ddn])
    def test_leaves_the_model_as_it_was(self, attack):
        model, images = self.network(), interior()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        victim = Victim(model, torch.arange(5) % 3, 0.25 * random(2, *images.shape))
        attack(victim, images, 0.5, 3, generator())
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert all(module.training for module in model.modules())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())

    def test_also_after_an_error_and_in_eval_mode(self):
        model = self.network().eval()
        model[0].weight.requires_grad_(False)
        with pytest.raises(RuntimeError), Victim(model, torch.zeros(1)).frozen():
            raise RuntimeError
        assert not model.training
        wanting = [parameter.requires_grad for parameter in model.parameters()]
        assert wanting == [False, True, True, True, True, True]

    @pytest.mark.parametrize("attack", [pgd, ddn])
    def test_images_of_a_batch_do_not_feel_each_other(self, attack):
        model, images, labels = self.network(), interior(), torch.arange(5) % 3
        noise = 0.25 * random(2, *images.shape)
        whole = attack(Victim(model, labels, noise), images, 0.5, 3, generator())
        for i in range(5):
            alone = Victim(model, labels[i : i + 1], noise[:, i : i + 1])
            found = attack(alone, images[i : i + 1], 0.5, 3, generator())
            assert lengths(found - whole[i : i + 1]).item() < 1e-4


@pytest.mark.parametrize("attack", [pgd, ddn])
@pytest.mark.parametrize("pixel", [-0.01, 1.01])
def test_images_outside_the_unit_range_are_refused(attack, pixel):
    victim = Victim(Linear(random(*SHAPE)), torch.tensor([1]), objective="base")
    with pytest.raises(ValueError, match="must lie in"):
        attack(victim, torch.full((1, *SHAPE), pixel), 0.5, 1, generator())


def test_warm_up():
    bound = Perturbation(epsilon=0.5, warmup=10)
    expected = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.5, 0.5]
    assert [bound.epsilon_at(epoch) for epoch in range(12)] == pytest.approx(expected)
    assert Perturbation(epsilon=0.5, warmup=1).epsilon_at(0) == 0.5
