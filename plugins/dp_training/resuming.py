"""What a resumed run makes of a checkpoint that has counts in other units, or less than the config asks for."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from dp_core.config.tree import unstructure
from dp_training.config import TrainConfig

_UNKNOWN = -1

logger = logging.getLogger(__name__)


def with_windows(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Count the current epoch of a payload in windows, if it was written by a version that counted batches.

    Its epoch's mean loss stays one over batches.
    """
    states = payload["state_dicts"]
    progress = states.get("progress")
    if progress is None or "windows_in_epoch" in progress:
        return payload
    batch_size = payload["cfg"]["dataloader"]["batch_size"]
    counted = {
        "windows_in_epoch": progress["step_in_epoch"] * batch_size,
        "loss_sum": progress["loss_sum"] * batch_size,
        "updates": states.get("lr_schedule", {}).get("last_epoch", _UNKNOWN),
    }
    return {**payload, "state_dicts": {**states, "progress": {**progress, **counted}}}


def with_average(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let an average begin with the weights of a payload that has none, and with their normalizer."""
    states = payload["state_dicts"]
    if "model" not in states or "ema_model" in states:
        return payload
    logger.info("the checkpoint has no average of the weights: one begins with what they are now")
    begun = {"ema_model": states["model"], "ema": {"optimization_step": 0}}
    return {**payload, "state_dicts": {**states, **begun}}


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
