"""Devices and data that tests need.

A device or data that is absent is skipped; data that is promised but incomplete fails.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smoothcert.datasets.mnist import MD5

if TYPE_CHECKING:
    import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, so that no worker waits for another at the end."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Take one worker more than processors: tests wait for disks, for Slurm and for Chromium."""
    return (yield) + 1


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    """Return each device in turn, set up as for a command."""
    import torch

    from smoothcert.device import choose

    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        torch.compiler.reset()  # a process compiles a function eight times at most
    return choose(request.param, torch.get_num_threads())


@pytest.fixture(params=["auto", "fp32"])
def precision(request) -> str:
    """Return each precision of certification in turn, if they differ here."""
    import torch

    from smoothcert.smoothing import cpu

    if request.param == "auto" and not (cpu.has_bf16() or torch.cuda.is_available()):
        pytest.skip("nothing here computes in bf16: auto is fp32")
    return request.param


@pytest.fixture
def mnist_dir() -> Path:
    """Return a ``data_dir`` that holds MNIST, from SMOOTHCERT_DATA."""
    return _prepared("SMOOTHCERT_DATA", (f"MNIST/raw/{name}" for name in MD5))


@pytest.fixture
def cifar10_dir() -> Path:
    """Return a ``data_dir`` that holds CIFAR-10, from SMOOTHCERT_DATA."""
    return _prepared("SMOOTHCERT_DATA", ["cifar-10-batches-py/batches.meta"])


@pytest.fixture
def reference_logs() -> Path:
    """Return the folder of published certification logs, from SMOOTHCERT_REFERENCE_LOGS.

    It holds mnist/<method>/noise_<sigma>_<id>.tsv: 10,000 images, n = 100,000, five runs a cell.
    """
    methods = ("gaussian", "stability", "consistency", "consistency_first_form")
    return _prepared("SMOOTHCERT_REFERENCE_LOGS", (f"mnist/{method}" for method in methods))


def _prepared(variable: str, content: Iterable[str]) -> Path:
    """Return the folder that ``variable`` names; a promised folder must hold its content."""
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    folder = Path(os.environ[variable])
    for name in content:
        if not (folder / name).exists():
            pytest.fail(f"{variable} is set, but {folder / name} does not exist")
    return folder
