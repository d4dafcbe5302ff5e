"""How the command line passes settings on."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from smoothcert import checkpoint, cli, commands, methods
from smoothcert.methods.base import Method
from smoothcert.options import read_section


class Objective(Method):
    """A method with settings of all kinds."""

    title = "Mine"
    flip: bool = False
    weight: float = 2.0
    times: Literal[1, 2] = 1


@pytest.fixture
def parsed(monkeypatch):
    """Return a function that gives what a method's options come to, and lambda."""

    def parse(*options, objective=Objective):
        monkeypatch.setattr(methods, "names", lambda: ["mine"])
        monkeypatch.setattr(methods, "load", lambda name: objective)
        line = ["train", "--dataset=digits", "--arch=convnet8", "--method=mine", "--sigma=0.5"]
        line += ["--lambda=5", "--output=run", *options]
        found = cli._parser(line).parse_args(line)
        return read_section(found, objective), found.weight

    return parse


@pytest.mark.parametrize("settings", [{}, {"flip": True, "weight": 3.0, "times": 2}])
def test_the_options_of_the_rules_give_the_settings(parsed, settings):
    wanted = Objective(**settings)
    assert parsed(*commands.options(wanted.model_dump())) == (wanted, 5.0)


def test_truth_is_written_as_in_yaml_or_python(parsed, capsys):
    assert parsed("--flip=true")[0].flip
    assert not parsed("--flip=False")[0].flip
    with pytest.raises(SystemExit):
        parsed("--flip=maybe")
    assert "'maybe' is neither true nor false" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "train --method",
            "argument --method: expected one argument (see smoothcert train --help)",
        ),
        ("certify m --output c --method x", "smoothcert certify: unknown options: --method x"),
    ],
)
def test_a_method_that_is_misplaced(line, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(line.split())
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def compare_into(stdout, folder):
    """Compare a table with itself, with the output going to ``stdout``."""
    name = "certificates.tsv"
    (folder / name).write_text(
        "idx\tlabel\tpredict\tradius\tcorrect\ttime\n1\t2\t2\t0.5\t1\t0\n3\t4\t4\t0.5\t1\t0\n"
    )
    command = [sys.executable, "-m", "smoothcert", "compare", name, name]
    return subprocess.run(command, cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_reader_that_has_gone_is_no_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    found = compare_into(writer, tmp_path)
    os.close(writer)
    assert found.stderr == ""


def test_output_that_cannot_be_written_is_one_line(tmp_path):
    """Linux offers /dev/full to play a full disk."""
    with Path("/dev/full").open("w") as full:
        found = compare_into(full, tmp_path)
    assert found.returncode == 1
    assert found.stderr == "smoothcert compare: No space left on device\n"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_memory_that_runs_out_anywhere_is_one_line(monkeypatch, message, told):
    def load(path):
        raise RuntimeError(message)

    monkeypatch.setattr(checkpoint, "load", load)
    with pytest.raises(SystemExit if told else RuntimeError) as caught:
        cli.main(["certify", "model.pt", "--output", "c"])
    if told:
        assert caught.value.code == (
            "smoothcert certify: out of memory (CUDA out of memory. Tried to allocate 2.00 GiB.); "
            "let fewer processes share the device"
        )


@pytest.mark.parametrize("name", ["lr", "sigma", "threads"])
def test_a_setting_of_a_name_that_is_taken(parsed, name):
    taken = type("Taken", (Method,), {"title": "T", "__annotations__": {name: float}, name: 1.0})
    with pytest.raises(ValueError, match=f"mine cannot have a setting {name}, which smoothcert"):
        parsed(objective=taken)
