"""Option blocks that training recipes share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs
from attrs.validators import ge, gt, lt, optional

from dp_core.config.fields import option
from dp_core.training.compilation import missing_compiler

MEASURES = ("train_loss", "train_action_mse_error", "lr", "epoch", "global_step")
"""Names of what `dp_core.training.loop` measures in every run; ``val_loss`` besides where windows are held out."""


@attrs.frozen(kw_only=True)
class TrainingOptions:
    """How long to train, and what to do how often. Epochs count from 0; "every N" means epochs 0, N, 2N, ..."""

    device: str = option("auto", help="'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:1', ...")
    seed: int = option(42, help="of the weights, the order of the data and the noise", validator=[ge(0), lt(2**63)])
    debug: bool = option(False, help="two epochs of three steps, small rollouts, everything evaluated: does it run?")
    num_epochs: int = option(help="passes over the data", validator=gt(0))
    gradient_accumulate_every: int = option(1, help="batches whose gradients make one optimizer step", validator=gt(0))
    max_grad_norm: float | None = option(None, help="clip the norm of the gradient", validator=optional(gt(0)))
    precision: Literal["float32", "bfloat16"] = option(
        "float32",
        help="of the networks in training and validation; weights, normalizer, loss, average and rollouts are float32. "
        "bfloat16 gains on CPUs with matrix units for it and large batches (docs/performance.md); GPUs are not "
        "measured yet",
    )
    compile: bool = option(
        False,
        help="torch.compile for encoder and denoiser while they train: minutes to start, other last digits, the same "
        "checkpoints. No faster on the CPU it was measured on; not measured on GPUs yet",
    )
    prefetch: bool = option(
        True, help="copy the next batch to a GPU while the current one is trained on; no effect on a CPU"
    )
    rollout_every: int | None = option(
        50, help="epochs between rollouts; the last is always rolled out; null: only that", validator=optional(gt(0))
    )
    checkpoint_every: int = option(50, help="epochs between checkpoints; the last is always saved", validator=gt(0))
    val_every: int = option(1, help="epochs between validations", validator=gt(0))
    sample_every: int = option(5, help="epochs between samplings on a training batch", validator=gt(0))
    sample_batch_size: int | None = option(
        None, help="observations of that batch; null: all of it", validator=optional(gt(0))
    )
    max_hours: float | None = option(
        None,
        help="hours that the whole run may take, resumed parts included; the epoch in which they end and its "
        "evaluation come on top. null: no limit, and hours are not counted",
        validator=optional(gt(0)),
    )
    max_train_steps: int | None = option(None, help="batches of an epoch; null: all", validator=optional(gt(0)))
    max_val_steps: int | None = option(None, help="batches of a validation; null: all", validator=optional(gt(0)))

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Yield what this machine lacks: translating needs a compiler. What 'auto' is, is known when the run starts."""
        if self.compile and self.device == "cpu" and (problem := missing_compiler()):
            yield "compile", problem

    def in_debug_mode(self) -> TrainingOptions:
        """Return the options that ``debug`` stands for; they are what the run's resolved config shows."""
        return attrs.evolve(
            self,
            debug=False,  # done: a resumed run must not be cut once more
            num_epochs=2,
            rollout_every=1,
            checkpoint_every=1,
            val_every=1,
            sample_every=1,
            sample_batch_size=2,
            max_train_steps=3,
            max_val_steps=3,
        )


@attrs.frozen(kw_only=True)
class EmaOptions:
    """Exponential moving average of the weights; decay 1 - (1 + step / inv_gamma) ** -power."""

    update_after_step: int = option(0, help="optimizer steps before averaging starts", validator=ge(0))
    inv_gamma: float = option(1.0, help="larger: the decay rises more slowly", validator=gt(0))
    power: float = option(0.75, help="0.75 reaches 0.999 in 10 k steps; 2/3 in 31.6 k", validator=gt(0))
    min_value: float = option(0.0, help="smallest decay", validator=ge(0))
    max_value: float = option(0.9999, help="largest decay", validator=ge(0))
    single_pass: bool = option(
        True, help="1.5 times as fast on a CPU, no less exact, but other last digits; false: those of the original"
    )
    buffers: Literal["copy", "keep"] = option(
        "copy",
        help="copy: the average copies buffers, such as the statistics of batch normalisation, at every step; "
        "keep: it keeps its first ones, as in the original, and batch normalisation does not work in it",
    )

    def check(self) -> Iterable[tuple[str, str]]:
        """Yield bounds that leave no room."""
        if not self.min_value <= self.max_value <= 1:
            yield "max_value", f"{self.max_value} is not between min_value ({self.min_value}) and 1"


@attrs.frozen(kw_only=True)
class LoaderOptions:
    """How batches are made."""

    batch_size: int = option(64, help="windows in a batch", validator=gt(0))
    num_workers: int = option(0, help="processes that load; 0: the run's own, best for data in memory", validator=ge(0))
    pin_memory: bool = option(
        True, help="page-locked memory, from which a GPU copies without being waited for; no effect on a CPU"
    )
    keep_on_device: bool = option(
        True,
        help="hold all demonstrations in the GPU's memory where they take less than half of what is free and "
        "num_workers is 0; no effect on a CPU",
    )
    persistent_workers: bool = option(False, help="keep the processes between epochs")

    def check(self) -> Iterable[tuple[str, str]]:
        """Yield a setting without effect: only processes can persist."""
        if self.persistent_workers and self.num_workers == 0:
            yield "persistent_workers", "true needs processes to keep; set num_workers above 0 or leave it out"


@attrs.frozen(kw_only=True)
class TrainLoaderOptions(LoaderOptions):
    """Options of the loader for training. Validation leaves nothing out."""

    drop_last: bool = option(False, help="leave out the last batch of an epoch if it is smaller than the others")
