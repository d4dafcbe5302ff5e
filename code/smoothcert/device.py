"""Where computation runs: the device, its threads, and a GPU of its own for each process."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch

from smoothcert import gpus
from smoothcert.errors import UserError, reason
from smoothcert.progress import say

_held: list[IO[str]] = []
"""Open lock files: a GPU stays ours until the process ends, however it ends."""


def choose(kind: str, threads: int) -> torch.device:
    """Return the device ``auto``, ``cpu`` or ``cuda``, and let torch use ``threads`` CPU threads.

    ``auto`` is a GPU where there is one; one that torch cannot use is warned of. Of several GPUs,
    each process takes one that the fewest other processes of this user's workflows hold. On a GPU,
    torch then computes reproducibly and what is called fp32 in fp32.

    Raises UserError for ``cuda`` where torch finds no GPU, and for a GPU that it cannot use.
    """
    if threads < 1:
        raise UserError(f"threads must be at least 1, not {threads}")
    torch.set_num_threads(threads)
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if kind == "cuda":
            raise UserError(f"device cuda was asked for, but {_no_gpu()}; use --device cpu")
        if gpus.count():
            say(f"warning: {_no_gpu()}; computing on the CPU")
        return torch.device("cpu")
    from torch._inductor import config as inductor  # slow, and of no use on a CPU

    # Reproducible sums: cuBLAS needs its workspace set before the first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A help in debugging that comes with it and costs time: new tensors filled with NaN.
    torch.utils.deterministic.fill_uninitialized_memory = False
    # cuDNN rounds what it calls float32 to TF32 unless told otherwise, and cuBLAS too where
    # TORCH_ALLOW_TF32_CUBLAS_OVERRIDE is set, as in NVIDIA's containers.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # torch.compile starts as many processes as there are CPUs, unless told otherwise. Not by the
    # variable, which is read when the module is imported, as torchvision does.
    if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
        inductor.compile_threads = threads
    device = torch.device("cuda", _free_gpu())
    _refuse_unusable(device)
    torch.cuda.set_device(device)
    return device


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory did not suffice, which torch and its libraries tell variously.

    cuDNN finds no engine whose workspace fits; cuBLAS cannot allocate its own; the last is a CPU's.
    """
    signs = (
        *("out of memory", "unable to find an engine", "cublas_status_alloc_failed"),
        "can't allocate memory",
    )
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in signs)


def _no_gpu() -> str:
    """Return why torch finds no GPU, as far as it can be told."""
    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    if gpus.count():
        return (
            f"torch {torch.__version__} cannot use the GPU that is there: the driver must know "
            f"CUDA {torch.version.cuda} (nvidia-smi tells)"
        )
    return "torch sees no GPU"


def _refuse_unusable(device: torch.device) -> None:
    """Raise UserError for a GPU that is busy, broken, or of a model that torch has no code for."""
    try:
        (torch.zeros(1, device=device) + 1).item()
    except RuntimeError as error:
        raise UserError(
            f"torch {torch.__version__} cannot compute on {device}, {name(device)} "
            f"({reason(error)}); choose another GPU by CUDA_VISIBLE_DEVICES, another "
            "torch, or --device cpu"
        ) from error


def _free_gpu() -> int:
    """Return the index of a GPU that the fewest of our processes hold, and hold it too."""
    count = torch.cuda.device_count()
    if count == 1:
        return 0
    found = [torch.cuda.get_device_properties(index) for index in range(count)]
    # With the number on the bus, since a driver may give all GPUs the same UUID of zeros.
    names = [f"{gpu.uuid}-{gpu.pci_bus_id}" for gpu in found]
    with _locked("choice", wait=True):  # nobody else counts or takes a place meanwhile
        busy = [sum(map(_is_held, _places(name))) for name in names]
        index = busy.index(min(busy))
        _held.append(next(filter(None, map(_locked, _places(names[index], new=True)))))
    return index


def _places(name: str, new: bool = False) -> Iterator[str]:
    """Yield the names of the places on a GPU that were ever taken, and all others if ``new``."""
    for number in itertools.count():
        place = f"{name}-{number}"
        if not (new or _lock_file(place).exists()):
            return
        yield place


def _is_held(place: str) -> bool:
    """Return whether a process holds the place."""
    handle = _locked(place)
    if handle:
        handle.close()
    return handle is None


def _locked(place: str, wait: bool = False) -> IO[str] | None:
    """Lock a place until the handle is closed or this process ends; None if another holds it."""
    handle = _lock_file(place).open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        handle.close()
        return None
    return handle


def _lock_file(place: str) -> Path:
    return Path(tempfile.gettempdir(), f"smoothcert-{os.getuid()}-{place}.lock")


def name(device: torch.device) -> str:
    """Return the device's model, as ``Intel(R) Xeon(R) Processor`` or ``NVIDIA H200``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def describe(device: torch.device) -> str:
    """Return kind and model, as ``cpu (Intel Xeon, 1 thread)`` or ``cuda (NVIDIA H200)``."""
    if device.type == "cuda":
        return f"cuda ({name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({name(device)}, {threads} thread{'s' if threads > 1 else ''})"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, os.uname().machine)
