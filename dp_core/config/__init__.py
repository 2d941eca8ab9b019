"""The language of configs: options, slots, composition, types and rules, before anything heavy is imported.

Attributes are imported when they are asked for, since `dp_core.config.fields` is needed where nothing else is. What
reads a file is `dp_core.run_config`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_core.config.structure import structure_block, structure_parts, structure_run
    from dp_core.config.tree import components_of, preflight, unstructure

__all__ = ["components_of", "preflight", "structure_block", "structure_parts", "structure_run", "unstructure"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dp_core.config' has no attribute '{name}'")
    module = "structure" if name.startswith("structure") else "tree"
    return getattr(importlib.import_module(f"dp_core.config.{module}"), name)
