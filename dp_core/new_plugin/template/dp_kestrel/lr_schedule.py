"""A learning rate that drops in steps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from dp_kestrel.config import LrScheduleOptions


def make_schedule(config: LrScheduleOptions, *, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
    """Cut a run of ``num_training_steps`` optimizer steps into parts of equal length, each with a lower rate."""
    # A function of this module bound to numbers can be pickled; a lambda could not.
    multiplier = partial(_multiplier, n_drops=config.n_drops, factor=config.factor, num_steps=num_training_steps)
    return LambdaLR(optimizer, multiplier)


def _multiplier(step: int, *, n_drops: int, factor: float, num_steps: int) -> float:
    parts_done = (n_drops + 1) * step // num_steps
    return float(factor ** min(parts_done, n_drops))
