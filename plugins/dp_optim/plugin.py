"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_optim.config import AdamConfig, AdamWConfig, ConstantConfig, SGDConfig, WarmupConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    """Describe optimizers of torch, and the usual learning rates over a run."""
    optimizers = [
        ("adamw", AdamWConfig, "Adam with decoupled weight decay; what the paper trains with"),
        ("adam", AdamConfig, "Adam, weight decay as part of the gradient"),
        ("sgd", SGDConfig, "stochastic gradient descent with momentum"),
    ]
    for name, config, summary in optimizers:
        yield Component(
            kind="optimizer", name=name, target=f"dp_optim.optimizers:{name}", config=config, summary=summary
        )
    schedules = [
        ("cosine", WarmupConfig, "warm-up, then half a cosine down to 0; what the paper trains with"),
        ("linear", WarmupConfig, "warm-up, then a straight line down to 0"),
        ("constant", ConstantConfig, "the optimizer's learning rate throughout"),
        ("constant_with_warmup", WarmupConfig, "warm-up, then the optimizer's learning rate"),
    ]
    for name, config, summary in schedules:
        yield Component(
            kind="lr_schedule", name=name, target=f"dp_optim.schedules:{name}", config=config, summary=summary
        )
