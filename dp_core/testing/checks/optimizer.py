"""The rules of optimizers: a component of this kind makes a `torch.optim.Optimizer` for a policy."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.errors import quoted
from dp_core.interfaces import BaseDenoiser, BaseEncoder
from dp_core.testing.case import Case
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.samples import clone, differences, generator, seeded


class ThreeParts(BaseDenoiser):
    """A network with a layer that is trained, one that is frozen, and a bias that asks for no decay."""

    def __init__(self) -> None:
        super().__init__()
        with seeded():
            self.trained = nn.Linear(4, 3)
            self.frozen = nn.Linear(3, 2).requires_grad_(False)

    def forward(
        self, sample: Tensor, timestep: Tensor, local_cond: Tensor | None = None, global_cond: Tensor | None = None
    ) -> Tensor:
        prediction: Tensor = self.frozen(self.trained(sample))
        return prediction

    def no_weight_decay(self) -> set[str]:
        return {"trained.bias"}


class SlowEncoder(BaseEncoder):
    """Asks that one of its parameters learns at a tenth of the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.output_dim = 2
        self.layer = nn.Linear(2, 2)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        features: Tensor = self.layer(obs["state"])
        return features

    def lr_multipliers(self) -> dict[str, float]:
        return {"layer.weight": 0.1}


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that ``target(config, policy=...)`` returns a `torch.optim.Optimizer`."""
    optimizer = case.build(policy=ThreeParts())
    if not isinstance(optimizer, torch.optim.Optimizer):
        case.fail(
            f"returned a {type(optimizer).__name__}; expected a torch.optim.Optimizer",
            "return one, or a class that inherits from it",
        )


def it_has_what_is_trained_once(case: Case) -> None:
    """Check that every parameter that requires a gradient is in the optimizer once, and no other."""
    policy = ThreeParts()
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    found = sorted(names[id(parameter)] for parameter in _parameters(case.build(policy=policy)))
    expected = sorted(name for name, parameter in policy.named_parameters() if parameter.requires_grad)
    if found != expected:
        case.fail(
            f"for a policy that trains {quoted(expected)}, it has {quoted(found) or 'nothing'}; expected the same",
            "take [p for p in policy.parameters() if p.requires_grad]",
        )


def a_step_changes_what_is_trained(case: Case) -> None:
    """Check that a step changes every parameter that has a gradient."""
    policy = ThreeParts()
    optimizer, before = case.build(policy=policy), clone(policy.state_dict())
    _step(policy, optimizer)
    unchanged = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    unchanged -= set(differences(before, policy.state_dict()))
    if unchanged:
        case.fail(
            f"a step left {quoted(sorted(unchanged))} as it was; expected another value",
            "check the learning rate and the groups of parameters",
        )


def it_goes_on_from_its_state_dict(case: Case) -> None:
    """Check that an optimizer with the state dict of another takes the same next step, so that runs can be resumed."""
    policy = ThreeParts()
    optimizer = case.build(policy=policy)
    for _ in range(2):
        _step(policy, optimizer)
    other_policy = copy.deepcopy(policy)
    other = case.build(policy=other_policy)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _step(policy, optimizer)
    _step(other_policy, other)
    if different := list(differences(policy.state_dict(), other_policy.state_dict())):
        case.fail(
            f"with the state dict of another, the next step gave other values of {quoted(different)}; "
            "expected the same",
            "keep what steps depend on in self.state and in the groups of parameters",
        )


def weight_decay_spares_what_asks_for_it(case: Case) -> None:
    """Check that what a denoiser names in ``no_weight_decay`` is in groups whose ``weight_decay`` is 0."""
    policy = ThreeParts()
    for group in case.build(policy=policy).param_groups:
        decays = group.get("weight_decay", 0) != 0
        if decays and any(parameter is policy.trained.bias for parameter in group["params"]):
            case.fail(
                f"'trained.bias' decays by {group['weight_decay']:g}, and the denoiser names it in no_weight_decay; "
                "expected 0",
                "give the parameters that BaseDenoiser modules name in no_weight_decay() a group of their own",
            )


def rates_follow_the_encoder(case: Case) -> None:
    """Check that what an encoder names in ``lr_multipliers`` learns at that share of the rate of everything else."""
    policy = SlowEncoder()
    optimizer = case.build(policy=policy)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    slow, usual = rates[id(policy.layer.weight)], rates[id(policy.layer.bias)]
    if not math.isclose(slow, 0.1 * usual):
        case.fail(
            f"'layer.weight' learns at {slow:g}, and the encoder asks for 0.1 times the {usual:g} of everything else; "
            f"expected {0.1 * usual:g}",
            "give the parameters that BaseEncoder modules name in lr_multipliers() groups with a rate of their own",
        )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    it_has_what_is_trained_once,
    a_step_changes_what_is_trained,
    it_goes_on_from_its_state_dict,
    weight_decay_spares_what_asks_for_it,
    rates_follow_the_encoder,
)


def _parameters(optimizer: Any) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _step(policy: ThreeParts, optimizer: Any) -> None:
    optimizer.zero_grad()
    sample = torch.randn(5, 4, generator=generator())
    policy(sample, torch.tensor(0)).square().sum().backward()
    optimizer.step()
