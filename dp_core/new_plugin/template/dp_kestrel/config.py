"""The options that a config can set. Imported before torch: standard library, attrs and dp_core only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import attrs
from attrs.validators import ge, gt
from dp_core import NoiseProcess, Slot, option, slot
from dp_core.config.metrics import ANY, unmeasured
from dp_core.config.schema import WorkspaceConfig
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.shape_meta import ShapeMeta


# kind: workspace
@attrs.frozen(kw_only=True)
class WorkspaceOptions(WorkspaceConfig):
    """The top level of a config: what a run is made of."""

    # What callbacks can rely on, see dp_core.interfaces.workspace; a config with one that needs more is refused.
    provides: ClassVar[tuple[str, ...]] = ("progress", "num_epochs", "steps_per_epoch", "batch_size", "model")

    shape_meta: ShapeMeta = option(help="what the task observes and does: {obs: {key: {shape, type}}, action}")
    horizon: int = option(16, help="Tp, for the blocks below, which take it as ${horizon}", validator=ge(1))
    n_obs_steps: int = option(2, help="To, as ${n_obs_steps}", validator=ge(1))
    n_action_steps: int = option(8, help="Ta, as ${n_action_steps}", validator=ge(1))
    num_steps: int = option(100, help="batches to train on", validator=ge(1))
    batch_size: int = option(64, help="windows in a batch", validator=ge(1))
    seed: int = option(42, help="of the weights and the order of the data", validator=ge(0))
    policy: Slot = slot("policy", help="what is trained")
    dataset: Slot = slot("dataset", help="demonstrations")
    optimizer: Slot = slot("optimizer", "adamw", help="how weights are updated")

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the metrics of an epoch: an option of a callback that names another one is refused."""
        return ("train_loss", "epoch", "global_step")


# end
# kind: policy
@attrs.frozen(kw_only=True)
class PolicyOptions:
    """How much is seen and predicted, and how large the network is."""

    horizon: int = option(help="Tp, steps that are predicted", validator=ge(1))
    n_obs_steps: int = option(help="To, steps that are observed", validator=ge(1))
    n_action_steps: int = option(help="Ta, steps that are executed", validator=ge(1))
    hidden_size: int = option(128, help="width of the network", validator=ge(1))
    encoder: Slot = slot("encoder", "lowdim", help="makes features of observations")

    def check(self) -> Iterable[tuple[str, str]]:
        """Yield which option breaks a rule, and what to do; all of them are reported before anything is built."""
        if self.n_obs_steps - 1 + self.n_action_steps > self.horizon:
            limit = self.horizon - self.n_obs_steps + 1
            yield "n_action_steps", f"{self.n_action_steps} steps end beyond horizon; choose at most {limit}"


# end
# kind: encoder
@attrs.frozen(kw_only=True)
class EncoderOptions:
    """How large the networks are."""

    # end
    # kind: modality
    takes: ClassVar[tuple[str, ...]] = ("rgb", "low_dim", "kestrel")  # types of observations; others are refused

    # end
    # kind: encoder
    channels: int = option(16, help="of the first convolution; each one after it has twice as many", validator=ge(1))
    feature_size: int = option(64, help="numbers that each observation becomes", validator=ge(1))


# end
# kind: denoiser
@attrs.frozen(kw_only=True)
class DenoiserOptions:
    """How large the network is."""

    hidden_size: int = option(64, help="channels between the convolutions", validator=ge(1))
    kernel_size: int = option(5, help="steps that a convolution sees", validator=ge(1))
    time_size: int = option(32, help="numbers that the time of the noise process becomes; even", validator=ge(4))

    def check(self) -> Iterable[tuple[str, str]]:
        """Yield which option breaks a rule, and what to do; all of them are reported before anything is built."""
        if self.kernel_size % 2 == 0:
            yield "kernel_size", f"{self.kernel_size} has no middle; choose an odd number"


# end
# kind: scheduler
@attrs.frozen(kw_only=True)
class SchedulerOptions:
    """Times of training and of sampling."""

    # Samplers of the same process may replace each other after training, if they agree on these options.
    process: ClassVar[NoiseProcess] = NoiseProcess("rectified flow", options=("timestep_scale",))

    num_inference_steps: int = option(10, help="calls of the network to sample", validator=ge(1))
    timestep_scale: float = option(100.0, help="the network receives times from 0 (data) to this (noise)")


# end
# kind: modality
@attrs.frozen(kw_only=True)
class ModalityOptions:
    """What stands beside `shape` and `type` in `shape_meta`; a method ``check(self, shape)`` could refuse shapes."""

    unit: float = option(1.0, help="numbers beyond this are seen by their logarithm", validator=gt(0))


# end
# kind: dataset
@attrs.frozen(kw_only=True)
class DatasetOptions:
    """Which episodes, and how they are cut into windows."""

    path: Path | None = option(None, help="folder of .npz files, one per episode; null: random walks, to try it out")
    horizon: int = option(help="Tp, steps of a window", validator=ge(1))
    n_obs_steps: int = option(help="To, steps of it that the policy observes", validator=ge(1))
    n_action_steps: int = option(help="Ta, steps that the policy executes", validator=ge(1))
    n_val_episodes: int = option(1, help="episodes held out for validation, the last ones", validator=ge(0))

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Yield what is not there, but needed by a run; `dp-run --check` mentions it and does not fail."""
        if self.path is not None and not any(self.path.glob("*.npz")):
            yield "path", f"there are no .npz files in '{self.path}'; expected one for each episode"


# end
# kind: runner
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


# end
# kind: optimizer
@attrs.frozen(kw_only=True)
class OptimizerOptions:
    """Options of torch.optim.RMSprop."""

    lr: float = option(1e-3, help="learning rate, before the schedule", validator=ge(0))
    alpha: float = option(0.99, help="share of the average of squared gradients that is kept", validator=ge(0))


# end
# kind: lr_schedule
@attrs.frozen(kw_only=True)
class LrScheduleOptions:
    """When the learning rate drops, and how far."""

    n_drops: int = option(2, help="drops, evenly spread over the run", validator=ge(0))
    factor: float = option(0.1, help="what a drop multiplies the learning rate by", validator=gt(0))


# end
# kind: callback
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


# end
