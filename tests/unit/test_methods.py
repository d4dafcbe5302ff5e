"""Each loss against its formula, written out here in float64, and against plausible mistakes."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import log_softmax, softmax
from scipy.stats import norm

from smoothcert import config, methods, train
from smoothcert.config_errors import explain
from smoothcert.errors import UserError
from smoothcert.methods.base import Smoothing, Terms

keys = "".join
"""Names a mutation by its key: the name of a function would hold its address."""

M, B, CLASSES, WEIGHT, ETA, SIGMA = 3, 5, 7, 4.0, 0.3, 0.5
LABELS = np.arange(B)


def logits(seed=0, copies=M):
    return np.random.default_rng(seed).normal(scale=2.0, size=(copies, B, CLASSES))


def cross_entropy(z):
    """Return the mean over all copies (m, B, classes) of -log softmax at the label."""
    return -log_softmax(z, axis=-1)[:, LABELS, LABELS].mean()


def gradient(function, z, step=1e-5):
    """Return the gradient of ``function`` by central differences."""
    result = np.zeros_like(z)
    for place in np.ndindex(*z.shape):
        shift = np.zeros_like(z)
        shift[place] = step
        result[place] = (function(z + shift) - function(z - shift)) / (2 * step)
    return result


def assert_is(formula, value, slope, z):
    """Check a computed value and gradient at the logits ``z``."""
    assert value == pytest.approx(formula(z), rel=1e-10)
    np.testing.assert_allclose(slope, gradient(formula, z), rtol=1e-5, atol=1e-8)


def assert_is_not(mutant, value, slope, z):
    """Check that value or gradient tell the formula from a mistaken one."""
    off = max(abs(value - mutant(z)), np.abs(slope - gradient(mutant, z)).max())
    assert off > 1e-3


class Scripted(torch.nn.Module):
    """Returns given logits, one after the other, whatever the images."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = torch.nn.ParameterList([torch.tensor(answer) for answer in answers])
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.answers[self.calls - 1]


def evaluate(name, answers, weight=0.0, epoch=0, dtype=torch.float64, **parameters):
    """Return the terms of one step whose forward passes give ``answers``, and their gradients."""
    model = Scripted(*answers).to(dtype)
    smoothing = Smoothing(SIGMA, epoch, torch.Generator().manual_seed(0))
    images = torch.full((B, 1, 4, 4), 0.5, dtype=dtype)
    objective = methods.load(name)(**parameters)
    terms = objective.loss(model, images, torch.from_numpy(LABELS), smoothing, weight)
    assert model.calls == len(answers)
    slopes = {}
    for term in ("classification", "regularizer"):
        value = getattr(terms, term)
        if value.requires_grad:
            slopes[term] = torch.autograd.grad(
                value, list(model.answers), retain_graph=True, materialize_grads=True
            )
    return terms, {term: [slope.numpy() for slope in found] for term, found in slopes.items()}


def flat(z):
    return z.reshape(-1, CLASSES)


class TestConsistency:
    """F_i are the rows of ``each``; ``mean`` may be held fixed, as if it were detached."""

    @staticmethod
    def divergence(z, mean=None, swap=False, over=np.mean):
        each = softmax(z, axis=-1)
        mean = each.mean(0) if mean is None else mean
        if swap:
            kl = (each * (np.log(each) - np.log(mean))).sum(-1)
        else:
            kl = (mean * (np.log(mean) - np.log(each))).sum(-1)
        return over(kl, axis=0).mean()

    @staticmethod
    def entropy(z, mean=None, of="mean"):
        each = softmax(z, axis=-1)
        mean = each.mean(0) if mean is None else mean
        p = {"mean": mean, "twice": softmax(mean, axis=-1), "each": each}[of]
        return -(p * np.log(p)).sum(-1).mean()

    @classmethod
    def released(cls, z, wrong_entropy="mean", **mutation):
        mean = {"mean": mutation["mean"]} if "mean" in mutation else {}
        entropy = cls.entropy(z, of=wrong_entropy, **mean)
        return WEIGHT * cls.divergence(z, **mutation) + ETA * entropy

    @classmethod
    def first(cls, z, **mutation):
        mean = {"mean": mutation["mean"]} if "mean" in mutation else {}
        entropy = cls.entropy(z, of="twice", **mean)
        return WEIGHT * (cls.divergence(z, **mutation) + entropy)

    @classmethod
    def xent(cls, z, mean=None, swap=False, over=np.mean):
        each = softmax(z, axis=-1)
        mean = each.mean(0) if mean is None else mean
        terms = each * np.log(mean) if swap else mean * np.log(each)
        return WEIGHT * -over(terms.sum(-1), axis=0).mean()

    @classmethod
    def kl(cls, z, **mutation):
        return WEIGHT * cls.divergence(z, **mutation)

    @classmethod
    def mse(cls, z, over=np.mean, over_classes=np.sum, of=softmax):
        each = of(z, axis=-1)
        pairs = [(i, j) for i in range(M) for j in range(i)]
        squares = [over_classes((each[i] - each[j]) ** 2, axis=-1) for i, j in pairs]
        return WEIGHT * over(squares, axis=0).mean()

    @staticmethod
    def computed(form, z, dtype=torch.float64):
        eta = {"eta": ETA} if form == "released" else {}
        objective = methods.load("consistency")(m=M, form=form, **eta)
        tensor = torch.tensor(z, requires_grad=True, dtype=dtype)
        value = objective.regularizer(tensor, WEIGHT)
        value.backward()
        return value.item(), tensor.grad.numpy()

    FORMS = ("released", "first", "xent", "kl", "mse")

    @pytest.mark.parametrize("form", FORMS)
    def test_is_its_formula(self, form):
        z = logits()
        assert_is(getattr(self, form), *self.computed(form, z), z)

    @pytest.mark.parametrize("form", ["released", "first", "xent", "kl"])
    @pytest.mark.parametrize(
        "mutation", [{"swap": True}, {"over": np.sum}, {"mean": "detached"}], ids=keys
    )
    def test_is_no_mutant(self, form, mutation):
        z = logits()
        if "mean" in mutation:
            mutation = {"mean": softmax(z, axis=-1).mean(0)}
        value, slope = self.computed(form, z)
        assert_is_not(lambda at: getattr(self, form)(at, **mutation), value, slope, z)

    @pytest.mark.parametrize("wrong", ["each", "twice"])
    def test_released_has_the_entropy_of_the_mean(self, wrong):
        z = logits()
        mutant = lambda at: self.released(at, wrong_entropy=wrong)  # noqa: E731
        assert_is_not(mutant, *self.computed("released", z), z)

    @pytest.mark.parametrize(
        "mutation", [{"over": np.sum}, {"over_classes": np.mean}, {"of": log_softmax}], ids=keys
    )
    def test_mse_is_no_mutant(self, mutation):
        z = logits()
        assert_is_not(lambda at: self.mse(at, **mutation), *self.computed("mse", z), z)

    def test_no_form_is_another(self):
        z = logits()
        values = [self.computed(form, z)[0] for form in self.FORMS]
        assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 1e-3

    @pytest.mark.parametrize("form", FORMS)
    def test_equal_predictions_leave_only_the_entropy(self, form):
        z = np.repeat(logits()[:1], M, axis=0)
        entropy = {"released": ETA * self.entropy(z), "first": WEIGHT * self.entropy(z, of="twice"),
                   "xent": WEIGHT * self.entropy(z)}.get(form, 0)  # fmt: skip
        assert self.computed(form, z)[0] == pytest.approx(entropy, rel=1e-9, abs=1e-12)

    def test_the_double_softmax_is_almost_constant(self):
        value, _ = self.computed("first", np.repeat(logits()[:1], M, axis=0))
        assert 0.97 * np.log(CLASSES) < value / WEIGHT <= np.log(CLASSES)

    @pytest.mark.parametrize("form", FORMS)
    def test_saturated_predictions_stay_finite(self, form):
        z = np.zeros((M, B, CLASSES))
        z[:, :, 0] = 1e4
        value, slope = self.computed(form, z, torch.float32)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()

    def test_the_step_adds_it_to_the_cross_entropy_of_all_copies(self):
        z = logits(seed=1)
        terms, slopes = evaluate("consistency", [flat(z)], WEIGHT, m=M, eta=ETA)
        for name, formula in (("classification", cross_entropy), ("regularizer", self.released)):
            slope = slopes[name][0].reshape(z.shape)
            assert_is(formula, getattr(terms, name).item(), slope, z)
        hits = (z.argmax(-1) == LABELS).mean(1)
        assert terms.hits.item() == pytest.approx(hits.mean())
        assert len({*hits}) > 1


class TestStability:
    @staticmethod
    def formula(clean, noisy, target=None):
        target = softmax(clean, axis=-1) if target is None else target
        return WEIGHT * -(target * log_softmax(noisy, axis=-1)).sum(-1).mean()

    @pytest.fixture
    def step(self):
        clean, noisy = logits(seed=1, copies=2)
        terms, slopes = evaluate("stability", [clean, noisy], WEIGHT)
        return clean, noisy, terms, slopes

    def test_is_its_formula(self, step):
        clean, noisy, terms, (on_clean, on_noisy) = *step[:3], step[3]["regularizer"]
        value = terms.regularizer.item()
        assert_is(lambda z: self.formula(z, noisy), value, on_clean, clean)
        assert_is(lambda z: self.formula(clean, z), value, on_noisy, noisy)

    def test_the_hits_are_those_of_the_noisy_images(self, step):
        clean, noisy, terms, _ = step
        hits = (noisy.argmax(-1) == LABELS).mean()
        assert terms.hits.item() == pytest.approx(hits)
        assert hits != (clean.argmax(-1) == LABELS).mean()

    def test_classifies_the_clean_images(self, step):
        clean, _, terms, slopes = step
        on_clean, on_noisy = slopes["classification"]
        value = terms.classification.item()
        assert_is(lambda z: cross_entropy(z[None]), value, on_clean, clean)
        assert not on_noisy.any()

    def test_is_no_mutant(self, step):
        clean, noisy, terms, (on_clean, _) = *step[:3], step[3]["regularizer"]
        value, target = terms.regularizer.item(), softmax(clean, axis=-1)
        detached = lambda z: self.formula(z, noisy, target)  # noqa: E731
        swapped = lambda z: self.formula(noisy, z)  # noqa: E731
        summed = lambda z: B * self.formula(z, noisy)  # noqa: E731
        divergence = lambda z: self.formula(z, noisy) - self.formula(z, z)  # noqa: E731
        for mutant in (detached, swapped, summed, divergence):
            assert_is_not(mutant, value, on_clean, clean)

    def test_at_lambda_0_is_clean_training(self):
        clean, noisy = logits(copies=2)
        terms, slopes = evaluate("stability", [clean, noisy], 0.0)
        assert terms.regularizer.item() == 0
        assert not any(slope.any() for slope in slopes["regularizer"])


class TestMacer:
    BETA, GAMMA = 0.7, 1.0

    @classmethod
    def radius(cls, z, beta=BETA, gamma=GAMMA, half=0.5, rest=False, all_images=False, over="all"):
        total, felt = 0.0, 0
        for image, label in enumerate(LABELS):
            p = softmax(beta * z[:, image], axis=-1).mean(0)
            runner_up, top = np.sort(p)[-2:]
            xi = norm.ppf(top) - norm.ppf(1 - top if rest else runner_up)
            if (all_images or p.argmax() == label) and xi <= gamma:
                total += SIGMA * half * (gamma - xi)
                felt += 1
        return WEIGHT * total / {"all": B, "felt": felt, "sum": 1}[over]

    @staticmethod
    def classification(z):
        mean = softmax(z, axis=-1).mean(0)
        return -np.log(mean[LABELS, LABELS] + 1e-10).mean()

    @pytest.fixture
    def step(self):
        """Five images: one wrong, one right beyond the hinge, three right and felt."""
        z = logits(copies=M)
        z[:, LABELS, LABELS] = z.max((0, -1)) + np.array([-9, 9, 0.1, 0.2, 0.3])
        parameters = {"k": M, "beta": self.BETA, "gamma": self.GAMMA}
        terms, slopes = evaluate("macer", [flat(z)], WEIGHT, **parameters)
        return z, terms, {name: found[0].reshape(z.shape) for name, found in slopes.items()}

    def test_is_its_formula(self, step):
        z, terms, slopes = step
        assert_is(self.radius, terms.regularizer.item(), slopes["regularizer"], z)
        moved = np.abs(slopes["regularizer"]).sum((0, 2)) > 0
        assert moved.tolist() == [False, False, True, True, True]
        assert terms.hits.item() == pytest.approx((z.argmax(-1) == LABELS).mean())

    @pytest.mark.parametrize(
        "mutation",
        [{"beta": 1.0}, {"gamma": 8.0}, {"half": 1.0}, {"rest": True}, {"all_images": True},
         {"over": "felt"}, {"over": "sum"}],
        ids=str,
    )  # fmt: skip
    def test_is_no_mutant(self, step, mutation):
        z, terms, slopes = step
        mutant = lambda at: self.radius(at, **mutation)  # noqa: E731
        assert_is_not(mutant, terms.regularizer.item(), slopes["regularizer"], z)

    def test_classifies_by_the_mean_prediction(self, step):
        z, terms, slopes = step
        value, slope = terms.classification.item(), slopes["classification"]
        assert_is(self.classification, value, slope, z)
        assert_is_not(cross_entropy, value, slope, z)
        assert_is_not(lambda at: B * self.classification(at), value, slope, z)
        assert_is_not(lambda at: self.classification(self.BETA * at), value, slope, z)

    @pytest.mark.parametrize("scale", [0.1, 1e4])
    @pytest.mark.parametrize("right", [False, True])
    def test_wrong_and_saturated_images_stay_finite(self, scale, right):
        z = np.zeros((M, B, CLASSES))
        z[:, LABELS, LABELS if right else LABELS + 1] = scale
        terms, slopes = evaluate("macer", [flat(z)], WEIGHT, dtype=torch.float32, k=M)
        felt = right and scale == 0.1
        assert (terms.regularizer.item() > 0) == felt
        assert slopes["regularizer"][0].any() == felt
        for found in slopes.values():
            assert np.isfinite(found[0]).all()
        if scale == 1e4:  # the mean probability of the label is 0 or 1
            expected = 0 if right else -np.log(1e-10)
            assert terms.classification.item() == pytest.approx(expected, rel=1e-5)

    def test_deferral(self):
        """With lr_step 30 the deferred runs have no radius term in the 0-based epochs 0 to 30."""
        z = np.zeros((M, B, CLASSES))
        z[:, LABELS, LABELS] = 0.1
        values = [
            evaluate("macer", [flat(z)], WEIGHT, epoch, k=M, deferral=31)[0].regularizer.item()
            for epoch in (0, 30, 31, 89)
        ]
        assert [value > 0 for value in values] == [False, False, True, True]


class Recorder(torch.nn.Module):
    """Keeps its inputs; its logits are the first pixels."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, images):
        self.inputs.append(images)
        return images.flatten(1)[:, :CLASSES]


@pytest.mark.parametrize(
    ("name", "parameters", "copies"),
    [("gaussian", {}, [1]), ("consistency", {"m": M}, [M]), ("macer", {"k": M}, [M]),
     ("stability", {}, [0, 1])],
)  # fmt: skip
def test_every_copy_has_a_noise_of_its_own(name, parameters, copies):
    model, images = Recorder(), torch.rand(B, 1, 4, 4)
    smoothing = Smoothing(SIGMA, 0, torch.Generator().manual_seed(0))
    methods.load(name)(**parameters).loss(model, images, torch.from_numpy(LABELS), smoothing, 1.0)
    for inputs, count in zip(model.inputs, copies, strict=True):
        if count == 0:
            assert torch.equal(inputs, images)
            continue
        noise = inputs.view(count, *images.shape) - images
        assert noise.flatten(2)[..., 0].unique().numel() == count * B
        assert noise.std().item() == pytest.approx(SIGMA, rel=0.25)


def test_gaussian_is_the_cross_entropy_of_noisy_images():
    z = logits(copies=1)
    terms, slopes = evaluate("gaussian", [z[0]])
    assert_is(cross_entropy, terms.classification.item(), slopes["classification"][0][None], z)
    assert terms.regularizer.item() == 0


@pytest.mark.parametrize(
    ("name", "parameters", "steps"),
    [
        ("gaussian", {}, 235),
        ("stability", {}, 235),
        ("macer", {"k": 16}, 235),
        ("consistency", {"m": 2}, 470),
        ("consistency", {"m": 4}, 940),
        ("smoothadv", {"m": 1}, 235),
        ("smoothadv", {"m": 2}, 470),
        ("smoothadv", {"m": 4}, 940),
        ("smoothadv", {"m": 4, "train_on": "one"}, 235),
        ("pgd", {"m": 1, "noise": "none"}, 235),
        ("pgd", {"m": 4}, 940),
        ("smoothadv_consistency", {"m": 2}, 470),
        ("smoothadv_consistency", {"m": 4}, 940),
    ],
)
def test_steps_of_an_mnist_epoch(name, parameters, steps):
    method = methods.load(name)(**parameters)
    parts = [
        batch[part]
        for batch in torch.arange(60_000).split(256)
        for part in train.minibatches(len(batch), method)
    ]
    assert len(parts) == steps
    assert len(torch.cat(parts).unique()) == 60_000
    assert {len(part) for part in parts} == {256 * 235 // steps, 96 * 235 // steps}


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("consistency", {"m": 1}, "m: Input should be greater than or equal to 2, not 1"),
        ("consistency", {"form": "default"}, "form: Input should be 'released', 'first', 'xent'"),
        ("macer", {"k": 1}, "k: Input should be greater than or equal to 2, not 1"),
        ("macer", {"gamma": 0}, "gamma: Input should be greater than 0, not 0"),
        ("macer", {"beta": 0}, "beta: Input should be greater than 0, not 0"),
        ("macer", {"deferral": -1}, "deferral: Input should be greater than or equal to 0"),
        ("smoothadv", {"m": 0}, "m: Input should be greater than or equal to 1, not 0"),
        ("smoothadv", {"epsilon": 0}, "epsilon: Input should be greater than 0, not 0"),
        ("smoothadv", {"steps": 0}, "steps: Input should be greater than or equal to 1, not 0"),
        ("smoothadv", {"warmup": 0}, "warmup: Input should be greater than or equal to 1, not 0"),
        ("smoothadv", {"attack": "fgsm"}, "attack: Input should be 'pgd' or 'ddn', not 'fgsm'"),
        ("smoothadv", {"gradient": "gradient-free", "m": 1}, "gradient-free needs attack pgd"),
        ("consistency", {"form": "first", "eta": 0.1}, "means nothing in form first"),
        ("smoothadv", {"gradient": "gradient-free", "attack": "ddn"}, "gradient-free needs attack"),
        ("pgd", {"noise": "none"}, "set m to 1, not 4"),
        ("smoothadv_consistency", {"m": 1}, "m: Input should be greater than or equal to 2, not 1"),
        ("smoothadv_consistency", {"epsilon": -1}, "epsilon: Input should be greater than 0"),
    ],
)
def test_a_wrong_parameter_gets_one_line(name, parameters, message):
    with pytest.raises(ValidationError) as caught:
        methods.load(name)(**parameters)
    line = explain(caught.value, config.SECTIONS)
    assert message in line
    assert "\n" not in line


METHOD = """
from __future__ import annotations
from typing import TYPE_CHECKING
from pydantic import Field
from smoothcert.methods.base import Method
if TYPE_CHECKING:
    from torch import Tensor
class Objective(Method):
    title = "Mine"
    def loss(self, model, images, labels, smoothing, weight): pass
"""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("(Method)", "", r"no class Objective\(Method\), as methods have"),
        ("title", "title: str", 'Objective has no title; write title = "...", without an anno'),
        ("loss", "cost", "Objective has no loss; define it as methods/base.py says"),
        ("title", "power = Field(1)\n    title", r"cannot .*Field 'power' requires a type annot"),
        ("title", "power: Tensor = 1\n    title", r"cannot .*name 'Tensor' is not defined"),
        ("title", "powers: list[float] = [1.0]\n    title", "parameter powers must be a bool"),
        ("title", "power: float | None = 1.0\n    title", "parameter power may be None, so"),
        ("pydantic", "nowhere", r"cannot be loaded \(ModuleNotFoundError: No module named"),
        ("class", "clas", r"cannot be loaded \(SyntaxError: invalid syntax"),
    ],
)
def test_a_faulty_file_gets_one_line(tmp_path, monkeypatch, old, new, fault):
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    name = tmp_path.name  # a module of its own
    (tmp_path / f"{name}.py").write_text(METHOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=rf"{name}\.py: {fault}") as error:
        methods.load(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "parameter",
    [
        "power: float | None = None",
        "power: Annotated[float, Field(gt=0)] | None",
        'form: Literal["a", "b"] = "a"',
    ],
)
def test_a_sound_file_loads(tmp_path, monkeypatch, parameter):
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    text = METHOD.replace("TYPE_CHECKING", "TYPE_CHECKING, Annotated, Literal", 1)
    name = tmp_path.name
    (tmp_path / f"{name}.py").write_text(text.replace("title", f"{parameter}\n    title"))
    assert methods.load(name).title == "Mine"


@pytest.mark.parametrize("shape", [(B, CLASSES), (B, M, CLASSES)])
def test_logits_of_another_shape_are_told_at_once(shape):
    with pytest.raises(UserError, match=r"\(noises, 5 images, classes\), not \(5, .*unsqueeze"):
        Terms.of(torch.zeros(shape), torch.zeros(B, dtype=torch.long))
