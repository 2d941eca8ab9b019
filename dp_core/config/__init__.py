"""Configs: `load_config` composes a file, gives every option its type and checks it, before anything heavy is imported.

Attributes are imported when they are asked for, since `dp_core.config.fields` is needed where OmegaConf must not be.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_core.config.load import load_config, save_config
    from dp_core.config.structure import (
        components_of,
        preflight,
        structure_block,
        structure_parts,
        structure_run,
        unstructure,
    )

__all__ = [
    "components_of",
    "load_config",
    "preflight",
    "save_config",
    "structure_block",
    "structure_parts",
    "structure_run",
    "unstructure",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dp_core.config' has no attribute '{name}'")
    module = "load" if name in ("load_config", "save_config") else "structure"
    return getattr(importlib.import_module(f"dp_core.config.{module}"), name)
