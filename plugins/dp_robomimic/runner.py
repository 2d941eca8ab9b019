"""`RobomimicRunner`: evaluates a policy in the tasks of robomimic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dp_core.kit.rollout.environment import Split, Start
from dp_core.kit.rollout.runner import RolloutRunner
from dp_core.shape_meta import action_dim, keys_of_type, keys_once_per_episode, obs_shape
from dp_robomimic.config import RobomimicRunnerConfig
from dp_robomimic.demonstrations import open_demonstrations
from dp_robomimic.environment import RobosuiteEnvironment, Setup

_CONTROL_FREQ = 20
"""Control steps per second, unless the file says something else."""


class RobomimicRunner(RolloutRunner):
    """Scores an episode by its best reward: 1 for success, else 0, so that the mean score is the success rate.

    ``train`` episodes start as demonstrations did, ``test`` episodes from seeds.
    """

    def __init__(self, config: RobomimicRunnerConfig, *, shape_meta: Mapping[str, Any], output_dir: str | Path) -> None:
        with open_demonstrations(config.path) as file:
            env_args = file.env_args
        setup = Setup(
            env_args=env_args,
            image_shapes={key: obs_shape(shape_meta, key) for key in keys_of_type(shape_meta, "rgb")},
            low_dim_keys=tuple(config.obs_keys or keys_of_type(shape_meta, "low_dim")),
            is_joined=config.obs_keys is not None,
            abs_action=config.abs_action,
            rotation_rep=config.rotation_rep,
            render_key=config.render_obs_key,
            render_hw=config.render_hw,
            is_filmed=min(config.n_train, config.n_train_vis) + min(config.n_test, config.n_test_vis) > 0,
        )
        control_freq = env_args["env_kwargs"].get("control_freq", _CONTROL_FREQ)
        super().__init__(
            config,
            title=env_args["env_name"],
            make_environment=partial(RobosuiteEnvironment, setup),
            action_dim=action_dim(shape_meta),
            output_dir=output_dir,
            once=keys_once_per_episode(shape_meta),
            steps_per_frame=max(round(control_freq / config.fps), 1),
        )
        self.config = config

    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        if split == "test":
            return [Start(split, self.config.test_start_seed + index) for index in range(n_episodes)]
        first = self.config.train_start_idx
        with open_demonstrations(self.config.path) as file:
            return [Start(split, index, state=file.first_state(index)) for index in range(first, first + n_episodes)]
