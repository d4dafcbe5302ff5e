"""The choice of a device, on machines that are only made up."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from smoothcert import device, gpus
from smoothcert.errors import UserError


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose("auto", 1) == device.choose("cpu", 1) == torch.device("cpu")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpus, "count", lambda: 0)
    with pytest.raises(UserError, match="torch sees no GPU"):
        device.choose("cuda", 1)
    monkeypatch.setattr(gpus, "count", lambda: 1)
    with pytest.raises(UserError, match=r"the driver must know CUDA 13\.0"):
        device.choose("cuda", 1)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="built without CUDA"):
        device.choose("cuda", 1)


def test_a_gpu_that_torch_cannot_use_is_not_passed_over_in_silence(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpus, "count", lambda: 1)
    assert device.choose("cpu", 1) == torch.device("cpu")
    assert capsys.readouterr().err == ""
    assert device.choose("auto", 1) == torch.device("cpu")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: torch ")
    assert line.endswith("computing on the CPU")


def test_a_gpu_that_cannot_compute_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with ...")

    monkeypatch.setattr(torch, "zeros", fail)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(UserError, match="no kernel image is available") as refusal:
        device._refuse_unusable(torch.device("cuda", 0))
    assert "Old GPU" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("uuids", [("GPU-a", "GPU-b"), ("GPU-0", "GPU-0")])
def test_processes_spread_over_the_gpus(uuids, monkeypatch, tmp_path):
    """A lock belongs to an open file, so that several calls here stand for several processes."""
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(uuid=uuids[index], pci_bus_id=index),
    )
    monkeypatch.setattr(device, "_held", [])
    assert [device._free_gpu() for _ in range(5)] == [0, 1, 0, 1, 0]
    device._held[1].close()
    assert [device._free_gpu() for _ in range(2)] == [1, 1]
    for ended in (0, 2, 3):
        device._held[ended].close()  # one process stays on GPU 0, two on GPU 1
    assert [device._free_gpu() for _ in range(3)] == [0, 0, 1]


@pytest.mark.parametrize(("wanted", "threads"), [(None, 3), ("5", 5)])
def test_torch_is_set_up_for_a_gpu(wanted, threads):
    """In a process of its own, since there is no way back, where torchvision was imported before.

    NVIDIA's containers turn TF32 on. get_float32_matmul_precision fails on settings at odds.
    """
    program = """
import json, torch, torchvision
from torch._inductor import config
from smoothcert import device
torch.cuda.is_available = lambda: True
torch.cuda.set_device = device._refuse_unusable = lambda _: None
device._free_gpu = lambda: 0
assert device.choose("cuda", 3) == torch.device("cuda", 0)
matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
print(json.dumps([matmul, cudnn, torch.get_float32_matmul_precision(), config.compile_threads]))
"""
    environment = {**os.environ, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    environment.pop("TORCHINDUCTOR_COMPILE_THREADS", None)
    if wanted:
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = wanted
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [False, False, "highest", threads]


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError(), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCompile with ..."), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("Unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_memory_that_runs_out_has_several_names(error, memory):
    assert device.is_out_of_memory(error) is memory


def test_threads(monkeypatch):
    threads = torch.get_num_threads()
    device.choose("cpu", 1)
    assert "1 thread)" in device.describe(torch.device("cpu"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 3),
        ("", 0),
        ("2", 1),
        ("0, 1", 2),
        ("-1", 0),
        ("1,-1,2", 1),
        ("3", 0),
        ("0,3,1", 1),
        ("NoDevFiles", 0),
        ("GPU-8932f937,MIG-41b35ef1", 2),
    ],
)
def test_only_visible_gpus_count(monkeypatch, tmp_path, visible, count):
    monkeypatch.setattr(gpus, "LISTED", tmp_path)
    for name in "abc":
        (tmp_path / name).mkdir()
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.count() == count


@pytest.mark.parametrize(
    ("driver", "library", "count"), [(True, "libcuda.so.1", 1), (True, None, 0), (False, None, 0)]
)
def test_wsl2_has_one_gpu(monkeypatch, tmp_path, driver, library, count):
    """Where the driver lists no GPU: its device is there for other makes too, its library not."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "LISTED", tmp_path / "gpus")
    monkeypatch.setattr(gpus, "WSL2", tmp_path / "dxg")
    monkeypatch.setattr(gpus, "find_library", lambda name: library)
    if driver:
        gpus.WSL2.touch()
    assert gpus.count() == count
