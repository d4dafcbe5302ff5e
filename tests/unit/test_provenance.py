"""What a record says of the code that made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from smoothcert import provenance


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """Return the folder of a committed package that stands for ours."""
    folder = tmp_path / "code" / "package"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("lr = 0.1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        git(tmp_path, *words)
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    return folder


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    return provenance.commit.__wrapped__()


def test_a_clean_commit_stands_for_itself(package):
    assert commit() == git(package, "rev-parse", "HEAD")
    (package.parents[1] / "notes.md").write_text("not code")
    assert commit() == git(package, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["train.py", "my_method.py"])
def test_changes_of_the_code_are_told(package, name):
    (package / name).write_text("lr = 0.2\n")
    assert commit() == f"{git(package, 'rev-parse', 'HEAD')}+changes"


def test_code_outside_git_is_of_an_unknown_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert commit() == "unknown"
