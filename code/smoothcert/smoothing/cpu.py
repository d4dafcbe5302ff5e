"""The CPU as OpenVINO sees it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino


@cache
def core() -> openvino.Core:
    """Return OpenVINO's core, one for the whole process.

    A core gives the process a stack for its signal handlers and takes it back with itself. Of
    several, the last one may put back the stack of one that is gone, and the next Ctrl-C or end
    of a child process is a segmentation fault (seen with OpenVINO 2026.4 on a CPU with AMX).
    """
    import openvino

    return openvino.Core()


def has_bf16() -> bool:
    """Return whether the CPU computes in bf16."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
