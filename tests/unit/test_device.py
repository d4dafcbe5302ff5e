"""The choice of a device, on machines that are only made up."""

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


def test_a_gpu_that_cannot_compute_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with ...")

    monkeypatch.setattr(torch, "zeros", fail)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(UserError, match="no kernel image is available") as refusal:
        device._refuse_unusable(torch.device("cuda", 0))
    assert "Old GPU" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_processes_spread_over_the_gpus(monkeypatch, tmp_path):
    """A lock belongs to an open file, so that several calls here stand for several processes."""
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}")
    )
    monkeypatch.setattr(device, "_held", [])
    assert [device._free_gpu() for _ in range(5)] == [0, 1, 0, 1, 0]
    device._held[1].close()
    assert [device._free_gpu() for _ in range(2)] == [1, 1]


def test_threads(monkeypatch):
    threads = torch.get_num_threads()
    device.choose("cpu", 1)
    assert "1 thread)" in device.describe(torch.device("cpu"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("", 0), ("2", 1), ("0,1", 2), ("-1", 0), ("1,-1,2", 1)]
)
def test_only_visible_gpus_count(monkeypatch, visible, count):
    monkeypatch.setattr(gpus.Path, "glob", lambda self, pattern: iter("abc"))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.count() == count
