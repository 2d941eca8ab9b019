"""Options with one fault each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs

from dp_core import option
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.testing.tiny_plugin import TinyTrainConfig, TinyWindowOptions


@attrs.frozen(kw_only=True)
class Silent:
    width: int = attrs.field(default=4)


@attrs.define(kw_only=True)
class Changeable:
    width: int = option(4, help="of a layer")


@attrs.frozen
class Positional:
    width: int = attrs.field(default=4, metadata={"dp_help": "of a layer"})


def _double(width: float) -> float:
    return 2 * width


@attrs.frozen(kw_only=True)
class Growing:
    width: float = attrs.field(default=0.1, converter=_double, metadata={"dp_help": "of a layer"})


@attrs.frozen(kw_only=True)
class Misasking:
    def check(self, shape_metas: dict[str, Any]) -> Iterable[tuple[str, str]]:
        return ()


@attrs.frozen(kw_only=True)
class Needing:
    needs: ClassVar[tuple[str, ...]] = ("progress",)


@attrs.frozen(kw_only=True)
class Misneeding:
    needs: ClassVar[tuple[str, ...]] = ("progres",)


@attrs.frozen(kw_only=True)
class Misproviding(TinyTrainConfig):
    provides: ClassVar[tuple[str, ...]] = ("n_epochs",)


@attrs.frozen(kw_only=True)
class Forgetting(TinyTrainConfig):
    @property
    def measures(self) -> tuple[str, ...]:
        return ("train_loss", "train_action_mse_error", "test/*", "seconds_per_episode", "epoch", "global_step")


@attrs.frozen(kw_only=True)
class Promising(TinyWindowOptions):
    @property
    def measures(self) -> tuple[str, ...]:
        return ("test/mean_score", "test/success_rate*", "test/p_*", "seconds_per_episode")


@attrs.frozen(kw_only=True)
class ShortRollouts(RolloutOptions):
    n_train: int = option(0, help="episodes from starts of the training data")
    n_train_vis: int = option(0, help="of these, how many are filmed")
    n_test: int = option(2, help="episodes from new starts")
    n_test_vis: int = option(0, help="of these, how many are filmed")
