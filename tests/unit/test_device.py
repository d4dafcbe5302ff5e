"""The choice of a device, on machines that are only made up."""

from types import SimpleNamespace

import pytest
import torch

from smoothcert import device, gpus
from smoothcert.errors import UserError


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose("auto", 1) == device.choose("cpu", 1) == torch.device("cpu")
    with pytest.raises(UserError, match="torch sees no GPU"):
        device.choose("cuda", 1)


def test_each_process_holds_a_gpu_of_its_own(monkeypatch, tmp_path):
    """A lock belongs to an open file, so that two calls here stand for two processes."""
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}")
    )
    monkeypatch.setattr(device, "_held", [])
    assert [device._free_gpu(), device._free_gpu(), device._free_gpu()] == [0, 1, 0]
    device._held.pop().close()
    assert device._free_gpu() == 1


def test_threads(monkeypatch):
    threads = torch.get_num_threads()
    device.choose("cpu", 1)
    assert "1 thread)" in device.describe(torch.device("cpu"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("visible", "count"), [(None, 3), ("", 0), ("2", 1), ("0,1", 2)])
def test_only_visible_gpus_count(monkeypatch, visible, count):
    monkeypatch.setattr(gpus.Path, "glob", lambda self, pattern: iter("abc"))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.count() == count
