"""Makes of an older checkpoint one that this version, or this config, can restore: other units, no average.

Neither is a migration of the component (`Component.upgrade_state`), which is asked by version: checkpoints that count
batches say 0.1.0 like those that count windows, and whether an average is to begin depends on the config.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

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
