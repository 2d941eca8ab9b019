"""Builds torch's optimizers over the parameters of a policy that are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import nn

from dp_core.errors import InputError
from dp_core.interfaces import BaseDenoiser, BaseEncoder
from dp_optim.config import AdamConfig, AdamWConfig, SGDConfig

Config = AdamConfig | AdamWConfig | SGDConfig


def adamw(config: AdamWConfig, *, policy: nn.Module) -> torch.optim.AdamW:
    """Build `torch.optim.AdamW` for the parameters of ``policy`` that require a gradient.

    Raises:
        InputError: there is none.
    """
    parameters = _trained(policy)
    return torch.optim.AdamW(_groups(config, policy, parameters), **_options(config, parameters))


def adam(config: AdamConfig, *, policy: nn.Module) -> torch.optim.Adam:
    """Build `torch.optim.Adam` for the parameters of ``policy`` that require a gradient.

    Raises:
        InputError: there is none.
    """
    parameters = _trained(policy)
    return torch.optim.Adam(_groups(config, policy, parameters), **_options(config, parameters))


def sgd(config: SGDConfig, *, policy: nn.Module) -> torch.optim.SGD:
    """Build `torch.optim.SGD` for the parameters of ``policy`` that require a gradient.

    Raises:
        InputError: there is none.
    """
    parameters = _trained(policy)
    return torch.optim.SGD(_groups(config, policy, parameters), **_options(config, parameters))


def _trained(policy: nn.Module) -> list[nn.Parameter]:
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("optimizer: the policy has no parameter that requires a gradient; unfreeze a part of it")
    return parameters


def _groups(config: Config, policy: nn.Module, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    """Parameters with the weight decay of the optimizer, with none, and with the encoder's; each in the policy's order.

    Those that encoders let learn at rates of their own follow, rate by rate, in the same three groups. Groups follow
    from who asked for them, not from their decay, so that a run resumes with another decay. Empty ones are left out:
    a policy that asks for nothing has a single one.
    """
    undecayed, of_encoder = set(), set()
    factors: dict[int, float] = {}
    for module in policy.modules():
        if isinstance(module, BaseDenoiser):
            undecayed |= {id(module.get_parameter(name)) for name in module.no_weight_decay()}
        elif isinstance(module, BaseEncoder):
            factors |= {id(module.get_parameter(name)): factor for name, factor in module.lr_multipliers().items()}
            if config.encoder_weight_decay is not None:
                of_encoder |= {id(parameter) for parameter in module.parameters()}
    asked = undecayed | of_encoder
    groups = []
    for factor in dict.fromkeys([1.0, *factors.values()]):
        members = [p for p in parameters if factors.get(id(p), 1.0) == factor]
        of_rate = [
            ([p for p in members if id(p) not in asked], config.weight_decay),
            ([p for p in members if id(p) in undecayed], 0.0),
            ([p for p in members if id(p) in of_encoder], config.encoder_weight_decay),
        ]
        groups += [{"params": p, "weight_decay": decay, "lr": config.lr * factor} for p, decay in of_rate if p]
    return groups


def _options(config: Config, parameters: Sequence[nn.Parameter]) -> dict[str, Any]:
    options = attrs.asdict(config, filter=attrs.filters.exclude("encoder_weight_decay"))
    if config.fused is None:
        # torch's own default loops over the parameters where there is no GPU, 3 to 5 times slower than its fused one.
        # A policy is built on the CPU and moved later; both have the kernel.
        fusable = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
        options["fused"] = fusable or None
    return options
