"""The options that a config can set. Imported before torch: standard library, attrs and dp_core only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import attrs
from attrs.validators import ge, gt
from dp_core import option
from dp_core.config.metrics import ANY, unmeasured
from dp_core.kit.rollout.config import RolloutOptions


@attrs.frozen(kw_only=True)
class EncoderOptions:
    """How large the networks are."""

    channels: int = option(16, help="of the first convolution; each one after it has twice as many", validator=ge(1))
    feature_size: int = option(64, help="numbers that each observation becomes", validator=ge(1))


@attrs.frozen(kw_only=True)
class RunnerOptions(RolloutOptions):
    """Episodes: how many, from which seeds, how long. Inherits what all runners have in common."""

    # What `Environment.measure` returns besides; a metric that nobody measures is refused in configs.
    environment_measures: ClassVar[tuple[str, ...] | None] = ()

    n_train: int = option(0, help="episodes from starts of the training data", validator=ge(0))
    n_train_vis: int = option(0, help="of these, how many are filmed", validator=ge(0))
    n_test: int = option(10, help="episodes from new starts", validator=ge(0))
    n_test_vis: int = option(
        0, help="of these, how many are filmed; takes the package imageio[ffmpeg]", validator=ge(0)
    )
    max_steps: int = option(50, help="control steps of an episode", validator=ge(1))
    reach: float = option(0.1, help="share of the way to the target that a step goes", validator=gt(0))


@attrs.frozen(kw_only=True)
class CallbackOptions:
    """Which metric is watched."""

    # Parts of the workspace that hooks read, such as "progress", see dp_core.interfaces.workspace.
    needs: ClassVar[tuple[str, ...]] = ()

    metric: str = option("train_loss", help="name in the log of the run, such as val_loss; lower is better")

    def check(self, measures: Sequence[str] = ANY) -> Iterable[tuple[str, str]]:
        """Yield a metric that the run does not measure, as far as its workspace and its runner say what they do."""
        if (problem := unmeasured(self.metric, measures)) is not None:
            yield "metric", problem
