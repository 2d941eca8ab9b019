"""The training loop, and what it trains with: averages, batches, options, random state, devices.

Attributes are imported when they are asked for, since config classes import `dp_core.training.options` without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_core.training.data_loading import BatchOrder
    from dp_core.training.ema import EMAModel
    from dp_core.training.loop import train
    from dp_core.training.progress import Progress
    from dp_core.training.random_state import seed_everything

__all__ = ["BatchOrder", "EMAModel", "Progress", "seed_everything", "train"]

_MODULES = {
    "BatchOrder": "data_loading",
    "EMAModel": "ema",
    "Progress": "progress",
    "seed_everything": "random_state",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dp_core.training' has no attribute '{name}'")
    return getattr(importlib.import_module(f"dp_core.training.{_MODULES[name]}"), name)
