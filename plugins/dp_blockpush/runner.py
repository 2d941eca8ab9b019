"""`BlockPushRunner`: evaluates a policy in block pushing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dp_blockpush.config import BlockPushRunnerConfig
from dp_blockpush.environment import BlockPushEnvironment
from dp_blockpush.shapes import ACTION_SHAPE, unknown_to_block_pushing
from dp_core.errors import InputError
from dp_core.kit.rollout.environment import Split, Start
from dp_core.kit.rollout.runner import RolloutRunner
from dp_core.shape_meta import keys_once_per_episode

_CONTROL_RATE = 10.0


class BlockPushRunner(RolloutRunner):
    """``p1`` and ``p2`` are the paper's: how often one block, and both, are brought to a target.

    Episodes of both splits start from a seed, the same states as the original's; ``test`` seeds are far from those of
    the training data.
    """

    def __init__(self, config: BlockPushRunnerConfig, *, shape_meta: Mapping[str, Any], output_dir: str | Path) -> None:
        if problems := list(unknown_to_block_pushing(shape_meta)):
            raise InputError("; ".join(problems))
        super().__init__(
            config,
            title="block pushing",
            make_environment=partial(
                BlockPushEnvironment, abs_action=config.abs_action, obs_eef_target=config.obs_eef_target
            ),
            action_dim=ACTION_SHAPE[0],
            output_dir=output_dir,
            once=keys_once_per_episode(shape_meta),
            steps_per_frame=max(1, round(_CONTROL_RATE / config.fps)),
        )
        self.config = config

    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        first = self.config.train_start_seed if split == "train" else self.config.test_start_seed
        return [Start(split, first + index) for index in range(n_episodes)]
