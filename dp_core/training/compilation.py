"""Compiles networks for the device with `torch.compile`, in place: names, weights and checkpoints stay as they are."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from dp_core.errors import InputError

if TYPE_CHECKING:
    from dp_core.interfaces import BasePolicy


def missing_compiler() -> str | None:
    """Say what a CPU lacks to compile anything, and what to do about it; None if there is a C++ compiler."""
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name):
        return None
    return (
        f"true needs a C++ compiler, and '{name}' is not on PATH; "
        "install it (apt install g++), name another one in CXX, or leave it out"
    )


def compile_networks(policy: BasePolicy) -> None:
    """Have every encoder and denoiser in ``policy`` compiled when it is first called; copies made later are plain.

    Random numbers are those of the plain network, in the same order.

    Raises:
        InputError: there is no compiler, or nothing to translate.
    """
    from dp_core.interfaces import BaseDenoiser, BaseEncoder

    if policy.device.type == "cpu" and (problem := missing_compiler()):
        raise InputError(f"training.compile: {problem}")
    networks = [module for module in policy.modules() if isinstance(module, BaseEncoder | BaseDenoiser)]
    if not networks:
        raise InputError(
            f"training.compile: true, but {type(policy).__name__} has no encoder or denoiser to translate; leave it out"
        )
    for network in networks:
        network.compile(options={"fallback_random": True})
