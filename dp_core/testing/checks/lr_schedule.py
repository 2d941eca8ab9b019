"""The rules of learning-rate schedules: a component of this kind makes a `torch.optim.lr_scheduler.LRScheduler`."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from dp_core.testing.case import Case
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.checks.modules import pickled

_STEPS = 1000


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that ``target(config, optimizer=..., num_training_steps=...)`` returns an `LRScheduler`."""
    schedule = _built(case)
    if not isinstance(schedule, LRScheduler):
        case.fail(
            f"returned a {type(schedule).__name__}; expected a torch.optim.lr_scheduler.LRScheduler",
            "return one, such as torch.optim.lr_scheduler.LambdaLR(optimizer, ...)",
        )


def rates_are_sound_and_end(case: Case) -> None:
    """Check that learning rates are finite, at least 0, at times above 0, and do not rise once the run is over."""
    rates = _rates(_built(case), _STEPS + 50)
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates) or not any(rates):
        case.fail(
            f"rates of a run go from {min(rates):g} to {max(rates):g}; expected finite ones, at least 0 and not all 0",
            "check the formula at its ends",
        )
    last = rates[_STEPS]
    if max(rates[_STEPS:]) > last * (1 + 1e-9):
        case.fail(
            f"after the last of {_STEPS} steps, the rate rises from {last:g} to {max(rates[_STEPS:]):g}; "
            "expected it to stay or fall",
            "limit the step to num_training_steps",
        )


def it_goes_on_from_its_state_dict(case: Case) -> None:
    """Check that a schedule that loads the state dict of another gives the same rates, so that runs can be resumed."""
    schedule, other = _built(case), _built(case)
    _rates(schedule, _STEPS // 2)
    other.optimizer.load_state_dict(copy.deepcopy(schedule.optimizer.state_dict()))
    other.load_state_dict(copy.deepcopy(schedule.state_dict()))
    expected, found = _rates(schedule, 3), _rates(other, 3)
    if found != expected:
        case.fail(
            f"with the state dict of another, the next rates were {_shown(found)}; expected {_shown(expected)}",
            "let rates depend on last_epoch, the options and num_training_steps alone",
        )


def it_can_be_pickled(case: Case) -> None:
    """Check that what is unpickled from a snapshot gives the same rates."""
    schedule = _built(case)
    _rates(schedule, 3)
    again = pickled(case, schedule)
    expected, found = _rates(schedule, 3), _rates(again, 3)
    if found != expected:
        case.fail(
            f"what was pickled gave the rates {_shown(found)}; expected {_shown(expected)}",
            "leave nothing out of its state",
        )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    rates_are_sound_and_end,
    it_goes_on_from_its_state_dict,
    it_can_be_pickled,
)


def _built(case: Case) -> Any:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    return case.build(optimizer=optimizer, num_training_steps=_STEPS)


def _rates(schedule: Any, count: int) -> list[float]:
    """Learning rates of the next steps."""
    rates = []
    with warnings.catch_warnings():
        # Weights do not matter here, so that the optimizer takes no step.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(count):
            rates.append(float(schedule.optimizer.param_groups[0]["lr"]))
            schedule.step()
    return rates


def _shown(rates: list[float]) -> str:
    return ", ".join(f"{rate:.6g}" for rate in rates)
