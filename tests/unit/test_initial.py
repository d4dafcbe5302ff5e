"""Training that starts from the weights of a checkpoint."""

import pytest
import torch

from smoothcert import checkpoint, datasets, files, initial, methods, models, train
from smoothcert.datasets.base import InMemory
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training

CPU = torch.device("cpu")
LAST = {"network.fc2.weight", "network.fc2.bias"}
FREEZING = {"epochs": 1, "lr": 1e-30, "weight_decay": 0.0}
"""No weight moves: the steps vanish beside it in float32."""


def point(seed=1, **training):
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05, **training}
    objective = methods.load("gaussian")()
    return Point("digits", "convnet8", "gaussian", 0.25, 0, seed, Training(**settings), objective)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    digits = datasets.load("digits", tmp_path_factory.mktemp("data"))
    return InMemory(
        digits.train_images[:64],
        digits.train_labels[:64],
        digits.test_images[:8],
        digits.test_labels[:8],
    )


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    """Return the checkpoint of a trained run."""
    folder = tmp_path_factory.mktemp("source")
    train.train(point(seed=0), data, folder, CPU)
    return folder / "model.pt"


def save(path, specification, seed=5):
    """Write a checkpoint with fresh weights and, where it has some, odd statistics."""
    torch.manual_seed(seed)
    classifier = models.build(specification)
    for name, value in classifier.network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 2)
    checkpoint.save(path, classifier, point(seed=0), {"data": "abc", "commit": "def"})
    return path


def specification(arch="convnet8", dataset="digits", classes=10, normalize="standard"):
    description = datasets.describe(dataset)
    found = models.Specification.of(arch, description, normalize)
    return models.Specification.read({**vars(found), "classes": classes})


def state(folder):
    return checkpoint.load(folder / "model.pt").classifier.state_dict()


def same(one, other):
    """Return the names of the values that are equal in both."""
    assert one.keys() == other.keys()
    return {name for name in one if torch.equal(one[name], other[name])}


def test_training_starts_from_the_weights(data, source, tmp_path):
    started = point(init_from=str(source), **FREEZING)
    train.train(started, data, tmp_path, CPU)
    found, theirs = state(tmp_path), state(source.parent)
    assert same(found, theirs) == found.keys()


def test_a_new_head_and_nothing_else_is_fresh(data, source, tmp_path):
    train.train(point(**FREEZING), data, tmp_path / "fresh", CPU)
    started = point(init_from=str(source), init_head="new", **FREEZING)
    train.train(started, data, tmp_path / "new", CPU)
    found, fresh, theirs = (
        state(tmp_path / "new"), state(tmp_path / "fresh"), state(source.parent)
    )  # fmt: skip
    assert same(found, fresh) == LAST | {"mean", "std"}
    assert same(found, theirs) == found.keys() - LAST


def test_training_goes_on_from_there(data, source, tmp_path):
    train.train(point(init_from=str(source)), data, tmp_path / "started", CPU)
    train.train(point(), data, tmp_path / "fresh", CPU)
    weights = [
        state(folder) for folder in (source.parent, tmp_path / "started", tmp_path / "fresh")
    ]
    for a, b in ((0, 1), (1, 2)):
        assert same(weights[a], weights[b]) == {"mean", "std"}


def test_a_pretrained_network_for_another_number_of_classes(tmp_path):
    """As in pre-training on another data set: all but the head and the normalisation is taken."""
    path = save(tmp_path / "m.pt", specification("resnet20", "cifar10", 1000, "center"))
    torch.manual_seed(0)
    ours = models.build(specification("resnet20", "cifar10"))
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    initial.start_from(ours, path, "new")
    theirs = checkpoint.load(path).classifier.state_dict()
    after = ours.state_dict()
    own = {"network.fc.weight", "network.fc.bias", "mean", "std"}
    assert {name for name in after if torch.equal(after[name], before[name])} >= own
    taken = after.keys() - own
    assert all(torch.equal(after[name], theirs[name]) for name in taken)
    assert "network.layer3.0.bn1.running_var" in taken
    assert not torch.equal(after["std"], theirs["std"])


class TestRefused:
    """Each by the command that trains, before it trains."""

    def refuse(self, path, data, tmp_path, message, head="kept"):
        run = point(init_from=str(path), init_head=head)
        with pytest.raises(UserError, match=message) as caught:
            train.train(run, data, tmp_path / "run", CPU)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("head", ["kept", "new"])
    def test_another_network(self, data, tmp_path, head):
        path = save(tmp_path / "m.pt", specification("lenet", "mnist"))
        self.refuse(path, data, tmp_path, "^init_from: .* holds a lenet for 1 channels, not", head)

    @pytest.mark.parametrize("head", ["kept", "new"])
    def test_other_channels(self, data, tmp_path, head):
        colour = {"channels": 3, "mean": (0.0,) * 3, "std": (1.0,) * 3}
        other = models.Specification.read({**vars(specification()), **colour})
        path = save(tmp_path / "m.pt", other)
        message = "^init_from: .* holds a convnet8 for 3 channels, not a convnet8 for 1$"
        self.refuse(path, data, tmp_path, message, head)

    def test_another_number_of_classes(self, data, tmp_path):
        path = save(tmp_path / "m.pt", specification(classes=7))
        message = "^init_from: .* tells 7 classes apart, not 10; set training.init_head to new$"
        self.refuse(path, data, tmp_path, message)
        train.train(point(init_from=str(path), init_head="new"), data, tmp_path / "run", CPU)

    def test_no_file(self, data, tmp_path):
        self.refuse(tmp_path / "absent.pt", data, tmp_path, r"absent\.pt does not exist$")

    @pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04 torn"])
    def test_a_damaged_file(self, data, tmp_path, content):
        path = tmp_path / "m.pt"
        path.write_bytes(content)
        self.refuse(path, data, tmp_path, r"m\.pt (cannot be read|is damaged)")

    def test_a_file_of_others(self, data, tmp_path):
        torch.save({"state_dict": {}}, tmp_path / "m.pt")
        self.refuse(tmp_path / "m.pt", data, tmp_path, "is not a smoothcert checkpoint")


def test_the_checkpoint_names_its_source(data, source, tmp_path):
    train.train(point(init_from=str(source), epochs=1), data, tmp_path, CPU)
    found = checkpoint.load(tmp_path / "model.pt").provenance["init_from"]
    assert found == {
        "path": str(source),
        "sha256": files.sha256(source),
        "provenance": checkpoint.load(source).provenance,
    }
    assert checkpoint.load(source).provenance["init_from"] is None


class KilledError(BaseException):
    """Ends a run as a kill would: no cleaning up."""


@pytest.fixture
def killed(data, tmp_path, monkeypatch):
    """Return a run that starts from a checkpoint, and its folder after a kill in epoch 2."""
    run = point(init_from=str(save(tmp_path / "m.pt", specification())), epochs=3)
    kept = train._State.save

    def stop(*arguments):
        kept(*arguments)
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(train._State, "save", stop)
        train.train(run, data, tmp_path / "killed", CPU)
    return run, tmp_path / "killed"


def test_it_resumes_to_the_same_weights(data, tmp_path, killed, capsys):
    run, folder = killed
    train.train(run, data, tmp_path / "whole", CPU)
    train.train(run, data, folder, CPU)
    assert capsys.readouterr().err.count("resuming after epoch 1") == 1
    assert (folder / "model.pt").read_bytes() == (tmp_path / "whole/model.pt").read_bytes()


def test_another_source_sets_the_resume_file_aside(data, tmp_path, killed, capsys):
    run, folder = killed
    save(tmp_path / "m.pt", specification(), seed=6)
    train.train(run, data, tmp_path / "fresh", CPU)
    train.train(run, data, folder, CPU)
    assert "is of another run: set aside" in capsys.readouterr().err
    assert (folder / "resume.pt.aside").exists()
    assert (folder / "model.pt").read_bytes() == (tmp_path / "fresh/model.pt").read_bytes()
