"""torch's optimizers over the parameters of a policy that are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import nn

from dp_core.errors import InputError
from dp_optim.config import AdamConfig, AdamWConfig, SGDConfig


def adamw(config: AdamWConfig, *, policy: nn.Module) -> torch.optim.AdamW:
    """Build `torch.optim.AdamW`."""
    parameters = _trained(policy)
    return torch.optim.AdamW(parameters, **_options(config, parameters))


def adam(config: AdamConfig, *, policy: nn.Module) -> torch.optim.Adam:
    """Build `torch.optim.Adam`."""
    parameters = _trained(policy)
    return torch.optim.Adam(parameters, **_options(config, parameters))


def sgd(config: SGDConfig, *, policy: nn.Module) -> torch.optim.SGD:
    """Build `torch.optim.SGD`."""
    parameters = _trained(policy)
    return torch.optim.SGD(parameters, **_options(config, parameters))


def _trained(policy: nn.Module) -> list[nn.Parameter]:
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("optimizer: the policy has no parameter that requires a gradient; unfreeze a part of it")
    return parameters


def _options(config: AdamWConfig | AdamConfig | SGDConfig, parameters: Sequence[nn.Parameter]) -> dict[str, Any]:
    options = attrs.asdict(config)
    if config.fused is None:
        # torch's own default loops over the parameters where there is no GPU: 5 times slower than its fused CPU kernel.
        # A policy is built on the CPU and moved later; both have the kernel.
        fusable = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
        options["fused"] = fusable or None
    return options
