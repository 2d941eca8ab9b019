"""Turns what a user writes, ``auto`` or ``cuda:1``, into a device that is there."""

from __future__ import annotations

import torch

from dp_core.errors import InputError


def find_device(name: str, where: str) -> torch.device:
    """Return the device called ``name``; ``"auto"`` is a GPU if there is one.

    Args:
        where: what the user wrote it in, for the message: ``"training.device"``, ``"--device"``.

    Raises:
        InputError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{where}: '{name}' is not a device; use 'auto', 'cpu' or 'cuda:0'") from error
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        found = f"there {'is 1 GPU' if count == 1 else f'are {count} GPUs'}" if count else "there is no GPU"
        raise InputError(f"{where}: '{name}' is not available here, {found}; use 'auto' or 'cpu'")
    return device
