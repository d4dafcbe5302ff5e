"""How the command line passes settings on."""

from typing import Literal

import pytest

from smoothcert import cli, commands, methods
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


@pytest.mark.parametrize("name", ["lr", "sigma", "threads"])
def test_a_setting_of_a_name_that_is_taken(parsed, name):
    taken = type("Taken", (Method,), {"title": "T", "__annotations__": {name: float}, name: 1.0})
    with pytest.raises(ValueError, match=f"mine cannot have a setting {name}, which smoothcert"):
        parsed(objective=taken)
