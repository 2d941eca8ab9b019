"""Whether a policy can give the actions that it is shown is said when a run starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dp_core.cli.run import main
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.testing.tiny import TinyPolicy
from dp_core.testing.tiny_plugin import TinyWindowOptions
from dp_training.action_range import unreachable_actions

SHAPE_META: dict[str, Any] = {"obs": {"state": {"shape": [3]}}, "action": {"shape": [2]}}
DATA = torch.tensor([[0.0, -5.0], [0.5, 4.0], [1.0, 3.0]])
LIMITS = (DATA.amin(0), DATA.amax(0))
WITHIN = torch.zeros(1, 3, 2)


class ClippedPolicy(TinyPolicy):
    """Says that it gives at most 1."""

    @property
    def largest_normalized_action(self) -> float | None:
        return 1.0


def policy_with(action: SingleFieldLinearNormalizer, kind: type[TinyPolicy] = ClippedPolicy) -> TinyPolicy:
    policy = kind(TinyWindowOptions(), shape_meta=SHAPE_META)
    normalizer = LinearNormalizer()
    normalizer["action"] = action
    policy.set_normalizer(normalizer)
    return policy


@pytest.mark.parametrize(
    ("limits", "actions"),
    [(LIMITS, WITHIN), (None, DATA[None]), (LIMITS, DATA[None])],
    ids=["the data set tells", "a batch shows", "both"],
)
def test_actions_that_are_used_as_they_are_and_exceed_the_sampler_are_said(
    limits: tuple[Tensor, Tensor] | None, actions: Tensor
) -> None:
    policy = policy_with(SingleFieldLinearNormalizer.create_identity())

    assert unreachable_actions(policy, limits, actions) == (
        "action: entry 1 is demonstrated from -5 to 4, but the policy gives -1 to 1 at most: normalised, it is clipped "
        "to 1, and the demonstrations reach 5 (1 of 2 entries are beyond); scale the actions to that, or let the "
        "scheduler go further; dp-core's take policy.scheduler.clip_sample_range=5"
    )


def test_limits_are_those_of_the_normalizer_unless_the_data_set_says_otherwise() -> None:
    policy = policy_with(SingleFieldLinearNormalizer.create_fit(DATA, mode="gaussian"))

    warning = unreachable_actions(policy, None, WITHIN)

    std, mean = DATA.std(0), DATA.mean(0)
    assert warning is not None
    assert warning.startswith(
        f"action: entry 1 is demonstrated from -5 to 4, but the policy gives {mean[1] - std[1]:.4g} to "
        f"{mean[1] + std[1]:.4g} at most"
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_actions_that_are_scaled_to_their_limits_are_reached(scale: float) -> None:
    data = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)) * scale + 3 * scale
    policy = policy_with(SingleFieldLinearNormalizer.create_fit(data))

    assert unreachable_actions(policy, (data.amin(0), data.amax(0)), data[None]) is None


def test_a_policy_without_limit_reaches_everything() -> None:
    policy = policy_with(SingleFieldLinearNormalizer.create_identity(), kind=TinyPolicy)

    assert unreachable_actions(policy, LIMITS, DATA[None]) is None


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ((), False),
        (("policy.scheduler.clip_sample_range=0.5",), True),
        (("policy.scheduler.clip_sample_range=0.5", "policy.scheduler.clip_sample=false"), False),
        (("policy.scheduler=flow_matching",), False),
    ],
)
def test_a_run_warns_once_when_it_starts(
    tiny_config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, options: tuple[str, ...], warns: bool
) -> None:
    assert main([str(tiny_config), f"output_dir={tmp_path}/run", "training.num_epochs=2", *options]) == 0

    warnings = [message for message in caplog.messages if message.startswith("action: entry ")]
    assert len(warnings) == warns
    assert all("normalised, it is clipped to 0.5, and the demonstrations reach 1 (2 of 2" in text for text in warnings)
