"""Makes the learning rate over a run, as a multiple of the optimizer's; counted in optimizer steps.

Schedules end: past ``num_training_steps`` the last value stays. (A cosine that is not stopped rises again, to the
full learning rate at twice the number of steps.) Multipliers are functions of this module bound to plain numbers, so
that a schedule can be pickled, and its state dict holds the position but not the shape: a resumed run with more
epochs gets the shape of its own config.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dp_optim.config import ConstantConfig, WarmupConfig

logger = logging.getLogger(__name__)


def cosine(config: WarmupConfig, *, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
    """Make half a cosine from the full learning rate down to 0 (Loshchilov and Hutter, ICLR 2017), after a warm-up."""
    return _decaying(_half_cosine, config, optimizer, num_training_steps)


def linear(config: WarmupConfig, *, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
    """Make a straight line from the full learning rate down to 0, after a warm-up."""
    return _decaying(_line, config, optimizer, num_training_steps)


def constant_with_warmup(config: WarmupConfig, *, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
    """Make a schedule that keeps the full learning rate after a warm-up."""
    return _decaying(_one, config, optimizer, num_training_steps)


def constant(config: ConstantConfig, *, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
    """Make a schedule that keeps the full learning rate at every step."""
    return LambdaLR(optimizer, _one)


def _decaying(shape: Callable[[float], float], config: WarmupConfig, optimizer: Optimizer, total: int) -> LambdaLR:
    warmup = config.num_warmup_steps
    if warmup >= total:
        logger.warning(
            "lr_schedule.num_warmup_steps: %d steps of warm-up in a run of %d: the full learning rate is never reached",
            warmup,
            total,
        )
    return LambdaLR(optimizer, partial(_multiplier, shape=shape, num_warmup_steps=warmup, num_training_steps=total))


def _multiplier(step: int, *, shape: Callable[[float], float], num_warmup_steps: int, num_training_steps: int) -> float:
    if step < num_warmup_steps:
        return step / num_warmup_steps
    left = min(1.0, (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps))
    return shape(left)


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _line(progress: float) -> float:
    return 1 - progress


def _one(_: float) -> float:
    return 1.0
