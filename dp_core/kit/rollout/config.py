"""Options that evaluations in environments have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import attrs
from attrs.validators import ge, gt, lt, optional

from dp_core.config.fields import option

_SCORES = ("mean_score", "mean_score_low", "mean_score_high", "sim_max_reward_*")
"""What every evaluation measures, per split."""
_SUCCESS = ("success_rate", "success_rate_low", "success_rate_high")
"""What it measures besides where a task can be done or not."""


@attrs.frozen(kw_only=True)
class RolloutOptions:
    """Choose which episodes are run, and how. Configs of runners inherit these, and set defaults for their task."""

    environment_measures: ClassVar[tuple[str, ...] | None] = None
    """Names of what `Environment.measure` of the task returns; None: not said, so any."""
    has_success: ClassVar[bool] = True
    """Whether the steps of the task say if it is done, see `Step.is_success`; False: it is never done, only scored. To
    be said where ``environment_measures`` is, too."""

    n_obs_steps: int = option(help="To, observations that the policy sees", validator=ge(1))
    n_action_steps: int = option(help="Ta, actions executed per prediction", validator=ge(1))
    n_train: int = option(6, help="episodes from starts of the training data", validator=ge(0))
    n_train_vis: int = option(2, help="of these, how many are filmed", validator=ge(0))
    n_test: int = option(50, help="episodes from new starts", validator=ge(0))
    n_test_vis: int = option(4, help="of these, how many are filmed", validator=ge(0))
    test_start_seed: int = option(100_000, help="first seed of the new starts", validator=[ge(0), lt(2**31)])
    max_steps: int = option(help="control steps of an episode", validator=ge(1))
    fps: float = option(10, help="frames per second of the videos", validator=gt(0))
    n_envs: int | None = option(None, help="episodes at a time; null: all", validator=optional(ge(1)))
    num_workers: int = option(0, help="processes for the environments; 0: the run's own", validator=ge(0))
    seed: int = option(
        0,
        help="of the policy's sampling noise; that of an episode follows from this and the episode's own seed",
        validator=[ge(0), lt(2**63)],
    )
    batch_invariant: bool = option(
        False,
        help="ask the policy in batches of one size, so that scores do not depend, by rounding either, on n_envs, "
        "num_workers and what else is evaluated; slower where few episodes run",
    )

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the metrics of an evaluation, ``*`` for the seed of an episode, see `dp_core.config.metrics`."""
        success = _SUCCESS if self.has_success else ()
        further = ("*",) if self.environment_measures is None else (*success, *self.environment_measures)
        names = (*_SCORES, *further)
        splits = {"test": self.n_test, "train": self.n_train}
        of_splits = [f"{split}/{name}" for split, n in splits.items() if n for name in names]
        return (*of_splits, "seconds_per_episode")

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Tell what is wrong: there must be something to do. Tasks add what they ask of ``shape_meta``."""
        if self.n_train + self.n_test == 0:
            yield "n_test", "n_train and n_test are both 0; evaluate at least one episode"

    def in_debug_mode(self) -> Self:
        """Return the same with a few short episodes."""
        return attrs.evolve(
            self,
            n_train=min(self.n_train, 1),
            n_train_vis=min(self.n_train_vis, 1),
            n_test=min(self.n_test, 2),
            n_test_vis=min(self.n_test_vis, 1),
            max_steps=min(self.max_steps, 16),
        )
