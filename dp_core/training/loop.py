"""The training loop: batch, loss, step, average, save, evaluate, save. Read from top to bottom.

What the original's loop does, with these differences: batches whose gradients are accumulated make one update, to
which optimizer, schedule and average all count; every mean is one over windows, whatever the batches; validation uses
fixed noise in eval mode; progress is counted absolutely, so a resumed run ends where it was to end; evaluation draws
from generators of its own and never disturbs training; what was trained is saved before anything that may fail.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import pluggy
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from dp_core.errors import UnsoundStateError
from dp_core.interfaces import BaseCallback, BasePolicy, BaseRunner
from dp_core.interfaces.workspace import Workspace
from dp_core.profiling import section, steps
from dp_core.training.data_loading import BatchOrder, count_windows, first_windows, on_device, to_device
from dp_core.training.ema import EMAModel
from dp_core.training.interrupts import Interrupts
from dp_core.training.options import TrainingOptions
from dp_core.training.progress import Progress
from dp_core.training.random_state import RandomState


class Trainable(Workspace, Protocol):
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
    callbacks: dict[str, BaseCallback]
    hooks: pluggy.HookRelay
    order: BatchOrder
    loader: DataLoader[Any]
    val_loader: DataLoader[Any] | None
    sampling_batch: dict[str, Any]
    """A training batch on which the policy is sampled, to see whether it fits its own data."""
    stop_reason: str | None
    """What the run was first asked to stop for; None: it was not."""

    def require_sound(self) -> None:
        """Refuse to continue with a state that is not finite."""

    def save_checkpoint(self, *, use_thread: bool = True, metrics: dict[str, Any] | None = None) -> str:
        """Save the state of the run."""

    def settle(self) -> None:
        """Wait until no file is being written any more; log what went wrong."""

    def how_to_continue(self, problem: str = "") -> str:
        """Say what is saved and how to resume."""


def train(workspace: Trainable) -> None:
    """Train from where the progress stands to the last epoch, or to the one in which the run is asked to stop.

    Whatever ends it earlier, what was trained is saved; an error carries a note that says so, and how to resume.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the state was saved; otherwise its text says why it was not. A
            second one does not wait for that.
        UnsoundStateError: the loss or the weights are not finite any more. Nothing is saved.
    """
    progress = workspace.progress
    start = progress.epoch, progress.global_step
    if workspace.options.max_hours is not None:
        progress.start_clock()
    with section("log"):
        workspace.hooks.dp_before_run(workspace=workspace)
    with Interrupts() as interrupts:
        try:
            _train(workspace, interrupts)
        except UnsoundStateError:
            raise  # it is the state that is wrong; the message says what is on disk
        except KeyboardInterrupt:
            try:
                problem = _save_what_is_whole(workspace, interrupts, "the second signal")
            except UnsoundStateError as error:
                raise KeyboardInterrupt(str(error)) from error
            if problem:
                raise KeyboardInterrupt(problem) from None
            raise
        except BaseException as error:
            if (progress.epoch, progress.global_step) != start:
                try:
                    note = workspace.how_to_continue(_save_what_is_whole(workspace, interrupts, "the error"))
                except UnsoundStateError as unsound:
                    note = str(unsound)  # says both
                error.add_note(note)
            raise


def _train(workspace: Trainable, interrupts: Interrupts) -> None:
    progress = workspace.progress
    interrupts.mark(_way_back(workspace))
    if progress.stop_reason:
        # The run ended while its last epoch was evaluated; or after that, when it was asked to stop.
        workspace.request_stop(progress.stop_reason)
        if progress.windows_in_epoch == 0:
            _evaluate_rest(workspace, interrupts)
            return
    while progress.epoch < workspace.num_epochs:
        workspace.hooks.dp_before_epoch(workspace=workspace)
        train_epoch(workspace, interrupts)
        if complete_epoch(workspace, interrupts):
            return


def _save_what_is_whole(workspace: Trainable, interrupts: Interrupts, cause: str) -> str:
    """Save the last moment from which a run can continue as if nothing had happened.

    Raises:
        UnsoundStateError: the state must not be kept.

    Returns:
        Why it is not saved; empty if it is.
    """
    interrupts.ending()
    if not interrupts.state_is_whole:
        return f"the state is not saved: {cause} came in the middle of an update"
    # Of an epoch that is not trained to its end; before its evaluation, or after it, the way back knows better.
    workspace.progress.stop_reason = workspace.stop_reason or ""
    workspace.settle()  # that an earlier file could not be written is no reason not to try
    try:
        interrupts.rewind()
        workspace.save_checkpoint(use_thread=False)
    except UnsoundStateError:
        raise
    except KeyboardInterrupt:
        return "the state is not saved: the second signal came while it was written"
    except Exception as error:
        return f"the state is not saved: {error}"
    return ""


def train_epoch(workspace: Trainable, interrupts: Interrupts) -> None:
    """Train on the batches of the current epoch that are left."""
    options, progress, model = workspace.options, workspace.progress, workspace.model
    model.train()
    workspace.optimizer.zero_grad(set_to_none=True)  # an error may have left gradients, and `run` be called again
    workspace.order.set_position(progress.epoch, windows=progress.windows_in_epoch)
    batches = on_device(workspace.loader, workspace.device, prefetch=options.prefetch)
    for group in steps(_groups(batches, options.gradient_accumulate_every)):
        with interrupts.deferred():
            losses = []
            windows = [count_windows(batch) for batch in group]
            for batch, count in zip(group, windows, strict=True):
                with section("loss"), in_precision(options, workspace.device):
                    loss = model(batch)  # not `compute_loss`: what wraps the module must not be bypassed
                with section("backward"):
                    (loss * (count / sum(windows))).backward()
                losses.append(loss.detach())
            first_step = progress.global_step
            # From the first weight that changes to the last count, the parts of the state contradict each other.
            with interrupts.update():
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
                for loss, count in zip(losses, windows, strict=True):
                    progress.advance(loss, count)
            lr = workspace.optimizer.param_groups[0]["lr"]  # of the next step, as in the original's logs
            for number, loss in enumerate(losses, first_step):
                step = {"train_loss": loss, "global_step": number, "epoch": progress.epoch, "lr": lr}
                with section("log"):
                    workspace.hooks.dp_after_train_step(workspace=workspace, metrics=step)
            interrupts.mark()  # what callbacks drew is not drawn again


def complete_epoch(workspace: Trainable, interrupts: Interrupts) -> bool:
    """Save the epoch that was trained, evaluate it, announce it, save it with what was measured.

    What may fail comes after the first save: whatever happens to a simulator, the training is on disk. A run that is
    resumed from there has no batch of the epoch left and comes straight back here.

    Returns:
        Whether the run ends with this epoch.
    """
    progress = workspace.progress
    epoch = progress.epoch
    _request_stop_if_time_is_up(workspace)
    progress.stop_reason = workspace.stop_reason or ""
    # Decided once: a callback may ask to stop at any time, the thread that writes checkpoints included.
    is_last = epoch == workspace.num_epochs - 1 or bool(progress.stop_reason)

    def is_due(every: int | None) -> bool:
        return is_last or _is_scheduled(every, epoch)

    # Callbacks hear of the epoch from here on, one after another: if one of them raises, all hear of it again.
    interrupts.mark(_way_back(workspace))
    is_saved = _save_before_evaluation(workspace, is_due)
    metrics = evaluate(workspace, is_due)
    with interrupts.deferred():
        if is_last and workspace.stop_reason is not None:
            metrics["stop_reason"] = workspace.stop_reason
        progress.finish_epoch(metrics)
        _announce(workspace, metrics)
        if is_last or workspace.stop_reason is None:
            with_metrics = is_due(workspace.options.checkpoint_every)
            if with_metrics or is_saved:  # a run that is killed later need not evaluate this epoch again
                workspace.save_checkpoint(metrics=metrics if with_metrics else None)
        progress.stop_reason = "" if is_last else workspace.stop_reason or ""
        interrupts.mark(_way_back(workspace))  # or a signal that waits for the end of this block would undo the epoch
    if not progress.stop_reason:
        return is_last
    _evaluate_rest(workspace, interrupts)
    return True


def _evaluate_rest(workspace: Trainable, interrupts: Interrupts) -> None:
    """Make the epoch that was completed last the last of the run: measure what was not due in it.

    A callback that sees the metrics of an epoch asks to stop when that is evaluated already, or while it is.
    """
    progress = workspace.progress
    epoch = progress.epoch - 1

    def is_left(every: int | None) -> bool:
        return not _is_scheduled(every, epoch)

    _save_before_evaluation(workspace, is_left)
    progress.epoch = epoch  # callbacks hear of a rollout in its epoch; an error saves what was marked, not this
    metrics = progress.last_metrics | _measure(workspace, is_left) | {"stop_reason": progress.stop_reason}
    with interrupts.deferred():
        progress.epoch = epoch + 1
        progress.stop_reason = ""
        progress.keep_metrics(metrics)
        _announce(workspace, metrics)
        workspace.save_checkpoint(metrics=metrics)
        interrupts.mark(_way_back(workspace))


def _announce(workspace: Trainable, metrics: dict[str, Any]) -> None:
    with section("log"):
        workspace.hooks.dp_after_epoch(workspace=workspace, metrics=metrics)


def _way_back(workspace: Trainable) -> Callable[[], None]:
    """Return a function that puts progress, callbacks and random state back to what they are now."""
    random_state, progress = RandomState().state_dict(), workspace.progress.state_dict()
    callbacks = {key: copy.deepcopy(callback.state_dict()) for key, callback in workspace.callbacks.items()}

    def go_back() -> None:
        RandomState().load_state_dict(random_state)
        workspace.progress.load_state_dict({**progress, "seconds": workspace.progress.seconds})
        for key, state in callbacks.items():
            if state:  # as when a checkpoint is loaded
                workspace.callbacks[key].load_state_dict(state)

    return go_back


def _save_before_evaluation(workspace: Trainable, is_due: Callable[[int | None], bool]) -> bool:
    """Save if there is something to evaluate, and a rollout or a checkpoint among what is due. Tell whether it was."""
    options = workspace.options
    rolls_out = workspace.runner is not None and is_due(options.rollout_every)
    validates = workspace.val_loader is not None and is_due(options.val_every)
    if not (rolls_out or (is_due(options.checkpoint_every) and (validates or is_due(options.sample_every)))):
        return False
    # A simulator can take the process with it, so the file has to be whole before a rollout starts.
    workspace.save_checkpoint(use_thread=not rolls_out)
    return True


def _request_stop_if_time_is_up(workspace: Trainable) -> None:
    max_hours = workspace.options.max_hours
    if max_hours is not None:
        workspace.progress.count_time()
        if workspace.progress.seconds >= 3600 * max_hours:
            workspace.request_stop(f"training.max_hours: the {max_hours:g} hours are over")


def in_precision(options: TrainingOptions, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which networks have the precision that was chosen.

    Weights stay float32, and so does what needs it, such as the loss.
    """
    return nullcontext() if options.precision == "float32" else torch.autocast(device.type, torch.bfloat16)


def evaluate(workspace: Trainable, is_due: Callable[[int | None], bool]) -> dict[str, Any]:
    """Measure what is due in the current epoch: rollouts, validation loss, error of sampled actions.

    Args:
        is_due: tells whether what is done every so many epochs, or in the last one alone, is due in this one.

    Raises:
        UnsoundStateError: the loss or the weights are not finite; there is nothing to measure.
    """
    progress = workspace.progress
    workspace.require_sound()
    metrics: dict[str, Any] = {
        "train_loss": progress.mean_loss(),
        "global_step": progress.global_step - 1,
        "epoch": progress.epoch,
        "lr": workspace.optimizer.param_groups[0]["lr"],
    }
    return metrics | _measure(workspace, is_due)


def _measure(workspace: Trainable, is_due: Callable[[int | None], bool]) -> dict[str, Any]:
    """Measure that whose interval ``is_due``."""
    options = workspace.options
    metrics: dict[str, Any] = {}
    policy = workspace.model if workspace.ema_model is None else workspace.ema_model
    policy.eval()
    workspace.model.eval()
    with torch.no_grad():
        if workspace.runner is not None and is_due(options.rollout_every):
            with section("rollouts"):
                rollout = workspace.runner.run(policy)
                workspace.hooks.dp_after_rollout(workspace=workspace, metrics=rollout)
            metrics |= rollout
        if workspace.val_loader is not None and is_due(options.val_every):
            metrics["val_loss"] = validation_loss(workspace.model, workspace.val_loader, workspace.device, options)
        if is_due(options.sample_every):
            metrics["train_action_mse_error"] = sampling_error(policy, workspace.sampling_batch, options)
    workspace.model.train()
    return metrics


@section("validation")
def validation_loss(
    model: BasePolicy, loader: DataLoader[Any], device: torch.device, options: TrainingOptions
) -> float:
    """Return the mean loss over held-out windows, with the same noise and times at every call."""
    generator = torch.Generator(device).manual_seed(options.seed)
    losses, windows = [], []
    with in_precision(options, device):
        for batch in on_device(loader, device, prefetch=options.prefetch):
            losses.append(model(batch, generator))
            windows.append(count_windows(batch))
    weights = torch.tensor(windows, dtype=torch.float64, device=device)
    return float((torch.stack(losses).double() * weights).sum() / weights.sum())


@section("sampling")
def sampling_error(policy: BasePolicy, batch: dict[str, Any], options: TrainingOptions) -> float:
    """Return the mean squared error of whole predictions on a training batch, in squared raw units of the action."""
    batch = to_device(first_windows(batch, options.sample_batch_size), policy.device)
    generator = torch.Generator(policy.device).manual_seed(options.seed)
    predicted = policy.predict_action(batch["obs"], generator)["action_pred"]
    first = policy.first_predicted_step
    demonstrated = batch["action"][:, first : first + predicted.shape[1]]
    return float(torch.nn.functional.mse_loss(predicted, demonstrated))


def _is_scheduled(every: int | None, epoch: int) -> bool:
    return every is not None and epoch % every == 0


def _groups(batches: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield batches whose gradients make one update; the last group of an epoch may be smaller.

    All of a group are fetched before the first is trained on, so that Ctrl-C during an update waits for no data.
    """
    iterator = iter(batches)
    while group := tuple(itertools.islice(iterator, size)):
        yield group
