"""Code fingerprints change with the meaning of a stage's code, and only with that."""

import shutil

import pytest

from smoothcert import fingerprint as module
from smoothcert import methods
from smoothcert.analysis.figures import FIGURES
from smoothcert.analysis.tables import TABLES
from smoothcert.point import Point
from smoothcert.settings import Training

RESOURCES = sorted(
    path.name for path in (module.PACKAGE / "report").iterdir() if path.suffix in module.RESOURCES
)


def forget():
    """Empty the module's memory of files, which are edited here."""
    for cached in vars(module).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.fixture(autouse=True)
def _forgotten_before_and_after():
    """Keep from other tests what these remember."""
    forget()
    yield
    forget()


def prints():
    """Return the fingerprint of each stage, from the files as they are."""
    forget()

    def train(method, arch="convnet8", dataset="digits"):
        parameters = methods.load(method)()
        return module.of_training(Point(dataset, arch, method, 0.5, 0, 0, Training(), parameters))

    return {
        "data": module.of_data("digits"),
        "train gaussian": train("gaussian"),
        "train consistency": train("consistency"),
        "train lenet": train("gaussian", "lenet", "mnist"),
        "certify": module.of_certification("digits", "convnet8"),
        "attack": module.of_attack("digits", "convnet8"),
        "summarize": module.of_stage("analysis.summary"),
        "tables": module.of_stage(
            "analysis.write_tables", *(f"analysis.tables.{name}" for name in TABLES)
        ),
        "figures": module.of_stage(
            "analysis.draw_figures", *(f"analysis.figures.{name}" for name in FIGURES)
        ),
        "report": module.of_stage("report.page"),
    }


@pytest.fixture(scope="module")
def before():
    """Return the fingerprints of the package as it is, which are those of a copy."""
    return prints()


@pytest.fixture
def stages(before, tmp_path, monkeypatch):
    """Return a function that edits a copy of the package and names the stages that change."""
    package = tmp_path / "smoothcert"
    shutil.copytree(module.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", package)

    def edit(name: str, old: str, new: str) -> set[str]:
        path = package / name
        text = path.read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1))
        return {stage for stage, value in prints().items() if value != before[stage]}

    return edit


def test_a_comment_changes_nothing(stages):
    assert stages("train.py", "import torch\n", "import torch  # a remark\n") == set()


def test_a_docstring_changes_nothing(stages):
    assert (
        stages("methods/consistency.py", '"""Cross entropy of m', '"""The cross entropy of m')
        == set()
    )


def test_the_description_of_a_setting_changes_nothing(stages):
    assert stages("settings.py", '"""Initial learning rate."""', '"""The first one."""') == set()


def test_messages_counts_of_gpus_and_fingerprints_change_nothing(stages):
    assert stages("progress.py", " left", " to go") == set()
    assert stages("errors.py", "did you mean", "do you mean") == set()
    assert stages("gpus.py", "present", "there") == set()
    assert stages("fingerprint.py", "[:16]", "[:12]") == set()


def test_a_method_of_such_a_name_counts(tmp_path, monkeypatch):
    package = tmp_path / "smoothcert"
    monkeypatch.setattr(module, "PACKAGE", package)
    for folder in (package, package / "methods"):
        folder.mkdir()
        (folder / "progress.py").touch()
    assert module._files("smoothcert.methods.progress") == [package / "methods" / "progress.py"]
    assert module._files("smoothcert.progress") == []


def test_a_loss_concerns_its_method_alone(stages):
    assert stages("methods/consistency.py", "weight * divergence", "2 * weight * divergence") == {
        "train consistency"
    }


def test_a_relative_import_is_followed(stages):
    for name in ("methods/more", "methods/also", "further"):
        (module.PACKAGE / f"{name}.py").write_text("A = 1\n")
    lines = "from . import more\nfrom .also import A\nfrom ..further import A as B\n"
    base = "from smoothcert.methods.base import"
    assert stages("methods/gaussian.py", base, lines + base) == {"train gaussian", "train lenet"}
    for name in ("methods/more", "methods/also", "further"):
        before = module.fingerprint("smoothcert.methods.gaussian")
        stages(f"{name}.py", "A = 1", "A = 2")
        assert module.fingerprint("smoothcert.methods.gaussian") != before


def test_an_architecture_concerns_its_own_runs(stages):
    assert stages("models/lenet.py", "functional.relu(", "functional.gelu(") == {"train lenet"}


def test_a_data_set_concerns_its_own_runs(stages):
    changed = stages("datasets/digits.py", "random_state=0", "random_state=1")
    assert changed == {"data", "train gaussian", "train consistency", "certify", "attack"}


def test_the_bound_concerns_what_comes_after_training(stages):
    changed = stages("smoothing/bounds.py", "np.maximum(p_lower, 0.5)", "np.maximum(p_lower, 0.6)")
    assert {"certify"} <= changed
    assert not {stage for stage in changed if stage.startswith(("data", "train"))}


def test_an_attack_concerns_its_answers_alone(stages):
    assert stages("smoothing/attack.py", "sort_values(", "sort_values(by=") == {"attack"}


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_template_concerns_the_report_alone(stages, resource):
    assert stages(f"report/{resource}", "\n", "\n\n") == {"report"}


@pytest.mark.parametrize("edited", ["acr", "runs", "base"])
def test_a_table_concerns_the_tables_alone(stages, edited):
    changed = stages(f"analysis/tables/{edited}.py", "annotations", "annotations\nX = 1")
    assert changed == {"tables"}


@pytest.mark.parametrize("edited", ["certified_accuracy", "cost", "tidy"])
def test_a_figure_concerns_the_figures_alone(stages, edited):
    changed = stages(f"analysis/figures/{edited}.py", "annotations", "annotations\nX = 1")
    assert changed == {"figures"}


def test_no_analysis_reaches_the_machine_learning_code():
    for stage in ("analysis.tables.acr", "analysis.figures.training", "report.page"):
        names = {path.stem for path in module._closure((f"smoothcert.{stage}",))}
        assert not names & {"train", "sampling", "certify", "classifier", "lenet"}
