"""Options of the kitchen's data set and runner."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import attrs
from attrs.validators import deep_iterable, ge, gt

from dp_core import Slot, option
from dp_core.errors import quoted
from dp_core.kit.files.command import download_command
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.shape_meta import shape_meta_problems
from dp_kitchen.shapes import ARRAYS, FOLDER, LOGS, STARTS, unknown_to_kitchen
from dp_replay.config import RANGE_EPS, WindowOptions


@attrs.frozen(kw_only=True)
class KitchenDatasetConfig(WindowOptions):
    """Demonstrations of the Franka kitchen: the key ``obs`` (60), and actions (9)."""

    path: Path = option(
        help="folder with observations_seq.npy, actions_seq.npy and existence_mask.npy; "
        "with abs_action: folder with .mjl logs, at any depth"
    )
    abs_action: bool = option(
        False, help="actions are joint positions, read from .mjl logs; false: joint velocities, read from arrays"
    )
    robot_noise_ratio: float = option(
        0.0,
        help="noise added once to what the logs measured exactly, as a share of what the sensors of the robot are "
        "said to have; arrays have it already",
        validator=ge(0),
    )
    range_eps: float = option(5e-2, help=RANGE_EPS, validator=ge(0))

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report what the kitchen does not offer to the policy, and noise on top of arrays that have it already."""
        if not any(shape_meta_problems(shape_meta)):
            for message in unknown_to_kitchen(shape_meta):
                yield "", message
        if self.robot_noise_ratio and not self.abs_action:
            yield (
                "robot_noise_ratio",
                f"{self.robot_noise_ratio} is for logs; the arrays of abs_action: false were recorded with noise; "
                "choose 0",
            )

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report files that do not exist."""
        if self.abs_action:
            if next(self.path.rglob("*.mjl"), None) is None:
                yield "path", f"'{self.path}' has no .mjl logs; {_get_them(self.path, LOGS)}"
        elif missing := _missing(self.path, ARRAYS):
            yield "path", f"'{self.path}' has no {missing}; {_get_them(self.path, FOLDER, '--no-abs-action')}"


def _is_even(config: KitchenRunnerConfig, field: attrs.Attribute[int], size: int) -> None:
    if size < 2 or size % 2:
        raise ValueError(f"{size} is not an even number of at least 2, which videos need; choose {max(2, size + 1)}")


@attrs.frozen(kw_only=True)
class KitchenRunnerConfig(RolloutOptions):
    """Evaluation in the Franka kitchen, by default that of the paper: 50 test episodes of 280 steps."""

    environment_measures: ClassVar[tuple[str, ...] | None] = tuple(f"p_{n}" for n in range(1, 8))

    dataset_dir: Path | None = option(
        None,
        help="folder with all_init_qpos.npy and all_init_qvel.npy, where the training episodes start; "
        "null: there are none, n_train is 0",
    )
    train_start_seed: int = option(0, help="first seed of the training episodes; draws their noise", validator=ge(0))
    max_steps: int = option(280, help="control steps of an episode, 12.5 per second", validator=ge(1))
    fps: float = option(12.5, help="frames per second of the videos; 12.5 is real time", validator=gt(0))
    abs_action: bool = option(False, help="actions are joint positions; false: velocities, as shares of 2 rad/s")
    robot_noise_ratio: float = option(
        0.1, help="noise of the observations, as a share of what the sensors are said to have", validator=ge(0)
    )
    render_hw: tuple[int, int] = option(
        (240, 360), help="height and width of the videos", validator=deep_iterable(_is_even)
    )

    def check(self, shape_meta: dict[str, Any], dataset: Any = None) -> Iterable[tuple[str, str]]:
        """Report what the kitchen does not offer to the policy, and actions of another kind than the data set's."""
        yield from super().check(shape_meta)
        if not any(shape_meta_problems(shape_meta)):
            for message in unknown_to_kitchen(shape_meta):
                yield "", message
        if self.n_train and self.dataset_dir is None:
            yield (
                "dataset_dir",
                f"null has no starts for n_train {self.n_train}; name a folder that has, or choose n_train: 0",
            )
        trained = getattr(dataset.config, "abs_action", None) if isinstance(dataset, Slot) else None
        if trained not in (None, self.abs_action):
            yield "abs_action", f"{_yaml(self.abs_action)}, but dataset.abs_action is {_yaml(trained)}; choose the same"

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report files that do not exist."""
        if self.n_train and self.dataset_dir is not None and (missing := _missing(self.dataset_dir, STARTS)):
            yield (
                "dataset_dir",
                f"'{self.dataset_dir}' has no {missing}; {_get_them(self.dataset_dir, FOLDER)}, or evaluate with "
                "n_train: 0",
            )


def _missing(folder: Path, names: Iterable[str]) -> str:
    return quoted(name for name in names if not (folder / name).exists())


def _get_them(path: Path, name: str, *options: str) -> str:
    return f"get them with '{download_command('kitchen', path, name, *options)}'"


def _yaml(value: Any) -> str:
    return str(value).lower()
