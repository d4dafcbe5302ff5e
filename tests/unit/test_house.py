"""The files around the code agree with it and with each other."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smoothcert import __version__, config_docs, methods
from smoothcert.errors import UserError

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGES = [
    path
    for pattern in ("*.md", "*/README.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith(".")
]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def locked(requirement: Requirement) -> list[str]:
    """Return the versions of a package in the lock, of which a platform or Python may have some."""
    pins = map(Requirement, LOCK)
    name = canonicalize_name(requirement.name)
    return [next(iter(pin.specifier)).version for pin in pins if pin.name == name]


class TestEnvironment:
    def test_lock_holds_nothing_but_pins(self):
        pin = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?==[0-9][0-9a-z.+]*( ; [^;/:]+)?")
        assert [line for line in LOCK if not pin.fullmatch(line)] == []

    def test_lock_has_every_dependency(self):
        project = PROJECT["project"]
        extras = project["optional-dependencies"].values()
        wanted = sum(extras, [*PROJECT["build-system"]["requires"], *project["dependencies"]])
        for requirement in map(Requirement, wanted):
            versions = locked(requirement)
            assert versions, f"{requirement} is not in requirements.lock: run make lock"
            assert all(version in requirement.specifier for version in versions), requirement

    def test_conda_environment_is_the_lock(self):
        environment = yaml.safe_load(read("environment.yml"))
        python, pip, packages = environment["dependencies"]
        assert packages == {"pip": LOCK}, "environment.yml differs from the lock: run make lock"
        assert pip == "pip"
        assert (
            python.removeprefix("python=")
            in Requirement(f"python{PROJECT['project']['requires-python']}").specifier
        )
        assert "nodefaults" in environment["channels"]


class TestDocuments:
    def test_a_parameter_without_description_is_named(self, monkeypatch):
        class Objective(methods.load("gaussian")):
            """A method that is being written."""

            strength: int = 2

        monkeypatch.setattr(methods, "load", lambda name: Objective)
        with pytest.raises(UserError, match=r"of consistency: strength has no description"):
            config_docs.readme(config_docs.README.read_text(encoding="utf-8"))

    def test_a_faulty_method_is_named(self, tmp_path, monkeypatch):
        (tmp_path / "mine.py").write_text("class Objective: pass", encoding="utf-8")
        monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
        with pytest.raises(UserError, match=r"mine\.py: no class Objective\(Method\)"):
            config_docs.readme(config_docs.README.read_text(encoding="utf-8"))

    def test_schema_is_current(self):
        assert config_docs.SCHEMA.read_text(encoding="utf-8") == config_docs.schema(), (
            "run make schema"
        )

    def test_table_of_keys_is_current(self):
        text = config_docs.README.read_text(encoding="utf-8")
        assert text == config_docs.readme(text), "run make schema"

    def test_table_has_every_key_of_the_schema(self):
        text = config_docs.README.read_text(encoding="utf-8")
        keys = re.findall(r'^ {8}"(\w+)": \{$', config_docs.schema(), re.MULTILINE)
        assert {"alpha", "lambda", "eta"} <= set(keys)
        assert [key for key in keys if f"| `{key}` |" not in text] == []

    def test_every_preset_is_described(self):
        described = re.findall(r"\(presets/([\w-]+)\.yaml\)", read("config/README.md"))
        assert sorted(described) == sorted(path.stem for path in ROOT.glob("config/presets/*.yaml"))

    def test_version_is_one(self):
        assert PROJECT["project"]["version"] == __version__
        assert yaml.safe_load(read("CITATION.cff"))["version"] == __version__
        assert f"## [{__version__}]" in read("CHANGELOG.md")

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_links_lead_somewhere(self, page: Path):
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == []

    def test_help_lists_every_target(self):
        makefile = read("Makefile")
        targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
        listed = re.findall(r"^make (\w+)", make(ROOT).stdout, re.MULTILINE)
        assert listed == targets


class TestSetUp:
    """`make .venv/.ready` in an empty project, with a python3 that only plays its part."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        shutil.copy(ROOT / "Makefile", tmp_path)
        for name in ("requirements.lock", "pyproject.toml"):
            (tmp_path / name).touch()
        return tmp_path

    def test_installs_once_and_again_after_a_change(self, project: Path):
        assert set_up(project).returncode == 0
        assert "is up to date" in set_up(project).stdout
        self.change_lock(project)
        assert "pip install" in set_up(project).stdout

    def test_python_without_venv_is_one_line(self, project: Path):
        done = set_up(project, ensurepip="exit 1")
        assert done.returncode != 0
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert "install the package python3-venv" in done.stderr

    def test_old_python_is_one_line(self, project: Path):
        done = set_up(project, version="exit 1")
        assert done.returncode != 0
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert "needs Python 3.11 or newer" in done.stderr

    @pytest.mark.parametrize("earlier", [False, True], ids=["first", "update"])
    def test_cut_short_it_starts_from_nothing(self, project: Path, earlier: bool):
        if earlier:
            set_up(project)
            self.change_lock(project)
        assert set_up(project, pip="kill -9 $$").returncode != 0
        assert not (project / ".venv/.ready").exists()
        done = set_up(project)
        assert "venv --clear" in done.stdout
        assert "pip install" in done.stdout

    @staticmethod
    def change_lock(project: Path) -> None:
        newer = (project / ".venv/.ready").stat().st_mtime + 1
        os.utime(project / "requirements.lock", (newer, newer))


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_benchmarks_find_what_they_import(script, monkeypatch):
    """They run by hand alone, on a quiet machine."""
    monkeypatch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name="imported")


@pytest.mark.parametrize(
    ("fixture", "variable"),
    [("mnist_dir", "SMOOTHCERT_DATA"), ("reference_logs", "SMOOTHCERT_REFERENCE_LOGS")],
)
class TestPreparedData:
    def test_absent_it_skips(self, fixture, variable, request, monkeypatch):
        monkeypatch.delenv(variable, raising=False)
        with pytest.raises(pytest.skip.Exception, match=f"{variable} is not set"):
            request.getfixturevalue(fixture)

    def test_incomplete_it_fails(self, fixture, variable, request, monkeypatch, tmp_path):
        monkeypatch.setenv(variable, str(tmp_path))
        with pytest.raises(pytest.fail.Exception, match=f"{variable} is set, but {tmp_path}"):
            request.getfixturevalue(fixture)


def make(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run make as from a terminal, not as a child of the make that runs the tests."""
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("MAKE")}
    environment.pop("MFLAGS", None)
    environment["PATH"] = os.pathsep.join([*([str(path)] if path else []), os.environ["PATH"]])
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def set_up(
    project: Path, version: str = ":", ensurepip: str = ":", pip: str = ":"
) -> subprocess.CompletedProcess:
    """Run the set-up with a python3 of which some parts are replaced by shell commands."""
    fake = project / "bin" / "python3"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f"*version_info*) {version} ;;\n"
        f"*ensurepip*) {ensurepip} ;;\n"
        '"-m venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;\n'
        f'"-m pip "*) {pip} ;;\n'
        "esac\n"
    )
    fake.chmod(0o755)
    return make(project, ".venv/.ready", path=fake.parent)
