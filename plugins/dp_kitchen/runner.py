"""`KitchenRunner`: evaluates a policy in the Franka kitchen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dp_core.errors import DataError, InputError
from dp_core.kit.rollout.environment import Split, Start
from dp_core.kit.rollout.runner import RolloutRunner
from dp_core.shape_meta import keys_once_per_episode
from dp_kitchen.config import KitchenRunnerConfig
from dp_kitchen.environment import KitchenEnvironment
from dp_kitchen.shapes import ACTION_SHAPE, STARTS, unknown_to_kitchen


class KitchenRunner(RolloutRunner):
    """Scores an episode by the share of seven tasks that it completes; ``p_n`` is how often n or more are completed.

    The demonstrations complete four tasks each, so that 4/7 is what a perfect imitator scores, and success, which is
    all seven, is not to be expected. See `KitchenEnvironment` for how it differs from the original's.
    """

    def __init__(self, config: KitchenRunnerConfig, *, shape_meta: Mapping[str, Any], output_dir: str | Path) -> None:
        if problems := list(unknown_to_kitchen(shape_meta)):
            raise InputError("; ".join(problems))
        super().__init__(
            config,
            title="kitchen",
            make_environment=partial(
                KitchenEnvironment,
                abs_action=config.abs_action,
                robot_noise_ratio=config.robot_noise_ratio,
                render_hw=config.render_hw,
            ),
            action_dim=ACTION_SHAPE[0],
            output_dir=output_dir,
            once=keys_once_per_episode(shape_meta),
        )
        self.config = config

    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        """List the starts of episodes: those of training are demonstrations', those of the test all the same state.

        Raises:
            DataError: there are too few starts, or they are not of the kitchen.
        """
        config = self.config
        if split == "test":
            return [Start(split, config.test_start_seed + index) for index in range(n_episodes)]
        if config.dataset_dir is None:
            raise InputError("dataset_dir: null has no starts for training episodes; name a folder that has")
        states = _load_starts(config.dataset_dir)
        if len(states) < n_episodes:
            raise DataError(f"{config.dataset_dir}: has {len(states)} starts; choose at most that for n_train")
        return [Start(split, config.train_start_seed + index, states[index]) for index in range(n_episodes)]


def _load_starts(folder: Path) -> list[tuple[Any, Any]]:
    """Positions (30,) and velocities (29,) of the whole simulation at the beginning of each demonstration."""
    arrays = []
    for name, size in zip(STARTS, (30, 29), strict=True):
        path = folder / name
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); expected an array of numbers, whole") from error
        if array.ndim != 2 or array.shape[1] != size:
            raise DataError(f"{path}: has shape {array.shape}; expected (number of starts, {size})")
        arrays.append(array)
    n_positions, n_velocities = map(len, arrays)
    if n_positions != n_velocities:
        raise DataError(
            f"{folder}: {STARTS[0]} has {n_positions} starts and {STARTS[1]} has {n_velocities}; expected as many"
        )
    return list(zip(*arrays, strict=True))
