"""Options of what `dp_astray.plugin` describes."""

from __future__ import annotations

from pathlib import Path

import attrs

from dp_core import option
from dp_core.kit.rollout.config import RolloutOptions


@attrs.frozen(kw_only=True)
class WalkOptions:
    folder: Path = option(help="of .npz files")
    horizon: int = option(6, help="steps of a window")


@attrs.frozen(kw_only=True)
class DriftOptions(RolloutOptions):
    n_train: int = option(0, help="episodes from starts of the training data")
    n_train_vis: int = option(0, help="of these, how many are filmed")
    n_test: int = option(2, help="episodes from new starts")
    n_test_vis: int = option(0, help="of these, how many are filmed")
    n_action_steps: int = option(4, help="Ta, actions executed per prediction")
    max_steps: int = option(12, help="control steps of an episode")
