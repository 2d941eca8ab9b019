"""Options of data sets made of windows over a replay buffer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs
from attrs.validators import ge, le, optional

from dp_core import option

RANGE_EPS = (
    "entries of observations and actions with a smaller range are constants: shifted, not scaled; those that vary are "
    "named when training starts"
)
"""The help of the option `range_eps`."""


def _lies_in_horizon(config: WindowOptions, field: attrs.Attribute[int], n_obs_steps: int) -> None:
    if n_obs_steps > config.horizon:
        raise ValueError(f"{n_obs_steps} is larger than horizon {config.horizon}; choose at most that")


def _ends_in_horizon(config: WindowOptions, field: attrs.Attribute[int], n_action_steps: int) -> None:
    limit = config.horizon - config.n_obs_steps + 1
    if n_action_steps > limit >= 1:
        raise ValueError(
            f"{n_action_steps} steps, executed from observation step {config.n_obs_steps} on, end beyond horizon "
            f"{config.horizon}; choose at most {limit}"
        )


@attrs.frozen(kw_only=True)
class WindowOptions:
    """The options of cutting demonstrations into windows for training and validation; data sets inherit them."""

    horizon: int = option(help="steps of a window (Tp), those of the policy", validator=ge(1))
    n_obs_steps: int = option(
        help="steps that the policy observes (To), now included", validator=[ge(1), _lies_in_horizon]
    )
    n_action_steps: int = option(help="steps that the policy executes (Ta)", validator=[ge(1), _ends_in_horizon])
    full_obs_horizon: bool = option(
        False, help="load observations of the whole window, which inpainting needs; false: of its first n_obs_steps"
    )
    seed: int = option(42, help="draws the validation episodes, and the training episodes where they are limited")
    val_ratio: float = option(0.0, help="share of the episodes held out for validation", validator=[ge(0), le(1)])
    max_train_episodes: int | None = option(
        None, help="number of episodes to train on, drawn from those not held out; null: all", validator=optional(ge(1))
    )
    range_eps: float = option(1e-4, help=RANGE_EPS, validator=ge(0))


@attrs.frozen(kw_only=True)
class ReplayConfig(WindowOptions):
    """Your own demonstrations, in a zarr replay buffer whose arrays have the names of the keys of `shape_meta`."""

    path: Path = option(help="replay buffer: a folder (.zarr), or a .zip that is one or contains one")

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report a file that does not exist."""
        if not self.path.exists():
            yield "path", f"'{self.path}' does not exist; give the path of a zarr replay buffer, a folder or a .zip"
