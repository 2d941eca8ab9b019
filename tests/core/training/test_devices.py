"""Devices by the names that users write; what is not there is said in words, not by CUDA."""

from __future__ import annotations

import pytest
import torch

from dp_core.errors import InputError
from dp_core.training.devices import find_device


@pytest.mark.parametrize(
    ("gpus", "name", "device"), [(0, "auto", "cpu"), (0, "cpu", "cpu"), (1, "auto", "cuda"), (2, "cuda:1", "cuda:1")]
)
def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch, gpus: int, name: str, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    assert find_device(name, "training.device") == torch.device(device)


@pytest.mark.parametrize(
    ("gpus", "name", "message"),
    [
        (0, "gpu9", "'gpu9' is not a device; use 'auto', 'cpu' or 'cuda:0'"),
        (0, "cuda", "'cuda' is not available here, there is no GPU; use 'auto' or 'cpu'"),
        (1, "cuda:1", "'cuda:1' is not available here, there is 1 GPU; use 'auto' or 'cpu'"),
        (2, "cuda:2", "'cuda:2' is not available here, there are 2 GPUs; use 'auto' or 'cpu'"),
    ],
)
def test_devices_that_are_not(monkeypatch: pytest.MonkeyPatch, gpus: int, name: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    with pytest.raises(InputError) as caught:
        find_device(name, "training.device")
    assert str(caught.value) == f"training.device: {message}"
