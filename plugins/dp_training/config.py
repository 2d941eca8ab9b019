"""Options of the training workspace: the top level of a training config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs
from attrs.validators import gt

from dp_core import Slot, option, slot
from dp_core.config.checks import step_mismatches
from dp_core.config.metrics import measured_by
from dp_core.config.schema import WorkspaceConfig
from dp_core.shape_meta import ShapeMeta
from dp_core.training.options import MEASURES, EmaOptions, LoaderOptions, TrainingOptions, TrainLoaderOptions


@attrs.frozen(kw_only=True)
class TrainConfig(WorkspaceConfig):
    """Trains a policy on a data set; evaluates it with a runner."""

    provides: ClassVar[tuple[str, ...]] = (
        "progress",
        "num_epochs",
        "steps_per_epoch",
        "batch_size",
        "model",
        "ema_model",
        "request_stop",
    )

    shape_meta: ShapeMeta = option(help="what the task observes and does: {obs: {key: {shape, type}}, action}")
    horizon: int = option(
        16, help="Tp, steps that a prediction spans; the blocks below take it as ${horizon}", validator=gt(0)
    )
    n_obs_steps: int = option(2, help="To, observations that the policy sees, as ${n_obs_steps}", validator=gt(0))
    n_action_steps: int = option(8, help="Ta, actions executed per prediction, as ${n_action_steps}", validator=gt(0))

    policy: Slot = slot("policy", help="what is trained")
    dataset: Slot = slot("dataset", help="demonstrations")
    runner: Slot | None = slot("runner", None, help="environments for evaluation; null: none")
    optimizer: Slot = slot("optimizer", "adamw", help="how weights are updated")
    lr_schedule: Slot = slot("lr_schedule", "cosine", help="learning rate over the run")

    training: TrainingOptions = option(help="how long, how often")
    profile: bool = option(
        False, help="measure where the time goes: profile.txt and trace.json in the run directory; slower on a GPU"
    )
    ema: EmaOptions | None = option(factory=EmaOptions, help="moving average of the weights, used to act; null: none")
    dataloader: TrainLoaderOptions = option(factory=TrainLoaderOptions, help="batches for training")
    val_dataloader: LoaderOptions = option(factory=LoaderOptions, help="batches for validation")

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the metrics of an epoch; ``val_loss`` is left out where nothing is held out for certain."""
        is_validated = getattr(self.dataset.config, "val_ratio", None) != 0
        return (*(["val_loss"] if is_validated else []), *MEASURES, *measured_by(self.runner))

    def check(self) -> Iterable[tuple[str, str]]:
        """Yield numbers of steps that are not those of the policy."""
        for part, name, here, there in step_mismatches(self.policy, dataset=self.dataset, runner=self.runner):
            yield f"{part}.{name}", f"{here}, but policy.{name} is {there}; set {name} alone, at the top"

    def in_debug_mode(self) -> TrainConfig:
        """Return the config that ``training.debug`` stands for."""
        runner = self.runner
        if runner is not None and hasattr(runner.config, "in_debug_mode"):
            runner = attrs.evolve(runner, config=runner.config.in_debug_mode())
        return attrs.evolve(self, training=self.training.in_debug_mode(), runner=runner)
