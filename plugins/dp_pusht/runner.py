"""`PushTRunner`: evaluates a policy in Push-T."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dp_core.errors import InputError
from dp_core.kit.rollout.environment import Split, Start
from dp_core.kit.rollout.runner import RolloutRunner
from dp_core.shape_meta import keys_once_per_episode
from dp_pusht.config import PushTRunnerConfig
from dp_pusht.environment import PushTEnvironment
from dp_pusht.shapes import ACTION_SHAPE, unknown_to_pusht


class PushTRunner(RolloutRunner):
    """Scores an episode by its best reward, as the paper does: 1 is a goal covered by 95 %.

    Episodes of both splits start as demonstrations do, from a seed; ``test`` seeds are far from those of the training
    data.
    """

    def __init__(self, config: PushTRunnerConfig, *, shape_meta: Mapping[str, Any], output_dir: str | Path) -> None:
        if problems := list(unknown_to_pusht(shape_meta)):
            raise InputError("; ".join(problems))
        super().__init__(
            config,
            title="Push-T",
            make_environment=partial(PushTEnvironment, tuple(shape_meta["obs"]), legacy=config.legacy_test),
            action_dim=ACTION_SHAPE[0],
            output_dir=output_dir,
            once=keys_once_per_episode(shape_meta),
        )
        self.config = config

    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        first = self.config.train_start_seed if split == "train" else self.config.test_start_seed
        return [Start(split, first + index) for index in range(n_episodes)]
