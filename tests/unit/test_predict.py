"""PREDICT: the binomial test, its guarantee, and the files that the command writes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom, binomtest
from torch import nn

from smoothcert import checkpoint, cli, datasets, methods, models
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training
from smoothcert.smoothing.bounds import lower_bound
from smoothcert.smoothing.predict import Predictions, decide, p_value
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.settings import Prediction

CPU = torch.device("cpu")


def test_p_value_is_scipys():
    pairs = [(a, b) for a in [1, 2, 3, 7, 20, 55, 130, 1000] for b in {0, 1, 5, a // 2, a - 1, a}]
    pairs += [(99_000, 1000), (50_300, 49_700), (50_000, 50_000), (100_000, 0)]
    pairs = [(a, b) for a, b in pairs if 0 <= b <= a]
    expected = [binomtest(a, a + b, 0.5).pvalue for a, b in pairs]
    np.testing.assert_allclose(p_value(*np.transpose(pairs)), expected, rtol=1e-10)


def test_answers_follow_from_the_two_largest_counts():
    counts = np.array([[3, 60, 0, 37], [0, 40, 60, 0], [10, 10, 2, 1], [0, 0, 0, 11]])
    answers, classes, largest = decide(counts, 0.05)
    assert answers.tolist() == [1, -1, -1, 3]
    assert classes.tolist() == [[1, 3], [2, 1], [0, 1], [3, 0]]
    assert largest.tolist() == [[60, 37], [60, 40], [10, 10], [11, 0]]


def test_among_many_equal_counts_the_lower_class_comes_first():
    counts = np.tile([3] * 500 + [7] * 500, (2, 1))
    answers, classes, _ = decide(counts, 0.05)
    assert answers.tolist() == [-1, -1]
    assert classes.tolist() == [[500, 501]] * 2


def test_alpha_itself_still_answers():
    counts = np.array([[61, 39]])
    p = float(p_value(61, 39))
    assert decide(counts, p)[0].tolist() == [0]
    assert decide(counts, np.nextafter(p, 0))[0].tolist() == [-1]


def test_predict_answers_where_certify_abstains():
    counts = np.array([[450, 300, 250]])
    assert decide(counts, 0.001)[0].tolist() == [0]
    assert lower_bound(450, 1000, 0.001) < 0.5


class Half(nn.Module):
    """Class 1 where the first pixel is positive: at 0, both classes have probability 1/2."""

    def __init__(self):
        super().__init__()
        self.specification = models.Specification("half", 1, 2, 2, (0.0,), (1.0,))

    def forward(self, images):
        first = images.flatten(1)[:, 0]
        return torch.stack([torch.zeros_like(first), first], 1)


def test_at_the_boundary_the_exact_share_below_alpha_is_answered():
    """No answer is right there; the share lies within three of its standard deviations."""
    n, alpha, images = 200, 0.1, 2000
    answered = [k for k in range(n + 1) if binomtest(k, n).pvalue <= alpha]
    exact = binom.pmf(answered, n, 0.5).sum()
    assert 0.05 < exact <= alpha
    sampler = Sampler(Half(), 0.5, seed=0, device=CPU, precision="fp32")
    zeros = torch.zeros(images, 1, 2, 2)
    counts = sampler.counts(zeros, range(images), "predict", n).numpy()
    share = (decide(counts, alpha)[0] != -1).mean()
    assert abs(share - exact) < 3 * (exact * (1 - exact) / images) ** 0.5


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return datasets.load("digits", tmp_path_factory.mktemp("data"))


@pytest.fixture
def model(tmp_path, digits):
    """Write an untrained but quite certain classifier as a checkpoint."""
    point = Point(
        "digits", "convnet8", "gaussian", 0.25, 0, 0, Training(), methods.load("gaussian")()
    )
    torch.manual_seed(0)
    classifier = models.build(models.Specification.of("convnet8", datasets.describe("digits")))
    with torch.no_grad():
        classifier.network.fc2.weight.mul_(20)
    checkpoint.save(tmp_path / "model.pt", classifier, point, {"data": digits.checksum})
    return tmp_path / "model.pt"


def predict(model, digits, folder, **settings):
    settings = Prediction(**{"subset": "every-20", "n": 60, "alpha": 0.01, **settings})
    Predictions(checkpoint.load(model), digits, settings, CPU).write(folder)
    return (
        pd.read_csv(folder / "predictions.tsv", sep="\t"),
        json.loads((folder / "predictions.json").read_text()),
    )


def test_rows_follow_from_their_counts(model, digits, tmp_path):
    table, _ = predict(model, digits, tmp_path / "p")
    assert list(table.columns) == [
        "idx", "label", "predict", "correct", "time", "top", "count", "second", "second_count",
        "n", "batch",
    ]  # fmt: skip
    assert table["idx"].tolist() == list(range(0, 360, 20))
    for row in table.itertuples():
        assert row.label == digits.test_labels[row.idx]
        p = binomtest(row.count, row.count + row.second_count).pvalue
        assert row.predict == (row.top if p <= 0.01 else -1)
        assert row.correct == (row.predict == row.label)
        assert row.count >= row.second_count
        assert row.count + row.second_count <= row.n == 60
    assert (table["predict"] == -1).any()
    assert (table["predict"] != -1).any()


def test_shares_and_their_standard_errors(model, digits, tmp_path):
    table, about = predict(model, digits, tmp_path / "p")
    for name, values in {
        "accuracy": table["correct"],
        "abstention": (table["predict"] == -1).astype(int),
    }.items():
        assert about[name] == pytest.approx(values.mean())
        assert about[f"{name}_standard_error"] == pytest.approx(values.std() / 18**0.5)
        assert values.std() > 0


def test_one_image_has_no_standard_error(model, digits, tmp_path):
    _, about = predict(model, digits, tmp_path / "p", subset="7-7")
    assert about["images"] == 1
    assert about["accuracy_standard_error"] is None


def test_the_description_records_settings_and_origin(model, digits, tmp_path):
    _, about = predict(model, digits, tmp_path / "p")
    assert about["protocol"]["alpha"] == 0.01
    assert about["point"]["sigma"] == 0.25
    assert about["evaluation"]["backend"] == "openvino"
    assert {"commit", "code", "data", "device", "torch"} <= set(about["provenance"])


def test_an_image_has_the_same_row_in_every_subset(model, digits, tmp_path):
    few, _ = predict(model, digits, tmp_path / "few", subset="every-60")
    more, _ = predict(model, digits, tmp_path / "more")
    common = more[more["idx"].isin(few["idx"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(few.drop(columns="time"), common.drop(columns="time"))


def test_groups_of_images_change_nothing(model, digits, tmp_path, monkeypatch):
    one, _ = predict(model, digits, tmp_path / "one")
    monkeypatch.setattr(Sampler, "images", 7)
    seven, _ = predict(model, digits, tmp_path / "seven")
    pd.testing.assert_frame_equal(one.drop(columns="time"), seven.drop(columns="time"))


@pytest.mark.parametrize("damage", [lambda rows: [*rows, rows[-1]], lambda rows: [*rows, "x\n"]])
def test_rows_that_are_damaged_are_told(model, digits, tmp_path, damage):
    predict(model, digits, tmp_path / "p")
    for name in ("predictions.tsv", "predictions.json"):
        path = tmp_path / "p" / name
        path.rename(f"{path}.partial")
    rows = (tmp_path / "p/predictions.tsv.partial").read_text().splitlines(keepends=True)
    (tmp_path / "p/predictions.tsv.partial").write_text("".join(damage(rows)))
    if damage(rows)[-1] == rows[-1]:
        with pytest.raises(
            UserError, match=r"predictions\.tsv\.partial is damaged; delete it, and"
        ):
            predict(model, digits, tmp_path / "p")
    else:  # set aside
        predict(model, digits, tmp_path / "p")


def test_a_model_of_other_data_is_refused(model, digits, tmp_path):
    content = checkpoint.read(model)
    content["provenance"]["data"] = "another checksum"
    checkpoint.write(model, content)
    with pytest.raises(UserError, match="trained on other digits data"):
        predict(model, digits, tmp_path / "p")


def test_subset_out_of_range(model, digits, tmp_path):
    with pytest.raises(UserError, match="beyond the 360 test images"):
        predict(model, digits, tmp_path / "p", subset="300-360")


def test_the_least_n_answers_when_unanimous():
    for alpha in (0.5, 0.05, 2**-9, 0.001, 1e-9):
        least = next(n for n in range(1, 100) if p_value(n, 0) <= alpha)
        assert Prediction(n=least, alpha=alpha).n == least
        with pytest.raises(ValueError, match=f"the smallest n that can is {least} "):
            Prediction(n=least - 1, alpha=alpha)


def test_the_command(model, tmp_path, capsys):
    options = ["--subset=every-60", "--n=20", "--alpha=0.01", f"--output={tmp_path / 'p'}"]
    cli.main(["predict", str(model), *options])
    assert len((tmp_path / "p" / "predictions.tsv").read_text().splitlines()) == 7
    assert "accuracy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--subset=every-0", "subset: 'every-0' is not all, every-K or FIRST-LAST"),
        ("--n=10", "the smallest n that can is 11"),
        ("--alpha=1", "alpha: Input should be less than 1"),
    ],
)
def test_a_mistake_gets_one_line(model, tmp_path, option, message):
    with pytest.raises(SystemExit) as caught:
        cli.main(["predict", str(model), option, f"--output={tmp_path / 'p'}"])
    assert message in caught.value.code
    assert not (tmp_path / "p").exists()
