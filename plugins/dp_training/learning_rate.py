"""The learning rate of a run that is resumed: whether its schedule continues, and a new one brought to its place."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from dp_core.config import unstructure
from dp_training.config import TrainConfig


def has_other_rates(payload: Mapping[str, Any], cfg: TrainConfig) -> bool:
    """Tell whether options on which learning rates depend, or others of the optimizer, are not those of the payload."""
    now = unstructure(cfg)
    return any(payload["cfg"].get(name) != now[name] for name in ("policy", "optimizer", "lr_schedule"))


def advance(schedule: LRScheduler, steps: int) -> None:
    """Bring a new schedule to where it is after ``steps`` of them.

    One by one, the only way that any schedule has: many compute a learning rate from the one before. A million take
    about seven seconds.
    """
    with warnings.catch_warnings():
        # Torch supposes that a schedule which is ahead of its optimizer is called too early.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
        for _ in range(steps):
            schedule.step()
