"""RMSprop over the parameters of a policy that are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from dp_core.interfaces import BaseEncoder
from torch import nn

if TYPE_CHECKING:
    from dp_kestrel.config import OptimizerOptions


def make_optimizer(config: OptimizerOptions, *, policy: nn.Module) -> torch.optim.Optimizer:
    """Leave out what is frozen; let encoders have parts that learn at another rate."""
    factors = _lr_multipliers(policy)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    groups = []
    for factor in dict.fromkeys([1.0, *factors.values()]):
        members = [parameter for parameter in trained if factors.get(parameter, 1.0) == factor]
        groups.append({"params": members, "lr": config.lr * factor})
    return torch.optim.RMSprop(groups, lr=config.lr, alpha=config.alpha)


def _lr_multipliers(policy: nn.Module) -> dict[nn.Parameter, float]:
    """What the encoders in it ask for."""
    encoders = [module for module in policy.modules() if isinstance(module, BaseEncoder)]
    return {e.get_parameter(name): factor for e in encoders for name, factor in e.lr_multipliers().items()}
