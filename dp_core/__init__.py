"""dp-core: a platform for diffusion policies in which every part is a plugin.

This module is what plugin authors import. It is cheap: no torch, no omegaconf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_core.component import API, Component
from dp_core.config.fields import Slot, option, slot, slots
from dp_core.errors import DpError
from dp_core.hooks import hookimpl
from dp_core.provenance.noise_process import NoiseProcess

if TYPE_CHECKING:
    from dp_core.runs import load_policy

__all__ = ["API", "Component", "DpError", "NoiseProcess", "Slot", "hookimpl", "load_policy", "option", "slot", "slots"]


def __getattr__(name: str) -> Any:
    # Describing components must import neither torch nor omegaconf, which load_policy needs.
    if name == "load_policy":
        from dp_core.runs import load_policy

        return load_policy
    raise AttributeError(f"module 'dp_core' has no attribute '{name}'")
