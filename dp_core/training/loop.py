"""The training loop: batch, loss, step, average, evaluate, save. Read from top to bottom.

What the original's loop does, with these differences: batches whose gradients are accumulated make one update, to
which optimizer, schedule and average all count; every mean is one over windows, whatever the batches; validation uses
fixed noise in eval mode; progress is counted absolutely, so a resumed run ends where it was to end; evaluation draws
from generators of its own and never disturbs training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral, Real
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from dp_core.errors import UnsoundStateError
from dp_core.interfaces import BasePolicy, BaseRunner
from dp_core.profiling import section, steps
from dp_core.training.data_loading import BatchOrder, count_windows, map_tensors, on_device
from dp_core.training.ema import EMAModel
from dp_core.training.interrupts import Interrupts
from dp_core.training.options import TrainingOptions


@attrs.define(eq=False)
class Progress:
    """How far a run is. Part of every checkpoint."""

    epoch: int = 0
    """Epochs completed, evaluation included; the index of the current one."""
    global_step: int = 0
    """Batches trained on since the start of the run."""
    step_in_epoch: int = 0
    """Batches of the current epoch trained on; resumed with other batches, what is done is counted in those."""
    windows_in_epoch: int = 0
    """Windows of the current epoch trained on: where it continues, whatever the size of the batches."""
    dataset_size: int = 0
    """Windows of the data set; 0: not known. The order of an epoch depends on it and on the seed."""
    seed: int = 0
    """Of the order of the epochs."""
    updates: int = 0
    """Steps of the learning rate's schedule."""
    updates_in_run: int = 0
    """Steps that the schedule was made for; 0: not known."""
    loss_sum: Tensor | float = 0.0
    """Over the windows of the current epoch, on the device: adding to it does not wait for the device."""
    last_metrics: dict[str, Any] = attrs.field(factory=dict)
    """What the last complete epoch measured: numbers, and paths of videos as strings."""

    def advance(self, loss: Tensor, windows: int) -> None:
        """Count one batch of ``windows`` with that mean loss."""
        self.global_step += 1
        self.step_in_epoch += 1
        self.windows_in_epoch += windows
        self.loss_sum = self.loss_sum + loss.double() * windows

    def mean_loss(self) -> float:
        """Average over the windows of the current epoch so far."""
        return float(self.loss_sum) / max(1, self.windows_in_epoch)

    def restart_epoch(self) -> None:
        """Forget what was done of the current epoch."""
        self.step_in_epoch = 0
        self.windows_in_epoch = 0
        self.loss_sum = 0.0

    def finish_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Count one epoch and keep what it measured."""
        self.last_metrics = {key: _plain(value) for key, value in metrics.items()}
        self.epoch += 1
        self.restart_epoch()

    def unsound(self) -> str | None:
        """Say so if the loss is not finite any more."""
        mean_loss = self.mean_loss()
        return None if math.isfinite(mean_loss) else f"the mean loss of epoch {self.epoch} is {mean_loss}"

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "epoch": self.epoch,
            "global_step": self.global_step,
            "step_in_epoch": self.step_in_epoch,
            "windows_in_epoch": self.windows_in_epoch,
            "dataset_size": self.dataset_size,
            "seed": self.seed,
            "updates": self.updates,
            "updates_in_run": self.updates_in_run,
            "loss_sum": float(self.loss_sum),
            "last_metrics": dict(self.last_metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        for name, value in state.items():
            setattr(self, name, value)


class Trainable(Protocol):
    """What the loop works on: a workspace in which everything is built and, on resume, restored."""

    options: TrainingOptions
    device: torch.device
    model: BasePolicy
    ema_model: BasePolicy | None
    ema: EMAModel | None
    optimizer: torch.optim.Optimizer
    lr_schedule: LRScheduler
    runner: BaseRunner | None
    progress: Progress
    hooks: Any
    order: BatchOrder
    loader: DataLoader[Any]
    val_loader: DataLoader[Any] | None
    sampling_batch: dict[str, Any]
    """A training batch on which the policy is sampled, to see whether it fits its own data."""

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run."""

    def require_sound(self) -> None:
        """Refuse to go on with a state that is not finite."""

    def save_checkpoint(self, *, use_thread: bool = True, metrics: dict[str, Any] | None = None) -> str:
        """Save the state of the run."""


def train(workspace: Trainable) -> None:
    """Train from where the progress stands to the last epoch.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the state was saved; otherwise its text says why it was not. A
            second one does not wait for that.
        UnsoundStateError: the loss or the weights are not finite any more.
    """
    progress = workspace.progress
    with section("log"):
        workspace.hooks.dp_before_run(workspace=workspace)
    with Interrupts() as interrupts:
        try:
            while progress.epoch < workspace.num_epochs:
                workspace.hooks.dp_before_epoch(workspace=workspace)
                train_epoch(workspace, interrupts)
                metrics = evaluate(workspace)
                with interrupts.deferred():
                    progress.finish_epoch(metrics)
                    with section("log"):
                        workspace.hooks.dp_after_epoch(workspace=workspace, metrics=metrics)
                    if _is_due(workspace, workspace.options.checkpoint_every, metrics["epoch"]):
                        workspace.save_checkpoint(metrics=metrics)
        except KeyboardInterrupt:
            _save_interrupted(workspace, interrupts)
            raise


def _save_interrupted(workspace: Trainable, interrupts: Interrupts) -> None:
    if not interrupts.state_is_whole:
        raise KeyboardInterrupt("the state is not saved: the second signal came in the middle of an update")
    try:
        workspace.save_checkpoint(use_thread=False, metrics=workspace.progress.last_metrics)
    except UnsoundStateError as error:
        raise KeyboardInterrupt(str(error)) from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the state is not saved: the second signal came while it was written") from None


def train_epoch(workspace: Trainable, interrupts: Interrupts) -> None:
    """Train on the batches of the current epoch that are left."""
    options, progress, model = workspace.options, workspace.progress, workspace.model
    model.train()
    workspace.order.set_position(progress.epoch, windows=progress.windows_in_epoch)
    batches = on_device(workspace.loader, workspace.device, prefetch=options.prefetch)
    for group in steps(_groups(batches, options.gradient_accumulate_every)):
        with interrupts.deferred():
            losses = []
            windows = [count_windows(batch) for batch in group]
            for batch, count in zip(group, windows, strict=True):
                with section("loss"), in_precision(options, workspace.device):
                    loss = model.compute_loss(batch)
                with section("backward"):
                    (loss * (count / sum(windows))).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
            with section("optimizer"):
                if options.max_grad_norm is not None:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm)
                workspace.optimizer.step()
                workspace.optimizer.zero_grad(set_to_none=True)
                workspace.lr_schedule.step()
                progress.updates += 1
            if workspace.ema is not None:
                with section("EMA"):
                    workspace.ema.step(model)
            lr = workspace.optimizer.param_groups[0]["lr"]  # of the next step, as in the original's logs
            for loss, count in zip(losses, windows, strict=True):
                step = {"train_loss": loss, "global_step": progress.global_step, "epoch": progress.epoch, "lr": lr}
                progress.advance(loss, count)
                with section("log"):
                    workspace.hooks.dp_after_train_step(workspace=workspace, metrics=step)


def in_precision(options: TrainingOptions, device: torch.device) -> AbstractContextManager[Any]:
    """What the networks compute in; weights stay float32, and so does what needs it, such as the loss."""
    return nullcontext() if options.precision == "float32" else torch.autocast(device.type, torch.bfloat16)


def evaluate(workspace: Trainable) -> dict[str, Any]:
    """Measure what is due in the current epoch: rollouts, validation loss, error of sampled actions.

    Raises:
        UnsoundStateError: the loss or the weights are not finite; there is nothing to measure.
    """
    options, progress = workspace.options, workspace.progress
    workspace.require_sound()
    metrics: dict[str, Any] = {
        "train_loss": progress.mean_loss(),
        "global_step": progress.global_step - 1,
        "epoch": progress.epoch,
        "lr": workspace.optimizer.param_groups[0]["lr"],
    }
    policy = workspace.model if workspace.ema_model is None else workspace.ema_model
    policy.eval()
    workspace.model.eval()
    with torch.no_grad():
        if workspace.runner is not None and _is_due(workspace, options.rollout_every, progress.epoch):
            with section("rollouts"):
                rollout = workspace.runner.run(policy)
                workspace.hooks.dp_after_rollout(workspace=workspace, metrics=rollout)
            metrics |= rollout
        if workspace.val_loader is not None and _is_due(workspace, options.val_every, progress.epoch):
            metrics["val_loss"] = validation_loss(workspace.model, workspace.val_loader, workspace.device, options)
        if _is_due(workspace, options.sample_every, progress.epoch):
            metrics["train_action_mse_error"] = sampling_error(policy, workspace.sampling_batch, options)
    workspace.model.train()
    return metrics


@section("validation")
def validation_loss(
    model: BasePolicy, loader: DataLoader[Any], device: torch.device, options: TrainingOptions
) -> float:
    """Mean loss over held-out windows, with the same noise and times at every call."""
    generator = torch.Generator(device).manual_seed(options.seed)
    losses, windows = [], []
    with in_precision(options, device):
        for batch in on_device(loader, device, prefetch=options.prefetch):
            losses.append(model.compute_loss(batch, generator))
            windows.append(count_windows(batch))
    weights = torch.tensor(windows, dtype=torch.float64, device=device)
    return float((torch.stack(losses).double() * weights).sum() / weights.sum())


@section("sampling")
def sampling_error(policy: BasePolicy, batch: dict[str, Any], options: TrainingOptions) -> float:
    """Mean squared error of the whole prediction against a training batch, in squared raw units of the action."""
    batch = map_tensors(batch, lambda tensor: tensor[: options.sample_batch_size].to(policy.device))
    generator = torch.Generator(policy.device).manual_seed(options.seed)
    predicted = policy.predict_action(batch["obs"], generator)["action_pred"]
    first = policy.first_predicted_step
    demonstrated = batch["action"][:, first : first + predicted.shape[1]]
    return float(torch.nn.functional.mse_loss(predicted, demonstrated))


def _plain(value: Any) -> int | float | str:
    """What a checkpoint can hold; numbers of numpy are not."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def _is_due(workspace: Trainable, every: int | None, epoch: int) -> bool:
    return epoch == workspace.num_epochs - 1 or (every is not None and epoch % every == 0)


def _groups(batches: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Batches whose gradients are those of one batch of all their windows; the last group of an epoch may be smaller.

    All of a group are fetched before the first is trained on, so that Ctrl-C during an update waits for no data.
    """
    iterator = iter(batches)
    while group := tuple(itertools.islice(iterator, size)):
        yield group
